"""The engine: feeder, workers and committer around one workbench. Its whole control flow is on this page.

feeder     leases hosts and their next pages, and gives idle hosts back
workers    take what is due, fetch it, and make a Visit of it; they wait for the network alone
committer  stores the Visits that ended within a moment in one transaction
heartbeat  keeps this engine's leases, and takes over from engines that died
"""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextvars import ContextVar
from functools import partial

from crawler.budget import Budget, LimitReached
from crawler.committer import Committer
from crawler.errors import LeaseLost
from crawler.feeder import Feeder, HostLane, Ticket
from crawler.frontier import Frontier
from crawler.groups import group_pace
from crawler.handling import NotYet
from crawler.models import Clock, Page, Visit
from crawler.visits import Visitor
from crawler.workbench import Workbench

log = logging.getLogger(__name__)
current_page: ContextVar[Page | None] = ContextVar("current_page", default=None)

HEARTBEAT, LEASE_TIME = 0.5, 30.0
LAST_WORDS = 10.0  # what is in flight when the crawl is stopped has this long
LONGEST_REST = 3600.0  # nothing to ask for longer than this: the run is parked
SHORTEST_REST = 0.05  # an engine without work looks again after it, and then a little later

Turn = tuple[HostLane, Page]
Visiting = Callable[[HostLane, Page], Awaitable[Visit]]


