"""The engine's end of the line to its supervisor."""

import asyncio
import ctypes
import faulthandler
import os
import signal
import socket
import struct
import sys
import threading
from contextvars import ContextVar

import msgspec

from crawler.job import Crawl
from crawler.processes.messages import Beat, Begun, Ended, Message, Role, Said, encoded
from crawler.progress import Summary

if sys.platform != "win32":
    import fcntl

BEAT_EVERY = 0.25
_COUNTER = struct.Struct("<q")
_PR_SET_PDEATHSIG = 1


class Line:
    """The socket to the supervisor. An engine whose supervisor has gone ends at once, as by SIGKILL."""

    def __init__(self, descriptor: int) -> None:
        self._socket = socket.socket(fileno=descriptor)
        self._unsent = b""
        self._lock = threading.Lock()
        self.role = msgspec.json.decode(self._first_line(), type=Role)
        _die_with_parent()
        faulthandler.enable()  # a supervisor that finds this process hanging ends it by SIGABRT, to see where it was
        threading.Thread(target=self._end_with_supervisor, name="supervisor", daemon=True).start()

    def _first_line(self) -> bytes:
        line = b""
        while not line.endswith(b"\n"):
            if not (more := self._socket.recv(4096)):
                os._exit(1)
            line += more
        return line

    def _end_with_supervisor(self) -> None:
        while self._socket.recv(1):
            pass
        os._exit(1)

    def tell(self, message: Message) -> None:
        """Say something that must arrive."""
        with self._lock:
            self._socket.sendall(self._unsent + encoded(message))
            self._unsent = b""

    def beat(self, message: Beat) -> None:
        """Say something that may be left out: a supervisor that does not listen must not hold the engine up."""
        with self._lock:
            data = self._unsent or encoded(message)
            try:
                sent = self._socket.send(data, socket.MSG_DONTWAIT)
            except BlockingIOError:
                sent = 0
            self._unsent = data[sent:] if sent or self._unsent else b""

    def count_bytes(self, size: int) -> int:
        """Add to the bytes that all engines have received; the sum."""
        file = self.role.bytes_file
        if sys.platform == "win32":
            raise AssertionError("engines of several processes are a matter of POSIX")
        fcntl.lockf(file, fcntl.LOCK_EX)  # of the process: a lock by flock would be that of all who inherited it
        try:
            stored = os.pread(file, _COUNTER.size, 0)
            total: int = size + (_COUNTER.unpack(stored)[0] if stored else 0)
            os.pwrite(file, _COUNTER.pack(total), 0)
        finally:
            fcntl.lockf(file, fcntl.LOCK_UN)
        return total

    def write(self, text: str) -> int:
        """Be a stream in place of stderr, which the supervisor's display has in hand."""
        self.tell(Said(text.encode(errors="backslashreplace").decode()))
        return len(text)

    def flush(self) -> None:
        """Do nothing: what is written is sent."""

    def isatty(self) -> bool:
        """Say no: it is a pipe of sorts."""
        return False


LINE: ContextVar[Line | None] = ContextVar("LINE", default=None)


async def run(crawl: Crawl, line: Line, begun: Begun) -> Summary:
    """Crawl as one engine of several; `begun` lacks only what is known when the journal is open."""
    loop = asyncio.get_running_loop()
    async with crawl:
        signal.signal(signal.SIGTERM, lambda *_: loop.call_soon_threadsafe(crawl.stop))
        line.tell(msgspec.structs.replace(begun, part=crawl.part, resumes=crawl.resumes, breadcrumb=crawl.breadcrumb))
        beats = asyncio.create_task(_beat(crawl, line), name="beats")
        try:
            summary = await crawl.ended()
        finally:
            beats.cancel()
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it ends already, and soon there is no loop to be told
    line.tell(Ended(summary))
    return summary


async def _beat(crawl: Crawl, line: Line) -> None:
    while True:
        line.beat(Beat(crawl.progress()))
        await asyncio.sleep(BEAT_EVERY)


def _die_with_parent() -> None:
    """On Linux the kernel sees to it even where no Python code runs any more, as in a parser that does not end."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
