"""The feeder: brings hosts and pages from the frontier to the workbench, and takes idle hosts back."""

import asyncio
import logging
import math
from collections.abc import Callable, Iterable, Iterator, Sequence

from msgspec.structs import replace

from crawler import circuit, quotas
from crawler.budget import Budget
from crawler.frontier import Frontier, Leased, Parting, Seeds, Want
from crawler.groups import IP, SITE, are_by, group_pace, of_addresses, site_of
from crawler.lane import Lane
from crawler.models import Clock, Lease, Link, RobotsRecord
from crawler.politeness import PARKED_FOR, ROBOTS_LIFETIME, batch_at, pace, verdict
from crawler.robots import ALLOW_ALL, Robots
from crawler.settings import Settings
from crawler.windows import next_open
from crawler.workbench import Workbench

log = logging.getLogger(__name__)

HORIZON = 10.0  # a host that may not be asked within it is left to others
MOST_HOSTS = 32_768  # in memory, some 2 KiB each
STARTING = 3.0  # after it every engine of several has begun
ROBOTS_WAIT = 20.0  # until a host is looked at again whose robots.txt lies on another one
LONG_ROBOTS = 64 << 10  # bytes
START = "start://seeds"  # the host of `start()`, which has neither robots.txt nor pace

Ticket = asyncio.Future[None]
HostLane = Lane[Ticket]


