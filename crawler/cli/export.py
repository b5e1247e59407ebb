"""``crawler export``: the items of one run, from the journal to a new file."""

import json
import os
from collections.abc import Callable
from hashlib import blake2b
from typing import Annotated

from cyclopts import Parameter

from crawler.cli import jobs, layers, stdout, words
from crawler.cli.options import FLAG, OUTPUT, Folder
from crawler.errors import ConfigError, escaped
from crawler.frontier.queries import NEXT_ITEMS
from crawler.models import StoredItem
from crawler.sinks import MustRebuild, Sink, exists, sink_for

BATCH = 1_000


def export(
    job: str,
    /,
    *,
    output: Annotated[str, OUTPUT],
    run: Annotated[int | None, Parameter(help="the run's number, by default the latest")] = None,
    overwrite: Annotated[bool, FLAG, Parameter(help="replace a file that is there")] = False,
    folder: Folder = None,
) -> int:
    """Write the items of a job to another file or format; works while it runs.

    Parameters
    ----------
    job
        its name, as 'crawler status' lists it
    """
    project = layers.project(os.environ)
    place = jobs.job_folder(folder or project.folder, job)
    formulas = layers.settings(("", {}), project.layers, ()).csv_formulas
    with jobs.Journal(place) as journal:
        number = _run_number(journal, run, job)
        if exists(output) and not overwrite:
            raise ConfigError(f"{escaped(output, 1000)} exists: name another file, or pass --overwrite")
        written = _copied(_reader(journal, number), sink_for(output, formulas=formulas))
    stdout.complain(f"{words.count(written, 'item')} of run {number} of {job} written to {escaped(output, 1000)}\n")
    return 0


def _run_number(journal: jobs.Journal, wanted: int | None, job: str) -> int:
    runs = [number for (number,) in journal.rows("SELECT number FROM runs ORDER BY number")]
    if not runs:
        raise ConfigError(f"job {job} has not begun: there is nothing to export")
    if wanted is not None and wanted not in runs:
        raise ConfigError(f"job {job} has no run {wanted}; there is {words.listed([str(run) for run in runs])}")
    return runs[-1] if wanted is None else wanted


def _copied(items_after: Callable[[int], list[StoredItem]], sink: Sink) -> int:
    """Write all items; how many they are. A sink that must begin again, for a further column, gets them again."""
    sink.open(None)
    try:
        seq = written = 0
        sink.write([])
        while items := items_after(seq):
            try:
                sink.write(items)
            except MustRebuild as wish:
                sink.open(wish.position)
                seq = written = 0
                continue
            seq, written = items[-1].seq, written + len(items)
    finally:
        sink.close()
    return written


def _reader(journal: jobs.Journal, run: int) -> Callable[[int], list[StoredItem]]:
    ((key,),) = journal.rows("SELECT value FROM job WHERE key = 'key'")

    def items_after(seq: int) -> list[StoredItem]:
        ((found,),) = journal.rows(NEXT_ITEMS, run, seq, BATCH)
        return [StoredItem(seq, _id(key, run, page, n), kind, body) for seq, page, n, kind, body in json.loads(found)]

    return items_after


def _id(key: bytes, run: int, page: int, n: int) -> str:
    return blake2b(f"{run}/{page}/{n}".encode(), digest_size=12, key=key).hexdigest()
