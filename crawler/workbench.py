"""The leased hosts in memory: which page may be asked next, and when. All pacing is here; no I/O, no clock.

`now` is monotonic seconds. A waiting host holds neither a worker nor a connection: it is an entry in a heap.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from heapq import heappop, heappush, nsmallest
from itertools import count
from typing import Generic

from crawler.groups import Group, is_of_requests
from crawler.lane import Lane, Ticket
from crawler.models import Page, Visit
from crawler.politeness import Pace, next_at, owed_until
from crawler.tempo import Tempo, adapted, heard


class Workbench(Generic[Ticket]):
    """Hands out pages: of each host in its order and at its pace, of all hosts the one that has waited longest."""

    def __init__(self, group_pace: Callable[[str], Pace | None] = lambda _name: None) -> None:
        self._group_pace = group_pace
        self._members: dict[str, tuple[Group, dict[int, Lane[Ticket]]]] = {}  # hosts by group
        self.lanes: dict[int, Lane[Ticket]] = {}
        self.changed: dict[Lane[Ticket], None] = {}  # to which something has happened since somebody emptied this
        self.by_origin: dict[str, Lane[Ticket]] = {}
        self.in_flight = 0
        self._slowed: dict[int, Tempo] = {}  # of hosts that were given back, mostly since they said to wait
        self._hurried: dict[int, Lane[Ticket]] = {}
        self._suspected: dict[int, Lane[Ticket]] = {}
        self._due: list[tuple[float, float, int, Lane[Ticket]]] = []
        self._due_robots: list[tuple[float, float, int, Lane[Ticket]]] = []
        self._turns = count()

    def open(self, lane: Lane[Ticket]) -> None:
        """Begin to work for a leased host."""
        if (before := self.lanes.get(lane.host)) is not None:
            self.close(before)
        self.lanes[lane.host] = self.by_origin[lane.origin] = lane
        self.changed[lane] = None
        lane.tempo = self._slowed.pop(lane.host, lane.tempo)
        lane.pace = adapted(lane.usual_pace, lane.tempo)

    def put(self, lane: Lane[Ticket], pages: Sequence[Page], *, complete: bool) -> None:
        """Give a host pages; `complete` when the journal has no others that are due."""
        for page in pages:
            if page.request.group:
                self._enter(lane, page.request.group)
            if page.is_suspect:
                lane.suspects += (page,)
                self._suspected[lane.host] = lane
            else:
                heappush(lane.pages, (page.rank, page.seq, page))
        lane.complete = complete
        lane.refilling = lane.is_outranked = False
        if len(lane.pages) > 2 and len(lane.pages) > 2 * lane.batch:  # the worst of them can wait in the journal
            lane.pages = nsmallest(lane.batch, lane.pages)
            lane.complete = False
        self.changed[lane] = None
        self.arm(lane)

    def holds(self, lane: Lane[Ticket]) -> bool:
        """Whether a lane is still worked for."""
        return self.lanes.get(lane.host) is lane

    def has_more(self, host: int, rank: int) -> None:
        """The journal has pages of a host that are due, the best of them of that rank."""
        if (lane := self.lanes.get(host)) is not None:
            lane.complete = False
            lane.is_outranked = bool(lane.pages) and rank < max(lane.pages)[0]
            self.changed[lane] = None

    def stored(self, lane: Lane[Ticket], page: int) -> None:
        """The journal knows what became of a page (seq) that was asked, or nothing became of it."""
        lane.open_visits.discard(page)
        self.changed[lane] = None

    def hurry(self, lane: Lane[Ticket], ticket: Ticket, group: str | None = None) -> None:
        """Queue something that goes before the host's pages, and may name a group."""
        if group:
            self._enter(lane, group)
        lane.urgent += ((ticket, group),)
        self._hurried[lane.host] = lane

    def calm(self, lane: Lane[Ticket]) -> list[Ticket]:
        """Take back what was queued by `hurry` and has not had its turn."""
        tickets = [ticket for ticket, _ in lane.urgent]
        lane.urgent = ()
        self.changed[lane] = None
        return tickets

    def withdraw(self, lane: Lane[Ticket], ticket: Ticket) -> None:
        """Take back one that was queued by `hurry`, if it has not had its turn."""
        lane.urgent = tuple(one for one in lane.urgent if one[0] is not ticket)
        self.changed[lane] = None

    def enter(self, lane: Lane[Ticket], names: Iterable[str]) -> None:
        """The host is in these groups, as far as they have limits, from now on; nothing of it is under way."""
        for name in names:
            self._enter(lane, name)

    def _enter(self, lane: Lane[Ticket], name: str) -> None:
        if name in lane.groups or name in lane.named or (pace := self._group_pace(name)) is None:
            return
        group, lanes = self._members.setdefault(name, (Group(name, pace), {}))
        lanes[lane.host] = lane
        if is_of_requests(name):
            lane.named = {**lane.named, name: group}
        else:
            lane.groups = {**lane.groups, name: group}

    def join(self, lane: Lane[Ticket], ready: Mapping[str, float]) -> None:
        """The journal has put the host into groups, each of which may be asked from a time on."""
        for name, ready_at in ready.items():
            if name in self._members:
                group, lanes = self._members[name]
                if not any(name in mate.joined for mate in lanes.values()):
                    group.taken_over(ready_at)
                    self.changed |= dict.fromkeys(lanes.values())
                lane.joined |= {name}

    def arm(self, lane: Lane[Ticket]) -> None:
        """Put the host among those that wait for their time, if it may be asked anything."""
        if lane.armed or not lane.pages or not lane.may_start:
            return
        if (due_at := lane.due_at) == math.inf:  # it comes back when its group has a place
            return
        lane.armed = True
        first = lane.pages[0][2].request.kind == "robots"
        # of hosts that may be asked at the same time the one that has waited longest is first
        entry = (due_at, lane.sent_at, next(self._turns), lane)
        heappush(self._due_robots if first else self._due, entry)

    def _arm_mates(self, groups: Sequence[Group]) -> None:
        for group in groups:
            for mate in self._members[group.name][1].values() if group.name in self._members else ():
                self.changed[mate] = None
                self.arm(mate)

    def take(self, now: float, *, robots_only: bool = False) -> tuple[Lane[Ticket], Page] | None:
        """The next page to ask for, if one is due: robots.txt before all others. Its host is asked until `done`."""
        taken = self._take_from(self._due_robots, now) if self._due_robots else None
        return taken if taken or robots_only else self._take_from(self._due, now)

    def _take_from(
        self, due: list[tuple[float, float, int, Lane[Ticket]]], now: float
    ) -> tuple[Lane[Ticket], Page] | None:
        while due and due[0][0] <= now:
            lane = heappop(due)[-1]
            lane.armed = False
            if not lane.may_start or self.lanes.get(lane.host) is not lane:
                continue
            if lane.due_at > now:  # told to wait while it stood in the heap
                self.arm(lane)
                continue
            page = lane.next_page(now)
            lane.begin(page)
            self._start(lane, now, page.request.group)
            return lane, page
        return None

    def take_alone(self, now: float) -> tuple[Lane[Ticket], Page] | None:
        """A page that may end the process, if its host may be asked; call it when nothing else is under way."""
        for lane in self._suspected.values():
            if lane.suspects and lane.may_hurry and lane.free_at(lane.suspects[0].request.group) <= now:
                page, *rest = lane.suspects
                lane.suspects = tuple(rest)
                lane.begin(page)
                self._start(lane, now, page.request.group)
                return lane, page
        return None

    def take_ticket(self, now: float) -> tuple[Lane[Ticket], Ticket, str | None] | None:
        """What goes before all pages, if one of its hosts may be asked, and its group; counted as `take` counts."""
        for host, lane in list(self._hurried.items()):
            if not lane.urgent:
                del self._hurried[host]
            elif lane.may_hurry and lane.free_at(lane.urgent[0][1]) <= now:
                urgent, *rest = lane.urgent
                lane.urgent = tuple(rest)
                self._start(lane, now, urgent[1])
                return lane, *urgent
        return None

    def _start(self, lane: Lane[Ticket], now: float, name: str | None) -> None:
        self.in_flight += 1
        lane.in_flight += 1
        self.changed[lane] = None
        for group in lane.groups_of(name):
            group.start()
        if lane.pace.pause:
            lane.is_sending = True  # the pause counts from the moment the request is written
        else:
            lane.ready_at = now  # so that hosts without a pause take turns
            self.arm(lane)

    def sent(self, lane: Lane[Ticket], now: float, name: str | None = None) -> None:
        """The request, of the group of that name, is being written: the pause of its host and its groups begins."""
        groups = lane.groups_of(name)
        for group in groups:
            group.sent(now)
        lane.sent_at = now
        lane.owed_until = owed_until(lane.pace, lane.owed_until, now)
        lane.ready_at = max(lane.ready_at, next_at(lane.pace, lane.owed_until, now))
        lane.is_sending = False
        self.arm(lane)
        if groups:
            self._arm_mates(groups)

    def left(self, lane: Lane[Ticket], now: float, name: str | None = None) -> None:
        """What was `sent` has left no sooner than `now`: the pauses count from then."""
        lane.sent_at = now
        lane.ready_at = max(lane.ready_at, next_at(lane.pace, lane.owed_until, now))
        for group in lane.groups_of(name):
            group.left(now)

    def done(self, lane: Lane[Ticket], name: str | None = None, *, was_sent: bool) -> None:
        """The answer is there, or there will be none: the place at the host and in the request's groups is free."""
        self.in_flight -= 1
        lane.in_flight -= 1
        self.changed[lane] = None
        groups = lane.groups_of(name)
        for group in groups:
            group.done(was_sent=was_sent)
        if not was_sent:
            lane.is_sending = False
        if lane.entering and not lane.in_flight:
            self.enter(lane, lane.entering)
            lane.entering = ()
        self.arm(lane)
        if groups:
            self._arm_mates(groups)

    def end(self, lane: Lane[Ticket], page: Page, visit: Visit | None) -> str | None:
        """A page's turn has ended so, None: it stays as it was; which quota of its host that has used up, if one."""
        if lane.quota is None:
            return None
        is_spent = lane.quota.end(page, visit)
        self.changed[lane] = None
        self.arm(lane)
        return lane.quota.spent if is_spent else None

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
        self.changed[lane] = None

    def close(self, lane: Lane[Ticket]) -> None:
        """Stop working for a host, and for its groups if it is the last of them."""
        for group in (*lane.groups.values(), *lane.named.values()):
            lanes = self._members[group.name][1]
            if lanes.get(lane.host) is lane:
                del lanes[lane.host]
            if not lanes:
                del self._members[group.name]
                lane.events += group.last_words()
        if lane.tempo.slowness > 1:
            self._slowed[lane.host] = lane.tempo
        self._hurried.pop(lane.host, None)
        self._suspected.pop(lane.host, None)
        if self.lanes.get(lane.host) is lane:
            del self.lanes[lane.host], self.by_origin[lane.origin]

    @property
    def is_hurried(self) -> bool:
        """Whether something that needs no worker may be waiting for its turn."""
        return bool(self._hurried)

    @property
    def next_at(self) -> float | None:
        """When the next host is due; None when none waits."""
        soonest = self._due[0][0] if self._due else math.inf
        if self._due_robots:
            soonest = min(soonest, self._due_robots[0][0])
        if self._hurried or self._suspected:
            soonest = min([soonest, *self._special_times()])
        return soonest if soonest < math.inf else None

    def is_due(self, now: float) -> bool:
        """Whether it is worth while to `take`."""
        due, robots = self._due, self._due_robots
        return bool((due and due[0][0] <= now) or (robots and robots[0][0] <= now))

    def _special_times(self) -> Iterator[float]:
        """When each host may be asked what goes before its pages, or what is tried with nothing beside it."""
        for lane in self._hurried.values():
            if lane.urgent and lane.may_hurry:
                yield lane.free_at(lane.urgent[0][1])
        for lane in self._suspected.values():
            if lane.suspects and lane.may_hurry:
                yield lane.free_at(lane.suspects[0].request.group)

    def surplus(self, share: int) -> list[Lane[Ticket]]:
        """Hosts to give up, so that engines with fewer have work too: what is held beyond `share` and an eighth.

        Of those that are busy nothing more is asked, and they are given up once they are not. Of hosts that share a
        group none is: another engine could not have it.
        """
        more = len(self.lanes) - share
        if more <= share // 8:
            return []
        shared = {host for _, lanes in self._members.values() if len(lanes) > 1 for host in lanes}
        able = [
            lane
            for lane in self.lanes.values()
            if (lane.is_idle or (lane.pages and not lane.urgent)) and lane.host not in shared
        ]
        leaving = sorted(able, key=lambda lane: (not lane.is_leaving, not lane.is_idle))[:more]
        for lane in leaving:
            lane.is_leaving = True
        return [lane for lane in leaving if lane.is_idle]

    def startable(self, most: int) -> int:
        """How many pages could be in flight at once, as far as `most`."""
        found = 0
        for lane in self.lanes.values():
            found += min(len(lane.pages), lane.places) + len(lane.suspects)
            if found >= most:
                return most
        return found
