"""What runs in a process that may die of it: pages are parsed, each under limits of time and memory.

It is started by `parsing`. A byte on standard output says that it is ready. Each page comes on standard input after its
length (eight bytes, the least first); another byte says that it was parsed. When whoever has started it is gone, there
are no more pages, and it ends.
"""

import math
import sys
from pathlib import Path

from crawler.tree import parse

READY, PARSED = b".", b"+"
MOST_MEMORY = 300 << 20  # bytes, for the page and its tree
MOST_TIME = 2  # seconds of CPU time for a page


def trials() -> None:
    """Parse page after page. On Windows there is no limit but that of whoever waits for it."""
    pages = sys.stdin.buffer
    _limit_memory()
    _answer(READY)
    while length := pages.read(8):
        page = pages.read(int.from_bytes(length, "little"))
        _limit_time()
        parse(page, "utf-8")
        _answer(PARSED)


def _answer(byte: bytes) -> None:
    sys.stdout.buffer.write(byte)
    sys.stdout.buffer.flush()


def _limit_memory() -> None:
    if sys.platform != "win32":
        import resource  # noqa: PLC0415  # Windows has none

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        _limit(resource.RLIMIT_AS, _in_use(resource.getpagesize()) + MOST_MEMORY)


def _limit_time() -> None:
    if sys.platform != "win32":
        import resource  # noqa: PLC0415

        used = resource.getrusage(resource.RUSAGE_SELF)
        _limit(resource.RLIMIT_CPU, math.ceil(used.ru_utime + used.ru_stime) + MOST_TIME)


def _limit(kind: int, most: int) -> None:
    """Set a soft limit; what the machine allows may be less, and stays."""
    if sys.platform != "win32":
        import resource  # noqa: PLC0415

        hard = resource.getrlimit(kind)[1]
        resource.setrlimit(kind, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


def _in_use(page_size: int) -> int:
    """Bytes of address space that this process has; elsewhere than on Linux a guess that is enough for Python."""
    if sys.platform != "linux":
        return 1 << 30
    return int(Path("/proc/self/statm").read_text("ascii").split()[0]) * page_size
