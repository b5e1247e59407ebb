"""The time limits of requests in flight, kept by one timer of the event loop for all of them; how long a pool waits.

A limit changes several times within each request. Here that is two assignments; a timer of its own, started and
cancelled again for every request, costs more than all the rest that this package adds to one.
"""

import asyncio
import math
from collections.abc import Callable
from types import TracebackType
from typing import NamedTuple, Self

from crawler.errors import ConnectTimeout, FetchError, ReadTimeout
from crawler.fetch.failures import is_foreign, translated
from crawler.settings import Settings

RATE_WINDOW = 20.0  # seconds over which the least rate of a body is measured
KEPT_FOR, HARDLY_KEPT_FOR = 15.0, 1.0


class Limit(NamedTuple):
    """How long something may take, in seconds, and what it is when it takes longer."""

    seconds: float
    error: type[FetchError]
    detail: str


class Limits(NamedTuple):
    """The limits of one request. ``floor`` is the fewest bytes of a body within the seconds of ``rate``."""

    connect: Limit
    headers: Limit
    gap: Limit
    rate: Limit
    total: Limit
    floor: float


def limits_of(settings: Settings) -> Limits:
    """The time limits that the settings give."""
    connect, headers, total = settings.connect_timeout, settings.header_timeout, settings.total_timeout
    slow = f"the body came in at under {settings.min_rate} bytes/s over {RATE_WINDOW:g} s"
    return Limits(
        connect=Limit(connect, ConnectTimeout, f"no connection within {connect:g} s"),
        headers=Limit(headers, ReadTimeout, f"no complete header block within {headers:g} s of the request"),
        gap=Limit(settings.read_timeout, ReadTimeout, f"nothing more of the body for {settings.read_timeout:g} s"),
        rate=Limit(RATE_WINDOW, ReadTimeout, slow),
        total=Limit(total, ReadTimeout, f"the whole answer took over {total:g} s"),
        floor=settings.min_rate * RATE_WINDOW,
    )


def kept_for(settings: Settings) -> float:
    """How long (s) a connection waits for its host's next request; hardly, where no host is asked again that soon.

    Else a crawl of many hosts that pause for long holds thousands of connections that are of no use to anybody.
    """
    delays = [settings.delay, *(own.delay for own in settings.hosts.values() if own.delay is not None)]
    return KEPT_FOR if min(delays) < KEPT_FOR else HARDLY_KEPT_FOR


class Deadlines:
    """Cancels the task of each flight whose time is up. The timer is set anew when it rings, or must ring sooner."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.loop = asyncio.get_running_loop()
        self.flights: set[Flight] = set()
        self.rings_at = math.inf
        self._timer: asyncio.TimerHandle | None = None

    def ring_at(self, when: float) -> None:
        """Have the timer ring at `when`, on the loop's clock, and no later."""
        self.close()
        self.rings_at = when
        self._timer = self.loop.call_at(when, self._ring)

    def close(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.rings_at = math.inf

    def _ring(self) -> None:
        now = self.loop.time() + 0.001  # event loops round their timers to milliseconds
        self.rings_at = math.inf
        soonest = math.inf
        for flight in self.flights:
            if flight.until <= now:
                flight.expire()
            else:
                soonest = min(soonest, flight.until)
        if soonest < math.inf:
            self.ring_at(soonest)


class Flight:
    """One request under way. Within it as a context time runs, and whatever fails is raised as one of our errors.

    It may be entered again and again, once for each wait, by one task at a time. ``is_new`` tells whether a connection
    was opened for it, ``must_be_new`` that none from the pool will do, ``has_departed`` that it was let out,
    ``blocked`` why an address of its host's was not connected to.
    """

    __slots__ = (
        "_before_send",
        "_cancelling",
        "_ends_at",
        "_is_late",
        "_limit",
        "_task",
        "began_at",
        "blocked",
        "by_proxy",
        "deadlines",
        "departed_at",
        "has_departed",
        "is_new",
        "must_be_new",
        "until",
        "url",
    )

    def __init__(self, deadlines: Deadlines, url: str, before_send: Callable[[], None], total: float) -> None:
        self.deadlines = deadlines
        self._before_send = before_send
        self.began_at = deadlines.loop.time()
        self._ends_at = self.began_at + total
        self._limit = deadlines.limits.connect
        self._is_late = False
        self.url = url
        self.until = math.inf
        self.departed_at = math.inf
        self.must_be_new = False

    def set_out(self, *, by_proxy: bool) -> None:
        """Begin a try, of which nothing has happened yet."""
        self.by_proxy = by_proxy
        self.is_new = self.has_departed = False
        self.blocked = ""

    def __enter__(self) -> Self:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._cancelling = task.cancelling()
        self.deadlines.flights.add(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.deadlines.flights.discard(self)
        # Somebody else may have cancelled the task as well, and must then get what they asked for.
        if self._is_late and self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise self._limit.error(self._limit.detail, url=self.url) from None
        if isinstance(error, FetchError):
            error.url = self.url
        elif error is not None and is_foreign(error):
            raise translated(error, self.url) from error

    def allow(self, limit: Limit, seconds: float | None = None) -> float:
        """From now on this limit counts, with what is left of it if given; return the time now, on the loop's clock."""
        deadlines = self.deadlines
        now = deadlines.loop.time()
        until = now + (limit.seconds if seconds is None else seconds)
        if until > self._ends_at:
            until, limit = self._ends_at, deadlines.limits.total
        self.until, self._limit = until, limit
        if until < deadlines.rings_at:
            deadlines.ring_at(until)
        return now

    def extend(self, seconds: float) -> None:
        """Add to the total what was spent on waiting for ourselves."""
        self._ends_at += seconds

    def depart(self) -> None:
        """The connection stands, the request is about to be written: ask whether it may. Raises what that raises."""
        self._before_send()
        self.has_departed = True
        self.departed_at = self.allow(self.deadlines.limits.headers)

    def expire(self) -> None:
        """The time is up."""
        self._is_late = True
        self.until = math.inf
        self._task.cancel()
