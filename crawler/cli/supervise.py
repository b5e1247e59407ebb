"""``crawler crawl`` as people start it: a supervisor, and an engine or several in processes of their own."""

import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar

import msgspec

from crawler.cli import logs, stdout
from crawler.cli.view import Screen, View, screen
from crawler.models import Page
from crawler.processes import Begun, Role
from crawler.processes.engine import EngineProcess
from crawler.processes.supervisor import Supervisor
from crawler.progress import Progress

ENGINE = "import sys; sys.path[:] = {path!r}; from crawler.cli.engine import main; sys.exit(main(sys.argv[1:]))"
NO_PAGE: ContextVar[Page | None] = ContextVar("NO_PAGE", default=None)


def watch(words: Sequence[str]) -> int:
    """Run ``crawler crawl`` with these words in engines under a supervisor, and return its exit code."""
    command = [sys.executable, *_options(), "-c", ENGINE.format(path=sys.path), *words]

    def start(role: Role) -> EngineProcess:
        return EngineProcess(command, role)

    with ExitStack() as stack:
        face = _Terminal(stack)
        supervisor = Supervisor(start, face)
        with _told_of_signals(supervisor):
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


@contextmanager
def _told_of_signals(supervisor: Supervisor) -> Iterator[None]:
    before = {
        number: signal.signal(number, lambda number, _: supervisor.ask_to_stop(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _options() -> list[str]:
    """How Python was started here, so that engines are."""
    named = [f"-X{name}" if value is True else f"-X{name}={value}" for name, value in sys._xoptions.items()]  # noqa: SLF001  # its documented name
    return [f"-W{option}" for option in sys.warnoptions] + named
