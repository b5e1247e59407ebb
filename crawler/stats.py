"""How a crawl is doing: figures for people, taken once a second from what the engine counts anyway."""

from collections import deque
from pathlib import Path

from msgspec import Struct

from crawler.engine import Engine
from crawler.models import Counts

WINDOW = 10  # samples, one a second, that a rate is taken over
LAST_FAILURES = 5


class Progress(Struct, frozen=True):
    """A moment of a crawl. Pages, items and bytes are of this invocation, `counts` of the run; seconds and bytes."""

    counts: Counts
    elapsed: float
    pages: int
    items: int
    bytes: int
    pages_per_second: float
    bytes_per_second: float
    in_flight: int
    hosts: int
    downloads: tuple[tuple[str, int, int | None], ...]
    limited_by: str
    failures: tuple[tuple[str, str], ...]


class Summary(Struct, frozen=True):
    """How an invocation ended. `outcome` is "finished", "parked" or "stopped: …"; pages, items, bytes are its own."""

    job: str
    run: int
    resumed: bool
    outcome: str
    counts: Counts
    pages: int
    items: int
    bytes: int
    elapsed: float
    folder: Path
    outputs: tuple[str, ...]
    max_failed: int = 0

    @property
    def exit_code(self) -> int:
        """0 finished; 3 finished, but pages failed or items were quarantined; 4 stopped before the end, resumable."""
        if self.outcome != "finished":
            return 4
        return 3 if self.counts.failed > self.max_failed or self.counts.quarantined else 0


class Stats:
    """Samples an engine."""

    def __init__(self, engine: Engine, counts: Counts) -> None:
        self._engine = engine
        self._began = engine.clock.monotonic()
        self._samples = deque([(self._began, counts.spent.pages, 0)], maxlen=WINDOW)
        self.counts = counts
        self.failures: deque[tuple[str, str]] = deque(maxlen=LAST_FAILURES)
        self.downloads: dict[str, tuple[int, int | None]] = {}

    async def sample(self) -> None:
        """Take the figures of now."""
        budget = self._engine.budget
        self.counts = await self._engine.frontier.counts()
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
            self.limited_by(), tuple(self.failures),
        )  # fmt: skip

    def limited_by(self) -> str:
        """What would have to change for the crawl to be faster, in words."""
        engine = self._engine
        if engine.backlog() > engine.settings.backlog_bytes:
            return "a sink"
        if len(engine.in_flight) >= engine.settings.concurrency:
            return f"{engine.settings.concurrency} requests in flight (concurrency)"
        now = engine.clock.monotonic()
        waiting = sum(1 for lane in engine.workbench.lanes.values() if lane.ready_at > now)
        if waiting:
            return f"politeness of {waiting} host{'s' if waiting > 1 else ''}"
        unknown = sum(1 for lane in engine.workbench.lanes.values() if lane.robots is None)
        if unknown:
            return f"robots.txt of {unknown} host{'s' if unknown > 1 else ''}"
        return "the network" if engine.in_flight else "nothing: looking for work"
