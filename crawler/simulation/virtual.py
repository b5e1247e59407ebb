"""Time that passes at once, and processes that can be killed or stopped between any two of their steps.

All processes of a simulation share one event loop. Whose step a callback is, its context says; a dead process has no
further steps, those of a frozen one wait until it goes on, as after SIGKILL and SIGSTOP.
"""

import asyncio
import contextlib
import heapq
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from concurrent.futures import Executor, Future
from contextvars import Context, ContextVar, copy_context
from typing import Any, TypeVar, cast

T = TypeVar("T")
_process: ContextVar["Process | None"] = ContextVar("_process", default=None)


class Stalled(AssertionError):
    """Nothing will ever happen again, or not before the deadline, though the crawl has not ended."""


class VirtualLoop(asyncio.BaseEventLoop):
    """An event loop without sockets and threads, whose time jumps to the next thing that is due.

    `deadline` is in virtual seconds from 0, where it begins. Raises `Stalled` beyond it, and when nothing is due.
    """

    _ready: deque[asyncio.Handle]  # these three are what `asyncio.BaseEventLoop` asks of its subclasses
    _scheduled: list[asyncio.TimerHandle]

    def __init__(self, deadline: float) -> None:
        super().__init__()
        self._selector = self
        self._now = 0.0
        self._deadline = deadline
        self.errors: list[BaseException] = []
        self.generators: list[AsyncGenerator[Any, Any]] = []
        self.set_exception_handler(_note)

    def time(self) -> float:
        """Virtual seconds since the loop began."""
        return self._now

    def select(self, timeout: float | None) -> list[object]:
        """Let time pass."""
        if self.errors:
            raise self.errors[0]
        if timeout is None:
            raise Stalled(f"nothing is due any more at {self._now:.3f} s")
        self._now += timeout
        if self._now > self._deadline:
            raise Stalled(f"no end within {self._deadline:g} s")
        return []

    def _process_events(self, event_list: list[object]) -> None:
        """There are none."""

    def _write_to_self(self) -> None:
        """There is no other thread to be woken from."""

    def call_soon(
        self, callback: Callable[..., object], *args: object, context: Context | None = None
    ) -> asyncio.Handle:
        """Put a step of the context's process into the queue."""
        self._refuse_if_closed()
        step = _Step(callback, args, self, context)
        self._ready.append(step)
        return step

    call_soon_threadsafe = call_soon

    def _refuse_if_closed(self) -> None:
        if self.is_closed():
            raise RuntimeError("Event loop is closed")

    def call_at(
        self, when: float, callback: Callable[..., object], *args: object, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Schedule a step of the context's process."""
        self._refuse_if_closed()
        step = _TimedStep(when, callback, args, self, context)
        heapq.heappush(self._scheduled, step)
        return step

    def run_in_executor(self, executor: Executor | None, func: Callable[..., T], *args: object) -> asyncio.Future[T]:
        """Run a function, in a step of its own unless the executor says otherwise."""
        return asyncio.wrap_future((executor or INLINE).submit(func, *args), loop=self)

    def _asyncgen_firstiter_hook(self, agen: AsyncGenerator[Any, Any]) -> None:
        self.generators.append(agen)

    def resume(self, steps: list[asyncio.Handle]) -> None:
        """Put steps that were held up at the end of the queue."""
        self._ready.extend(steps)


def _note(loop: asyncio.AbstractEventLoop, facts: dict[str, Any]) -> None:
    error = facts.get("exception") or AssertionError(facts["message"])
    cast("VirtualLoop", loop).errors.append(error)


class Process:
    """One simulated process: its tasks, and whether they go on."""

    def __init__(self, loop: VirtualLoop, number: int) -> None:
        self.number = number
        self.died: asyncio.Future[None] = loop.create_future()
        self.frozen_at: float | None = None
        self._loop = loop
        self._held_up: list[asyncio.Handle] = []
        self._context = copy_context()
        self._context.run(_process.set, self)

    @property
    def is_dead(self) -> bool:
        """Whether it was killed, or has ended."""
        return self.died.done()

    def begin(self, main: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run a coroutine as this process."""
        return self._loop.create_task(main, context=self._context)

    def kill(self) -> None:
        """No further step is taken, not even to clean up; to be called between steps."""
        if not self.is_dead:
            self.died.set_result(None)

    def freeze(self, seconds: float) -> None:
        """Take no step for so long; what falls due meanwhile is late."""
        if self.frozen_at is None and not self.is_dead:
            self.frozen_at = self._loop.time()
            self._loop.call_later(seconds, self._thaw, context=Context())

    def _thaw(self) -> None:
        self.frozen_at = None
        held_up, self._held_up = self._held_up, []
        self._loop.resume(held_up)

    def may_take(self, step: asyncio.Handle) -> bool:
        """Whether a step is taken now."""
        if self.frozen_at is not None:
            self._held_up.append(step)
        return not self.is_dead and self.frozen_at is None


class _Step(asyncio.Handle):
    __slots__ = ("process",)

    def __init__(self, callback: Any, args: Any, loop: VirtualLoop, context: Context | None) -> None:
        super().__init__(callback, args, loop, context)
        self.process = context.get(_process) if context is not None else _process.get()

    def _run(self) -> None:
        if not self._cancelled and (self.process is None or self.process.may_take(self)):
            super()._run()


class _TimedStep(asyncio.TimerHandle):
    __slots__ = ("process",)
    _scheduled: bool

    def __init__(self, when: float, callback: Any, args: Any, loop: VirtualLoop, context: Context | None) -> None:
        super().__init__(when, callback, args, loop, context)
        self._scheduled = True
        self.process = context.get(_process) if context is not None else _process.get()

    def _run(self) -> None:
        if not self._cancelled and (self.process is None or self.process.may_take(self)):
            super()._run()


class _Inline(Executor):
    """Runs functions at once, where the loop would take a thread."""

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001  # it is raised where the future is awaited
            future.set_exception(error)
        return future


INLINE = _Inline()


@contextlib.contextmanager
def virtual_loop(deadline: float) -> Iterator[VirtualLoop]:
    """A loop of its own. In the end what dead processes left is dropped, and what went wrong unseen is raised."""
    loop = VirtualLoop(deadline)
    tasks: list[asyncio.Task[Any]] = []  # or the garbage collector would end a dead process's coroutines, with effect

    def new_task(of: asyncio.AbstractEventLoop, main: Any, **options: Any) -> asyncio.Task[Any]:
        tasks.append(task := asyncio.Task(main, loop=of, **options))
        return task

    loop.set_task_factory(new_task)
    try:
        yield loop
    finally:
        loop.close()
        for generator in loop.generators:
            if (awaited := getattr(generator, "ag_await", None)) is not None:  # closing its task would not reach it
                _close(awaited)
        for task in tasks:
            if not task.done():
                _drop(task)
    if loop.errors:
        raise loop.errors[0]


def _drop(task: asyncio.Task[Any]) -> None:
    task._log_destroy_pending = False  # type: ignore[attr-defined]  # noqa: SLF001  # as asyncio.gather has it
    _close(task.get_coro())


def _close(awaited: Any) -> None:
    """End a coroutine, and before it what it waits for, or that would be left to the garbage collector."""
    inner = getattr(awaited, "cr_await", None)
    if inner is not None:
        _close(inner)
    for _ in range(10):  # each `async with` in it may await once more
        # there is no loop any more for what it wants to do, and its context variables are not those of this context
        with contextlib.suppress(RuntimeError, ValueError):
            getattr(awaited, "close", _nothing)()
            return


def _nothing() -> None:
    """A future has nothing to close."""
