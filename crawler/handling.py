"""A handler at work: called, drained within its time, and its exceptions told apart."""

import asyncio
import logging
import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from inspect import CO_ITERABLE_COROUTINE, isawaitable
from types import GeneratorType
from typing import Generic, Protocol, TypeAlias, TypeVar, cast

from crawler import stages
from crawler.budget import LimitReached
from crawler.errors import CrawlerError, FetchError, HandlerError, LeaseLost, SpiderError, StoreError
from crawler.frontier import Breadcrumb
from crawler.items import Step, is_item, refined
from crawler.models import Request
from crawler.requests import Requests
from crawler.response import Door

log = logging.getLogger(__name__)
Result = TypeVar("Result")
SLOW_HANDLER = 0.1
LONGEST_TRACE = 20_000
_ONE_THING = (Mapping, Request, Requests, str, bytes)


class NotNow(CrawlerError):
    """Something the page needs is busy for long: it goes back, to be tried again at `due_at`."""

    def __init__(self, due_at: float, why: str = "the host of an extra fetch is busy") -> None:
        super().__init__(why)
        self.due_at = due_at


class NotYet(LeaseLost):
    """What was to be asked has to wait for its groups: its turn is to be had anew, at no cost."""


class PageDoor(Door, Protocol):
    """A response's door. It holds the handler's deadline, and what an extra fetch has to say to the crawl."""

    deadline: asyncio.Timeout | None
    interrupt: CrawlerError | None

    def count(self) -> None:
        """Count one more fetch on the page's account. Raises HandlerError when there are too many."""

    def standing_still(self) -> AbstractContextManager[None]:
        """Within it the time that the author's code has does not pass."""


OURS = (SpiderError, FetchError, NotNow, LimitReached, LeaseLost, StoreError)


class AtWork:
    """Marks a page in the breadcrumb while its code runs; not while it waits, since then it ends no process."""

    __slots__ = ("_breadcrumb", "_depth", "_page", "_slot")

    def __init__(self, breadcrumb: Breadcrumb, page: int) -> None:
        self._breadcrumb = breadcrumb
        self._page = page
        self._depth = self._slot = 0

    def __enter__(self) -> None:
        if not self._depth:
            self._slot = self._breadcrumb.enter(self._page)
        self._depth += 1

    def __exit__(self, *_raised: object) -> None:
        self._depth -= 1
        if not self._depth:
            self._breadcrumb.leave(self._slot)


Steps: TypeAlias = Coroutine[object, object, Result] | Generator[object, object, Result]


class Stepped(Generic[Result]):
    """A coroutine to be awaited, each step of which is taken within a context manager."""

    __slots__ = ("_around", "_coroutine")

    def __init__(self, coroutine: Steps[Result], around: AbstractContextManager[None]) -> None:
        self._coroutine = coroutine
        self._around = around

    def __await__(self) -> Generator[object, object, Result]:
        step: Callable[[], object] = partial(self._coroutine.send, None)
        while True:
            try:
                with self._around:
                    waits_for = step()
            except StopIteration as end:
                return cast("Result", end.value)
            try:
                step = partial(self._coroutine.send, (yield waits_for))
            except BaseException as error:  # noqa: BLE001  # whatever it is, it is the coroutine's
                step = partial(self._coroutine.throw, error)


def timed(stage: str, work: Awaitable[Result]) -> Awaitable[Result]:
    """The work; what it computes, but not what it waits for, counts for the stage if anybody wants to know."""
    return work if stages.current() is None else Stepped(work.__await__(), stages.work(stage))


