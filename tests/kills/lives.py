"""Processes that live until they are killed or their crawl ends, born in milliseconds.

One fresh process imports the crawler, opens nothing, starts no thread, and forks a child for each life. Run as
``python -m tests.kills.lives`` it reads lives from standard input, one JSON object a line, and answers each with how
it ended.
"""

import contextlib
import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Literal, NoReturn

import msgspec
from msgspec import Struct

from crawler import Limits, engine, export, files, turns
from crawler.job import crawl
from tests.kills.faults import FAULTS
from tests.kills.market import Shopper
from tests.kills.points import POINTS, Death
from tests.kills.site import Walker

KILLED = -signal.SIGKILL
READY = 0
IMPORTED_LATE = ("crawler.sinks.stdout", "encodings.idna", "importlib.metadata", "importlib.resources", "uvloop")


class Life(Struct, frozen=True):
    """One process of a job. It dies at the n-th `passage` of `point`, `kill_after` seconds, or at its end.

    A job that visits its pages again ends by `max_time` only.
    """

    folder: str
    seeds: list[str]
    settings: dict[str, object]
    outputs: list[str]
    existing: Literal["refuse", "append", "overwrite"] = "refuse"
    point: str | None = None
    passage: int = 1
    kill_after: float | None = None
    fault: str | None = None
    max_time: float | None = None


class Lives:
    """The process that forks them; `live` is one life from birth to death."""

    def __init__(self) -> None:
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.kills.lives"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self.wait() == READY

    def start(self, life: Life) -> None:
        """Begin a life; `wait` before the next one of this server."""
        assert self._server.stdin is not None
        self._server.stdin.write(msgspec.json.encode(life) + b"\n")
        self._server.stdin.flush()

    def wait(self) -> int:
        """How the life ended: the process's exit code, negative for a signal."""
        assert self._server.stdout is not None
        return int(self._server.stdout.readline())

    def live(self, life: Life) -> int:
        """A whole life."""
        self.start(life)
        return self.wait()

    def close(self) -> None:
        """End the server; it has no child now."""
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.close()
        self._server.wait()
        self._server.stdout.close()


@contextlib.contextmanager
def lives() -> Iterator[Lives]:
    """A server of lives."""
    server = Lives()
    try:
        yield server
    finally:
        server.close()


# -- the server's process


def _serve() -> None:
    for name in IMPORTED_LATE:
        with contextlib.suppress(ImportError):  # uvloop is not everywhere
            import_module(name)
    gc.collect()
    gc.freeze()
    _say(READY)
    for line in sys.stdin.buffer:
        life = msgspec.json.decode(line, type=Life)
        assert threading.active_count() == 1, "a process with threads must not fork"
        pid = os.fork()
        if not pid:
            _lived(life)
        _say(_end_of(pid, life.kill_after))


def _say(number: int) -> None:
    sys.stdout.write(f"{number}\n")
    sys.stdout.flush()


def _end_of(pid: int, kill_after: float | None) -> int:
    if kill_after is not None:
        deadline = time.monotonic() + kill_after
        while True:
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                return os.waitstatus_to_exitcode(status)
            if (left := deadline - time.monotonic()) <= 0:
                break
            time.sleep(min(left, 0.002))
        os.kill(pid, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _lived(life: Life) -> NoReturn:
    """A life in this process. What is raised goes its natural way: into the log, and the process ends with it."""
    _stand_alone(Path(life.folder))
    _hurry()
    if life.fault is not None:
        FAULTS[life.fault]()
    if life.point is not None:
        POINTS[life.point].install(Death(life.passage))
    revisits, limits = "revisit" in life.settings, Limits(max_time=life.max_time)
    summary = crawl(
        Shopper(life.seeds) if revisits else Walker(life.seeds, starts=f"{life.folder}/starts"),
        output=life.outputs, folder=life.folder, job="job", settings=life.settings, existing=life.existing,
        limits=limits,
    )  # fmt: skip
    assert summary.outcome == ("stopped: max-time" if revisits else "finished"), summary.outcome
    os._exit(0)


def _stand_alone(folder: Path) -> None:
    """Hold nothing that belongs to the server: its pipes would tell of a life that is not over."""
    nothing, log = os.open(os.devnull, os.O_RDONLY), os.open(folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(nothing, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)


def _hurry() -> None:
    """What takes seconds in a long crawl comes many times in a short one."""
    engine.HEARTBEAT = 0.02
    export.BATCH, export.LONGEST_PAUSE = 5, 0.02
    vars(files)["BLOCK_SIZE"] = 1 << 18
    turns.SEED_BATCH = 2


if __name__ == "__main__":
    _serve()
