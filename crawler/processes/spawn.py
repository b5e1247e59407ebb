"""How a process begins: the first engine's does before its supervisor imports the rest, so that both do at once."""

import os
import signal
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

ONE_HEAP = {"MALLOC_ARENA_MAX": "1"}  # of the GNU C library: of several, each keeps what large pages once needed


class Spawned(NamedTuple):
    """A process, and the supervisor's end of the line to it."""

    process: "subprocess.Popen[bytes]"
    line: socket.socket


def spawn(command: Sequence[str], bytes_file: int) -> Spawned:
    """Begin a process that has the descriptor `bytes_file`, and that of its end of the line as its last word."""
    ours, theirs = socket.socketpair()
    with theirs, _sigint_held_back():
        words = [*command, str(theirs.fileno())]
        descriptors = (theirs.fileno(), bytes_file)
        process = subprocess.Popen(words, pass_fds=descriptors, env={**ONE_HEAP, **os.environ})  # noqa: S603  # ours
    return Spawned(process, ours)


@contextmanager
def _sigint_held_back() -> Iterator[None]:
    """Let a process that is started never see SIGINT: a terminal sends it to all, and it is for the supervisor."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # which is inherited, as a handler is not
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
