"""``crawler doctor``: whether a job's journal and files are as they must be; it mends what can be mended."""

import asyncio
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, NamedTuple

import msgspec
from cyclopts import Parameter

from crawler.cli import jobs, layers, stdout, words
from crawler.cli.options import FLAG, Folder
from crawler.errors import ConfigError, JournalVersionError, StoreError, escaped
from crawler.export import Exporter
from crawler.frontier import Run, checks, repairs
from crawler.frontier.sqlite import SqliteFrontier
from crawler.sinks import sink_for
from crawler.sinks.file import Place

_SINKS = """
SELECT sinks.target, sinks.position, sinks.run, runs.finished_at IS NOT NULL, (
  SELECT count(*) FROM items WHERE items.run = sinks.run AND items.seq > sinks.seq AND quarantine IS NULL)
FROM sinks JOIN runs ON runs.number = sinks.run WHERE sinks.run = (SELECT max(number) FROM runs)"""
_FILES = "SELECT path, size FROM files WHERE run = (SELECT max(number) FROM runs)"
_DIGEST = re.compile(r"[0-9a-f]{64}")
MOST_FILES = 10
WRITE_AGAIN = "'crawler export' writes its items to a new file"
SAVE = "save what it holds with 'crawler export', then move the job's folder away and start over"
MENDED = "'crawler doctor --repair' mends it"


class Problem(NamedTuple):
    """What is wrong, and what to do; ``target`` is the output file that can be written again, of run ``run``.

    ``mends`` when --repair does something about it. What is ``harmless`` is not wrong, but of no use any more.
    """

    text: str
    remedy: str
    target: str = ""
    run: int = 0
    mends: bool = True
    harmless: bool = False


def doctor(
    job: str,
    /,
    *,
    repair: Annotated[bool, FLAG, Parameter(help="mend what can be, having made a copy of the journal")] = False,
    folder: Folder = None,
) -> int:
    """Check a job's journal, output files and downloads; exit code 1 if something is wrong.

    Parameters
    ----------
    job
        its name, as 'crawler status' lists it
    """
    project = layers.project(os.environ)
    place = jobs.job_folder(folder or project.folder, job)
    problems = list(_problems(place))
    if repair and any(problem.mends for problem in problems):
        formulas = layers.settings(("", {}), project.layers, ()).csv_formulas
        for line in _repaired(place, problems, formulas=formulas):
            stdout.tell(f"repair: {line}\n")
        problems = list(_problems(place))
    for problem in problems:
        stdout.tell(f"{'left over' if problem.harmless else 'wrong'}: {problem.text}: {problem.remedy}\n")
    if all(problem.harmless for problem in problems):
        stdout.tell(f"job {job}: the journal, its sinks and its downloads are as they should be\n")
        return 0
    return 1


# -- what is wrong


def _problems(place: Path) -> Iterator[Problem]:
    try:
        with jobs.Journal(place) as journal:
            sound = True
            for what, where in journal.findings():
                sound = sound and what in repairs.QUESTIONS
                mends = what in repairs.QUESTIONS or _is_of_an_index(what, where)
                text = f"the journal: {what}: {escaped(where, 1000)}"
                yield Problem(text, MENDED if mends else SAVE, mends=mends)
            if sound:
                yield from _sinks(journal)
                yield from _downloads(journal, place)
                yield from _left_behind(journal, place)
    except (StoreError, UnicodeDecodeError, msgspec.MsgspecError) as error:
        yield Problem(
            str(error), f"put back a copy of {place / jobs.JOURNAL}, or move {place} away and start over", mends=False
        )


def _is_of_an_index(what: str, where: str) -> bool:
    return what == checks.DAMAGE and ("missing from index" in where or "entries in index" in where)


def _sinks(journal: jobs.Journal) -> Iterator[Problem]:
    for target, position, run, finished, behind in journal.rows(_SINKS):
        name, is_file = escaped(target, 1000), Path(target).is_absolute()
        if finished and behind:
            remedy = f"{WRITE_AGAIN}; {MENDED}" if is_file else WRITE_AGAIN
            lacking = f"{name} lacks {words.count(behind, 'item')} of a finished run"
            yield Problem(lacking, remedy, target if is_file else "", run, mends=is_file)
        if is_file:
            yield from _file(target, msgspec.json.decode(position, type=Place), run, finished=bool(finished))


