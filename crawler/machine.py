"""What the machine has and lets this process have: memory, disk, open files. Nothing is decided here."""

import contextlib
import ctypes
import math
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from crawler.errors import StoreUnavailable

if sys.platform != "win32":
    import resource

STACKS = 64 << 20  # address space for the stacks of a few threads
_M_ARENA_MAX = -8  # of malloc.h
STATM, OWN_GROUPS, GROUPS = Path("/proc/self/statm"), Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")


def memory_used() -> int:
    """Bytes of memory that this process holds now; where only that is known, the most it ever held; 0 on Windows."""
    return _statm()[1]


def memory_left() -> float:
    """Bytes that this process may still take: the least that its limits and the machine's memory leave; or infinity."""
    size, used = _statm()
    return max(0.0, min(_address_space() - size - STACKS, _group_limit() - used, _physical() - used))


def memory_limit() -> float:
    """Bytes that the process may hold: what its control group or RLIMIT_AS says, the less; infinity without a limit."""
    return min(_group_limit(), _address_space())


def spare_address_space() -> None:
    """Where the address space is limited, have all threads share one heap: glibc would reserve 64 MiB for each."""
    if sys.platform == "linux" and _address_space() < math.inf:
        with contextlib.suppress(OSError, AttributeError):  # another C library has neither the habit nor the function
            ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


def allow_many_files() -> float:
    """Raise this process's limit of open files to what it may be, and return it; each connection is one."""
    if sys.platform == "win32":
        return math.inf
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return math.inf if hard == resource.RLIM_INFINITY else hard


def disk(folder: Path) -> tuple[int, int]:
    """Size of the file system that a folder lies on, and what of it this user may still write, in bytes.

    Raises StoreUnavailable when the folder is gone.
    """
    try:
        found = shutil.disk_usage(folder)
    except OSError as error:
        raise StoreUnavailable(f"{folder} cannot be looked at: {error.strerror or error}") from error
    return found.total, found.free


def group_files(groups: str) -> Iterator[str]:
    """Where limits of memory may stand below the control groups' folder, by the text of ``/proc/self/cgroup``.

    A group is bound by those above it too. In a container the outer path often shows, though only what is below it is
    mounted: the folder's own top is the last one looked at.
    """
    for line in groups.splitlines():
        number, kinds, path = (*line.split(":", 2), "", "")[:3]
        if number == "0" and not kinds:
            folder, name = "", "memory.max"
        elif "memory" in kinds.split(","):
            folder, name = "memory", "memory.limit_in_bytes"
        else:
            continue
        own = PurePosixPath(path.lstrip("/"))
        yield from (str(PurePosixPath(folder) / one / name) for one in (own, *own.parents))


def least(texts: Iterator[str]) -> float:
    """The least of several limits as the kernel writes them: a number of bytes, or ``max``; infinity without any."""
    return min((int(text) for text in map(str.strip, texts) if text.isdecimal()), default=math.inf)


def _group_limit() -> float:
    return least(filter(None, map(_text, (GROUPS / name for name in group_files(_text(OWN_GROUPS))))))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _statm() -> tuple[int, int]:
    """Address space and memory that this process holds, in bytes."""
    if found := _text(STATM).split():
        page = resource.getpagesize()
        return int(found[0]) * page, int(found[1]) * page
    if sys.platform == "win32":
        return 0, 0
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return most, most


def _address_space() -> float:
    if sys.platform == "win32":
        return math.inf
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    return math.inf if soft == resource.RLIM_INFINITY else soft


def _physical() -> float:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return math.inf
