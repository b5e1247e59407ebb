"""How a crawl is shown on stderr: a picture on a terminal, lines elsewhere, and what it has to say."""

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from msgspec import Struct

from crawler.cli import logs, report, stdout
from crawler.progress import Progress, Summary

if TYPE_CHECKING:
    from rich.live import Live

log = logging.getLogger(__name__)
RENEWED_EVERY, LINE_EVERY = 0.25, 10.0


class View(Struct, frozen=True):
    """How a crawl is shown. ``progress`` None: yes, as a picture on a terminal and as lines elsewhere."""

    progress: bool | None = None
    log_level: str = "info"
    log_format: logs.Style = "text"
    debug: bool = False

    @property
    def is_live(self) -> bool:
        """Whether the picture is shown."""
        return self.progress is not False and self.log_format == "text" and sys.stderr.isatty()

    @property
    def level(self) -> str:
        """The least level that is logged."""
        return "debug" if self.debug else self.log_level

    def tell(self, text: str) -> None:
        """Say something to whoever started the crawl, in the form that stderr has."""
        if self.log_format == "json":
            log.info(text)
        else:
            stdout.complain(text + "\n")

    def tell_end(self, summary: Summary, *, advice: str = "", remark: str | None = None) -> None:
        """Say how a crawl ended, and what to do next."""
        told = report.lines(summary, advice or report.advice(summary))
        told[-1:-1] = [f"  {remark}"] if remark else []
        self.tell("; ".join(map(str.strip, told)) if self.log_format == "json" else "\n".join(told))


class Screen:
    """Where a crawl's progress is shown as often as is right, however often it is told."""

    def __init__(self, view: View, job: str, live: "Live | None") -> None:
        self._view, self._job, self._live = view, job, live
        self._next_at = time.monotonic() + (0.0 if live else LINE_EVERY)

    def show(self, progress: Progress) -> None:
        """Show a moment of the crawl, if it is time."""
        now = time.monotonic()
        if now < self._next_at or self._view.progress is False:
            return
        self._next_at = now + (RENEWED_EVERY if self._live else LINE_EVERY)
        if self._live is None:
            log.info(report.line(progress))
            return
        from crawler.cli import display  # noqa: PLC0415  # rich takes its time, and most crawls show no picture

        self._live.update(display.picture(self._job, progress), refresh=True)


@contextmanager
def screen(view: View, job: str) -> Iterator[Screen]:
    """A screen for one crawl."""
    if not view.is_live:
        yield Screen(view, job, None)
        return
    from crawler.cli import display  # noqa: PLC0415  # rich takes its time, and most crawls show no picture

    with display.live() as live:
        yield Screen(view, job, live)
