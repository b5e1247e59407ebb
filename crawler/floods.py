"""How often one and the same is said of one host: a site that fails in thousands of ways shall not fill a disk."""

from collections.abc import Iterator

MOST, WITHIN = 10, 60.0  # times in so many seconds
MOST_KINDS = 10_000  # remembered at once; beyond it all begins anew


class Flood:
    """Lets through the first ten of a kind in a minute, and counts the others; `now` is monotonic seconds."""

    def __init__(self) -> None:
        self._kinds: dict[tuple[str, ...], tuple[float, int]] = {}  # when its minute began, and how often since then

    def admits(self, kind: tuple[str, ...], now: float) -> bool:
        """Whether one more may be said."""
        began, times = self._kinds.get(kind, (now, 0))
        self._kinds[kind] = began, times + 1
        return times < MOST

    def ended(self, now: float) -> Iterator[tuple[tuple[str, ...], int]]:
        """The kinds whose minute is over, with how often they were left out if they were; they are forgotten."""
        forget_all = len(self._kinds) > MOST_KINDS
        for kind, (began, times) in list(self._kinds.items()):
            if forget_all or now - began >= WITHIN:
                del self._kinds[kind]
                if times > MOST:
                    yield kind, times - MOST
