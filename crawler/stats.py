"""How a crawl is doing: figures for people, taken once a second from what the engine counts anyway."""

from collections import deque

from crawler.engine import Engine
from crawler.models import Counts
from crawler.progress import IDLE, Progress

WINDOW = 10  # samples, one a second, that a rate is taken over


class Stats:
    """Samples an engine."""

    def __init__(self, engine: Engine, counts: Counts) -> None:
        self._engine = engine
        self._began = engine.clock.monotonic()
        self._samples = deque([(self._began, counts.spent.pages, 0)], maxlen=WINDOW)
        self.counts = counts
        self.downloads: dict[str, tuple[int, int | None]] = {}

    async def sample(self) -> None:
        """Take the figures of now."""
        budget = self._engine.budget
        self.counts = await self._engine.frontier.counts()
        self._engine.committer.item_bytes = self.counts.item_bytes
        self._samples.append((self._engine.clock.monotonic(), self.counts.spent.pages, budget.bytes))

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return self._engine.clock.monotonic() - self._began

    def progress(self) -> Progress:
        """The figures of the last sample, and those that cost nothing as they are now."""
        engine, budget, spent = self._engine, self._engine.budget, self.counts.spent
        at, pages, size = self._samples[0]
        span = max(0.001, engine.clock.monotonic() - at)
        return Progress(
            self.counts, self.elapsed, spent.pages, spent.items, budget.bytes,
            (spent.pages - pages) / span, (budget.bytes - size) / span, len(engine.in_flight),
            len(engine.workbench.lanes), tuple((name, *figures) for name, figures in self.downloads.items()),
            self.limited_by(),
        )  # fmt: skip

    def limited_by(self) -> str:
        """What would have to change for the crawl to be faster, in words."""
        engine = self._engine
        if engine.backlog() > engine.settings.backlog_bytes:
            return "a sink"
        if engine.most < engine.settings.concurrency:
            return f"memory or open files: {engine.most} requests in flight" if engine.most else "room on the disk"
        if len(engine.in_flight) >= engine.settings.concurrency:
            return f"{engine.settings.concurrency} requests in flight (concurrency)"
        now = engine.clock.monotonic()
        waiting = sum(1 for lane in engine.workbench.lanes.values() if lane.rests_until > now)
        if waiting:
            return f"politeness of {waiting} host{'s' if waiting > 1 else ''}"
        unknown = sum(1 for lane in engine.workbench.lanes.values() if lane.robots is None)
        if unknown:
            return f"robots.txt of {unknown} host{'s' if unknown > 1 else ''}"
        return "the network" if engine.in_flight else f"{IDLE}: looking for work"
