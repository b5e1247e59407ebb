"""How fast a host may be asked, and what a failure means for its page and its host. Tables and plain functions.

Times are seconds; `now` is epoch seconds.
"""

import random
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime

from msgspec import Struct

from crawler.circuit import CLOSED, Circuit, is_hopeless, retry_rest
from crawler.errors import FetchError, HttpError
from crawler.models import Page, RobotsRecord, State
from crawler.robots import ALLOW_ALL, Robots, parse
from crawler.settings import Settings
from crawler.urls import hostname

LONGEST_WAIT = 60.0
ROBOTS_LONGEST_WAIT = 1800.0
ROBOTS_TRIES = 34  # with the waits above, some twelve hours (RFC 9309 section 2.3.1.4 leaves the time to us)
ROBOTS_TRIES_UNCONNECTED = 5  # nobody answers at that address at all: half a minute is enough to be sure
ROBOTS_LIFETIME = 86_400.0  # RFC 9309 section 2.4
ROBOTS_SHORTEST_LIFETIME = 60.0
FREE_DEFERRALS = 6  # of one page by 429 and 503, before it may be its own fault
LONGEST_DEFERRAL = 300.0
PARKED_FOR = 86_400.0
LONGEST_RETRY_AFTER = 86_400.0
SHORTEST_REST = 1.0
BATCH_SECONDS = 5.0
LARGEST_BATCH = 200

GONE = frozenset({404, 410})
REDIRECTS = frozenset({301, 302, 303, 307, 308})
OVERLOADED = frozenset({429, 503})
PASSING = frozenset({408, 425, 500, 502, 504, 520, 521, 522, 523, 524, 527, 530})


class Pace(Struct, frozen=True):
    """How one host may be asked: seconds between two requests, requests at once, hours of the day.

    ``interval`` is seconds for each request on average; after a rest a ``burst`` of them may come at once.
    """

    delay: float
    concurrency: int
    interval: float = 0.0
    burst: int = 1
    windows: tuple[str, ...] = ()

    @property
    def pause(self) -> float:
        """The seconds between two requests in the long run."""
        return max(self.delay, self.interval)


def batch_at(delay: float) -> int:
    """How many pages a host may be asked for in five seconds, at most 200."""
    return max(1, min(LARGEST_BATCH, int(BATCH_SECONDS / delay))) if delay else LARGEST_BATCH


def owed_until(pace: Pace, owed: float, sent_at: float) -> float:
    """Until when a host's rate is used up by the requests so far, the last of them at `sent_at`: a leaky bucket."""
    return max(owed, sent_at) + pace.interval


def next_at(pace: Pace, owed: float, sent_at: float) -> float:
    """When the host may be asked again: after its delay, and when no more than a burst is owed."""
    return max(sent_at + pace.delay, owed - (pace.burst - 1) * pace.interval)


class Rule(Struct, frozen=True):
    """What a failure means: further tries of the page (None: the setting `retries`), and whether it is the host's."""

    tries: int | None = None
    of_host: bool = False


RETRIES: Mapping[str, Rule] = {
    "ConnectTimeout": Rule(of_host=True),
    "ReadTimeout": Rule(of_host=True),
    "ConnectionReset": Rule(of_host=True),
    "DnsError": Rule(of_host=True),
    "TlsError": Rule(tries=0, of_host=True),
    "ProxyError": Rule(of_host=True),
    "TruncatedBody": Rule(),
    "HttpError": Rule(),
    "ProtocolError": Rule(tries=1),
    "ContentDecodingError": Rule(tries=1),
}


class Fate(Struct, frozen=True):
    """What becomes of a page after a failure: final, or PENDING until `due_at`.

    A `charged` try is one of those the page has; `host_ready_at` makes the whole host wait.
    """

    state: State
    due_at: float = 0.0
    charged: bool = False
    host_ready_at: float | None = None


def pace(settings: Settings, origin: str, robots: Robots | None) -> Pace:
    """The pace for one host: its own settings or the general ones, never faster than its Crawl-delay."""
    own = settings.for_host(origin, hostname(origin))
    delay = settings.delay if own.delay is None else own.delay
    wished = robots.crawl_delay if robots is not None and settings.obey_robots else None
    rate, windows = own.rate or settings.rate, settings.windows if own.windows is None else own.windows
    return Pace(
        max(delay, wished or 0.0), own.concurrency_per_host or settings.concurrency_per_host,
        1 / rate if rate else 0.0, own.burst or settings.burst, tuple(windows),
    )  # fmt: skip


UNREACHABLE = parse(b"User-agent: *\nDisallow: /", "")  # RFC 9309 section 2.3.1.4: what cannot be asked forbids all


def verdict(record: RobotsRecord | None, token: str) -> Robots | None:
    """What a host's robots.txt, as fetched, allows; None when there is no verdict yet (RFC 9309 section 2.3.1)."""
    if record is None:
        return None
    if not record.status:
        return UNREACHABLE
    return parse(record.body, token) if record.status < 300 else ALLOW_ALL


