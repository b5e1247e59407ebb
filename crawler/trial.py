"""What runs in a process that may die of it: pages are parsed, each under limits of time and memory.

It is started by `parsing`. Each page comes on standard input after its length (eight bytes, the least first); a byte on
standard output says that it was parsed. When whoever has started it is gone, there are no more pages, and it ends.
"""

import math
import sys
from pathlib import Path

from crawler.tree import parse

PARSED = b"+"
MOST_MEMORY = 300 << 20  # bytes, for the page and its tree
MOST_TIME = 2  # seconds of CPU time for a page


def trials() -> None:
    """Parse page after page. On Windows there is no limit but that of whoever waits for it."""
    pages, answers = sys.stdin.buffer, sys.stdout.buffer
    _limit_memory()
    while length := pages.read(8):
        page = pages.read(int.from_bytes(length, "little"))
        _limit_time()
        parse(page, "utf-8")
        answers.write(PARSED)
        answers.flush()


def _limit_memory() -> None:
    if sys.platform != "win32":
        import resource  # noqa: PLC0415  # Windows has none

        most = _in_use(resource.getpagesize()) + MOST_MEMORY
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


def _limit_time() -> None:
    if sys.platform != "win32":
        import resource  # noqa: PLC0415

        used = resource.getrusage(resource.RUSAGE_SELF)
        most = math.ceil(used.ru_utime + used.ru_stime) + MOST_TIME
        resource.setrlimit(resource.RLIMIT_CPU, (most, resource.getrlimit(resource.RLIMIT_CPU)[1]))


def _in_use(page_size: int) -> int:
    """Bytes of address space that this process has; elsewhere than on Linux a guess that is enough for Python."""
    if sys.platform != "linux":
        return 1 << 30
    return int(Path("/proc/self/statm").read_text("ascii").split()[0]) * page_size
