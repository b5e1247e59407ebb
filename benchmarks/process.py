"""A program measured from outside: the CPU of it and its children, its wall time, its memory."""

import contextlib
import os
import re
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from msgspec import Struct

from benchmarks.results import ROOT

LOOKED_AT_EVERY = 0.05
_KIB = re.compile(r"^(VmHWM|VmRSS):\s+(\d+) kB", re.MULTILINE)


class Used(Struct, frozen=True):
    """What a program has used. Seconds; MiB.

    ``cpu`` is user and system time of the program and all that it waited for. ``memory`` is the sum of the peaks of all
    its processes, ``largest`` the peak of one. ``samples`` are seconds, MiB and open files. ``out`` is what it printed.
    """

    cpu: float
    wall: float
    memory: int
    largest: int
    out: str
    samples: list[tuple[float, float, int]]


class Failed(RuntimeError):
    """A program ended otherwise than it should."""


def cores() -> tuple[set[int], set[int]]:
    """The crawler's core and the server's; the same where there is but one."""
    if not hasattr(os, "sched_getaffinity"):
        return set(), set()
    first, *others = sorted(os.sched_getaffinity(0))
    return {first}, set(others[:1]) or {first}


@contextlib.contextmanager
def pinned(chosen: set[int]) -> Iterator[None]:
    """Have what is started within run on these cores; where that cannot be, or there are none, anywhere."""
    if not chosen or not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, chosen)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def run(
    command: Sequence[str], *, on: set[int] | None = None, codes: Sequence[int] = (0,), within: float = 3600.0
) -> Used:
    """Run a program to its end, on the crawler's core unless others are given. Raises `Failed` for any other code."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as errors:
        with pinned(cores()[0] if on is None else on):
            environment = {**os.environ, "COLUMNS": "100", "PYTHONPATH": str(ROOT), "CRAWLER_MIN_FREE_SPACE": "0"}
            environment.pop("PYTHONDONTWRITEBYTECODE", None)  # what is installed has its bytecode: so has what is here
            began = time.perf_counter()
            child = subprocess.Popen(
                list(command), cwd=ROOT, env=environment, stdout=out, stderr=errors, start_new_session=True
            )
        try:
            used = _watched(child, began, within)
        except BaseException:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
            raise
        out.seek(0)
        errors.seek(0)
        said, complained = out.read(), errors.read()
    if child.returncode not in codes:
        raise Failed(f"{' '.join(command)} ended with {child.returncode}\n{complained[-4000:]}")
    return Used(*used[:2], sum(used[2].values()), max(used[2].values(), default=0), said + complained, used[3])


def _watched(
    child: "subprocess.Popen[bytes]", began: float, within: float
) -> tuple[float, float, dict[int, int], list[tuple[float, float, int]]]:
    peaks: dict[int, int] = {}
    samples: list[tuple[float, float, int]] = []
    while True:
        now = files = 0
        for process in family(child.pid):
            peak, present = _memory(process)
            files += _open_files(process)
            peaks[process] = max(peaks.get(process, 0), peak)
            now += present
        pid, status, usage = os.wait4(child.pid, os.WNOHANG)
        wall = time.perf_counter() - began
        if pid:
            child.returncode = os.waitstatus_to_exitcode(status)
            return usage.ru_utime + usage.ru_stime, wall, peaks, samples
        if wall > within:
            raise Failed(f"{child.args!r} did not end within {within:g} s")
        samples.append((round(wall, 2), now, files))
        _wait(child.pid, LOOKED_AT_EVERY if wall < 100 else 1.0)


def _wait(pid: int, longest: float) -> None:
    """Wait until a process ends, so long at most."""
    if not hasattr(os, "pidfd_open"):
        time.sleep(longest)
        return
    descriptor = os.pidfd_open(pid)
    try:
        select.select([descriptor], [], [], longest)
    finally:
        os.close(descriptor)


def family(pid: int) -> list[int]:
    """A process and all below it."""
    found = [pid]
    for parent in found:
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{parent}/task").iterdir():
                found += map(int, (task / "children").read_text().split())
    return found


def _memory(pid: int) -> tuple[int, int]:
    """Peak and present RSS in MiB, from /proc: a child's ru_maxrss begins with that of whoever started it."""
    with contextlib.suppress(OSError):
        found = {name: int(size) >> 10 for name, size in _KIB.findall(Path(f"/proc/{pid}/status").read_text())}
        return found.get("VmHWM", 0), found.get("VmRSS", 0)
    return 0, 0


def _open_files(pid: int) -> int:
    with contextlib.suppress(OSError):
        return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
    return 0


def python(*arguments: str) -> list[str]:
    """The command that runs this Python with these arguments."""
    return [sys.executable, *arguments]