class Feeder:
    """Keeps the workbench supplied: enough hosts for all workers, enough pages for each host."""

    def __init__(
        self, frontier: Frontier, workbench: Workbench[Ticket], settings: Settings, clock: Clock,
        robots_link: Callable[[str, float], Link], let_in: Callable[[Seeds], None], learn: Callable[[Lease], None],
        budget: Budget,
    ) -> None:  # fmt: skip
        self._frontier = frontier
        self._workbench = workbench
        self._settings = settings
        self._clock = clock
        self._robots_link = robots_link
        self._let_in = let_in
        self._learn = learn
        self._budget = budget
        self._began = clock.epoch()
        self.has_groups = bool(settings.groups)
        self._by_site = are_by(settings, SITE)
        self.by_address = are_by(settings, IP)
        self._has_quotas = quotas.are_set(settings)
        self._robots_until = math.inf  # epoch seconds: the first robots.txt runs out, or later
        self.engines = 1  # that are to share the work; the others come a little later

    async def refill(self) -> bool:
        """Give back idle hosts, lease others, fetch pages for those that run low; whether more has come meanwhile."""
        now = self._clock.epoch()
        if self._robots_until <= now:
            self._forget_robots(now, self._workbench.lanes.values())
        changed, self._workbench.changed = self._workbench.changed, {}
        self._forget_robots(now, self._held(changed))
        monotonic = self._clock.monotonic()
        await self.give_back([lane for lane in self._held(changed) if lane.may_part(monotonic, HORIZON)])
        hungry = [lane for lane in self._held(changed) if lane.is_hungry]
        for lane in hungry:
            lane.refilling = True
        held = {lane.host: (lane.held, lane.batch) for lane in hungry}
        reserve = self._reserve()
        want = Want(max(0, self._room(now)), batch_at(self._settings.delay), HORIZON, held, reserve=reserve)
        leased = await self.lease(want)
        if reserve is not None:
            self._budget.reserve(leased.reserved, is_spent=leased.is_spent)
        for lane in hungry:
            lane.complete = lane.complete or lane.refilling  # no answer: the run is over, or the host is another's
            lane.refilling = False
            self._workbench.changed[lane] = None
        if leased.share is not None:
            await self.give_back(self._workbench.surplus(leased.share))
        stuck = [lane for lane in self._held(changed | self._workbench.changed) if lane.is_stuck]
        is_short = reserve is not None and reserve < (self._reserve() or 0)
        return (bool(stuck) and await self._want_robots(stuck)) or is_short

    def _held(self, lanes: Iterable[HostLane]) -> Iterator[HostLane]:
        return filter(self._workbench.holds, lanes)

    def _forget_robots(self, now: float, lanes: Iterable[HostLane]) -> None:
        """Have each robots.txt that is out of date be asked for anew, and know when the next one will be."""
        self._robots_until = math.inf if self._robots_until <= now else self._robots_until
        for lane in lanes:
            if lane.must_renew_robots(now):
                lane.robots = None
                self._workbench.changed[lane] = None
            elif lane.robots is not None:  # one that was not asked anything yet is looked at when it is
                until = lane.robots_until if lane.robots_until > now else lane.robots_at + ROBOTS_LIFETIME
                self._robots_until = min(self._robots_until, until)

    def _room(self, now: float) -> int:
        """How many more hosts to take: a few for each worker, and then more as long as all those held leave some idle.

        While other engines are starting it is only as many as keep this one busy till then.
        """
        most, held = self._settings.concurrency, len(self._workbench.lanes)
        if self.engines > 1 and now < self._began + STARTING:
            return max(16, most // 2) - held
        is_idle = self._workbench.in_flight < most and held < MOST_HOSTS
        return max(64, 4 * most) - (0 if is_idle else held)

    def _reserve(self) -> int | None:
        if self._budget.limits.max_pages is None:
            return None
        return self._budget.wanted(self._workbench.startable(self._settings.concurrency))

    async def lease(self, want: Want) -> Leased:
        """Take what is wanted from the frontier, seeds that other engines have found included."""
        leased = await self._frontier.lease(replace(want, counts_taken=True) if self._has_quotas else want)
        if leased.seeds is not None:
            self._let_in(leased.seeds)
        self._accept(leased.leases)
        return leased

    async def _want_robots(self, lanes: list[HostLane]) -> bool:
        added = await self._frontier.add([self._robots_link(lane.origin, lane.robots_at) for lane in lanes])
        for lane in lanes:
            if lane.host not in added and not lane.refilling:  # it lies on another host, which has not answered yet
                lane.complete = True
                if lane.not_before <= (now := self._clock.epoch()):  # else it is known when to ask for it again
                    lane.not_before = now + ROBOTS_WAIT
            else:
                lane.complete = False
            self._workbench.changed[lane] = None
        return bool(added)

    def _accept(self, leases: Sequence[Lease]) -> None:
        for lease in leases:
            lane = self._workbench.lanes.get(lease.host)
            if lane is None or lane.token != lease.token:
                lane = self._opened(lease)
            self._workbench.put(lane, lease.pages, complete=lease.complete and lane.robots is not None)

    def _opened(self, lease: Lease) -> HostLane:
        robots = self._known_robots(lease)
        now = self._clock.monotonic()
        ready_at = now + lease.ready_at - self._clock.epoch()
        chosen = pace(self._settings, lease.origin, robots)
        if robots is None:  # whoever died before it told this host's own delay has made it wait as all do
            ready_at += max(0.0, chosen.pause - self._settings.delay)
        lane: HostLane = Lane(lease.host, lease.origin, lease.token, chosen, max(now, ready_at), robots)
        lane.quota = quotas.quota(self._settings, lease.origin, lease.taken) if self._has_quotas else None
        lane.circuit = circuit.unpacked(lease.circuit)
        lane.is_circuit_stored = lane.circuit.is_open
        self._learn(lease)
        lane.sent_at = ready_at - chosen.delay  # by whoever had it before, from which a longer delay counts as well
        if lease.robots is not None:
            lane.robots_at, lane.robots_why = lease.robots.fetched_at, _why(lease.robots)
            # before it was read, maybe by way of another host, nobody knew what delay it asks for
            lane.ready_at = max(lane.ready_at, now + lane.robots_at + chosen.delay - self._clock.epoch())
            if robots is not None and self._settings.obey_robots:
                lane.robots_until = lease.robots.expires_at
                self._robots_until = min(self._robots_until, lane.robots_until)
        due_at = self._clock.epoch() + lane.ready_at - now
        self._workbench.wait(lane, lane.ready_at + next_open(chosen.windows, due_at) - due_at)
        self._park(lane)
        self._workbench.open(lane)
        if self.has_groups and lease.origin != START:
            self._enter_known(lane, lease)
        return lane

    def _enter_known(self, lane: HostLane, lease: Lease) -> None:
        """Have the host in its groups as far as they are known; the journal has taken them together with it."""
        lane.is_bound = not (self._by_site or self.by_address)
        self._workbench.enter(lane, [site_of(lane.origin)] if self._by_site else [])
        self._workbench.enter(lane, [name for name in lease.groups if not name.startswith(SITE)])
        groups = {**lane.groups, **lane.named}
        ahead = self._clock.monotonic() - self._clock.epoch()
        ready = {
            name: ready_at + ahead
            for name, (ready_at, pause) in lease.groups.items()
            if name in groups and groups[name].pace.pause <= pause  # else whoever takes over would not wait long enough
        }
        self._workbench.join(lane, ready)

    async def join(self, lane: HostLane, group: str | None, addresses: Sequence[str]) -> bool:
        """Have all groups of a request be this engine's; whether it may be sent now.

        If it may not, its turn is to be had anew: when nothing of the host is under way, so that what it is asked from
        then on counts in its new groups, or when those may be asked. The host leaves if one of them is another
        engine's.
        """
        entering = [one for one in of_addresses(addresses) if one not in lane.groups]
        if entering := [one for one in entering if group_pace(self._settings, one)]:
            lane.entering, lane.is_bound = entering, False
            return False
        groups = lane.groups_of(group)
        if wanted := {one.name: one.pace.pause for one in groups if one.name not in lane.joined}:
            ready = await self._frontier.join(lane.host, lane.token, wanted)
            if ready is None:
                lane.is_leaving = True
                return False
            ahead = self._clock.monotonic() - self._clock.epoch()
            self._workbench.join(lane, {name: ready_at + ahead for name, ready_at in ready.items()})
        lane.is_bound = not lane.entering
        return all(one.ready_at <= self._clock.monotonic() for one in groups)

    def _known_robots(self, lease: Lease) -> Robots | None:
        if lease.origin == START or not self._settings.obey_robots:
            return ALLOW_ALL
        record = lease.robots
        if record is None or record.fetched_at + ROBOTS_LIFETIME <= (now := self._clock.epoch()):
            return None
        if record.fetched_at < self._began and (not record.status or record.expires_at <= now):
            return None  # one that could not be had then is asked for anew, since whoever starts a crawl wants to know
        return verdict(record, self._settings.product_token)

    async def read(self, record: RobotsRecord) -> Robots | None:
        """What a robots.txt allows; a long one is read by a thread, since it may take a tenth of a second."""
        token = self._settings.product_token
        if len(record.body) <= LONG_ROBOTS:
            return verdict(record, token)
        return await asyncio.to_thread(verdict, record, token)

    def learn(self, origin: str, record: RobotsRecord, robots: Robots | None) -> float:
        """A host's robots.txt is known now, and what it allows; the delay (s) that it has from now on."""
        chosen = pace(self._settings, origin, robots)
        if lane := self._workbench.by_origin.get(origin):
            lane.robots = robots
            lane.robots_at, lane.robots_until, lane.robots_why = record.fetched_at, record.expires_at, _why(record)
            self._robots_until = min(self._robots_until, lane.robots_until)
            lane.not_before, lane.was_asked = 0.0, False
            lane.is_pace_stored = False
            self._workbench.slow_down(lane, chosen)
            lane.complete = False
            self._park(lane)
            self._workbench.arm(lane)
        return chosen.pause

    def _park(self, lane: HostLane) -> None:
        wished = lane.robots.crawl_delay if lane.robots is not None and self._settings.obey_robots else None
        if wished is None or wished <= self._settings.max_crawl_delay:
            return
        lane.is_parked, lane.not_before = True, self._clock.epoch() + PARKED_FOR
        log.warning("%s asks for a Crawl-delay of %g s: parked; max_crawl_delay would allow it", lane.origin, wished)

    def lose_all(self) -> None:
        """Others took this engine for dead: what it held is theirs."""
        for lane in list(self._workbench.lanes.values()):
            self._workbench.close(lane)

    def move_times(self, step: float) -> None:
        """The system's clock was set: what is kept in its seconds goes along."""
        for lane in self._workbench.lanes.values():
            lane.not_before += step if lane.not_before else 0.0
            lane.robots_at += step
            lane.circuit = circuit.moved(lane.circuit, step)
            lane.robots_until += step
        self._robots_until += step

    async def give_back(self, lanes: list[HostLane]) -> None:
        """Let others have these hosts, from the moment on that they may be asked."""
        if not lanes:
            return
        for lane in lanes:
            self._workbench.close(lane)
        ahead = self._clock.epoch() - self._clock.monotonic()
        await self._frontier.release(
            [
                Parting(
                    lane.host,
                    lane.token,
                    lane.rests_until() + ahead,
                    lane.not_before,
                    circuit.packed(lane.circuit),
                    lane.last_words(),
                    {name: group.ready_at + ahead for name, group in (*lane.groups.items(), *lane.named.items())},
                )
                for lane in lanes
            ]
        )


def _why(record: RobotsRecord) -> str:
    return "" if record.status else record.body.decode(errors="replace")
