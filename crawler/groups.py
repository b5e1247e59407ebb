"""Groups: what several hosts share, such as an IP address, a registered site or an API key, with limits of its own.

A group's name is ``ip:192.0.2.1``, ``site:example.com``, or what requests give as their ``group``. `now` is monotonic
seconds but for `Group.count`.
"""

import math
from collections.abc import Iterable
from fnmatch import fnmatchcase

from crawler import asked
from crawler.asked import MINUTE, Minute
from crawler.cookies import registered_site
from crawler.models import Event
from crawler.politeness import Pace, next_at, owed_until
from crawler.settings import GroupSettings, Settings
from crawler.urls import hostname

IP, SITE = "ip:", "site:"


def group_pace(settings: Settings, name: str) -> Pace | None:
    """The limits of a group: those of the first pattern of its kind that matches; None if there are none.

    Where nothing is said of requests at once, it is all that the crawl may have.
    """
    for pattern, own in settings.groups.items():
        if _kind(pattern) == _kind(name) and fnmatchcase(name, pattern):
            return _pace(own, settings.concurrency)
    return None


def _pace(own: GroupSettings, concurrency: int) -> Pace:
    return Pace(own.delay or 0.0, own.concurrency or concurrency, 1 / own.rate if own.rate else 0.0, own.burst or 1)


def _kind(name: str) -> str:
    return next((kind for kind in (IP, SITE) if name.startswith(kind)), "")


def are_by(settings: Settings, kind: str) -> bool:
    """Whether any limits are for groups of a kind."""
    return any(_kind(pattern) == kind for pattern in settings.groups)


def is_of_requests(name: str) -> bool:
    """Whether a group is of the requests that name it, rather than of whole hosts."""
    return not _kind(name)


def site_of(origin: str) -> str:
    """The group of a host's registered site, by the list of public suffixes; an address is a site of its own."""
    return SITE + registered_site(hostname(origin))


def of_addresses(addresses: Iterable[str]) -> list[str]:
    """The groups of IP addresses."""
    return [IP + address for address in addresses]


class Group:
    """One group in an engine's hands: its pace, when it may be asked again, and what of it is under way."""

    __slots__ = ("in_flight", "is_sending", "minute", "name", "owed_until", "pace", "ready_at", "sent_at")

    def __init__(self, name: str, pace: Pace) -> None:
        self.name = name
        self.pace = pace
        self.ready_at = 0.0
        self.sent_at = -math.inf
        self.owed_until = -math.inf
        self.in_flight = 0
        self.is_sending = False
        self.minute: Minute | None = None  # what it was asked within the current one

    @property
    def free_at(self) -> float:
        """When it may be asked; infinite while it has no place."""
        return math.inf if self.is_sending or self.in_flight >= self.pace.concurrency else self.ready_at

    def taken_over(self, ready_at: float) -> None:
        """It is this engine's, to be asked from `ready_at` on; nobody tells whether its last owner left a burst."""
        self.ready_at = max(self.ready_at, ready_at)
        self.owed_until = max(self.owed_until, ready_at + (self.pace.burst - 1) * self.pace.interval)

    def start(self) -> None:
        """A request begins: its pause counts from the moment it is written, and no other is begun until then."""
        self.in_flight += 1
        self.is_sending = self.pace.pause > 0

    def sent(self, now: float) -> None:
        """The request is being written."""
        self.sent_at = now
        self.owed_until = owed_until(self.pace, self.owed_until, now)
        self.ready_at = max(self.ready_at, next_at(self.pace, self.owed_until, now))
        self.is_sending = False

    def left(self, now: float) -> None:
        """It has left no sooner than `now`."""
        self.sent_at = now
        self.ready_at = max(self.ready_at, next_at(self.pace, self.owed_until, now))

    def done(self, *, was_sent: bool) -> None:
        """The answer is there, or there will be none."""
        self.in_flight -= 1
        if not was_sent:
            self.is_sending = False

    def count(self, now: float) -> list[Event]:
        """Note down that a request is written `now`, in epoch seconds; the event of the minute that is over thereby."""
        before = self.minute
        self.minute = asked.counted(before, self.name, self.pace, self.in_flight, now)
        return [_event(before)] if before is not None and self.minute.requests == 1 else []

    def last_words(self) -> list[Event]:
        """The event of the minute that is not over."""
        minute, self.minute = self.minute, None
        return [] if minute is None else [_event(minute)]


def _event(minute: Minute) -> Event:
    return Event(minute.first_at, MINUTE, asked.packed(minute))