async def drained(called: Callable[[], object], door: PageDoor | None, limit: float) -> list[object]:
    """All that a handler yields or returns, laid flat. What it raises becomes a HandlerError, unless it is our own.

    An async handler has `limit` seconds. A handler cannot end the process, nor its worker. MemoryError passes: it need
    not be the handler's fault.
    """
    yielded: list[object] = []
    try:
        outcome = called()
        if _is_plain(outcome) or not (isinstance(outcome, AsyncIterator) or isawaitable(outcome)):
            _collect(outcome, yielded)
        else:
            await _awaited(outcome, yielded, door, limit)
    except (KeyboardInterrupt, MemoryError):
        raise
    except BaseException as error:  # whatever an author's code raises, SystemExit too, is its page's failure
        if door is not None and door.interrupt is not None:
            raise door.interrupt from error
        task = asyncio.current_task()
        if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
            raise
        if isinstance(error, OURS):
            raise
        raise failure_of(error) from error
    if door is not None and door.interrupt is not None:
        raise door.interrupt
    return yielded


async def through(item: object, pipeline: Sequence[Step], limit: float) -> object | None:
    """An item as the pipeline leaves it, within so many seconds; None if it drops it. Fails as a handler does."""
    if not pipeline:
        return item
    refining = refined(item, pipeline)
    (kept,) = await timed("pipeline", drained(lambda: _one(refining), None, limit))
    return kept.item if isinstance(kept, _Kept) else None


class _Kept:
    """An item as the pipeline left it, whatever it is; a list among items would be laid flat."""

    def __init__(self, item: object) -> None:
        self.item = item


async def _one(refining: Awaitable[object]) -> _Kept:
    return _Kept(await refining)


async def within(limit: float, work: Awaitable[object]) -> object:
    """The work's result. Raises HandlerError when it takes longer than `limit` seconds."""
    try:
        async with asyncio.timeout(limit) as deadline:
            return await work
    except TimeoutError as error:
        if deadline.expired():
            raise HandlerError(f"no end after {limit:g} s") from error
        raise


async def _awaited(
    outcome: AsyncIterator[object] | Awaitable[object], yielded: list[object], door: PageDoor | None, limit: float
) -> None:
    try:
        async with asyncio.timeout(limit) as deadline:
            if door is not None:
                door.deadline = deadline
            if isinstance(outcome, AsyncIterator):
                async for one in outcome:
                    _collect([one], yielded)
            else:
                _collect(await outcome, yielded)
    except TimeoutError as error:
        if deadline.expired():
            raise HandlerError(f"no end after {limit:g} s") from error
        raise


def _is_plain(outcome: object) -> bool:
    """Whether it is what nearly all handlers give, at a glance: a generator, a dict, or nothing."""
    if type(outcome) is GeneratorType:
        return not outcome.gi_code.co_flags & CO_ITERABLE_COROUTINE
    return outcome is None or type(outcome) is dict


def _collect(outcome: object, into: list[object]) -> None:
    """Lay flat what a handler returns: one thing, or an iterable of things and lists of them."""
    if type(outcome) is not GeneratorType and (isinstance(outcome, _ONE_THING) or is_item(outcome)):
        outcome = (outcome,)
    for one in outcome if isinstance(outcome, Iterable) else (outcome,):
        if isinstance(one, (list, tuple)) and not hasattr(one, "_fields"):
            into.extend(one)
        elif one is not None:
            into.append(one)


def warn_if_slow(name: str, url: str, began: float) -> None:
    """Name a handler that kept the crawl from everything else since `began` (perf_counter)."""
    if (took := time.perf_counter() - began) > SLOW_HANDLER:
        log.warning("%s blocked the crawl for %.0f ms on %s", name, took * 1e3, url)


def failure_of(error: BaseException) -> HandlerError:
    """A handler's exception as our own, in words; even if it cannot say what it is."""
    if isinstance(error, HandlerError):
        return error
    try:
        said = f"{type(error).__name__}: {error}"
    except Exception:  # noqa: BLE001  # an author's __str__ may raise anything
        said = type(error).__name__
    failure = HandlerError(said)
    failure.__cause__ = error
    return failure


def trace_of(error: BaseException) -> str:
    """The traceback as text that can be stored, its end if it is long."""
    try:
        text = "".join(traceback.format_exception(error))
    except Exception:  # noqa: BLE001  # an author's __str__ may raise anything
        text = "".join(traceback.format_tb(error.__traceback__)) + type(error).__name__
    return text[-LONGEST_TRACE:].encode("utf-8", "backslashreplace").decode()
