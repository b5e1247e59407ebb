"""How a crawl is doing: figures for people, taken once a second from what the engine counts anyway."""

import asyncio
import math
import time
from collections import Counter, deque
from collections.abc import Callable

from crawler import stages
from crawler.engine import Engine
from crawler.models import Counts
from crawler.profile import Profile
from crawler.progress import IDLE, Progress
from crawler.stages import WORK, Stages

LAG_EVERY, LOOKED_AT_EVERY = 0.01, 0.1
FINEST, FACTOR = 0.0005, 1.1  # a lag is known to a tenth of itself
WINDOW = 10  # samples, one a second, that a rate is taken over


class Stats:
    """Samples an engine."""

    def __init__(self, engine: Engine, counts: Counts) -> None:
        self._engine = engine
        self._began = engine.clock.monotonic()
        self._samples = deque([(self._began, counts.spent.pages, 0)], maxlen=WINDOW)
        self.counts = counts
        self.downloads: dict[str, tuple[int, int | None]] = {}
        wanted = stages.current()
        self._watch = None if wanted is None else Watch(wanted, self._held_back, self.limited_by)

    async def sample(self) -> None:
        """Take the figures of now."""
        budget = self._engine.budget
        self.counts = await self._engine.frontier.counts()
        self._engine.committer.item_bytes = self.counts.item_bytes
        self._samples.append((self._engine.clock.monotonic(), self.counts.spent.pages, budget.bytes))

    async def pause(self, seconds: float) -> None:
        """Wait; if somebody wants to know where the time goes, look around meanwhile."""
        if self._watch is None:
            await asyncio.sleep(seconds)
        else:
            await self._watch.pause(seconds)

    def profile(self) -> Profile | None:
        """Where the time has gone so far; None if nobody wants to know."""
        return None if self._watch is None else self._watch.profile(self.elapsed)

    def _held_back(self) -> tuple[int, int]:
        """Of how many hosts, those that have a page and must wait for their time; and how many have work at all."""
        lanes, now = self._engine.workbench.lanes.values(), self._engine.clock.monotonic()
        waiting = sum(1 for lane in lanes if lane.rests_until() > now and lane.may_send)
        return waiting, sum(1 for lane in lanes if lane.pages or lane.in_flight)

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
            self.limited_by(), profile=self.profile(),
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
        waiting = sum(1 for lane in engine.workbench.lanes.values() if lane.rests_until() > now)
        if waiting:
            return f"politeness of {waiting} host{'s' if waiting > 1 else ''}"
        unknown = sum(1 for lane in engine.workbench.lanes.values() if lane.robots is None)
        if unknown:
            return f"robots.txt of {unknown} host{'s' if unknown > 1 else ''}"
        return "the network" if engine.in_flight else f"{IDLE}: {self._waits_for()}"

    def _waits_for(self) -> str:
        if self.counts.pending or self.counts.revisit_at is None:
            return "looking for work"
        ahead = max(0, round(self.counts.revisit_at - self._engine.clock.epoch()))
        return f"the next visit is due in {ahead:,} s"


class Watch:
    """Looks around while others work: how late is the loop, who waits for what.

    `held_back` gives how many hosts wait for their time, and how many have work; `limited_by` what limits the crawl.
    """

    def __init__(self, stages: Stages, held_back: Callable[[], tuple[int, int]], limited_by: Callable[[], str]) -> None:
        self._stages = stages
        self._held_back = held_back
        self._limited_by = limited_by
        self._lags: Counter[int] = Counter()
        self._longest = self._late = 0.0
        self._limits: Counter[str] = Counter()
        self._hosts = 0
        self._looked_at = time.perf_counter()
        self._computed_before = time.thread_time()

    async def pause(self, seconds: float) -> None:
        """Wait for so long, and look around."""
        ends_at = time.perf_counter() + seconds
        while (began := time.perf_counter()) < ends_at:
            await asyncio.sleep(LAG_EVERY)
            now = time.perf_counter()
            late = max(0.0, now - began - LAG_EVERY)
            self._longest = max(self._longest, late)
            self._late += late
            self._lags[_bucket(late)] += 1
            if now - self._looked_at >= LOOKED_AT_EVERY:
                self._look(now)

    def _look(self, now: float) -> None:
        waiting, hosts = self._held_back()
        self._hosts = max(self._hosts, hosts)
        self._limits[self._limited_by()] += 1
        if waiting:
            self._stages.add("politeness", waiting * (now - self._looked_at))
        self._looked_at = now

    def profile(self, elapsed: float) -> Profile:
        """What was seen so far, of a crawl of so many seconds."""
        seconds = self._stages.seconds
        found = {stage: (spent, self._stages.times[stage]) for stage, spent in seconds.items()}
        made = max(0.0, seconds["connect"] - seconds["DNS"] - seconds["TLS"])  # a connection stands when all are done
        found["connect"] = (made, self._stages.times["connect"])
        found["body"] = (max(0.0, seconds["body"] - seconds["decode"]), self._stages.times["body"])
        computed = max(time.thread_time() - self._computed_before, sum(seconds[stage] for stage in WORK))
        lag = (min(_p99(self._lags), self._longest), self._longest)
        late = self._late / max(0.001, self._late + LAG_EVERY * self._lags.total())
        return Profile(found, lag, min(1.0, computed / max(0.001, elapsed)), dict(self._limits), self._hosts, late)


def _bucket(late: float) -> int:
    return max(0, math.ceil(math.log(late / FINEST, FACTOR))) if late > 0 else 0


def _p99(lags: Counter[int]) -> float:
    left = 0.01 * lags.total()
    for bucket in sorted(lags, reverse=True):
        left -= lags[bucket]
        if left < 0:
            return float(FINEST * FACTOR**bucket)
    return 0.0