def _file(target: str, place: Place, run: int, *, finished: bool) -> Iterator[Problem]:
    remedy = f"{WRITE_AGAIN}; {MENDED}" if finished else "the same crawl command writes it anew from the journal"
    path, name = Path(target), escaped(target, 1000)
    if not path.exists():
        yield Problem(f"{name} is gone", remedy, target, run)
    elif (size := path.stat().st_size) < place.offset:
        lacking = words.size(place.offset - size)
        yield Problem(f"{name} is shorter by {lacking} than what was written to it", remedy, target, run)
    elif size > place.offset and finished:
        more = words.size(size - place.offset)
        yield Problem(
            f"{name} is longer by {more} than what was written to it", "another program changed it", mends=False
        )


def _downloads(journal: jobs.Journal, place: Path) -> Iterator[Problem]:
    wrong = 0
    for path, size in journal.rows(_FILES):
        file = place / path
        if file.is_file() and file.stat().st_size == size:
            continue
        wrong += 1
        if wrong <= MOST_FILES:
            what = "has another size than when it was downloaded" if file.exists() else "is gone"
            yield Problem(
                f"the download {escaped(str(file), 1000)} {what}", "the next run fetches it again", mends=False
            )
    if wrong > MOST_FILES:
        further = words.count(wrong - MOST_FILES, "further download")
        yield Problem(f"{further} gone or changed", "the next run fetches them again", mends=False)


def _left_behind(journal: jobs.Journal, place: Path) -> Iterator[Problem]:
    if gone := journal.left_behind():
        died = f"what {words.count(len(gone), 'engine')} held that died"
        yield Problem(died, "the next crawl clears it away, and --repair does", harmless=True)
    if nameless := _nameless(place, {digest for (digest,) in journal.rows("SELECT sha256 FROM files")}):
        size = words.size(sum(path.stat().st_size for path in nameless))
        stored = f"{words.count(len(nameless), 'file')} of no download below files/objects, {size}"
        yield Problem(stored, "--repair deletes them", harmless=True)


def _nameless(place: Path, known: set[str]) -> list[Path]:
    """The stored bytes that no row of the journal and no name in a run's folder stands for."""
    objects = place / "files" / "objects"
    found = sorted(objects.iterdir()) if objects.is_dir() else []
    return [path for path in found if path.name not in known and _DIGEST.fullmatch(path.name) and _has_one_name(path)]


def _has_one_name(path: Path) -> bool:
    found = path.lstat()
    return stat.S_ISREG(found.st_mode) and found.st_nlink == 1


# -- repair


def _repaired(place: Path, problems: list[Problem], *, formulas: bool) -> Iterator[str]:
    journal = place / jobs.JOURNAL
    with jobs.Journal(place) as looked_at:
        if looked_at.working():
            raise ConfigError(f"a crawl works on {journal}: stop it before you repair its journal")
    yield f"the journal as it was is {escaped(str(repairs.copied(journal)), 1000)}"
    try:
        with repairs.alone(journal) as db:
            known = {str(digest) for (digest,) in db.execute("SELECT sha256 FROM files")}
            done = [*repairs.mended(db, journal), *_deleted(_nameless(place, known))]
    except JournalVersionError as damage:
        yield f"nothing was changed: {escaped(str(damage), 1000)}"
        return
    yield from done
    for target, run in dict.fromkeys((problem.target, problem.run) for problem in problems if problem.target):
        try:
            asyncio.run(_rewritten(journal, target, run, formulas=formulas))
        except (ConfigError, StoreError) as error:
            yield f"not done: {error}"
        else:
            yield f"{escaped(target, 1000)} holds the items of run {run}"


def _deleted(nameless: list[Path]) -> Iterator[str]:
    for path in nameless:
        size = path.stat().st_size
        path.unlink()
        yield f"{escaped(str(path), 1000)} ({words.size(size)}), of no download, is deleted"


async def _rewritten(journal: Path, target: str, run: int, *, formulas: bool) -> None:
    """Let the exporter bring a file up with its run, as it does in a crawl."""
    frontier = SqliteFrontier(journal)
    try:
        exporter = Exporter(frontier, sink_for(target, formulas=formulas), Run(run, resumed=True, key=b""), 0.0)
        try:
            await exporter.open("refuse")
            following = asyncio.create_task(exporter.follow())
            await asyncio.sleep(0)  # it ends when it has looked once more, so it must have begun
            exporter.finish()
            await following
        finally:
            await exporter.close()
    finally:
        await frontier.close()
