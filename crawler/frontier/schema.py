"""The journal's file: tables that users may query, their version, and how a file becomes a journal.

Chosen by measurement, per page with ten new links: a rowid table with a thin unique index costs half of a table
clustered by fingerprint, and an index of pending pages only costs nothing for finished ones.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import apsw

from crawler.errors import JournalVersionError, StorageFull, StoreError, StoreUnavailable
from crawler.frontier.mounts import refuse_network

_MISSHAPEN = ("no such table", "no such column", "has no column", "already exists", "malformed")  # tables, or JSON
APPLICATION_ID = 0x63726177  # "craw"
VERSION = 2
PATIENCE = 10_000  # milliseconds: how long another process may hold the file

# Tables that came with version 2. If another changes one of them, its text here becomes what the step to 2 makes.
ADDED = """
CREATE TABLE invocations(
  id INTEGER PRIMARY KEY AUTOINCREMENT, run INTEGER NOT NULL, began_at REAL NOT NULL,
  pages INTEGER NOT NULL DEFAULT 0, items INTEGER NOT NULL DEFAULT 0, pages_left INTEGER, items_left INTEGER) STRICT;
CREATE TABLE groups(
  id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, ready_at REAL NOT NULL DEFAULT 0, owner INTEGER,
  delay REAL) STRICT;
CREATE INDEX groups_owned ON groups(owner) WHERE owner IS NOT NULL;
CREATE TABLE members(
  host INTEGER NOT NULL, group_id INTEGER NOT NULL, PRIMARY KEY(host, group_id)) STRICT, WITHOUT ROWID;
CREATE INDEX members_of_group ON members(group_id);
CREATE TABLE sessions(
  name TEXT PRIMARY KEY, version INTEGER NOT NULL DEFAULT 0, is_valid INTEGER NOT NULL DEFAULT 0, owner INTEGER,
  state TEXT NOT NULL DEFAULT '{}', strikes INTEGER NOT NULL DEFAULT 0, retired_until REAL NOT NULL DEFAULT 0,
  reason TEXT NOT NULL DEFAULT '') STRICT, WITHOUT ROWID;
CREATE TABLE records(
  place TEXT PRIMARY KEY, name TEXT NOT NULL, kind TEXT NOT NULL, hash TEXT NOT NULL, body TEXT NOT NULL,
  pages INTEGER NOT NULL) STRICT;
CREATE TABLE sightings(
  page INTEGER NOT NULL, place TEXT NOT NULL, hash TEXT NOT NULL, PRIMARY KEY(page, place)) STRICT, WITHOUT ROWID;
CREATE TABLE cuts(
  run INTEGER NOT NULL, host INTEGER NOT NULL, reason TEXT NOT NULL, links INTEGER NOT NULL, example TEXT NOT NULL,
  PRIMARY KEY(run, host, reason)) STRICT, WITHOUT ROWID;
CREATE TABLE shapes(
  run INTEGER NOT NULL, host INTEGER NOT NULL, path TEXT NOT NULL, content TEXT NOT NULL, pages INTEGER NOT NULL,
  barren INTEGER NOT NULL, reason TEXT NOT NULL, PRIMARY KEY(run, host, path, content)) STRICT, WITHOUT ROWID;
CREATE TABLE likenesses(
  host INTEGER NOT NULL, page INTEGER NOT NULL, run INTEGER NOT NULL, signature TEXT NOT NULL,
  PRIMARY KEY(host, page)) STRICT, WITHOUT ROWID;
