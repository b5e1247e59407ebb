"""An engine's process, as its supervisor has it."""

import contextlib
import signal
import subprocess
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from crawler.frontier.liveness import marks
from crawler.processes.messages import Message, Role, decoded, encoded
from crawler.processes.spawn import Spawned
from crawler.progress import Progress

AT_ONCE = 4  # readings
LAST_WORDS = 2.0  # an engine that was told to show where it hangs has this long


class EngineProcess:
    """One engine, which is told its role first."""

    def __init__(self, spawned: Spawned, role: Role) -> None:
        self.index = role.index
        self.progress: Progress | None = None
        self.breadcrumb: Path | None = None
        self.received = 0
        self.has_ended = self.has_left = self.is_silent = False
        self.heard_at = time.monotonic()
        self._process, self._socket = spawned
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it is dead already, as `poll` will tell
            self._socket.sendall(encoded(role))
        self._socket.setblocking(False)
        self._received = b""

    def fileno(self) -> int:
        """The descriptor where news of it come."""
        return self._socket.fileno()

    def messages(self) -> Iterator[Message]:
        """What it has said since the last time; of a flood a part, so that others are heard, unless it has ended."""
        for _ in range(AT_ONCE) if self._process.returncode is None else count():
            if self.is_silent:
                return
            try:
                data = self._socket.recv(1 << 16)
            except BlockingIOError:
                return
            except ConnectionResetError:
                data = b""
            self.is_silent = not data
            self.heard_at = time.monotonic()
            *lines, self._received = (self._received + data).split(b"\n")
            yield from map(decoded, lines)

    def poll(self) -> int | None:
        """How it has ended, negative for a signal; None while it lives. What it said last may still be heard."""
        return self._process.poll()

    def was_inside_a_page(self) -> bool:
        """Whether a page may have ended it."""
        left = marks(self.breadcrumb) if self.breadcrumb is not None else []
        # without a breadcrumb: another engine has read it by now, or this one took it along as it left by itself
        return bool(left) or (left is None and (self._process.returncode or 0) < 0)

    def close(self) -> None:
        """Let go of one that has ended."""
        self._socket.close()

    def terminate(self) -> None:
        """Ask it to come to an end: nothing more is begun, what is in flight has ten seconds."""
        self._process.terminate()

    def end(self) -> None:
        """End one that hangs: it shows where, if it can."""
        self._process.send_signal(signal.SIGABRT)
        try:
            self._process.wait(LAST_WORDS)
        except subprocess.TimeoutExpired:
            self._process.kill()

    def kill(self) -> None:
        """End it at once, and wait until it has gone."""
        self._process.kill()
        self._process.wait()
        self.close()
