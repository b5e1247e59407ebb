"""A crawl in virtual time: the processes that work on it, and how they die, stand still and come again."""

import asyncio
import copy
import random
from collections.abc import Callable, Sequence
from pathlib import Path

from msgspec import Struct

from crawler.asking import Asker
from crawler.budget import Budget, Limits
from crawler.engine import Engine, current_page
from crawler.feeder import START
from crawler.frontier import JobFacts
from crawler.frontier.sqlite import SqliteFrontier
from crawler.groups import group_pace, of_addresses, site_of
from crawler.models import Clock, Request
from crawler.pressure import Pressure
from crawler.scope import Gate, Scope
from crawler.settings import Settings
from crawler.simulation.journal import Journal, Moment, SharedLock, Writer
from crawler.simulation.virtual import Process, VirtualLoop
from crawler.simulation.web import Asked, NoFiles, Web, Wire, address_of
from crawler.spider import Spider
from crawler.turns import Turns
from crawler.urls import split
from crawler.visits import Visitor

EPOCH = 1_000_000_000.0  # what the calendar says when virtual time begins


class Fortune(Struct, frozen=True):
    """What befalls one process, in virtual seconds from its start; nothing by default.

    It dies at a time, or by its transaction of this number; it stands still at a time, for so long.
    """

    dies_at: float | None = None
    last_transaction: int | None = None
    moment: Moment = "before"
    freezes_at: float | None = None
    frozen_for: float = 0.0
    absent_for: float = 1.0  # until another takes its place


class SimulatedCrawl:
    """One job's run by `engines` processes side by side; the n-th process to be started has the n-th fortune."""

    def __init__(
        self, spider: Spider, settings: Settings, web: Web, loop: VirtualLoop, chance: random.Random, journal: Journal
    ) -> None:
        self._spider = spider
        self._settings = settings
        self._loop = loop
        self._chance = chance
        self.web = web
        self.journal = journal
        self.processes: list[Process] = []
        self.slow_journal = 0.02
        self.violations: list[str] = []

    async def run(self, engines: int, fortunes: Sequence[Fortune]) -> None:
        """Work until the run has ended and all processes with it."""
        left = list(fortunes)
        async with asyncio.TaskGroup() as places:
            for place in range(engines):
                places.create_task(self._keep_filled(place, left))

    async def _keep_filled(self, place: int, fortunes: list[Fortune]) -> None:
        if place:
            await asyncio.sleep(self._chance.choice((0.0, 0.0, 3.0)))
        while not self.journal.is_over():
            process = Process(self._loop, len(self.processes) + 1)
            self.processes.append(process)
            fortune = fortunes.pop(0) if fortunes else Fortune()
            task = process.begin(self._work(process, fortune))
            await asyncio.wait({task, process.died}, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                process.kill()  # its timers go with it
                task.result()  # raises what it ended by
                return
            self.web.hang_up(process.number, self._loop.time())
            await asyncio.sleep(fortune.absent_for)

    async def _work(self, process: Process, fortune: Fortune) -> None:
        settings, loop = self._settings, self._loop
        frontier = self._frontier(process, self._writer(process, fortune))
        run = await frontier.begin(JobFacts(self._spider.name), fresh=False)
        if run.number > 1:  # the others came to the end of it meanwhile
            await frontier.withdraw()
            await frontier.close()
            return
        if fortune.dies_at is not None:
            loop.call_later(fortune.dies_at, process.kill)
        if fortune.freezes_at is not None:
            loop.call_later(fortune.freezes_at, process.freeze, fortune.frozen_for)
        spider = copy.deepcopy(self._spider)  # a process's memory is its own
        clock = Clock(loop.time, self.epoch)
        gate = Gate(spider.scope or Scope(), max_depth=settings.max_depth, limits=settings.trap_limits)
        visitor = Visitor(spider, settings, gate, run.key, clock.epoch, frontier.breadcrumb)
        visitor.linker.learn_seeds(run.seeds)
        engine = Engine(frontier, visitor, Budget(Limits()), clock)
        await frontier.add([visitor.linker.link(Request(START + "/", kind="start"))])
        wire = Wire(settings, self.web, self._noted(process))
        asker = Asker(engine, wire, Path(), run.number, Pressure(None, settings))
        asker.files = NoFiles()
        outcome = await engine.run(Turns(asker).visit)
        asker.parser.close()
        assert outcome == "finished", outcome
        await frontier.finish(outcome)
        self.violations = await frontier.violations()
        await frontier.close()

    def epoch(self) -> float:
        """What the calendar says."""
        return EPOCH + self._loop.time()

    def _writer(self, process: Process, fortune: Fortune) -> Writer:
        writer = Writer(self._loop, process, self.journal, self._chance, slow=self.slow_journal)
        writer.last, writer.moment = fortune.last_transaction, fortune.moment
        return writer

    def _frontier(self, process: Process, writer: Writer) -> SqliteFrontier:
        return SqliteFrontier(
            self.journal.connection,
            default_delay=self._settings.delay,
            clock=Clock(self._loop.time, self.epoch),
            writer=writer,
            lock=SharedLock(self.journal, process),
        )

    def _groups(self, request: Request) -> list[str]:
        """The groups with limits that a request is in."""
        names = [site_of(split(request.url)[0]), *of_addresses(address_of(self._settings, request.url))]
        names += [request.group] if request.group else []
        return [name for name in names if group_pace(self._settings, name) is not None]

    def _noted(self, process: Process) -> Callable[[Request], Asked]:
        def note(request: Request) -> Asked:
            origin = split(request.url)[0]
            owner, ready_at = self.journal.host(origin)
            page = current_page.get()
            kind = request.kind if page is not None and page.request is request else "fetch"
            asked = Asked(
                self._loop.time(), origin, request.url, kind, process.number, self.journal.number_of(process),
                owner, ready_at - EPOCH,
            )  # fmt: skip
            asked.groups = {name: self.journal.group_owner(name) for name in self._groups(request)}
            self.web.log.append(asked)
            return asked

        return note
