"""``crawler status``: how far jobs are, from their journals alone, and what to do next."""

import json
import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from crawler.cli import jobs, layers, report, stdout, words
from crawler.cli.jobs import Journal
from crawler.cli.options import Folder
from crawler.errors import escaped
from crawler.models import Counts

LAST_FAILURES = 5
_FAILURES = """
SELECT urls.url, events.kind, events.detail FROM events LEFT JOIN urls ON urls.seq = events.page
WHERE events.run = ? AND events.kind NOT IN ('minute', 'request', 'circuit') ORDER BY events.seq DESC LIMIT ?"""
_SINKS = """
SELECT target, (SELECT count(*) FROM items WHERE items.run = sinks.run AND items.seq > sinks.seq AND quarantine IS NULL)
FROM sinks WHERE run = ?"""


class Run(NamedTuple):
    """One row of the journal's runs."""

    number: int
    started_at: float
    finished_at: float | None
    outcome: str | None


def status(
    job: str | None = None,
    /,
    *,
    folder: Folder = None,
) -> int:
    """Show how far jobs are; works while they run.

    Parameters
    ----------
    job
        its name; all jobs of the folder by default
    """
    place = folder or layers.project(os.environ).folder
    if job is not None:
        stdout.tell("\n".join(_one(jobs.job_folder(place, job))) + "\n")
        return 0
    names = jobs.names(place)
    for name in names:
        stdout.tell(f"{name}: {_in_short(place / name)}\n")
    if not names:
        stdout.tell(f"there are no jobs in {escaped(str(place))}; 'crawler crawl SPIDER' begins one\n")
    return 0


def _in_short(folder: Path) -> str:
    with Journal(folder) as journal:
        if not (runs := _runs(journal)):
            return "not begun"
        found = journal.counts(runs[-1].number)
        state = _state(journal, runs[-1])
    items = words.count(found.items, "item")
    return f"run {runs[-1].number} {state}, {report.outcomes(found.reasons, found.pending)}, {items}"


def _one(folder: Path) -> list[str]:
    with Journal(folder) as journal:
        if not (runs := _runs(journal)):
            return [f"job {folder.name} has not begun: run its crawl command again"]
        last = runs[-1]
        found = journal.counts(last.number)
        return [
            f"job {folder.name}{_identity(journal)}",
            *(f"  run {run.number}: {_state(journal, run)}, began {_time(run.started_at)}" for run in runs),
            f"run {last.number}: {report.outcomes(found.reasons, found.pending)}",
            *report.cuts(found.cuts),
            f"  {words.count(found.items, 'item')}, {words.size(found.bytes)} received"
            + (f", {words.count(found.quarantined, 'item')} quarantined" if found.quarantined else ""),
            *_failures(journal, last.number),
            *(f"  items: {escaped(target, 1000)}{_behind(n)}" for target, n in journal.rows(_SINKS, last.number)),
            _next(last, found, running=bool(_running(journal))),
        ]


def _runs(journal: Journal) -> list[Run]:
    rows = journal.rows("SELECT number, started_at, finished_at, outcome FROM runs ORDER BY number")
    return [Run(*row) for row in rows]


def _identity(journal: Journal) -> str:
    rows = journal.rows("SELECT value FROM job WHERE key = 'facts'")
    if not rows:
        return ""
    known = json.loads(rows[0][0])
    arguments = "".join(f" {name}={value}" for name, value in known.get("arguments", {}).items())
    return escaped(f": spider {known['spider']}{arguments}", 1000)


def _running(journal: Journal) -> list[int]:
    """The processes that work on this job now."""
    return [pid for engine, pid in journal.rows("SELECT id, pid FROM engines") if not journal.locks.is_free(engine)]


def _state(journal: Journal, run: Run) -> str:
    if run.finished_at is not None:
        return f"{run.outcome} after {words.duration(run.finished_at - run.started_at)}"
    running = _running(journal)
    return f"running (process {', '.join(map(str, running))})" if running else "stopped before its end"


def _failures(journal: Journal, run: int) -> Iterator[str]:
    rows = journal.rows(_FAILURES, run, LAST_FAILURES)
    if rows:
        yield "last failures:"
    for url, kind, detail in rows:
        last_line = (detail.strip().splitlines() or [""])[-1]
        yield f"  {escaped(url or '-', 500)}\n    {escaped(kind)}: {escaped(last_line.removeprefix(kind + ': '))}"


def _behind(items: object) -> str:
    return f" ({words.count(items, 'item')} behind)" if isinstance(items, int) and items else ""


def _next(run: Run, found: Counts, *, running: bool) -> str:
    if running:
        return "it is running; Ctrl-C or SIGTERM stops it, and the same command goes on"
    if run.finished_at is not None:
        return "finished: the same command starts the next run"
    due = [at for at in (found.next_due_at, found.revisit_at) if at is not None]
    if due and min(due) - time.time() > 60:
        return f"the same command goes on; the next page is due at {_time(min(due))}"
    return "the same command goes on"


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")
