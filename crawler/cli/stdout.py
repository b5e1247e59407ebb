"""What commands write, so that nothing from outside can be more than text; and what to do when nobody reads it."""

import os
import sys
import traceback
from types import TracebackType

from crawler.errors import escaped_lines


def tell(text: str) -> None:
    """Write lines to standard output; whatever they quote, no control character among it but the ends of the lines."""
    sys.stdout.write(escaped_lines(text))


def complain(text: str) -> None:
    """Write lines to standard error, as `tell` does."""
    sys.stderr.write(escaped_lines(text))


def tell_of_bug(_kind: type[BaseException], error: BaseException, _trace: TracebackType | None) -> None:
    """Write the traceback of an exception that nobody foresaw: for `sys.excepthook`."""
    complain("".join(traceback.format_exception(error)))


def discard() -> None:
    """Send what is still buffered nowhere, so that leaving does not fail on it once more."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
