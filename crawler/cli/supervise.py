"""The supervisor of a crawl on a terminal: what it shows, and how it ended."""

import gc
from collections.abc import Sequence
from contextlib import ExitStack
from contextvars import ContextVar

import msgspec

from crawler.cli import logs, stdout
from crawler.cli.view import Screen, View, screen
from crawler.models import Page
from crawler.processes.engine import EngineProcess
from crawler.processes.messages import Begun, Role
from crawler.processes.spawn import Spawned, spawn
from crawler.processes.supervisor import Supervisor
from crawler.progress import Progress

NO_PAGE: ContextVar[Page | None] = ContextVar("NO_PAGE", default=None)


def supervise(command: Sequence[str], first: Spawned, bytes_file: int, signals: Sequence[int]) -> int:
    """Supervise the engine that was begun `first` and those that `command` begins; the crawl's exit code.

    `bytes_file` is the descriptor of the file where engines count bytes, `signals` what this process was sent so far.
    """
    waiting = [first]

    def start(role: Role) -> EngineProcess:
        return EngineProcess(waiting.pop() if waiting else spawn(command, bytes_file), role)

    gc.freeze()  # what is imported stays: to look it over thrice when the process ends would take long
    gc.enable()
    with ExitStack() as stack:
        face = _Terminal(stack)
        supervisor = Supervisor(start, face, bytes_file, signals)
        code, summary = supervisor.run()
        face.close()
        if summary is not None:
            face.view.tell_end(summary, remark=supervisor.idle_engines)
    return code


class _Terminal:
    """The supervisor's face: stderr, with a picture if it is a terminal."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._screen: Screen | None = None
        self._live = ExitStack()
        self.view = View()

    def begin(self, begun: Begun) -> None:
        """Show the crawl as its options have it."""
        self.view = msgspec.convert(begun.shown, View)
        self._stack.enter_context(logs.to_stderr(self.view.level, self.view.log_format, begun.job, NO_PAGE))
        if begun.resumes:
            self.view.tell(begun.resumes)
        self._screen = self._live.enter_context(screen(self.view, begun.job))

    def show(self, progress: Progress) -> None:
        """Show a moment of it."""
        if self._screen is not None:
            self._screen.show(progress)

    def tell(self, text: str) -> None:
        """Say what an engine has said."""
        stdout.complain(text)

    def say(self, text: str) -> None:
        """Say what the supervisor has to say."""
        self.view.tell(text)

    def close(self) -> None:
        """Take the picture away; what comes now stands below."""
        self._live.close()