"""

TABLES = f"""
CREATE TABLE job(key TEXT PRIMARY KEY, value ANY NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE runs(
  number INTEGER PRIMARY KEY, started_at REAL NOT NULL, finished_at REAL, outcome TEXT,
  pending INTEGER NOT NULL DEFAULT 0, items INTEGER NOT NULL DEFAULT 0, quarantined INTEGER NOT NULL DEFAULT 0,
  bytes INTEGER NOT NULL DEFAULT 0, item_bytes INTEGER NOT NULL DEFAULT 0) STRICT;
CREATE TABLE tallies(
  run INTEGER NOT NULL, state INTEGER NOT NULL, reason TEXT NOT NULL, pages INTEGER NOT NULL,
  PRIMARY KEY(run, state, reason)) STRICT, WITHOUT ROWID;
CREATE TABLE engines(
  id INTEGER PRIMARY KEY AUTOINCREMENT, pid INTEGER NOT NULL, alive_until REAL NOT NULL, boot TEXT NOT NULL DEFAULT '',
  invocation INTEGER, reserved INTEGER NOT NULL DEFAULT 0, supervisor TEXT) STRICT;
CREATE TABLE hosts(
  id INTEGER PRIMARY KEY, origin TEXT NOT NULL UNIQUE, ready_at REAL NOT NULL DEFAULT 0, due_at REAL,
  owner INTEGER, token INTEGER NOT NULL DEFAULT 0, delay REAL, seed TEXT,
  robots_status INTEGER, robots_body TEXT, robots_fetched_at REAL, robots_expires_at REAL,
  circuit TEXT NOT NULL DEFAULT '', is_written INTEGER NOT NULL DEFAULT 0, revisit_at REAL) STRICT;
CREATE INDEX hosts_due ON hosts(max(ready_at, due_at)) WHERE owner IS NULL AND due_at IS NOT NULL;
CREATE INDEX hosts_owned ON hosts(owner) WHERE owner IS NOT NULL;
CREATE INDEX hosts_revisit ON hosts(revisit_at) WHERE revisit_at IS NOT NULL;
CREATE TABLE pages(
  seq INTEGER PRIMARY KEY, host INTEGER NOT NULL, fingerprint INTEGER NOT NULL, path TEXT NOT NULL,
  run INTEGER NOT NULL, state INTEGER NOT NULL DEFAULT 0, rank INTEGER NOT NULL, due_at REAL NOT NULL DEFAULT 0,
  attempts INTEGER NOT NULL DEFAULT 0, deferrals INTEGER NOT NULL DEFAULT 0, parent INTEGER, request TEXT,
  reason TEXT, status INTEGER, size INTEGER, first_at REAL, ended_at REAL, deaths INTEGER NOT NULL DEFAULT 0,
  known_as TEXT, canonical TEXT, leads_to INTEGER, content BLOB,
  etag TEXT, modified TEXT, revisit_at REAL, interval REAL, entries INTEGER NOT NULL DEFAULT 0,
  depth INTEGER GENERATED ALWAYS AS (rank & 4294967295) VIRTUAL) STRICT;
CREATE UNIQUE INDEX pages_fingerprint ON pages(host, fingerprint);
CREATE INDEX pages_pending ON pages(host, rank) WHERE state = 0;
CREATE INDEX pages_deferred ON pages(host, due_at) WHERE state = 0 AND due_at > 0;
CREATE INDEX pages_revisit ON pages(host, revisit_at) WHERE revisit_at IS NOT NULL AND state <> 0;
CREATE TABLE items(
  seq INTEGER PRIMARY KEY AUTOINCREMENT, run INTEGER NOT NULL, page INTEGER NOT NULL, n INTEGER NOT NULL,
  kind TEXT NOT NULL, body TEXT NOT NULL, quarantine TEXT, crc INTEGER) STRICT;
CREATE TABLE sinks(
  target TEXT NOT NULL, run INTEGER NOT NULL, seq INTEGER NOT NULL, position TEXT NOT NULL,
  bytes INTEGER NOT NULL DEFAULT 0, PRIMARY KEY(target, run)) STRICT, WITHOUT ROWID;
CREATE TABLE files(
  page INTEGER NOT NULL, run INTEGER NOT NULL, path TEXT NOT NULL, size INTEGER NOT NULL, sha256 TEXT NOT NULL,
  PRIMARY KEY(page, run)) STRICT, WITHOUT ROWID;
CREATE TABLE events(
  seq INTEGER PRIMARY KEY, run INTEGER NOT NULL, at REAL NOT NULL, page INTEGER, kind TEXT NOT NULL,
  detail TEXT NOT NULL) STRICT;
CREATE VIEW urls AS
  SELECT pages.seq, hosts.origin || pages.path AS url, pages.run,
    CASE pages.state WHEN 0 THEN 'pending' WHEN 1 THEN 'done' WHEN 2 THEN 'gone' WHEN 3 THEN 'skipped' ELSE 'failed' END
    AS state, pages.reason, pages.status, pages.depth, pages.attempts, pages.size, pages.ended_at
  FROM pages JOIN hosts ON hosts.id = pages.host;
{ADDED}"""  # noqa: S608  # nothing of it comes from elsewhere

OF_A_JOB = (
    "job", "runs", "invocations", "tallies", "hosts", "groups", "members", "pages", "items", "records", "sightings",
    "sinks", "sessions", "files", "events", "cuts", "shapes", "likenesses",
)  # fmt: skip

OF_A_RUN = ("items", "events", "sinks", "files", "invocations", "cuts", "shapes", "likenesses")

MIGRATIONS = {  # from a version to the one that follows
    1: f"""
ALTER TABLE engines ADD COLUMN boot TEXT NOT NULL DEFAULT '';
ALTER TABLE engines ADD COLUMN invocation INTEGER;
ALTER TABLE engines ADD COLUMN reserved INTEGER NOT NULL DEFAULT 0;
ALTER TABLE engines ADD COLUMN supervisor TEXT;
ALTER TABLE hosts ADD COLUMN circuit TEXT NOT NULL DEFAULT '';
ALTER TABLE hosts ADD COLUMN is_written INTEGER NOT NULL DEFAULT 0;
UPDATE hosts SET is_written = 1 WHERE seed = '';
ALTER TABLE pages ADD COLUMN deaths INTEGER NOT NULL DEFAULT 0;
ALTER TABLE pages ADD COLUMN known_as TEXT;
ALTER TABLE pages ADD COLUMN canonical TEXT;
ALTER TABLE pages ADD COLUMN leads_to INTEGER;
ALTER TABLE pages ADD COLUMN content BLOB;
ALTER TABLE pages ADD COLUMN etag TEXT;
ALTER TABLE pages ADD COLUMN modified TEXT;
ALTER TABLE pages ADD COLUMN revisit_at REAL;
ALTER TABLE pages ADD COLUMN interval REAL;
ALTER TABLE pages ADD COLUMN entries INTEGER NOT NULL DEFAULT 0;
ALTER TABLE hosts ADD COLUMN revisit_at REAL;
CREATE INDEX hosts_revisit ON hosts(revisit_at) WHERE revisit_at IS NOT NULL;
CREATE INDEX pages_revisit ON pages(host, revisit_at) WHERE revisit_at IS NOT NULL AND state <> 0;
ALTER TABLE items ADD COLUMN crc INTEGER;
ALTER TABLE sinks ADD COLUMN bytes INTEGER NOT NULL DEFAULT 0;
UPDATE runs SET item_bytes = (
  SELECT coalesce(sum(length(body)), 0) FROM items WHERE items.run = runs.number AND quarantine IS NULL);
UPDATE sinks SET bytes = (
  SELECT coalesce(sum(length(body)), 0) FROM items
  WHERE items.run = sinks.run AND items.seq <= sinks.seq AND quarantine IS NULL);
{ADDED}""",  # noqa: S608
}


def opened(path: Path | str, *, power_safe: bool = False) -> apsw.Connection:
    """A connection to the journal at `path` (``:memory:`` for tests), which is made when there is none.

    Raises JournalVersionError before any write when the file is not a journal of a version known here, ConfigError for
    a network file system, StoreUnavailable and StorageFull as the case may be.
    """
    if str(path) != ":memory:":
        refuse_network(Path(path).parent)
        make_private(path)
    with _translating():
        connection = apsw.Connection(str(path))
    with _translating(), _closed_on_error(connection):
        connection.set_busy_timeout(PATIENCE)
        _check(connection, path)
        _tune(connection, power_safe=power_safe)
        _bring_up_to_date(connection)
    return connection


def make_private(path: Path | str) -> None:
    """Make a new file with access for its owner alone, since it may hold cookies; SQLite's others follow it."""
    if str(path) != ":memory:":
        with suppress(OSError):  # SQLite says it better
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))


