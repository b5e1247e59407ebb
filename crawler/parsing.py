"""Pages that take long to parse: in a thread, one at a time; and what may be too much, first where it may be killed.

The parser lets other threads run, so the event loop goes on meanwhile; but it cannot be stopped, and what it has taken
of memory it has. So a page whose structure may cost more than a second (`markup.worst`), or 300 MiB, is given to a
process first that dies of it if it is a bomb, and lives, for the next such page, if it is only a long index.
"""

import asyncio
import contextlib
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from crawler import stages
from crawler.errors import ParseLimit, StoreUnavailable
from crawler.markup import LONGEST, QUICK
from crawler.response import Response
from crawler.tree import source
from crawler.trial import PARSED, READY

LARGE = 1 << 19  # bytes; to parse half a megabyte takes some 10 ms, whatever is in it
PATIENCE = 20.0  # seconds for a trial's start, for the trial, and for the parse, on however busy a machine
CHILD = "import sys; sys.path[:] = {path!r}; from crawler.trial import trials; trials()"

Result = TypeVar("Result")
Told = TypeVar("Told")


def is_large(response: Response) -> bool:
    """Whether a page is to be parsed before its handler asks for it."""
    return response.is_html and (len(response.body) >= LARGE or response.worst > QUICK)


class Parser:
    """Parses large pages, one at a time, since each may take much memory."""

    def __init__(self) -> None:
        self._one_at_a_time = asyncio.Lock()
        self._trial = Trial()

    async def parsed(self, response: Response) -> None:
        """Have the tree and links of a large page made without holding up the loop.

        Raises ParseLimit for a bomb, and StoreUnavailable when the machine has no thread or process left for it.
        """
        if is_large(response):
            async with self._one_at_a_time:
                if response.worst > LONGEST and not await _in_thread(
                    lambda: self._survives(response), response, 2 * PATIENCE + 1
                ):
                    raise _limit(response, "to parse it takes too much time or memory")
                with stages.wait("parse"):
                    # The tree is made without Python's lock; links are not, and two threads would only wait for it.
                    links = len(response.body) >= LARGE
                    await _in_thread(partial(response.parse, links=links), response, PATIENCE + 1)

    def close(self) -> None:
        """End the process for trials, if there is one."""
        self._trial.close()

    def _survives(self, response: Response) -> bool:
        return self._trial.survives(source(response.body, response.encoding))


class Trial:
    """A process in which pages are parsed that may be bombs. It is started for the first, and again if it died of one.

    Its methods block.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def survives(self, page: bytes) -> bool:
        """Whether it can parse a page, in UTF-8, within the limits. Raises StoreUnavailable when it cannot be begun."""
        is_parsed = _answer(self._begun(), len(page).to_bytes(8, "little") + page) == PARSED
        if not is_parsed:
            self.close()
        return is_parsed

    def _begun(self) -> subprocess.Popen[bytes]:
        """The process, ready for a page: whoever dies before that has not died of one."""
        if self._process is None:
            process = self._process = _started()
            try:
                if _answer(process, b"") != READY:
                    raise _lacking("process", "it ended before it had one")
            except StoreUnavailable:
                self.close()
                raise
        return self._process

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


def _started() -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", CHILD.format(path=sys.path)]
    try:
        return subprocess.Popen(  # noqa: S603  # this very interpreter; the pages are its input, not its command
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            start_new_session=True,  # a Ctrl-C is for the crawl, which may still need it
        )  # fmt: skip
    except OSError as error:
        raise _lacking("process", error.strerror or str(error)) from error


def _answer(process: subprocess.Popen[bytes], told: bytes) -> bytes:
    """The byte with which it answers what it is told; none when it dies of that, or takes too long."""
    assert process.stdin is not None
    assert process.stdout is not None
    late = threading.Timer(PATIENCE, process.kill)
    _start(late)
    try:
        process.stdin.write(told)
        process.stdin.flush()
        return process.stdout.read(1)
    except BrokenPipeError:
        return b""
    finally:
        late.cancel()


def _start(thread: threading.Thread) -> None:
    try:
        thread.start()
    except RuntimeError as error:  # as Python tells of EAGAIN
        raise _lacking("thread", str(error)) from error


def _lacking(what: str, why: str) -> StoreUnavailable:
    return StoreUnavailable(f"no {what} can be started for large pages, which wait: {why}")


async def _in_thread(work: Callable[[], Result], response: Response, longest: float) -> Result:
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

    _start(threading.Thread(target=run, name="parser", daemon=True))
    try:
        async with asyncio.timeout(longest):  # a trial ends by itself before that
            return await done
    except TimeoutError:
        raise _limit(response, f"it is not parsed after {longest:g} s") from None


def _unless_done(done: asyncio.Future[Result], tell: Callable[[Told], None], what: Told) -> None:
    if not done.done():
        tell(what)


def _limit(response: Response, why: str) -> ParseLimit:
    return ParseLimit(why, url=response.url, status=response.status)
