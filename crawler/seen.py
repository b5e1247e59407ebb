"""The links that the journal is known to hold, so that it is not asked about them again and again."""

from collections.abc import Iterable

FAR = 1 << 60


class Seen:
    """URLs of committed links with the smallest depth they were stored at. Forgets the oldest; never invents.

    It is filled from commits that succeeded only: a link of a lost visit must be stored when another page shows it.
    """

    def __init__(self, limit: int = 100_000) -> None:
        self._limit = limit
        self._young: dict[str, int] = {}
        self._old: dict[str, int] = {}

    def unseen(self, urls: Iterable[str], depth: int) -> list[str]:
        """Those of `urls` that are not known at `depth` or nearer."""
        young, old = self._young, self._old
        fresh = [url for url in urls if young.get(url, FAR) > depth]
        return [url for url in fresh if old.get(url, FAR) > depth] if old else fresh

    def add(self, url: str, depth: int) -> None:
        """Remember a committed link."""
        if self._young.get(url, FAR) > depth:
            self._young[url] = depth
        if len(self._young) > self._limit:
            self._old, self._young = self._young, {}
