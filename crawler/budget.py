"""The limits of one invocation, kept exactly: what may still be started, and what may still be stored."""

from msgspec import Struct

from crawler.errors import CrawlerError
from crawler.models import State, Visit


class Limits(Struct, frozen=True):
    """Where an invocation stops: pages that ended, items, body bytes on the wire, seconds. None is no limit."""

    max_pages: int | None = None
    max_items: int | None = None
    max_bytes: int | None = None
    max_time: float | None = None


class LimitReached(CrawlerError):
    """A limit of the operator's is reached; the page at hand stays pending."""


class Budget:
    """What has been spent of the limits. Pages are reserved when started, so that no limit is ever passed."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.pages = 0
        self.items = 0
        self.bytes = 0
        self._started = 0
        self.reached: str | None = "max-pages" if limits.max_pages == 0 else None

    def may_start(self) -> bool:
        """Whether a further page may be fetched, counting those under way as if each ended."""
        most = self._limits.max_pages
        return self.reached is None and (most is None or self.pages + self._started < most)

    def start(self) -> None:
        """A page is being fetched."""
        self._started += 1

    def receive(self, size: int) -> None:
        """Body bytes arrived. Raises LimitReached when they are too many."""
        self.bytes += size
        if self._limits.max_bytes is not None and self.bytes > self._limits.max_bytes:
            self.reached = self.reached or "max-bytes"
            raise LimitReached("--max-bytes is reached")

    def admit(self, visit: Visit | None) -> bool:
        """Whether a visit may be stored; it gives back its page's reservation if it ended nothing."""
        self._started -= 1
        if visit is None:
            return False
        good = sum(item.quarantine is None for item in visit.items)
        if self._limits.max_items is not None and self.items + good > self._limits.max_items:
            self.reached = self.reached or "max-items"
            return False
        self.items += good
        if visit.state in {State.DONE, State.GONE, State.FAILED} and not visit.reason.startswith("redirected"):
            self.pages += 1
        if self._limits.max_pages is not None and self.pages >= self._limits.max_pages:
            self.reached = self.reached or "max-pages"
        if self.items == self._limits.max_items:
            self.reached = self.reached or "max-items"
        return True
