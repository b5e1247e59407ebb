"""A crawl as one engine under a supervisor, which shows it and sees to the signals."""

import asyncio
import contextlib

import msgspec

from crawler.cli import logs
from crawler.cli.view import View
from crawler.engine import current_page
from crawler.job import Crawl, new_loop
from crawler.processes.child import Line, run
from crawler.processes.messages import Begun


def serve(crawl: Crawl, view: View, line: Line, *, processes: int) -> int:
    """Crawl to the end, telling the supervisor how it goes; the exit code."""
    make_loop = asyncio.new_event_loop if view.debug else new_loop  # uvloop cannot tell which callback was slow
    begun = Begun(crawl.job, processes, crawl.settings.stall_timeout, msgspec.to_builtins(view))
    with (
        contextlib.redirect_stderr(line) if view.is_live else contextlib.nullcontext(),
        logs.to_stderr(view.level, view.log_format, crawl.job, current_page),
        asyncio.Runner(debug=view.debug or None, loop_factory=make_loop) as runner,
    ):
        return runner.run(run(crawl, line, begun)).exit_code
