"""A crawl in this process: its loop, the two signals that end it, what is shown meanwhile, and how it ended."""

import asyncio
import os
import signal
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from types import FrameType

from crawler.cli import logs
from crawler.cli.view import View, screen
from crawler.engine import current_page
from crawler.job import Crawl, new_loop
from crawler.progress import Summary

LOOKED_AT_EVERY = 0.05
SHOW_CURSOR = b"\x1b[?25h\n"


def to_the_end(crawl: Crawl, view: View, *, advice: str = "") -> Summary:
    """Run a crawl until it ends or a signal stops it, and tell how it went; `advice` is what to do next."""
    make_loop = asyncio.new_event_loop if view.debug else new_loop  # uvloop cannot tell which callback was slow
    with (
        logs.to_stderr(view.level, view.log_format, crawl.job, current_page),
        asyncio.Runner(debug=view.debug or None, loop_factory=make_loop) as runner,
        _stopped_by_signals(crawl, view, runner.get_loop()),
    ):
        summary = runner.run(_watched_run(crawl, view))
        view.tell_end(summary, advice=advice)
    return summary


async def _watched_run(crawl: Crawl, view: View) -> Summary:
    async with crawl:
        if crawl.resumes:
            view.tell(crawl.resumes)
        async with _watching(crawl, view):
            return await crawl.ended()


@asynccontextmanager
async def _watching(crawl: Crawl, view: View) -> AsyncIterator[None]:
    watcher = asyncio.create_task(_watch(crawl, view), name="display")
    try:
        yield
    finally:
        watcher.cancel()
        await asyncio.wait({watcher})
        if not watcher.cancelled():
            watcher.result()


async def _watch(crawl: Crawl, view: View) -> None:
    with screen(view, crawl.job) as shown:
        while True:
            shown.show(crawl.progress())
            await asyncio.sleep(LOOKED_AT_EVERY)


@contextmanager
def _stopped_by_signals(crawl: Crawl, view: View, loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """Let a first SIGINT or SIGTERM stop the crawl, and a second one end the process, even if the loop is held up."""
    asked: list[int] = []

    def ask(number: int, _frame: FrameType | None) -> None:
        if asked:
            _leave_at_once(number)
        asked.append(number)
        loop.call_soon_threadsafe(stop)

    def stop() -> None:
        view.tell("stopping: what is in flight has ten seconds; once more to leave at once, which is safe too")
        crawl.stop()

    if threading.current_thread() is not threading.main_thread():
        yield  # Python gives signals to the main thread alone
        return
    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items() if not asked else ():  # else the process is about to end: see `ask`
            signal.signal(number, handler)


def _leave_at_once(number: int) -> None:
    if sys.stderr.isatty():
        os.write(sys.stderr.fileno(), SHOW_CURSOR)
    os._exit(128 + number)  # every exit is like a crash: what is committed is safe
