"""``crawler crawl`` as people start it: a supervisor, and an engine or several in processes of their own.

The engine takes longest to begin, so it is the first to: what is imported here keeps it waiting.
"""

import gc
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from crawler.processes.spawn import spawn

ENGINE = (  # nothing of what is imported is garbage: to look for some takes a tenth of the time
    "import gc, sys; gc.disable(); sys.path[:] = {path!r}; from crawler.cli.engine import main; "
    "sys.exit(main(sys.argv[1:]))"
)


def watch(words: Sequence[str]) -> int:
    """Run ``crawler crawl`` with these words in engines under a supervisor, and return its exit code."""
    command = [sys.executable, *_options(), "-c", ENGINE.format(path=sys.path), *words]
    signals: list[int] = []
    with tempfile.TemporaryFile() as bytes_file, _told_of_signals(signals.append):
        first = spawn(command, bytes_file.fileno())
        gc.disable()  # until all is imported, as in ENGINE
        from crawler.cli.supervise import supervise  # noqa: PLC0415  # while the engine imports what it needs

        return supervise(command, first, bytes_file.fileno(), signals)


@contextmanager
def _told_of_signals(tell: Callable[[int], None]) -> Iterator[None]:
    before = {
        number: signal.signal(number, lambda number, _: tell(number)) for number in (signal.SIGINT, signal.SIGTERM)
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
