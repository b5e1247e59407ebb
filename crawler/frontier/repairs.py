"""What can be put right in a journal without guessing, since its rows say it more than once."""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple, cast

import apsw
import msgspec

from crawler.errors import ConfigError, JournalVersionError
from crawler.frontier import checks, queries
from crawler.frontier.liveness import EngineLock
from crawler.frontier.schema import make_private, opened, readable, translated

DELAY = 1.0  # seconds that the host of a dead engine waits, if it has no pause of its own
_PARTS = {
    "last": "(SELECT max(number) FROM runs)",
    "last_item": "(SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'items')",
    "pending": "(SELECT count(*) FROM pages WHERE state = 0 AND pages.run = runs.number)",
    "numbers": """(SELECT count(*) - count(quarantine), count(quarantine),
        coalesce(sum(length(body)) FILTER (WHERE quarantine IS NULL), 0) FROM items WHERE items.run = runs.number)""",
    "due": "(SELECT min(due_at) FROM pages WHERE pages.host = hosts.id AND state = 0)",
    "next_visit": """(
        SELECT min(p.revisit_at) FROM pages AS p WHERE host = hosts.id AND p.revisit_at IS NOT NULL AND state <> 0)""",
    "start": "coalesce(position ->> 'start', position ->> 'offset')",
    "tallied": checks.TALLIED,
    "astray": checks.QUESTIONS[checks.SINK_ASTRAY],
}


class Mend(NamedTuple):
    """What answers to some of the questions in `checks`: a statement, and what to say of the rows it changed."""

    questions: tuple[str, ...]
    told: str
    statement: str


MENDS = (
    Mend((checks.FINISHED_EARLY,), "pending pages of older runs are those of the last run now", """
        UPDATE pages SET run = {last} WHERE state = 0 AND run < {last}"""),
    Mend((checks.OLDER_UNFINISHED,), "older runs end where the next one began", """
        UPDATE runs SET outcome = 'stopped', finished_at = (
          SELECT started_at FROM runs AS n WHERE n.number > runs.number ORDER BY n.number LIMIT 1)
        WHERE finished_at IS NULL AND number < {last}"""),
    Mend((checks.FINISHED_EARLY,), "finished runs with pending pages go on", """
        UPDATE runs SET finished_at = NULL, outcome = NULL WHERE finished_at IS NOT NULL AND {pending} > 0"""),
    Mend((checks.PENDING_COUNT,), "runs have their pending pages counted anew", """
        UPDATE runs SET pending = {pending} WHERE pending <> {pending}"""),
    Mend((checks.ITEM_COUNT,), "runs have their items counted anew", """
        UPDATE runs SET (items, quarantined, item_bytes) = {numbers}
        WHERE (items, quarantined, item_bytes) <> {numbers}
        AND (number = {last} OR EXISTS (SELECT 1 FROM items WHERE items.run = runs.number))"""),
    Mend((checks.TALLIES,), "tallies that were wrong are gone", """
        DELETE FROM tallies WHERE run = {last} AND pages <> 0
        AND (run, state, reason, pages) NOT IN (SELECT * FROM ({tallied}))"""),
    Mend((checks.TALLIES,), "tallies are counted anew", """
        INSERT OR REPLACE INTO tallies {tallied} EXCEPT SELECT * FROM tallies"""),
    Mend((checks.GROUP_ASTRAY,), "groups are their hosts' owner's", """
        UPDATE groups SET owner = NULL WHERE owner IS NOT NULL"""),
    Mend((checks.NO_DUE_TIME, checks.VAIN_DUE_TIME), "hosts are due when the first of their pages is", """
        UPDATE hosts SET due_at = {due} WHERE owner IS NULL AND (due_at IS NULL) <> ({due} IS NULL)"""),
    Mend((checks.VISIT_UNKNOWN,), "hosts know again when their pages are visited next", """
        UPDATE hosts SET revisit_at = {next_visit}
        WHERE {next_visit} IS NOT NULL AND coalesce(revisit_at > {next_visit}, 1)"""),
    Mend((checks.SINK_AHEAD,), "outputs that are no files go on behind the last item", """
        UPDATE sinks SET seq = {last_item} WHERE seq > {last_item} AND position ->> 'offset' IS NULL"""),
    Mend((checks.SINK_AHEAD, checks.SINK_ASTRAY), "output files get their items again, from the first of the run", """
        UPDATE sinks SET seq = 0, bytes = 0, position = json_object(
          'offset', {start}, 'start', {start}, 'columns', json(coalesce(position -> 'columns', '[]')))
        WHERE seq > {last_item} OR (run = {last} AND target IN ({astray}))"""),
)  # fmt: skip
QUESTIONS = frozenset({question for mend in MENDS for question in mend.questions} | {checks.UNKNOWN_OWNER})
_LOCK_FILE = re.compile(r"engine-(\d+)\.lock")