class Engine:
    """Works on one run until nothing is left, a limit is reached, or it is stopped."""

    def __init__(self, frontier: Frontier, visitor: Visitor, budget: Budget, clock: Clock) -> None:
        self.frontier = frontier
        self.visitor = visitor
        self.budget = budget
        self.clock = clock
        self.settings = visitor.settings
        self.workbench: Workbench[Ticket] = Workbench(partial(group_pace, self.settings))
        self.feeder = Feeder(
            frontier, self.workbench, self.settings, clock, visitor.linker.robots_link, visitor.linker.learn_seeds,
            visitor.learn, budget,
        )  # fmt: skip
        self.backlog: Callable[[], int] = int  # bytes of items that no sink has yet
        self.committer = Committer(frontier, self.workbench, visitor, budget, clock, self.expect)
        self.most = self.settings.concurrency  # requests in flight; fewer while the machine is short of something
        self.outcome = ""
        self.in_flight: dict[int, Page] = {}
        self._is_alone = False
        self._idle: deque[asyncio.Future[Turn | None]] = deque()
        self._lent = 0
        self._timer: asyncio.TimerHandle | None = None
        self._stirred = asyncio.Event()
        self._alive_until = 0.0
        self.crew: asyncio.TaskGroup  # the workers, and what is done beside them
        self._workers: set[asyncio.Task[None]] = set()
        self.expendable: set[asyncio.Task[object]] = set()  # what need not come to its end when the crawl is stopped
        self._visit: Visiting

    async def run(self, visit: Visiting) -> str:
        """Work until the end, by `visit`; how it ended: finished, parked, or stopped and why."""
        self._visit = visit
        self._alive_until = self.clock.monotonic() + LEASE_TIME
        async with asyncio.TaskGroup() as services:
            heartbeat = services.create_task(self._keep_alive())
            services.create_task(self.committer.run(self._commit_window))
            async with asyncio.TaskGroup() as self.crew:
                for _ in range(self.settings.concurrency):
                    self._hire()
                await self._feed()
                while self._idle:
                    _hand(self._idle.popleft(), None)
            heartbeat.cancel()
            self.committer.finish()
        await self.feeder.give_back(list(self.workbench.lanes.values()))
        return self.outcome

    def stop(self, reason: str, outcome: str = "stopped") -> None:
        """Lease nothing more; what is in flight has ten seconds."""
        if not self.outcome:
            self.outcome = f"{outcome}: {reason}"
            for task in self.expendable:
                task.cancel()
            asyncio.get_running_loop().call_later(LAST_WORDS, self._abandon)
            self._stirred.set()

    def stir(self) -> None:
        """Make the feeder look again."""
        self._stirred.set()

    def _abandon(self) -> None:
        for worker in self._workers:
            worker.cancel()

    # -- feeder

    async def _feed(self) -> None:
        rests = 0
        while not self.outcome:
            self._stirred.clear()
            if await self.feeder.refill():
                self._stirred.set()
            self.dispatch()
            if self.budget.reached and not any(page.request.is_counted for page in self.in_flight.values()):
                self.stop(self.budget.reached)
            elif self.workbench.lanes or self.committer.is_busy:
                rests = 0
                await self._wait(1.0)
            else:
                await self._rest(SHORTEST_REST * 2 ** min(rests, 2))
                rests += 1

    async def _rest(self, longest: float) -> None:
        counts = await self.frontier.counts()
        if not counts.pending and counts.revisit_at is None:
            self.outcome = self.outcome or "finished"
            return
        now = self.clock.epoch()
        ahead = longest if counts.next_due_at is None else counts.next_due_at - now
        if counts.revisit_at is not None:  # what is due already waits for its host
            ahead = min(ahead, counts.revisit_at - now if counts.revisit_at > now else longest)
        elif ahead > LONGEST_REST and not counts.held:
            self.outcome = self.outcome or "parked"
            return
        # other engines may find more on the hosts that they hold, or leave some to this one
        await self._wait(min(longest, max(SHORTEST_REST, ahead)))

    def _commit_window(self) -> float:
        return self.settings.commit_window if self.in_flight else 0.0

    async def _wait(self, longest: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(longest):
                await self._stirred.wait()

    # -- workers

    def _hire(self) -> None:
        worker = self.crew.create_task(self._work())
        self._workers.add(worker)
        worker.add_done_callback(self._workers.discard)

    @contextlib.contextmanager
    def lent_place(self) -> Iterator[None]:
        """While a handler waits for the turn of an extra fetch, another worker does its work."""
        self._lent += 1
        if len(self._workers) < self.settings.concurrency + self._lent:
            self._hire()
        self.dispatch()
        try:
            yield
        finally:
            self._lent -= 1

    async def _work(self) -> None:
        while (turn := await self._turn()) is not None:
            lane, page = turn
            current_page.set(page)
            self.in_flight[page.seq] = page
            visit: Visit | None = None
            try:
                visit = await self._visit(lane, page)
            except NotYet:
                if self.workbench.holds(lane):
                    self.workbench.put(lane, [page], complete=lane.complete)
            except (LeaseLost, LimitReached) as error:
                log.debug("%s stays pending: %s", page.request.url, error)
            finally:
                del self.in_flight[page.seq]
                self._end(lane, page, visit)

    async def _turn(self) -> Turn | None:
        if self.outcome:
            return None
        turn: asyncio.Future[Turn | None] = asyncio.get_running_loop().create_future()
        self._idle.append(turn)
        self.dispatch()
        return await turn

    def dispatch(self) -> None:
        """Hand what is due to idle workers, and come back when the next host is."""
        if self.outcome or not (self._idle or self.workbench.is_hurried):  # a worker that becomes idle calls it
            return
        now, most = self.clock.monotonic(), self.most
        while self.workbench.in_flight < most and (urgent := self.workbench.take_ticket(now)):
            if urgent[1].done():
                self.workbench.done(urgent[0], urgent[2], was_sent=False)
            else:
                urgent[1].set_result(None)
        self._is_alone = self._is_alone and not self._is_calm()
        while self._idle and self.workbench.in_flight < most and self.workbench.is_due(now):
            turn = self.workbench.take(now, robots_only=self._is_alone or not self._may_start())
            if turn is None:
                break
            self._begin(turn)
        self._try_alone(now)
        self._come_back()

    def _begin(self, turn: Turn) -> None:
        if turn[1].request.is_counted:
            self.budget.start()
        _hand(self._idle.popleft(), turn)

    def _try_alone(self, now: float) -> None:
        """Ask for a page that may end the process, if nothing would be lost with it."""
        if self._idle and self._is_calm() and self._may_start() and (turn := self.workbench.take_alone(now)):
            self._is_alone = True
            self._begin(turn)

    def _is_calm(self) -> bool:
        """Whether nothing would be lost with the process."""
        is_busy = self.workbench.in_flight or self.committer.is_busy
        return not is_busy and all(page.request.kind == "start" for page in self.in_flight.values())

    def _may_start(self) -> bool:
        most = self.most
        # at most as many handlers again wait for extra fetches; robots.txt, which these may wait for, is let through
        is_busy = len(self.in_flight) - min(self._lent, most) >= most
        is_full = self.committer.is_full or self.backlog() > self.settings.backlog_bytes
        return not (is_full or is_busy) and self.budget.may_start()

    def _come_back(self) -> None:
        due = self.workbench.next_at
        if due is None or self.workbench.in_flight >= self.settings.concurrency:  # what ends then looks again
            return
        shortest = 0.001 if self._idle and self._may_start() else 0.05  # else it is due, and waits for something else
        loop, wait = asyncio.get_running_loop(), max(shortest, due - self.clock.monotonic())
        if self._timer is not None:
            if self._timer.when() <= loop.time() + wait:
                return
            self._timer.cancel()
        self._timer = loop.call_later(wait, self._on_time)

    def _on_time(self) -> None:
        self._timer = None
        self.dispatch()

    def check_lease(self) -> None:
        """Raises LeaseLost when this engine can no longer be sure of its hosts; called just before anything is sent."""
        if self.clock.monotonic() > self._alive_until:
            raise LeaseLost("this engine stood still for longer than its leases last")

    # -- what became of it

    def _end(self, lane: HostLane, page: Page, visit: Visit | None) -> None:
        if visit is None:
            lane.complete = False
            self.workbench.stored(lane, page.seq)
            if page.request.is_counted:
                self.budget.settle(was_counted=False)
        else:
            if not lane.is_pace_stored and lane.robots is not None:  # else another host's answer may tell it meanwhile
                lane.is_pace_stored, visit.delay = True, lane.pace.pause
            self.committer.add(visit, is_last=not self.in_flight)
        if spent := self.workbench.end(lane, page, visit):
            log.warning("%s: its other pages are skipped in this run (%s)", lane.origin, spent)
        if self.budget.reached or not self.in_flight:
            self._stirred.set()

    def expect(self, best: Mapping[int, int]) -> None:
        """The journal has pages that are due for these hosts; `best` is the lowest rank by host."""
        for host, rank in best.items():
            self.workbench.has_more(host, rank)
        self._stirred.set()
        self.dispatch()

    # -- heartbeat

    async def _keep_alive(self) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT)
            now = self.clock.monotonic()
            renewed = await self.frontier.renew()
            if renewed.freed:
                self._stirred.set()
            if renewed.step:
                log.warning("the system's clock was set by %+.1f s: the journal's times go along", renewed.step)
                self.feeder.move_times(renewed.step)
            if renewed.was_buried:
                log.warning("this engine stood still for too long: its hosts were taken over, and it begins anew")
                self.feeder.lose_all()
            self._alive_until = now + LEASE_TIME


def _hand(worker: "asyncio.Future[Turn | None]", turn: Turn | None) -> None:
    if not worker.done():
        worker.set_result(turn)
