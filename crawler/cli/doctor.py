"""``crawler doctor``: whether a job's journal and files are as they must be, and what to do if not."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec

from crawler.cli import jobs, layers, words
from crawler.cli.options import Folder
from crawler.errors import JournalVersionError, escaped
from crawler.sinks.file import Place

_SINKS = """
SELECT sinks.target, sinks.position, runs.finished_at IS NOT NULL, (
  SELECT count(*) FROM items WHERE items.run = sinks.run AND items.seq > sinks.seq AND quarantine IS NULL)
FROM sinks JOIN runs ON runs.number = sinks.run WHERE sinks.run = (SELECT max(number) FROM runs)"""
_FILES = "SELECT path, size FROM files WHERE run = (SELECT max(number) FROM runs)"
MOST_FILES = 10
WRITE_AGAIN = "'crawler export' writes its items to a new file"


def doctor(
    job: str,
    /,
    *,
    folder: Folder = None,
) -> int:
    """Check a job's journal, output files and downloads; exit code 1 if something is wrong.

    Parameters
    ----------
    job
        its name, as 'crawler status' lists it
    """
    place = jobs.job_folder(folder or layers.project(os.environ).folder, job)
    problems = list(_problems(place))
    for problem in problems:
        sys.stdout.write(f"wrong: {problem}\n")
    if not problems:
        sys.stdout.write(f"job {job}: the journal, its sinks and its downloads are as they should be\n")
    return 1 if problems else 0


def _problems(place: Path) -> Iterator[str]:
    try:
        with jobs.Journal(place) as journal:
            for violation in journal.violations():
                yield f"the journal: {escaped(violation, 1000)}: save what it holds with 'crawler export', then --fresh"
            yield from _sinks(journal)
            yield from _downloads(journal, place)
    except JournalVersionError as error:
        yield f"{error}: put back a copy of {place / jobs.JOURNAL}, or start over with --fresh"


def _sinks(journal: jobs.Journal) -> Iterator[str]:
    for target, position, finished, behind in journal.rows(_SINKS):
        name = escaped(target, 1000)
        if finished and behind:
            yield f"{name} lacks {words.count(behind, 'item')} of a finished run: {WRITE_AGAIN}"
        if Path(target).is_absolute():
            yield from _file(target, msgspec.json.decode(position, type=Place), finished=bool(finished))


def _file(target: str, place: Place, *, finished: bool) -> Iterator[str]:
    remedy = WRITE_AGAIN if finished else "the same crawl command writes it anew from the journal"
    path = Path(target)
    if not path.exists():
        yield f"{escaped(target, 1000)} is gone: {remedy}"
    elif (size := path.stat().st_size) < place.offset:
        lacking = words.size(place.offset - size)
        yield f"{escaped(target, 1000)} is shorter by {lacking} than what was written to it: {remedy}"
    elif size > place.offset and finished:
        more = words.size(size - place.offset)
        yield f"{escaped(target, 1000)} is longer by {more} than what was written to it: another program changed it"


def _downloads(journal: jobs.Journal, place: Path) -> Iterator[str]:
    wrong = 0
    for path, size in journal.rows(_FILES):
        file = place / path
        if file.is_file() and file.stat().st_size == size:
            continue
        wrong += 1
        if wrong <= MOST_FILES:
            what = "has another size than when it was downloaded" if file.exists() else "is gone"
            yield f"the download {escaped(str(file), 1000)} {what}: the next run fetches it again"
    if wrong > MOST_FILES:
        yield f"{words.count(wrong - MOST_FILES, 'further download')} gone or changed"
