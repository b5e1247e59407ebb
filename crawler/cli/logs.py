"""Log records as lines on stderr: for people, or one JSON object each. No text can forge a line or an escape."""

import json
import logging
import math
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import Context, ContextVar
from datetime import UTC, datetime
from typing import Literal
from urllib.parse import urlsplit

from crawler.errors import escaped
from crawler.floods import Flood
from crawler.models import Page

LONGEST = 4_000
LOOKED_EVERY = 1.0  # seconds
Style = Literal["text", "json"]
PageVar = ContextVar[Page | None]

_SLOW = "Executing "  # how asyncio begins its report of a callback that held the loop


@contextmanager
def to_stderr(level: str, style: Style, job: str, page: PageVar) -> Iterator[None]:
    """Write all records of at least `level` to stderr until the end of the block; `page` is the one being worked on."""
    root, handler = logging.getLogger(), _Stderr(page)
    handler.setFormatter(Text(page) if style == "text" else Json(job, page))
    before = root.level
    root.setLevel(level.upper())
    root.addHandler(handler)
    logging.captureWarnings(capture=True)
    try:
        yield
    finally:
        handler.tell_left_out(math.inf)
        logging.captureWarnings(capture=False)
        root.removeHandler(handler)
        root.setLevel(before)


class Text(logging.Formatter):
    """``12:30:05 WARNING message (URL)``; a traceback follows, each of its lines escaped and indented."""

    def __init__(self, page: PageVar) -> None:
        super().__init__()
        self._page = page

    def format(self, record: logging.LogRecord) -> str:
        """One line, and one more for each of a traceback."""
        page = _page_of(record, self._page)
        clock = datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S")
        message = escaped(record.getMessage(), LONGEST)
        place = f" ({_place(record, page)})" if page and page.request.url not in message else ""
        lines = [f"{clock} {record.levelname} {message}{place}", *_trace(self, record)]
        return "\n    ".join(lines)


class Json(logging.Formatter):
    """One object a line: time (UTC, ISO 8601), level, logger, message, job; host, url, handler, exception if any."""

    def __init__(self, job: str, page: PageVar) -> None:
        super().__init__()
        self._job, self._page = job, page

    def format(self, record: logging.LogRecord) -> str:
        """The object, in ASCII."""
        page = _page_of(record, self._page)
        facts = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": escaped(record.getMessage(), LONGEST),
            "job": self._job,
        }
        if page is not None:
            url = page.request.url
            facts |= {"host": urlsplit(url).netloc, "url": url, "handler": page.request.handler}
        if trace := _trace(self, record):
            facts["exception"] = "\n".join(trace)
        return json.dumps(facts)


class _Stderr(logging.Handler):
    """Writes to what `sys.stderr` is at the time: a live display puts itself in its place.

    Of one host the same is said ten times a minute at most; how often it was left out is said when the minute is over.
    """

    def __init__(self, page: PageVar) -> None:
        super().__init__()
        self._page = page
        self._flood = Flood()
        self._looked_at = 0.0

    def emit(self, record: logging.LogRecord) -> None:
        now = time.monotonic()
        if now - self._looked_at > LOOKED_EVERY:
            self._looked_at = now
            self.tell_left_out(now)
        if record.levelno < logging.INFO or self._flood.admits(_kind(record, self._page), now):
            self._write(record)

    def tell_left_out(self, now: float) -> None:
        """Say how often something was left out, for all whose minute is over."""
        for (host, message, *_), times in self._flood.ended(now):
            text = f"left out {times:,} more like this of {host or 'this crawl'}: {message}"
            self._write(logging.LogRecord(__name__, logging.WARNING, "", 0, text, None, None))

    def _write(self, record: logging.LogRecord) -> None:
        try:
            sys.stderr.write(self.format(record) + "\n")
            sys.stderr.flush()
        except (OSError, TypeError, ValueError):  # stderr is gone, or the record's arguments do not fit its message
            self.handleError(record)


def _kind(record: logging.LogRecord, page: PageVar) -> tuple[str, ...]:
    """What makes two records say the same of one host: the words around what they quote, and the names of errors."""
    arguments = record.args if isinstance(record.args, tuple) else ()
    asked = page.get()
    urls = [arg for arg in arguments if isinstance(arg, str) and arg.startswith(("http://", "https://"))]
    host = urlsplit(urls[0] if urls else asked.request.url if asked else "").netloc
    return host, str(record.msg), *(type(arg).__name__ for arg in arguments if isinstance(arg, Exception))


def _trace(formatter: logging.Formatter, record: logging.LogRecord) -> list[str]:
    parts = [formatter.formatException(record.exc_info)] if record.exc_info else []
    if record.stack_info:
        parts.append(record.stack_info)
    return [escaped(line, LONGEST) for part in parts for line in part.splitlines()]


def _place(record: logging.LogRecord, page: Page) -> str:
    url = escaped(page.request.url, 2048)
    return f"in {page.request.handler} of {url}" if record.name == "asyncio" else url


def _page_of(record: logging.LogRecord, page: PageVar) -> Page | None:
    if record.name == "asyncio" and str(record.msg).startswith(_SLOW):
        context = _context_of_slow_callback()
        return context.get(page) if context is not None else None
    return page.get()


def _context_of_slow_callback() -> Context | None:
    """The context of the callback that asyncio complains of: found in the loop's own frame, it stands nowhere else."""
    frame = sys._getframe()  # noqa: SLF001  # the one way to the caller's variables
    while frame.f_back is not None:
        frame = frame.f_back
        if frame.f_code.co_name == "_run_once":
            found = getattr(frame.f_locals.get("handle"), "_context", None)
            return found if isinstance(found, Context) else None
    return None
