"""The most that a run takes of one host: how many pages, and how many bytes of their bodies.

What was taken stands in the journal, as how the host's pages ended, and is read when the host is leased; so a quota
holds over engines, kills and restarts. While a host is held its `Quota` keeps count.
"""

from crawler.models import Page, State, Visit
from crawler.settings import HostSettings, Settings
from crawler.urls import hostname


class Quota:
    """What may still be taken of one host. `taken`: pages that are done, and bytes, in this run so far.

    A page counts when it is done, unless it led elsewhere; bodies count however their pages ended. What is visited
    again is let through, and counts no second time; nor does a try that is to be repeated.
    """

    __slots__ = ("_bytes", "_max_bytes", "_max_pages", "_pages", "_started")

    def __init__(self, max_pages: int | None, max_bytes: int | None, taken: tuple[int, int] = (0, 0)) -> None:
        self._max_pages = max_pages
        self._max_bytes = max_bytes
        self._pages, self._bytes = taken
        self._started = 0

    @property
    def spent(self) -> str | None:
        """Which quota is used up, as the reason of pages that are skipped for it; None while none is."""
        if self._max_pages is not None and self._pages >= self._max_pages:
            return "quota: pages"
        return "quota: bytes" if self._max_bytes is not None and self._bytes >= self._max_bytes else None

    @property
    def must_wait(self) -> bool:
        """Whether the pages under way may be all that there is room for; how they end decides on the others."""
        if self._max_pages is None or self.spent:
            return False
        return self._pages + self._started >= self._max_pages

    def refusal(self, page: Page) -> str | None:
        """Why a page is not to be asked for; None when it is."""
        return None if page.request.kind in {"robots", "start"} or page.history is not None else self.spent

    def start(self, page: Page) -> None:
        """A page's turn has come."""
        self._started += _may_count(page)

    def end(self, page: Page, visit: Visit | None) -> bool:
        """A page's turn has ended so, None: it stays as it was; whether that has used the quota up."""
        self._started -= _may_count(page)
        if visit is None or visit.state == State.PENDING or page.history is not None or page.request.kind == "robots":
            return False
        was_spent = self.spent
        self._pages += visit.state == State.DONE and visit.is_counted
        self._bytes += visit.size
        return self.spent != was_spent and was_spent is None


def _may_count(page: Page) -> bool:
    return page.request.is_counted and page.history is None


def quota(settings: Settings, origin: str, taken: tuple[int, int] = (0, 0)) -> Quota | None:
    """The quota of a host, by its own settings or the general ones; None when it has none."""
    own = settings.for_host(origin, hostname(origin))
    max_pages, max_bytes = _limits(own, settings)
    return None if max_pages is None and max_bytes is None else Quota(max_pages, max_bytes, taken)


def are_set(settings: Settings) -> bool:
    """Whether any host may have a quota."""
    return any(_limits(one, settings) != (None, None) for one in (HostSettings(), *settings.hosts.values()))


def _limits(own: HostSettings, settings: Settings) -> tuple[int | None, int | None]:
    return own.max_pages_per_host or settings.max_pages_per_host, own.max_bytes_per_host or settings.max_bytes_per_host
