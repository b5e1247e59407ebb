"""One leased host in memory: its pages in order of rank, its pace and its groups, and what of it is under way.

`now` is monotonic seconds.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from heapq import heapify, heappop
from types import MappingProxyType
from typing import Generic, TypeVar

from crawler import asked
from crawler.asked import MINUTE, Minute
from crawler.circuit import CLOSED
from crawler.groups import Group
from crawler.models import Event, Page
from crawler.politeness import ROBOTS_LIFETIME, Pace, batch_at
from crawler.quotas import Quota
from crawler.robots import Robots
from crawler.tempo import Tempo

Ticket = TypeVar("Ticket")
_NO_GROUPS: Mapping[str, Group] = MappingProxyType({})  # of most hosts: one for all, since there may be very many


class Lane(Generic[Ticket]):
    """One leased host: its pages in order of rank, its pace, and what of it is under way."""

    __slots__ = (
        "armed", "circuit", "complete", "entering", "events", "groups", "host", "in_flight", "is_bound",
        "is_circuit_stored", "is_leaving", "is_outranked", "is_pace_stored", "is_parked", "is_sending", "joined",
        "minute", "named", "not_before", "open_visits", "origin", "owed_until", "pace", "pages", "quota",
        "ready_at", "refilling", "robots", "robots_at", "robots_until", "robots_why", "sent_at", "suspects", "tempo",
        "token", "urgent", "usual_pace", "was_asked",
    )  # fmt: skip

    def __init__(self, host: int, origin: str, token: int, pace: Pace, ready_at: float, robots: Robots | None) -> None:
        self.host = host
        self.origin = origin
        self.token = token
        self.pace = self.usual_pace = pace  # the usual one knows nothing of how the host has answered
        self.tempo = Tempo()
        self.minute: Minute | None = None  # what it was asked within the current one
        self.events: list[Event] = []  # which the journal has not heard of
        self.ready_at = ready_at
        self.sent_at = -math.inf
        # nobody tells whether its last owner left a burst
        self.owed_until = ready_at + (pace.burst - 1) * pace.interval
        self.circuit = CLOSED
        self.is_circuit_stored = False  # the journal knows that it is open
        self.quota: Quota | None = None
        self.robots = robots
        self.robots_at = 0.0  # epoch seconds: when the last robots.txt was fetched, though it may be out of date
        self.robots_until = math.inf  # epoch seconds: it runs out
        self.robots_why = ""  # it could not be had
        self.was_asked = False  # since its robots.txt was read
        self.pages: list[tuple[int, int, Page]] = []
        self.suspects: tuple[Page, ...] = ()  # that are tried with nothing beside them
        self.urgent: tuple[tuple[Ticket, str | None], ...] = ()  # each with the group that it names
        self.groups = _NO_GROUPS  # of all that it is asked
        self.named = _NO_GROUPS  # of what names them
        self.joined: frozenset[str] = frozenset()  # the journal knows that it is in these, which are this engine's
        self.entering: Iterable[str] = ()  # groups that hold from the moment on that nothing is under way
        self.is_bound = True  # it is in all groups that hold for whatever it is asked
        self.in_flight = 0
        self.open_visits: set[int] = set()  # pages (seq) in flight or not yet committed
        self.complete = True
        self.refilling = False
        self.armed = False
        self.is_outranked = False  # the journal has a page that goes before the last one held
        self.is_pace_stored = False  # the journal knows its delay, should this engine die
        self.is_parked = False  # not to be asked at all before `not_before`
        self.is_sending = False
        self.is_leaving = False  # nothing more is asked, so that another engine can have it
        self.not_before = 0.0  # epoch seconds: what the host waits for elsewhere, such as its robots.txt

    @property
    def places(self) -> int:
        """How many requests may be under way; one while its circuit is open, or it is not in its groups yet."""
        return 1 if self.circuit.is_open or not self.is_bound else self.pace.concurrency

    @property
    def batch(self) -> int:
        """How many pages to hold."""
        return batch_at(self.pace.pause)

    @property
    def held(self) -> list[int]:
        """The pages (seq) in hand: waiting, in flight or uncommitted."""
        return [seq for _, seq, _ in self.pages] + [page.seq for page in self.suspects] + list(self.open_visits)

    @property
    def may_send(self) -> bool:
        """Whether it has something that may be asked; without a verdict on robots that is robots.txt alone."""
        if self.is_parked or self.is_leaving:
            return False
        if not self.pages or self.pages[0][2].request.kind == "robots":
            return bool(self.pages)
        return self.robots is not None and not (self.quota is not None and self.quota.must_wait)

    def must_renew_robots(self, now: float) -> bool:
        """Whether its robots.txt is out of date at `now`, in epoch seconds.

        One that runs out within the day holds until something was asked under it: a host whose turn comes more rarely
        than that would be asked for nothing else.
        """
        return self.robots_until <= now and (self.was_asked or self.robots_at + ROBOTS_LIFETIME <= now)

    @property
    def may_start(self) -> bool:
        """Whether the first of its pages may be asked as soon as its time has come."""
        if self.is_sending or (self.in_flight and self.in_flight >= self.places):
            return False
        return self.may_send

    @property
    def may_hurry(self) -> bool:
        """Whether an urgent request may go out as far as the host's places and robots.txt are concerned."""
        has_place = self.in_flight < self.places and not self.is_sending
        return has_place and self.robots is not None and not self.is_parked

    @property
    def is_idle(self) -> bool:
        """Whether nothing of it is under way, so that it could be given back."""
        return not (self.open_visits or self.in_flight or self.urgent or self.refilling)

    @property
    def is_stuck(self) -> bool:
        """Whether it can only go on with a page that it does not hold: its robots.txt."""
        return self.robots is None and not self.open_visits and not self.may_send

    @property
    def is_hungry(self) -> bool:
        """Whether it holds less than half of a batch, or lacks its robots.txt, while the journal has more."""
        if self.complete or self.refilling or self.is_parked or self.is_leaving:
            return False
        return len(self.pages) <= self.batch // 2 or self.is_outranked or self.is_stuck

    def may_part(self, now: float, horizon: float) -> bool:
        """Whether to give it back: nothing is under way, and there is nothing to ask within `horizon` seconds."""
        if not self.is_idle:
            return False
        is_done = self.is_parked or self.is_leaving or (self.complete and not self.may_send and not self.suspects)
        return is_done or self.rests_until() > now + horizon

    def groups_of(self, name: str | None = None) -> Sequence[Group]:
        """The groups of a request, which may name one itself."""
        if not (self.groups or self.named):  # as in most crawls
            return ()
        own = self.named.get(name) if name else None
        return (*self.groups.values(), own) if own else tuple(self.groups.values())

    def free_at(self, name: str | None = None) -> float:
        """When its groups and its pause let it be asked something; infinite while a group has no place."""
        groups = self.groups_of(name)
        return max([self.ready_at, *(group.free_at for group in groups)]) if groups else self.ready_at

    @property
    def due_at(self) -> float:
        """When the first of its pages may be asked."""
        if not self.named:
            return self.free_at() if self.groups else self.ready_at
        if self.pages[0][2].request.kind == "robots":
            return self.free_at()
        return min(self.free_at(name) for name in {entry[2].request.group for entry in self.pages})

    def rests_until(self, name: str | None = None) -> float:
        """Before which it is asked nothing that names this group, or none, by its own pause and those of its groups."""
        groups = self.groups_of(name)
        return max([self.ready_at, *(group.ready_at for group in groups)]) if groups else self.ready_at

    def count(self, now: float, name: str | None = None) -> None:
        """Note down that a request is written `now`, in epoch seconds."""
        self.was_asked = True
        for group in self.groups_of(name):
            self.events += group.count(now)
        before = self.minute
        self.minute = asked.counted(before, self.origin, self.usual_pace, self.in_flight, now)
        if before is not None and self.minute.requests == 1:
            self.events.append(Event(before.first_at, MINUTE, asked.packed(before)))

    def last_words(self) -> list[Event]:
        """Take all that the journal has not heard of."""
        if self.minute is not None:
            self.events.append(Event(self.minute.first_at, MINUTE, asked.packed(self.minute)))
            self.minute = None
        return self.told()

    def told(self) -> list[Event]:
        """Take what the journal has not heard of, but for the minute that is not over."""
        events, self.events = self.events, []
        return events

    def begin(self, page: Page) -> None:
        """Note down that a page's turn has come."""
        self.open_visits.add(page.seq)
        if self.quota is not None:
            self.quota.start(page)

    def next_page(self, now: float) -> Page:
        """Take the page whose turn it is; a host that is probed is asked for one that has failed less than others.

        A page whose own group has to wait is passed over.
        """
        if not (self.named or self.circuit.is_open) or self.pages[0][2].request.kind == "robots":
            return heappop(self.pages)[2]
        able = [entry for entry in self.pages if self.free_at(entry[2].request.group) <= now]
        tries = (lambda page: page.attempts + page.deferrals) if self.circuit.is_open else (lambda _page: 0)
        best = min(able, key=lambda entry: (tries(entry[2]), *entry[:2]))
        self.pages.remove(best)
        heapify(self.pages)
        return best[2]

    def __lt__(self, other: "Lane[Ticket]") -> bool:
        return self.host < other.host