def robots_lifetime(cache_control: str) -> float:
    """How long a robots.txt holds (s): a day, or its ``max-age`` if that is less, but at least a minute.

    Of several the shortest counts, and what is no number is as if it were not there (RFC 9111 sections 4.2.1 and 5.2).
    """
    ages = [ROBOTS_LIFETIME]
    for directive in cache_control.split(","):
        name, _, value = directive.partition("=")
        seconds = value.strip().strip('"')
        if name.strip().lower() == "max-age" and seconds.isdecimal():
            ages.append(float(seconds))
    return max(ROBOTS_SHORTEST_LIFETIME, min(ages))


def back_off(tries: int, longest: float = LONGEST_WAIT, jitter: float | None = None) -> float:
    """The wait before the next try: 1, 2, 4 … s times 0.5 to 1.5, at most `longest`."""
    spread: float = random.uniform(0.5, 1.5) if jitter is None else jitter  # noqa: S311  # spreads load, guards nothing
    return min(longest, float(2 ** min(tries, 20)) * spread)


def retry_after(value: str | None, now: float) -> float | None:
    """The seconds that a Retry-After header asks for, in either form (RFC 9110 section 10.2.3); None if unusable.

    What asks for more than a day is taken as a day: whoever means longer will say so again.
    """
    if not value:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        return min(LONGEST_RETRY_AFTER, float(text[:9]))
    try:
        date = parsedate_to_datetime(text)
        wait = (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - now
    except (ValueError, OverflowError):
        return None
    return min(LONGEST_RETRY_AFTER, wait) if wait > 0 else None


def is_of_host(error: FetchError) -> bool:
    """Whether a failure is the host's rather than the page's: nobody answers, or only to say that all is not well."""
    return is_trouble(error.status) if isinstance(error, HttpError) else RETRIES.get(error.code, Rule()).of_host


def is_trouble(status: int | None) -> bool:
    """Whether an answer's status says that the host is not well."""
    return status is not None and (status == 429 or status >= 500)


def fate(error: FetchError, page: Page, settings: Settings, now: float, circuit: Circuit = CLOSED) -> Fate:
    """What becomes of a page whose fetch ended in `error`; `circuit` is its host's, which has heard of it."""
    status = error.status if isinstance(error, HttpError) else None  # a body can break off after a 200 as well
    if status in OVERLOADED or error.code == "ProxyError":  # both make the host wait, at no cost to the page
        return _overloaded(error, page, settings, now, circuit)
    if status in GONE:
        return Fate(State.GONE)
    rule = RETRIES.get(error.code)
    permanent = error.permanent or (status is not None and status not in PASSING)
    may_repeat = page.request.method in {"GET", "HEAD"} or page.request.retry
    if rule is None or permanent or not may_repeat:
        return Fate(State.FAILED, charged=True)
    tries = settings.retries if rule.tries is None else min(rule.tries, settings.retries)
    if page.attempts >= tries:
        return Fate(State.FAILED, charged=True)
    return Fate(State.PENDING, due_at=now + max(back_off(page.attempts), retry_rest(circuit)), charged=True)


def _overloaded(error: FetchError, page: Page, settings: Settings, now: float, circuit: Circuit) -> Fate:
    """The host's trouble, or that of its proxies: it waits as a whole, and the page's tries are not touched.

    Unless they seem to be its own, since the host goes on answering others, or patience with the host is over. The page
    waits longer than its host, so that others go before it.
    """
    asked_for = error.retry_after
    host_ready_at = now + (back_off(max(0, circuit.in_a_row - 1)) if asked_for is None else asked_for)
    was_often = page.deferrals >= FREE_DEFERRALS
    is_over = is_hopeless(circuit, settings.circuit_patience, now)
    charged = is_over or (was_often and circuit.in_a_row == 1 and not circuit.is_open)
    if charged and (page.attempts >= settings.retries or (is_over and was_often)):
        return Fate(State.FAILED, 0.0, charged, host_ready_at)
    due_at = host_ready_at + back_off(page.deferrals, LONGEST_DEFERRAL)
    return Fate(State.PENDING, due_at, charged, host_ready_at)


def robots_fate(error: FetchError, page: Page, now: float) -> Fate:
    """What becomes of a robots.txt that could not be had: its host waits for it, for twelve hours if it must."""
    unconnected = error.code in {"ConnectTimeout", "ConnectionReset", "DnsError", "TlsError"}
    tries, most = (page.attempts, ROBOTS_TRIES_UNCONNECTED) if unconnected else (page.deferrals, ROBOTS_TRIES)
    if tries >= most or error.permanent:
        return Fate(State.FAILED, charged=unconnected)
    wait = error.retry_after if error.retry_after is not None else back_off(tries, ROBOTS_LONGEST_WAIT)
    return Fate(State.PENDING, due_at=now + wait, charged=unconnected, host_ready_at=now + wait)
