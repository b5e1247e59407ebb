"""The committer: stores the Visits that ended within a moment in one transaction, and tells what became of them."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping

from crawler import stages
from crawler.budget import Budget
from crawler.feeder import Ticket
from crawler.frontier import Frontier
from crawler.models import Clock, State, Visit
from crawler.visits import Visitor
from crawler.workbench import Workbench

log = logging.getLogger(__name__)
MOST_UNCOMMITTED, MOST_UNCOMMITTED_BYTES = 500, 64 << 20
Expect = Callable[[Mapping[int, int]], None]


class Committer:
    """Between a visit's end and its commit it is just memory: if the process dies, the page is fetched again.

    `expect` is told which hosts have new pages in the journal, with the lowest rank of each.
    """

    def __init__(
        self, frontier: Frontier, workbench: Workbench[Ticket], visitor: Visitor, budget: Budget, clock: Clock,
        expect: Expect,
    ) -> None:  # fmt: skip
        self._frontier = frontier
        self._workbench = workbench
        self._visitor = visitor
        self._budget = budget
        self._clock = clock
        self._expect = expect
        self._visits: list[Visit] = []
        self._is_committing = self._is_over = False
        self._unstored = self._weight = 0  # bytes of memory, of what ended, and of what no commit has taken yet
        self._ended, self._is_last = asyncio.Event(), asyncio.Event()
        self.item_bytes = 0  # of the run, as far as it is known here

    @property
    def is_full(self) -> bool:
        """Whether so much waits to be stored that no more may be fetched."""
        return len(self._visits) >= MOST_UNCOMMITTED or self._unstored > MOST_UNCOMMITTED_BYTES

    @property
    def is_busy(self) -> bool:
        """Whether anything is not stored yet."""
        return bool(self._visits) or self._is_committing

    def add(self, visit: Visit, *, is_last: bool = False) -> None:
        """Store a visit soon; at once when it `is_last` for now, since nothing else will end to be stored with it."""
        weight = visit.weight
        self._visits.append(visit)
        self._weight += weight
        self._unstored += weight
        if is_last:
            self._is_last.set()
        self._ended.set()

    def finish(self) -> None:
        """Let `run` end when all is stored. It must not be cancelled: it may be in the middle of a commit."""
        self._is_over = True
        self._ended.set()

    async def run(self, window: Callable[[], float]) -> None:
        """Store visits as they end; those that end within `window` seconds of one another at once."""
        while self._visits or not self._is_over:
            await self._ended.wait()
            if pause := window():
                self._is_last.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await self._is_last.wait()
            self._ended.clear()
            if self._visits:
                await self._commit()

    async def _commit(self) -> None:
        visits, self._visits, weight = self._visits, [], self._weight
        self._is_committing, self._weight = True, 0
        with stages.wait("commit"):
            committed = await self._frontier.commit(visits)
        self._is_committing = False
        self._unstored -= weight
        self.item_bytes = committed.item_bytes
        if committed.is_spent:
            self._budget.end_items()
        for index, visit in enumerate(visits):
            if index in committed.refused:
                self._refused(visit)
            else:
                self._stored(visit, is_excess=index in committed.excess)
        self._expect(committed.best)

    def _refused(self, visit: Visit) -> None:
        log.warning("%s was not stored: its host belongs to another engine now", visit.page.request.url)
        self._settle(visit, was_counted=False)
        lane = self._workbench.lanes.get(visit.page.host)
        if lane is not None and lane.token == visit.token:
            self._workbench.close(lane)

    def _stored(self, visit: Visit, *, is_excess: bool) -> None:
        self._settle(visit, was_counted=visit.is_counted and not is_excess)
        if not is_excess:
            self._visitor.linker.remember(visit.links)
        if visit.state == State.PENDING:
            wait = max(0.0, visit.due_at - self._clock.epoch())
            asyncio.get_running_loop().call_later(wait, self._expect, {visit.page.host: visit.page.rank})
        if (lane := self._workbench.lanes.get(visit.page.host)) is not None:
            lane.complete = lane.complete and not is_excess
            self._workbench.stored(lane, visit.page.seq)

    def _settle(self, visit: Visit, *, was_counted: bool) -> None:
        if visit.page.request.is_counted:
            self._budget.settle(was_counted=was_counted)
