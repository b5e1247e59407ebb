"""Pages that take long to parse: in a thread, one at a time; and what may be too much, first where it may be killed.

The parser lets other threads run, so the event loop goes on meanwhile; but it cannot be stopped, and what it has taken
of memory it has. So a page whose structure may cost more than a second (`markup.worst`), or 300 MiB, is given to a
process of its own first, which dies of it if it is a bomb, and lives if it is only a long index.
"""

import asyncio
import contextlib
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from crawler.errors import ParseLimit
from crawler.markup import LONGEST, QUICK
from crawler.response import Response
from crawler.tree import source

LARGE = 1 << 19  # bytes; to parse half a megabyte takes some 10 ms, whatever is in it
PATIENCE = 20.0  # seconds for the trial, and for the parse, on however busy a machine
CHILD = "import sys; sys.path[:] = {path!r}; from crawler.trial import trial; trial(sys.stdin.buffer.read())"

Result = TypeVar("Result")
Told = TypeVar("Told")


def is_large(response: Response) -> bool:
    """Whether a page is to be parsed before its handler asks for it."""
    return response.is_html and (len(response.body) >= LARGE or response.worst > QUICK)


async def parsed(response: Response, one_at_a_time: asyncio.Lock) -> None:
    """Have the tree and links of a large page made without holding up the loop. Raises ParseLimit for a bomb."""
    if is_large(response):
        async with one_at_a_time:
            if response.worst > LONGEST and not await _in_thread(lambda: survives(response), response):
                raise _limit(response, "to parse it takes too much time or memory")
            await _in_thread(response.parse, response)


def survives(response: Response) -> bool:
    """Whether a process of its own can parse a page within the limits. It blocks."""
    page = source(response.body, response.encoding)
    command = [sys.executable, "-c", CHILD.format(path=sys.path)]
    try:
        ended = subprocess.run(  # noqa: S603  # this very interpreter; the page is its input, not its command
            command, input=page, timeout=PATIENCE, check=False, stderr=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired:
        return False
    return ended.returncode == 0


async def _in_thread(work: Callable[[], Result], response: Response) -> Result:
    """The work's result. If it does not end in time it is left to itself: nothing waits for a thread of this kind."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Result] = loop.create_future()

    def run() -> None:
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001  # whatever it is, it is raised where it is waited for
            told = partial(_unless_done, done, done.set_exception, error)
        else:
            told = partial(_unless_done, done, done.set_result, result)
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(told)

    threading.Thread(target=run, name="parser", daemon=True).start()
    try:
        async with asyncio.timeout(PATIENCE + 1):  # the trial ends by itself before that
            return await done
    except TimeoutError:
        raise _limit(response, f"it is not parsed after {PATIENCE + 1:g} s") from None


def _unless_done(done: asyncio.Future[Result], tell: Callable[[Told], None], what: Told) -> None:
    if not done.done():
        tell(what)


def _limit(response: Response, why: str) -> ParseLimit:
    return ParseLimit(why, url=response.url, status=response.status)
