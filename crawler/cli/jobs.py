"""The jobs below the output folder, read only: nothing here disturbs one that runs."""

import difflib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, cast

from crawler.errors import ConfigError, JournalVersionError, escaped
from crawler.frontier import checks, repairs
from crawler.frontier.liveness import EngineLock
from crawler.frontier.queries import counts
from crawler.frontier.schema import readable, translated
from crawler.models import Counts

JOURNAL = "job.db"


class Held(NamedTuple):
    """How much a job holds."""

    pages: int
    items: int


def names(folder: Path) -> list[str]:
    """The jobs in a folder."""
    return sorted(found.parent.name for found in folder.glob(f"*/{JOURNAL}"))


def job_folder(folder: Path, job: str) -> Path:
    """The folder of one job. Raises ConfigError with the likeliest of those that are there."""
    there = names(folder)
    if job in there:
        return folder / job
    near = difflib.get_close_matches(job, there, n=1)
    hint = f"did you mean {near[0]}?" if near else f"there is {', '.join(there) or 'none'}"
    raise ConfigError(f"there is no job {escaped(job)!r} in {escaped(str(folder))}; {hint}")


class NotBegun(JournalVersionError):
    """The journal's file is there, and holds nothing yet."""


class Journal(AbstractContextManager["Journal"]):
    """A job's journal, open for reading only. Using it raises StoreError as the file deserves."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / JOURNAL
        self._db = readable(self._path)
        if self._db.execute("SELECT name FROM sqlite_schema LIMIT 1").get is None:
            self._db.close()
            raise NotBegun(f"{self._path} is empty: the job has not begun, run its crawl command again")
        self.locks = EngineLock.of(self._path)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._db.close()
        if error is not None and type(error).__module__ == "apsw":
            raise translated(cast("Any", error)) from error

    def rows(self, question: str, *values: int) -> list[tuple[Any, ...]]:
        """The answer to a question in SQL."""
        return list(self._db.execute(question, values))

    def counts(self, run: int) -> Counts:
        """How far a run is."""
        return counts(self._db, run)

    def findings(self) -> Iterator[checks.Finding]:
        """All that can be known to be wrong with the journal."""
        return checks.findings(self._db)

    def working(self) -> list[int]:
        """The engines that work on the job now."""
        return repairs.working(self._db, self._path)

    def left_behind(self) -> list[int]:
        """The engines that died on it and have not been cleared away."""
        return repairs.left_behind(self._db, self._path)


def held(folder: Path) -> Held | None:
    """How much a job holds; None when there is nothing."""
    if not (folder / JOURNAL).exists():
        return None
    question = "SELECT (SELECT coalesce(max(seq), 0) FROM pages), coalesce(sum(items + quarantined), 0) FROM runs"
    try:
        with Journal(folder) as journal:
            return Held(*journal.rows(question)[0])
    except NotBegun:
        return None
