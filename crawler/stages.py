"""Where the time goes: seconds by stage of a page's journey, if somebody wants to know; else next to nothing is done.

Whoever wants to know calls `begin` before the crawl is made; what is started from there adds to the same `Stages`.
"""

import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from typing import TypeVar

WAITS = ("politeness", "DNS", "connect", "TLS", "first byte", "body", "commit", "export")
WORK = ("decode", "parse", "links", "handler", "pipeline")

Made = TypeVar("Made")


class Stages:
    """Seconds by stage, and how often each was gone through. Waits of several requests at once add up."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys((*WAITS, *WORK), 0.0)
        self.times = dict.fromkeys((*WAITS, *WORK), 0)
        self.open: list[list[float]] = []  # of each stage at work: when it began, and what others took within it

    def add(self, stage: str, seconds: float) -> None:
        """A stage was gone through in so many seconds."""
        self.seconds[stage] += seconds
        self.times[stage] += 1


class _Work:
    """Computing, entered for each step of it. What is computed within it counts for its own stage alone."""

    __slots__ = ("_stage", "_stages")

    def __init__(self, stages: Stages, stage: str) -> None:
        self._stages = stages
        self._stage = stage
        stages.times[stage] += 1

    def __enter__(self) -> None:
        self._stages.open.append([time.perf_counter(), 0.0])

    def __exit__(self, *_raised: object) -> None:
        began, within = self._stages.open.pop()
        took = time.perf_counter() - began
        self._stages.seconds[self._stage] += took - within
        if self._stages.open:
            self._stages.open[-1][1] += took


class _Wait:
    """Waiting for somebody else, entered once; others may wait meanwhile."""

    __slots__ = ("_began", "_stage", "_stages")

    def __init__(self, stages: Stages, stage: str) -> None:
        self._stages = stages
        self._stage = stage

    def __enter__(self) -> None:
        self._began = time.perf_counter()

    def __exit__(self, *_raised: object) -> None:
        self._stages.add(self._stage, time.perf_counter() - self._began)


_wanted: ContextVar[Stages | None] = ContextVar("_wanted", default=None)
_NOTHING = nullcontext()


def begin() -> Stages:
    """Measure from now on, in this context and in those that come from it."""
    stages = Stages()
    _wanted.set(stages)
    return stages


def current() -> Stages | None:
    """Where to add what was measured; None if nobody wants to know."""
    return _wanted.get()


def work(stage: str) -> AbstractContextManager[None]:
    """A context in which a stage computes. It may be entered again and again, but nothing in it may wait."""
    stages = _wanted.get()
    return _NOTHING if stages is None else _Work(stages, stage)


def each(stage: str, made: Iterable[Made]) -> Iterator[Made]:
    """One after the other; what it takes to make them is the stage's."""
    return iter(made) if _wanted.get() is None else _each(work(stage), iter(made))


def _each(at_work: AbstractContextManager[None], making: Iterator[Made]) -> Iterator[Made]:
    while True:
        with at_work:
            one = next(making, None)
        if one is None:
            return
        yield one


def wait(stage: str) -> AbstractContextManager[None]:
    """A context in which a stage waits."""
    stages = _wanted.get()
    return _NOTHING if stages is None else _Wait(stages, stage)
