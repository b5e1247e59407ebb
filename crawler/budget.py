"""The limits of one invocation, kept exactly by all its engines: what may still be started, and what may be stored.

The journal holds what is left of the limits on pages and items. An engine reserves pages there before it starts them,
and items are counted in the transaction that stores them; so no limit is passed, and what a dead engine had reserved
is free again. Bytes are counted as they arrive, by a counter that the engines share when there are several.
"""

from collections.abc import Callable

from msgspec import Struct

from crawler.errors import CrawlerError


class Limits(Struct, frozen=True):
    """Where an invocation stops: pages that ended, items, body bytes on the wire, seconds. None is no limit."""

    max_pages: int | None = None
    max_items: int | None = None
    max_bytes: int | None = None
    max_time: float | None = None


class LimitReached(CrawlerError):
    """A limit of the operator's is reached; the page at hand stays pending."""


class Budget:
    """What one engine may spend of the limits. `count` adds bytes to those of all engines, and gives the sum."""

    def __init__(self, limits: Limits, count: Callable[[int], int] | None = None) -> None:
        self.limits = limits
        self.bytes = 0
        self.reached: str | None = "max-pages" if limits.max_pages == 0 else None
        self._count = count or self._own
        self._reserved = self._started = 0

    def may_start(self) -> bool:
        """Whether a further page may be fetched, counting those under way as if each ended."""
        return self.reached is None and (self.limits.max_pages is None or self._started < self._reserved)

    def start(self) -> None:
        """A page is being fetched."""
        self._started += 1

    def settle(self, *, was_counted: bool) -> None:
        """What was started has ended; `was_counted` when it was stored as one of the limit's pages."""
        self._started -= 1
        self._reserved -= was_counted

    def wanted(self, waiting: int) -> int | None:
        """How many pages to have reserved when so many could be started; None: no limit is set."""
        return None if self.limits.max_pages is None else self._started + waiting

    def reserve(self, reserved: int, *, is_spent: bool) -> None:
        """What the journal has granted; `is_spent` when nothing is left, and nothing in the hands of any engine."""
        self._reserved = reserved
        if is_spent:
            self.reached = self.reached or "max-pages"

    def end_items(self) -> None:
        """No item more may be stored."""
        self.reached = self.reached or "max-items"

    def receive(self, size: int) -> None:
        """Body bytes arrived. Raises LimitReached when they are too many."""
        self.bytes += size
        most = self.limits.max_bytes
        if most is not None and self._count(size) > most:
            self.reached = self.reached or "max-bytes"
            raise LimitReached("--max-bytes is reached")

    def _own(self, _size: int) -> int:
        return self.bytes