def readable(path: Path | str) -> apsw.Connection:
    """A read-only connection to an existing journal. Raises as `opened` does."""
    flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
    with _translating():
        connection = apsw.Connection(f"file:{Path(path).absolute()}?mode=ro", flags=flags)
    with _translating(), _closed_on_error(connection):
        connection.set_busy_timeout(PATIENCE)
        try:
            _check(connection, path)
        except apsw.ReadOnlyError as error:  # a process was killed while it made the file
            raise StoreUnavailable(f"{path} is not complete yet: run its crawl command again") from error
    return connection


@contextmanager
def _translating() -> Iterator[None]:
    try:
        yield
    except apsw.Error as error:
        raise translated(error) from error


@contextmanager
def _closed_on_error(connection: apsw.Connection) -> Iterator[None]:
    try:
        yield
    except BaseException:
        connection.close()
        raise


def translated(error: apsw.Error) -> StoreError:
    """The same failure in this package's words. What can only be a bug here is raised as it is."""
    if isinstance(error, apsw.FullError | apsw.IOError | apsw.ReadOnlyError):
        return StorageFull(f"the journal cannot be written: {error}; free some space and run the same command again")
    is_misshapen = isinstance(error, apsw.SQLError) and any(sign in str(error) for sign in _MISSHAPEN)
    if is_misshapen or isinstance(error, apsw.NotADBError | apsw.CorruptError):
        return JournalVersionError(f"the journal is damaged or no journal: {error}; 'crawler doctor' tells more")
    if isinstance(error, apsw.BusyError | apsw.LockedError | apsw.CantOpenError):
        return StoreUnavailable(f"the journal cannot be opened: {error}")
    raise error


