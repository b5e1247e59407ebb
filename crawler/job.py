"""A crawl: one spider, one journal, its sinks and an engine, put together and run to an end."""

import asyncio
import logging
import math
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Self

import msgspec

from crawler import machine
from crawler.asking import Asker
from crawler.budget import Budget, Limits
from crawler.engine import LAST_WORDS, Engine
from crawler.errors import ConfigError, StorageFull, StoreError
from crawler.export import Existing, Exporter, refuse_existing
from crawler.feeder import START
from crawler.fetch import Fetcher
from crawler.fetch.cache import CachingFetcher
from crawler.fetch.routes import unverified
from crawler.frontier import Cursor, JobFacts, Part, Run
from crawler.frontier.sqlite import SqliteFrontier
from crawler.models import Clock, Json, Link, Request
from crawler.names import default_job_name, named
from crawler.pressure import Pressure, fitted
from crawler.progress import Progress, Summary
from crawler.scope import Gate, Scope
from crawler.settings import Settings, merged
from crawler.sinks import STDOUT, sink_for, translated
from crawler.spider import Spider, check, handler
from crawler.stats import Stats
from crawler.turns import Turns
from crawler.urls import canonical
from crawler.visits import Visitor

__all__ = ["Crawl", "Limits", "Progress", "Summary", "crawl", "default_job_name", "new_loop"]

log = logging.getLogger(__name__)
IN_MEMORY = ":memory:"
ITERATOR = "async for"
CACHE = ".cache"  # beside the jobs, for all of them


