"""The leased hosts in memory: which page may be asked next, and when. All pacing is here; no I/O, no clock.

`now` is monotonic seconds. A waiting host holds neither a worker nor a connection: it is an entry in a heap.
"""

import math
from collections import deque
from collections.abc import Iterator, Sequence
from heapq import heapify, heappop, heappush, nsmallest
from itertools import count
from typing import Generic, TypeVar

from crawler import asked
from crawler.asked import MINUTE, Minute
from crawler.circuit import CLOSED
from crawler.models import Event, Page
from crawler.politeness import Pace, batch_at, next_at, owed_until
from crawler.robots import Robots
from crawler.tempo import Tempo, adapted, heard

Ticket = TypeVar("Ticket")


class Lane(Generic[Ticket]):
    """One leased host: its pages in order of rank, its pace, and what of it is under way."""

    __slots__ = (
        "armed", "circuit", "complete", "events", "host", "in_flight", "is_circuit_stored", "is_leaving",
        "is_outranked", "is_pace_stored", "is_parked", "is_sending", "minute", "not_before", "open_visits",
        "origin", "owed_until", "pace", "pages", "ready_at", "refilling", "robots", "robots_at", "robots_until",
        "robots_why", "sent_at", "suspects", "tempo", "token", "urgent", "usual_pace",
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
        self.robots = robots
        self.robots_at = 0.0  # epoch seconds: when the last robots.txt was fetched, though it may be out of date
        self.robots_until = math.inf  # epoch seconds: it runs out
        self.robots_why = ""  # it could not be had
        self.pages: list[tuple[int, int, Page]] = []
        self.suspects: deque[Page] = deque()  # pages that are tried with nothing beside them
        self.urgent: deque[Ticket] = deque()
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
        """How many requests may be under way; while its circuit is open, one probe."""
        return 1 if self.circuit.is_open else self.pace.concurrency

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
        return bool(self.pages) and (self.robots is not None or self.pages[0][2].request.kind == "robots")

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

    def count(self, now: float) -> None:
        """Note down that a request is written `now`, in epoch seconds."""
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

    def next_page(self) -> Page:
        """Take the page whose turn it is; a host that is probed is asked for one that has failed less than others."""
        if self.circuit.is_open and self.pages[0][2].request.kind != "robots":
            best = min(self.pages, key=lambda entry: (entry[2].attempts + entry[2].deferrals, *entry[:2]))
            self.pages.remove(best)
            heapify(self.pages)
            return best[2]
        return heappop(self.pages)[2]

    def __lt__(self, other: "Lane[Ticket]") -> bool:
        return self.host < other.host


class Workbench(Generic[Ticket]):
    """Hands out pages: of each host in its order and at its pace, of all hosts the one that has waited longest."""

    def __init__(self) -> None:
        self.lanes: dict[int, Lane[Ticket]] = {}
        self.by_origin: dict[str, Lane[Ticket]] = {}
        self.in_flight = 0
        self._slowed: dict[int, Tempo] = {}  # of hosts that were given back, mostly since they said to wait
        self._hurried: dict[int, Lane[Ticket]] = {}
        self._suspected: dict[int, Lane[Ticket]] = {}
        self._due: list[tuple[float, int, Lane[Ticket]]] = []
        self._due_robots: list[tuple[float, int, Lane[Ticket]]] = []
        self._turns = count()

    def open(self, lane: Lane[Ticket]) -> None:
        """Begin to work for a leased host."""
        self.lanes[lane.host] = self.by_origin[lane.origin] = lane
        lane.tempo = self._slowed.pop(lane.host, lane.tempo)
        lane.pace = adapted(lane.usual_pace, lane.tempo)

    def put(self, lane: Lane[Ticket], pages: Sequence[Page], *, complete: bool) -> None:
        """Give a host pages; `complete` when the journal has no others that are due."""
        for page in pages:
            if page.is_suspect:
                lane.suspects.append(page)
                self._suspected[lane.host] = lane
            else:
                heappush(lane.pages, (page.rank, page.seq, page))
        lane.complete = complete
        lane.refilling = lane.is_outranked = False
        if len(lane.pages) > 2 * lane.batch:  # the worst of them can wait in the journal
            lane.pages = nsmallest(lane.batch, lane.pages)
            lane.complete = False
        self.arm(lane)

    def hurry(self, lane: Lane[Ticket], ticket: Ticket) -> None:
        """Queue something that goes before the host's pages."""
        lane.urgent.append(ticket)
        self._hurried[lane.host] = lane

    def calm(self, lane: Lane[Ticket]) -> list[Ticket]:
        """Take back what was queued by `hurry` and has not had its turn."""
        tickets = list(lane.urgent)
        lane.urgent.clear()
        return tickets

    def arm(self, lane: Lane[Ticket]) -> None:
        """Put the host among those that wait for their time, if it may be asked anything."""
        if lane.armed or lane.is_sending or lane.in_flight >= lane.places or not lane.may_send:
            return
        lane.armed = True
        first = lane.pages[0][2].request.kind == "robots"
        heappush(self._due_robots if first else self._due, (lane.ready_at, next(self._turns), lane))

    def take(self, now: float, *, robots_only: bool = False) -> tuple[Lane[Ticket], Page] | None:
        """The next page to ask for, if one is due: robots.txt before all others. Its host is asked until `done`."""
        taken = self._take_from(self._due_robots, now)
        return taken if taken or robots_only else self._take_from(self._due, now)

    def _take_from(self, due: list[tuple[float, int, Lane[Ticket]]], now: float) -> tuple[Lane[Ticket], Page] | None:
        while due and due[0][0] <= now:
            lane = heappop(due)[2]
            lane.armed = False
            if self.lanes.get(lane.host) is not lane or not lane.may_send or lane.in_flight >= lane.places:
                continue
            if lane.is_sending or lane.ready_at > now:  # told to wait while it stood in the heap
                self.arm(lane)
                continue
            page = lane.next_page()
            lane.open_visits.add(page.seq)
            self._start(lane, now)
            return lane, page
        return None

    def take_alone(self, now: float) -> tuple[Lane[Ticket], Page] | None:
        """A page that may end the process, if its host may be asked; call it when nothing else is under way."""
        for lane in self._suspected.values():
            if lane.suspects and lane.may_hurry and lane.ready_at <= now:
                page = lane.suspects.popleft()
                lane.open_visits.add(page.seq)
                self._start(lane, now)
                return lane, page
        return None

    def take_ticket(self, now: float) -> tuple[Lane[Ticket], Ticket] | None:
        """What goes before all pages, if one of its hosts may be asked; counted as `take` counts."""
        for host, lane in list(self._hurried.items()):
            if not lane.urgent:
                del self._hurried[host]
            elif lane.may_hurry and lane.ready_at <= now:
                self._start(lane, now)
                return lane, lane.urgent.popleft()
        return None

    def _start(self, lane: Lane[Ticket], now: float) -> None:
        self.in_flight += 1
        lane.in_flight += 1
        if lane.pace.pause:
            lane.is_sending = True  # the pause counts from the moment the request is written
        else:
            lane.ready_at = now  # so that hosts without a pause take turns
        self.arm(lane)

    def sent(self, lane: Lane[Ticket], now: float) -> None:
        """The request is being written: the host's pause begins."""
        lane.sent_at = now
        lane.owed_until = owed_until(lane.pace, lane.owed_until, now)
        lane.ready_at = max(lane.ready_at, next_at(lane.pace, lane.owed_until, now))
        lane.is_sending = False
        self.arm(lane)

    def done(self, lane: Lane[Ticket], *, was_sent: bool) -> None:
        """The answer is there, or there will be none: the host's place is free."""
        self.in_flight -= 1
        lane.in_flight -= 1
        if not was_sent:
            lane.is_sending = False
        self.arm(lane)

    def slow_down(self, lane: Lane[Ticket], pace: Pace) -> None:
        """Ask a host at another pace from its last request on."""
        lane.usual_pace, lane.pace = pace, adapted(pace, lane.tempo)
        self.wait(lane, lane.sent_at + lane.pace.delay)

    def heard(self, lane: Lane[Ticket], status: int, waited: float) -> None:
        """Keep to the pace of a host that has answered after `waited` seconds; only where it has a pause."""
        if lane.usual_pace.pause:
            lane.tempo = heard(lane.tempo, status, waited)
            if (pace := adapted(lane.usual_pace, lane.tempo)) is not lane.pace:
                lane.pace = pace
                self.wait(lane, lane.sent_at + pace.delay)

    def wait(self, lane: Lane[Ticket], until: float) -> None:
        """Nobody may ask the host before `until`."""
        lane.ready_at = max(lane.ready_at, until)

    def close(self, lane: Lane[Ticket]) -> None:
        """Stop working for a host."""
        if lane.tempo.slowness > 1:
            self._slowed[lane.host] = lane.tempo
        self._hurried.pop(lane.host, None)
        self._suspected.pop(lane.host, None)
        if self.lanes.get(lane.host) is lane:
            del self.lanes[lane.host], self.by_origin[lane.origin]

    @property
    def next_at(self) -> float | None:
        """When the next host is due; None when none waits."""
        times = [lane.ready_at for lane in self._hurried.values() if lane.urgent and lane.may_hurry]
        times += [lane.ready_at for lane in self._suspected.values() if lane.suspects and lane.may_hurry]
        times += [due[0][0] for due in (self._due, self._due_robots) if due]
        return min(times, default=None)

    def hungry(self) -> Iterator[Lane[Ticket]]:
        """The hosts that hold less than half of a batch, or lack their robots.txt, while the journal has more."""
        for lane in self.lanes.values():
            if not (lane.complete or lane.refilling or lane.is_parked or lane.is_leaving) and (
                len(lane.pages) <= lane.batch // 2 or lane.is_outranked or lane.is_stuck
            ):
                yield lane

    def parting(self, now: float, horizon: float) -> list[Lane[Ticket]]:
        """The hosts to give back: nothing under way, and nothing to ask within `horizon` seconds."""
        return [
            lane
            for lane in self.lanes.values()
            if lane.is_idle
            and (
                (lane.is_parked or lane.is_leaving or (lane.complete and not lane.may_send and not lane.suspects))
                or lane.ready_at > now + horizon
            )
        ]

    def surplus(self, share: int) -> list[Lane[Ticket]]:
        """Hosts to give up, so that engines with fewer have work too: what is held beyond `share` and an eighth.

        Of those that are busy nothing more is asked, and they are given up once they are not.
        """
        more = len(self.lanes) - share
        if more <= share // 8:
            return []
        able = [lane for lane in self.lanes.values() if lane.is_idle or (lane.pages and not lane.urgent)]
        leaving = sorted(able, key=lambda lane: (not lane.is_leaving, not lane.is_idle))[:more]
        for lane in leaving:
            lane.is_leaving = True
        return [lane for lane in leaving if lane.is_idle]

    def startable(self) -> int:
        """How many pages could be in flight at once."""
        return sum(min(len(lane.pages), lane.places) + len(lane.suspects) for lane in self.lanes.values())