def _version(connection: apsw.Connection) -> int:
    return int(connection.pragma("user_version"))


def _check(connection: apsw.Connection, path: Path | str) -> None:
    if connection.execute("SELECT name FROM sqlite_schema LIMIT 1").fetchone() is None:
        return
    if int(connection.pragma("application_id")) != APPLICATION_ID:
        raise JournalVersionError(f"{path} is an SQLite file, but not a crawler's journal")
    if not (version := _version(connection)):
        raise JournalVersionError(f"{path} is damaged: it does not say its version; 'crawler doctor' tells more")
    if version > VERSION:
        raise JournalVersionError(
            f"{path} has journal version {version}, this program knows up to {VERSION}: update it"
        )


def _log_ahead(connection: apsw.Connection) -> None:
    """Turn a new file into one with a write-ahead log. SQLite does not wait while another process does the same."""
    deadline = time.monotonic() + PATIENCE / 1000
    while True:
        try:
            connection.pragma("journal_mode", "wal")
        except apsw.BusyError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return


def _tune(connection: apsw.Connection, *, power_safe: bool) -> None:
    _log_ahead(connection)
    connection.pragma("synchronous", "full" if power_safe else "normal")
    connection.pragma("wal_autocheckpoint", 10_000)
    # at each commit that splits an index SQLite goes through all pages in its cache: more than this costs more than it
    # saves, since the file system has them too
    connection.pragma("cache_size", -8_192)
    connection.pragma("temp_store", "memory")


def _bring_up_to_date(connection: apsw.Connection) -> None:
    """Make the tables of a new file, or change those of an older version; all of it or nothing."""
    if _version(connection) == VERSION:
        return
    connection.transaction_mode = "IMMEDIATE"
    with connection:
        while (version := _version(connection)) < VERSION:  # another process may have been faster
            for statement in (MIGRATIONS[version] if version else TABLES).split(";\n"):
                if statement.strip():
                    connection.execute(statement).fetchall()
            connection.pragma("application_id", APPLICATION_ID)
            connection.pragma("user_version", version + 1 if version else VERSION)