class Crawl:
    """A job's next run, or the rest of the one that was not finished.

    `output`: where items go (default ``output/<job>/run-0001/items.jsonl``); see `sinks`. `job`: its name (default: the
    spider's, with a digest of its arguments). `settings`: over the spider's own. `seeds`: further ones. `fresh`
    forgets what the job did before. `existing`: what to do with an output file that is not this run's own. With
    ``folder=None`` nothing is kept: journal in memory, downloads in a temporary folder. Raises ConfigError for anything
    that cannot be right.
    """

    def __init__(
        self,
        spider: Spider,
        *,
        output: str | Sequence[str] = (),
        job: str | None = None,
        folder: Path | str | None = "output",
        settings: Settings | Mapping[str, object] | None = None,
        seeds: Sequence[str] = (),
        fresh: bool = False,
        existing: Existing = "refuse",
        limits: Limits | None = None,
    ) -> None:
        check(spider, has_seeds=bool(seeds))
        self.spider = spider
        self.settings = (
            settings
            if isinstance(settings, Settings)
            else merged((f"{type(spider).__name__}.settings", spider.settings), ("settings=", settings or {}))
        )
        self.job = named(job) if job else default_job_name(spider, seeds)
        self.is_kept = folder is not None
        if self.settings.cache_for and not self.is_kept:
            raise ConfigError("cache_for keeps replies in a folder: pass one, or leave it out")
        if self.settings.cache_for and self.settings.revisit:
            raise ConfigError("cache_for would have pages visited again on the disk only: leave it or revisit out")
        self.folder = Path(folder or "output") / self.job
        self._facts = JobFacts(spider.name, {**spider.given, **{f"seed {n}": url for n, url in enumerate(seeds)}})
        self._outputs = [output] if isinstance(output, str) else list(output)
        self._seeds = [_seed(url) for url in seeds]
        self._fresh = fresh
        self._existing: Existing = existing
        self._limits = limits or Limits()
        self._budget = Budget(self._limits)
        self._part: Part | None = None
        self._prints = True
        self._supervisor: int | None = None
        self._engines = 1
        self._stack = AsyncExitStack()
        self._running: asyncio.Task[Summary] | None = None
        self._stopped = ""
        self._stats: Stats | None = None
        self._engine: Engine | None = None
        self._full: StorageFull | None = None
        self._cache: CachingFetcher | None = None
        self._exporters: list[Exporter] = []
        self._frontier: SqliteFrontier
        self._run: Run
        self.resumes: str | None = None

    # -- running

    async def run(self) -> Summary:
        """Crawl until nothing is left, a limit is reached, or `stop` is called."""
        async with self:
            return await self.ended()

    async def ended(self) -> Summary:
        """How it ended, once it has; within ``async with``."""
        assert self._running is not None, "use: async with Crawl(…) as crawl"
        return await self._running

    @property
    def part(self) -> Part:
        """What other engines must know to take part in this invocation."""
        return Part(self._run.number, self._run.invocation)

    @property
    def breadcrumb(self) -> str:
        """The file that tells which pages are inside a handler; empty when there is none."""
        return str(self._frontier.breadcrumb.path or "")

    def join(self, part: Part, *, elapsed: float = 0.0, prints: bool = True) -> None:
        """Be one more engine of an invocation that began `elapsed` seconds ago; to be called before all else.

        Unless it `prints`, standard output is another engine's.
        """
        self._part, self._fresh, self._prints = part, False, prints
        left = None if self._limits.max_time is None else max(0.0, self._limits.max_time - elapsed)
        self._limits = msgspec.structs.replace(self._limits, max_time=left)

    def supervise(self, supervisor: int, engines: int, count: Callable[[int], int]) -> None:
        """Be one of so many engines that process `supervisor` watches; call it before all else.

        `count` adds received bytes to those of all of them, and gives the sum.
        """
        self._supervisor, self._engines = supervisor, engines
        self._budget = Budget(self._limits, count)

    def stop(self, reason: str = "interrupted") -> None:
        """Begin nothing more; what is in flight has ten seconds. The same job resumes later."""
        self._stopped = self._stopped or reason
        if self._engine is not None:
            self._engine.stop(reason)

    def progress(self) -> Progress:
        """The figures of the moment; cheap."""
        assert self._stats is not None, "the crawl has not begun"
        return self._stats.progress()

    async def __aenter__(self) -> Self:
        try:
            await self._open()
        except BaseException:
            await self._stack.aclose()
            raise
        self._running = asyncio.create_task(self._crawled(), name=f"crawl {self.job}")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._running is not None
        self.stop()
        try:
            await self._running
        except asyncio.CancelledError:
            pass
        finally:
            await self._stack.aclose()

    async def __aiter__(self) -> AsyncIterator[dict[str, Json]]:
        """The run's items as they are committed, as plain JSON; each again if the loop did not ask for the next one."""
        assert self._running is not None, "use: async with Crawl(…) as crawl"
        seq = (await self._frontier.cursor(ITERATOR, self._run.number)).seq
        while True:
            over = self._running.done()
            items = await self._frontier.items(self._run.number, seq, 100)
            for item in items:
                yield msgspec.json.decode(item.body)
                seq = item.seq
                await self._frontier.follow(ITERATOR, self._run.number, Cursor(seq))
            if not items and over:
                self._running.result()
                return
            if not items:
                await asyncio.wait({self._running}, timeout=0.05)

    # -- the parts

    async def _open(self) -> None:
        settings = self.settings = _fitted(self.settings, self._engines)
        if self.is_kept:
            with translated(str(self.folder)):
                self.folder.parent.mkdir(parents=True, exist_ok=True)
                self.folder.mkdir(mode=0o700, exist_ok=True)  # pages, and perhaps cookies, are nobody else's business
        else:
            self.folder = Path(self._stack.enter_context(TemporaryDirectory(prefix="crawler-")))
        journal = self.folder / "job.db" if self.is_kept else IN_MEMORY
        self._frontier = SqliteFrontier(
            journal, default_delay=settings.delay, keep_runs=settings.keep_runs, supervisor=self._supervisor,
            power_safe=settings.durability == "power", patience=settings.store_patience,
        )  # fmt: skip
        self._stack.push_async_callback(self._frontier.close)
        self._stack.callback(self.spider.close)
        if self._fresh and self._existing == "refuse":
            refuse_existing(self._outputs)  # before anything is forgotten
        self._run = await self._frontier.begin(
            self._facts, fresh=self._fresh, limits=self._limits, part=self._part, revisit=settings.revisit
        )
        counts = await self._frontier.counts()
        if self._run.resumed and self._part is None:
            for name in sorted(await self._frontier.handlers()):
                handler(self.spider, name)  # a method that is gone is better known now than in the middle of the night
            done = f"{counts.done} done, {counts.pending} pending, {counts.failed} failed"
            verb = "joining" if self._run.others else "resuming"
            self.resumes = f"{verb} run {self._run.number} of job {self.job}: {done}"
        if settings.insecure_hosts and self._part is None:
            log.warning("%s", unverified(settings.insecure_hosts))
        gate = Gate(self.spider.scope or Scope(), max_depth=settings.max_depth, limits=settings.trap_limits)
        visitor = Visitor(
            self.spider, settings, gate, self._run.key, Clock().epoch, self._frontier.breadcrumb,
            has_feed=self._run.has_feed,
        )  # fmt: skip
        visitor.linker.learn_seeds(self._run.seeds)
        self._engine = Engine(self._frontier, visitor, self._budget, Clock())
        self._engine.feeder.engines = self._engines
        self._stats = Stats(self._engine, counts)
        for target in self._targets():
            sink = sink_for(target, formulas=settings.csv_formulas)
            self._exporters.append(Exporter(self._frontier, sink, self._run, settings.store_patience))
        try:
            for exporter in self._exporters:
                self._stack.push_async_callback(exporter.close)
                await exporter.open(self._existing if self._outputs else "overwrite")  # the job's folder is its own
        except (ConfigError, StoreError):
            await self._frontier.withdraw()
            raise
        if self._part is None:
            await self._frontier.add(self._first_links(visitor))

    def _targets(self) -> list[str]:
        if self._outputs or not self.is_kept:
            return [target for target in self._outputs if self._prints or target != STDOUT]
        return [str(self.folder / f"run-{self._run.number:04}" / "items.jsonl")]

    def _first_links(self, visitor: Visitor) -> list[Link]:
        """The run's first page is `start()` itself; what else was asked for by hand are seeds too."""
        links = [visitor.linker.link(Request(START + "/", kind="start"))]
        for request in self._seeds:
            visitor.linker.let_in(request.url, written=True)
            links += visitor.linker.seed_links(request)
        return links

    async def _crawled(self) -> Summary:
        try:
            outcome = await self._engine_run()
        except BaseExceptionGroup as group:
            raise _first(group) from group
        assert self._stats is not None
        await self._stats.sample()
        if not self._stats.counts.pending and self._stats.counts.revisit_at is None:
            outcome = "finished"
            await self._frontier.finish(outcome)
        elif self._full is not None:
            raise self._full
        return self._summary(outcome)

    async def _engine_run(self) -> str:
        assert self._engine is not None
        assert self._stats is not None
        engine, limits = self._engine, self._limits
        async with self._fetcher() as fetcher, asyncio.TaskGroup() as group:
            pressure = Pressure(self.folder if self.is_kept else None, self.settings, self._engines)
            self._heed(pressure)
            asker = Asker(engine, fetcher, self.folder, self._run.number, pressure)
            self._stack.callback(asker.parser.close)
            self._stats.downloads = asker.downloads
            for exporter in self._exporters:
                group.create_task(exporter.follow())
            watch = group.create_task(self._watch(pressure))
            if self._stopped:
                engine.stop(self._stopped)
            if limits.max_time is not None:
                asyncio.get_running_loop().call_later(limits.max_time, engine.stop, "max-time")
            if self._exporters:
                engine.backlog = self._backlog
            outcome = await engine.run(Turns(asker).visit)
            watch.cancel()
            for exporter in self._exporters:
                exporter.finish(patience=math.inf if outcome == "finished" else LAST_WORDS)
        return outcome

    def _fetcher(self) -> Fetcher:
        assert self._engine is not None
        received, seeds = self._budget.receive, self._engine.visitor.gate.written
        if not self.settings.cache_for:
            return Fetcher(self.settings, on_bytes=received, seeds=seeds)
        self._cache = CachingFetcher(self.settings, self.folder.parent / CACHE, on_bytes=received, seeds=seeds)
        return self._cache

    def _backlog(self) -> int:
        assert self._engine is not None
        return self._engine.committer.item_bytes - min([exporter.cursor.bytes for exporter in self._exporters])

    async def _watch(self, pressure: Pressure) -> None:
        assert self._stats is not None
        while True:
            await self._stats.sample()
            await self._stats.pause(1.0)
            self._heed(pressure)

    def _heed(self, pressure: Pressure) -> None:
        """Do as much at once as the machine allows; when it has allowed nothing for long, end as if interrupted."""
        assert self._engine is not None
        try:
            self._engine.most = pressure.look(self._engine.clock.monotonic())
        except StorageFull as error:
            self._full = self._full or error
            self._engine.stop("no space left")

    def _summary(self, outcome: str) -> Summary:
        assert self._stats is not None
        outputs = tuple(exporter.target for exporter in self._exporters)
        return Summary(
            self.job, self._run.number, self._run.resumed, outcome, self._stats.counts, self._stats.counts.spent.pages,
            self._stats.counts.spent.items, self._budget.bytes, self._stats.elapsed, self.folder, outputs,
            self.settings.max_failed, self._cache.cached if self._cache else 0, self._stats.profile(),
        )  # fmt: skip