def copied(journal: Path) -> Path:
    """Copy a journal, whatever stands in its log included, to a file beside it, which is named after the time."""
    target = journal.with_name(f"{journal.name}.before-repair-{datetime.now(UTC):%Y%m%dT%H%M%S.%f}")
    try:
        source = readable(journal)
        make_private(target)
        copy = apsw.Connection(str(target))
        with copy.backup("main", source, "main") as backup:
            backup.step()
        source.close()
        copy.close()
    except apsw.Error as error:
        raise translated(error) from error
    return target


@contextmanager
def alone(journal: Path) -> Iterator[apsw.Connection]:
    """The journal, in a transaction during which no engine can begin. Raises ConfigError if one works on it already."""
    try:
        db = opened(journal)
        try:
            db.execute("BEGIN IMMEDIATE").fetchall()
            if working(db, journal):
                raise ConfigError(f"a crawl works on {journal}: stop it before you repair its journal")
            yield db
            db.execute("COMMIT").fetchall()
        finally:
            if db.in_transaction:
                db.execute("ROLLBACK").fetchall()
            db.close()
    except apsw.Error as error:
        raise translated(error) from error


def working(db: apsw.Connection, journal: Path) -> list[int]:
    """The engines that live."""
    return [engine for engine in _engines(db, journal) if not EngineLock.of(journal).is_free(engine)]


def left_behind(db: apsw.Connection, journal: Path) -> list[int]:
    """The engines that are gone, and have left a host, a row or a lock file behind. The next crawl clears them away."""
    return [engine for engine in _engines(db, journal) if EngineLock.of(journal).is_free(engine)]


def mended(db: apsw.Connection, journal: Path) -> Iterator[str]:
    """Mend all that can be, in the open transaction, and say what.

    Raises JournalVersionError when SQLite finds damage that lasts.
    """
    if damage := _damage(db):
        try:
            db.execute("REINDEX").fetchall()
        except apsw.ConstraintError as error:
            raise JournalVersionError(f"an index cannot be built anew: {error}") from error
        if remaining := _damage(db):
            raise JournalVersionError(f"the file itself is damaged: {remaining[0]}")
        yield f"all indexes are built anew ({damage[0]})"
    yield from _cleared(db, journal)
    for mend in MENDS:
        db.execute(mend.statement.format_map(_PARTS)).fetchall()
        if changed := db.changes():
            yield f"{mend.told} ({changed})"


def _cleared(db: apsw.Connection, journal: Path) -> Iterator[str]:
    gone = left_behind(db, journal)
    rows = msgspec.json.encode([(engine, time.time(), DELAY) for engine in gone]).decode()
    db.execute(queries.BURY, (rows,)).fetchall()
    if freed := db.changes():
        yield f"hosts are free whose engine is gone ({freed})"
    db.execute("DELETE FROM engines WHERE id IN (SELECT value ->> 0 FROM jsonb_each(?))", (rows,)).fetchall()
    if gone:
        yield f"engines that are gone are forgotten ({len(gone)})"
    db.execute(queries.BURY_GROUPS, (rows,)).fetchall()
    for engine in gone:
        EngineLock.of(journal).remove(engine)


def _engines(db: apsw.Connection, journal: Path) -> list[int]:
    """All whose traces there are: a row, a host they hold, a lock file."""
    named = "SELECT id FROM engines UNION SELECT owner FROM hosts WHERE typeof(owner) = 'integer'"
    files = (_LOCK_FILE.fullmatch(path.name) for path in journal.parent.iterdir())
    return sorted({cast("int", row[0]) for row in db.execute(named)} | {int(found[1]) for found in files if found})


def _damage(db: apsw.Connection) -> list[str]:
    return [str(row[0]) for row in db.execute(checks.QUESTIONS[checks.DAMAGE])]
