"""The picture of a running crawl on a terminal, which renews itself."""

from rich.console import Console
from rich.live import Live
from rich.text import Text

from crawler.cli import report, words
from crawler.errors import escaped, escaped_lines
from crawler.progress import Progress

LONGEST_URL = 100
DOWNLOADS_SHOWN = 4


def live() -> Live:
    """An area at the foot of the terminal, redrawn when it is told; what else goes to stderr appears above it."""
    console = Console(stderr=True, highlight=False, markup=False, emoji=False)
    return Live(console=console, auto_refresh=False, transient=True, redirect_stdout=False)


def picture(job: str, progress: Progress) -> Text:
    """A moment of a crawl in a few lines, as wide as they are."""
    counts = progress.counts
    speed = f"{progress.pages_per_second:.1f} pages/s, {words.size(progress.bytes_per_second)}/s"
    ended = f"{counts.failed:,} failed, {counts.skipped:,} skipped, {counts.gone:,} gone"
    open_now = f"{words.count(progress.in_flight, 'request')} in flight, {words.count(progress.hosts, 'host')}"
    engines = f", {words.count(progress.engines, 'engine')}" if progress.engines > 1 else ""
    replaced = f", {progress.replaced} replaced" if progress.replaced else ""
    rows = [
        f"{job}  {words.duration(progress.elapsed)}, {speed}, limited by {progress.limited_by}",
        f"{counts.done:,} done, {counts.pending:,} pending, {ended}, {words.count(counts.items, 'item')}",
        f"{open_now}, {words.size(progress.bytes)} received{engines}{replaced}",
        *report.at_a_glance(progress.profile),
        *(_download(*download) for download in progress.downloads[:DOWNLOADS_SHOWN]),
    ]
    return Text(escaped_lines("\n".join(rows)), no_wrap=True, overflow="ellipsis")


def _download(name: str, received: int, whole: int | None) -> str:
    share = f" of {words.size(whole)} ({received / whole:.0%})" if whole else ""
    return f"download: {escaped(name, LONGEST_URL)} {words.size(received)}{share}"