def crawl(
    spider: Spider,
    *,
    output: str | Sequence[str] = (),
    job: str | None = None,
    folder: Path | str | None = "output",
    settings: Settings | Mapping[str, object] | None = None,
    seeds: Sequence[str] = (),
    fresh: bool = False,
    existing: Existing = "refuse",
    limits: Limits | None = None,
) -> Summary:
    """Run a spider to its end from a script, and say how it went; see `Crawl`. Inside a running loop use `Crawl`."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        pass
    else:
        raise ConfigError("crawl() cannot run inside an event loop: use 'async with Crawl(…)' there")
    job_run = Crawl(
        spider, output=output, job=job, folder=folder, settings=settings, seeds=seeds, fresh=fresh, existing=existing,
        limits=limits,
    )  # fmt: skip
    with asyncio.Runner(loop_factory=new_loop) as runner:
        return runner.run(job_run.run())


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """What went wrong first; the rest is its company."""
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error


def _fitted(settings: Settings, engines: int) -> Settings:
    """The settings as they fit this machine's share for one engine; what had to be less is said."""
    machine.spare_address_space()
    fitting = fitted(settings, machine.memory_left() / engines, machine.allow_many_files())
    for name in ("concurrency", "body_memory"):
        if (less := getattr(fitting, name)) < getattr(settings, name):
            log.warning("%s is %d here: more does not fit the memory or the open files of this process", name, less)
    return fitting


def new_loop() -> asyncio.AbstractEventLoop:
    """The fastest event loop there is here."""
    try:
        import uvloop  # noqa: PLC0415  # it does not exist on Windows
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def _seed(url: str) -> Request:
    found = canonical(url)
    if found is None:
        raise ConfigError(f"the seed {url!r} is not an http or https URL")
    return Request(found)
