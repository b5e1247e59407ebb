"""What runs in a process that may be killed: one page is parsed, under limits of time and memory.

It is started by `parsing`, gets the page on standard input, and ends with exit code 0 if all went well. When the
process that has started it dies, the page is cut short, and so is its life.
"""

import sys
from pathlib import Path

from crawler.tree import parse

MOST_MEMORY = 300 << 20  # bytes, for the tree
MOST_TIME = 2  # seconds of CPU time


def trial(page: bytes) -> None:
    """Parse a page, in UTF-8. On Windows there is no limit but that of whoever waits for it."""
    if sys.platform != "win32":
        import resource  # noqa: PLC0415  # Windows has none

        most = _in_use(resource.getpagesize()) + MOST_MEMORY
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
        resource.setrlimit(resource.RLIMIT_CPU, (MOST_TIME, MOST_TIME))
    parse(page, "utf-8")


def _in_use(page_size: int) -> int:
    """Bytes of address space that this process has; elsewhere than on Linux a guess that is enough for Python."""
    if sys.platform != "linux":
        return 1 << 30
    return int(Path("/proc/self/statm").read_text("ascii").split()[0]) * page_size
