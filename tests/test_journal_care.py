"""A journal outlives versions, power losses and flipped bits: it goes on, or says what is wrong."""

import asyncio
import contextlib
import gzip
import io
import random
import shutil
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import apsw
import msgspec
import pytest

from crawler import Limits
from crawler.__main__ import main
from crawler.errors import JournalVersionError
from crawler.frontier import JobFacts, Want, checks
from crawler.frontier.schema import VERSION, opened, readable
from crawler.frontier.sqlite import SqliteFrontier
from crawler.models import Lease, State
from crawler.testing import Site
from crawler.urls import Fingerprints
from tests import bookstall

BOOKS = 300
# the URL of a request with a key of its own stands in the journal once only, so nothing contradicts a change of it
PAGES = """
SELECT pages.seq, origin || iif(instr(coalesce(request, ''), '"key":"again"'), '', path), run, state
FROM pages JOIN hosts ON id = host ORDER BY 1"""
ITEMS = "SELECT seq, run, page, n, kind, body, quarantine FROM items ORDER BY 1"


def lines(folder: Path) -> list[str]:
    return sorted((folder / "items.jsonl").read_text().splitlines())


def told(*words: str) -> tuple[int, str]:
    """The exit code of a command, and all that it says."""
    with contextlib.redirect_stdout(io.StringIO()) as said, contextlib.redirect_stderr(said):
        return main(list(words)), said.getvalue()


# -- versions


async def undisturbed(folder: Path, site: Site) -> list[str]:
    await bookstall.going_on(folder, site).run()
    return lines(folder)


@pytest.mark.parametrize("name", [path.name for path in sorted(bookstall.DATA.glob("journal-*.tar.gz"))])
async def test_a_journal_of_an_older_version_goes_on(tmp_path: Path, name: str) -> None:
    """What an older version left half done, killed, is taken up and ends with the items of an undisturbed run."""
    async with Site() as site:
        bookstall.put_up(site)
        expected = await undisturbed(tmp_path / "whole", site)
        folder = bookstall.unpacked(name, tmp_path / "stall")
        bookstall.moved(folder, site.port)
        site.seen.clear()
        summary = await bookstall.going_on(folder, site).run()
    assert (summary.resumed, summary.outcome, summary.counts.failed) == (True, "finished", 1)
    assert lines(folder) == expected
    assert len(site.seen) < bookstall.BOOKS, "pages that were done were asked for again"
    journal = readable(folder / "job.db")
    assert journal.pragma("user_version") == VERSION
    assert list(checks.findings(journal)) == []
    journal.close()


def test_an_older_journal_is_in_every_state(tmp_path: Path) -> None:
    """The stored journal was killed in the middle: all states, a quarantined item, a download, an output behind."""
    db = sqlite3.connect(bookstall.unpacked("journal-1.tar.gz", tmp_path) / "job.db")
    assert {state for (state,) in db.execute("SELECT state FROM pages")} == set(State)
    assert db.execute("SELECT count(*) FROM engines, files WHERE size > 0").fetchone() == (1,)
    seq, size = db.execute("SELECT seq, position ->> 'offset' FROM sinks").fetchone()
    assert db.execute("SELECT count(*) > 0 FROM items WHERE quarantine IS NULL AND seq > ?", (seq,)).fetchone() == (1,)
    assert db.execute("SELECT count(*) > 0 FROM items WHERE quarantine IS NOT NULL").fetchone() == (1,)
    assert (tmp_path / "items.jsonl").stat().st_size >= size
    db.close()


def newer(path: Path) -> None:
    edited(path, f"PRAGMA user_version = {VERSION + 1}")


def another_program(path: Path) -> None:
    edited(path, "PRAGMA application_id = 7")


def edited(path: Path, statement: str) -> None:
    db = sqlite3.connect(path)
    db.execute(statement)
    db.commit()
    db.close()


def no_database(path: Path) -> None:
    path.write_bytes(gzip.compress(path.read_bytes()))


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (newer, f"has journal version {VERSION + 1}, this program knows up to {VERSION}: update it"),
        (another_program, "is an SQLite file, but not a crawler's journal"),
        (no_database, "file is not a database"),
        (truncated, "database disk image is malformed"),
    ],
)
@pytest.mark.parametrize(
    "command",
    [["crawl", "http://site.test/", "--job", "stall"], ["status", "stall"], ["export", "stall", "-o", "a.jsonl"],
     ["doctor", "stall"], ["doctor", "stall", "--repair"]],
)  # fmt: skip
def test_what_is_no_journal_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: Callable[[Path], None], message: str, command: list[str]
) -> None:
    """A newer, foreign or broken file is refused in words, with exit code 1, and not a byte of it is written."""
    monkeypatch.chdir(tmp_path)
    journal = bookstall.unpacked("journal-1.tar.gz", tmp_path / "output" / "stall") / "job.db"
    damage(journal)
    before = journal.read_bytes()
    code, said = told(*command)
    assert code == 1
    assert message in said
    assert "Traceback" not in said
    assert journal.read_bytes() == before
    with pytest.raises(JournalVersionError):
        opened(journal)


@pytest.mark.parametrize("command", [["status", "stall"], ["export", "stall", "-o", "a.jsonl"], ["doctor", "stall"]])
def test_an_empty_journal_has_nothing_to_tell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    """A crawl that was killed before its first commit leaves an empty file: that is said, and nothing written."""
    monkeypatch.chdir(tmp_path)
    journal = tmp_path / "output" / "stall" / "job.db"
    journal.parent.mkdir(parents=True)
    journal.touch()
    code, said = told(*command)
    assert (code, journal.read_bytes()) == (1, b"")
    assert "is empty: the job has not begun" in said


# -- flipped bits


class Held(NamedTuple):
    """All that must never change in silence."""

    pages: list[tuple[object, ...]]
    items: list[tuple[object, ...]]


def held(journal: Path) -> Held | None:
    """What a journal holds; None if it cannot be read to its end."""
    db = apsw.Connection(str(journal), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        return Held(
            list(
                db.execute("SELECT pages.seq, origin || path, run, state FROM pages JOIN hosts ON id = host ORDER BY 1")
            ),
            list(db.execute("SELECT seq, run, page, n, kind, body, quarantine FROM items ORDER BY 1")),
        )
    except (apsw.Error, UnicodeDecodeError):
        return None
    finally:
        db.close()


def with_checksums(journal: Path) -> None:
    """Give the items of a journal the checksums that they lack."""
    db = apsw.Connection(str(journal))
    if db.execute("SELECT 1 FROM pragma_table_info('items') WHERE name = 'crc'").get is None:
        db.execute("ALTER TABLE items ADD COLUMN crc INTEGER").fetchall()
    facts = "run, page, n, CAST(kind AS BLOB), CAST(body AS BLOB), CAST(quarantine AS BLOB)"
    rows: Any = db.execute(f"SELECT seq, {facts} FROM items WHERE crc IS NULL").fetchall()
    sums = [(checks.item_crc(*row), seq) for seq, *row in rows]
    db.executemany("UPDATE items SET crc = ? WHERE seq = ?", sums)
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    db.close()


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a job with some hundred pages and items, stopped in the middle."""
    folder = tmp_path_factory.mktemp("jobs") / "stall"
    with Site.in_thread() as site:
        bookstall.put_up(site, books=BOOKS)
        crawl = bookstall.going_on(folder, site, limits=Limits(max_pages=BOOKS * 3 // 4))
        assert asyncio.run(crawl.run()).outcome == "stopped: max-pages"
    with_checksums(folder / "job.db")
    return folder


@pytest.mark.parametrize("seeds", [range(300), pytest.param(range(300, 6000), marks=pytest.mark.full)], ids=str)
@pytest.mark.timeout(600)
def test_no_flip_changes_anything_in_silence(stopped: Path, tmp_path: Path, seeds: range) -> None:
    """Whatever bit or byte of a journal changes, its pages and items are as they were, or the doctor says it.

    But for the URLs of requests with keys of their own.
    """
    shutil.copytree(stopped, tmp_path / "stall")
    journal = tmp_path / "stall" / "job.db"
    whole, sound = held(journal), journal.read_bytes()
    assert whole is not None
    assert min(map(len, whole)) > BOOKS // 2
    assert told("doctor", "stall", "--folder", str(tmp_path))[0] == 0
    codes = set()
    for seed in seeds:
        chosen = random.Random(seed)
        flipped = bytearray(sound)
        flipped[at := chosen.randrange(len(sound))] ^= chosen.choice(
            [1 << chosen.randrange(8), chosen.randrange(1, 256)]
        )
        journal.write_bytes(flipped)
        code, said = told("doctor", "stall", "--folder", str(tmp_path))
        assert held(journal) == whole or code == 1, f"seed {seed}: a change at byte {at} passed: {said}"
        codes.add(code)
    assert codes == {0, 1}


# -- what a power loss leaves: a log with a torn end


def folder_copied(folder: Path, to: Path) -> Path:
    """A copy of a job at work: the journal, its log, then the output, which is never behind its cursor."""
    to.mkdir(parents=True)
    for name in ("job.db", "job.db-wal", "items.jsonl"):
        if (folder / name).exists():
            shutil.copyfile(folder / name, to / name)
    if (folder / "files").exists():
        shutil.copytree(folder / "files", to / "files", ignore=shutil.ignore_patterns("*.part*", "*.new"))
    return to


async def copies(folder: Path, to: Path, number: int) -> list[Path]:
    """Copies of a job, made one after another while it runs."""
    made: list[Path] = []
    while len(made) < number:
        if (folder / "items.jsonl").exists():
            made.append(await asyncio.to_thread(folder_copied, folder, to / str(len(made)) / "stall"))
        await asyncio.sleep(0.005)
    return made


def damaged(log: Path, chosen: random.Random) -> None:
    """Cut a log off somewhere, or flip a bit of it."""
    data = bytearray(log.read_bytes())
    if not data:
        return
    at = chosen.randrange(len(data))
    if chosen.random() < 0.5:
        del data[at:]
    else:
        data[at] ^= 1 << chosen.randrange(8)
    log.write_bytes(data)


async def test_a_journal_copied_at_work_is_whole(tmp_path: Path) -> None:
    """Copied a hundred times while a crawl runs, some with a torn log, each is sound and goes on."""
    async with Site() as site:
        bookstall.put_up(site, books=BOOKS)
        expected = await undisturbed(tmp_path / "whole", site)
        bookstall.put_up(site, books=BOOKS, slow=0.03)
        crawl = bookstall.going_on(tmp_path / "run", site, concurrency_per_host=2)
        running = asyncio.create_task(crawl.run())
        made = await copies(tmp_path / "run", tmp_path / "copies", 100)
        assert not running.done(), "the last copy was made after the end"
        await running
        bookstall.put_up(site, books=BOOKS)
        chosen = random.Random(1)
        for copy in (going := made[9::30]):
            damaged(copy / "job.db-wal", chosen)
            # where the log lost its very beginning, nobody knows any more whose the output file was
            await bookstall.going_on(copy, site, existing="overwrite").run()
            assert lines(copy) == expected
    ended = set()
    for number, copy in enumerate(copy for copy in made if copy not in going):
        if number % 2:
            damaged(copy / "job.db-wal", chosen)
        ended.add(sound_pages(copy / "job.db"))
    assert len(ended) > 10


def sound_pages(journal: Path) -> int:
    """How many pages a journal in good order has that ended."""
    db = opened(journal)
    try:
        assert list(checks.findings(db)) == []
        return int(str(db.execute("SELECT count(*) FROM pages WHERE state <> 0").get))
    finally:
        db.close()


# -- a journal that has grown

GROWN = """
WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < :pages - 1),
p AS (SELECT i, i % :hosts + 1 AS host, format('/d%d/p%d', i / 100, i) AS path FROM n)
INSERT INTO pages(seq, host, fingerprint, path, run, state, rank, due_at, request, reason)
SELECT i + 1, host, fingerprint(path), path, 1, i % 10 = 0, i % 20, iif(host % 3, 0, 9e9),
  iif(i % 2, '{"url":"","handler":"book"}', NULL), '' FROM p"""

DERIVED = (
    """INSERT INTO hosts(id, origin, due_at) SELECT host, format('http://h%d.test', host), min(iif(state, NULL, due_at))
    FROM pages GROUP BY host""",
    "INSERT INTO runs(number, started_at, pending) SELECT 1, 0, count(*) FROM pages WHERE state = 0",
    "INSERT INTO tallies SELECT 1, 1, '', count(*) FROM pages WHERE state = 1",
)


def grown(path: Path, pages: int, hosts: int) -> None:
    """A journal of so many pages, nearly all pending, made by SQL alone."""
    path.parent.mkdir()
    db, key = opened(path), b"0123456789abcdef"
    db.create_scalar_function("fingerprint", Fingerprints(key).of, 1)  # type: ignore[arg-type]  # a path is a str
    with db:
        facts = msgspec.json.encode(JobFacts("stall"), order="deterministic").decode()
        db.execute("INSERT INTO job VALUES ('facts', ?), ('key', ?)", (facts, key)).fetchall()
        db.execute(GROWN, {"pages": pages, "hosts": hosts}).fetchall()
        for statement in DERIVED:
            db.execute(statement).fetchall()
    db.close()


async def begin_and_lease(journal: Path) -> tuple[float, list[Lease]]:
    """What it costs (s of CPU) to take a journal up, to the first pages in hand; and those."""
    began = time.process_time()
    frontier = SqliteFrontier(journal)
    await frontier.begin(JobFacts("stall"), fresh=False)
    assert await frontier.handlers() == {"book"}
    assert (await frontier.counts()).pending > 0
    leases = list((await frontier.lease(Want(100, 20, 10.0))).leases)
    spent = time.process_time() - began
    await frontier.close()
    return spent, leases


@pytest.mark.parametrize(
    ("pages", "limit"), [(100_000, 0.5), pytest.param(1_000_000, 1.5, marks=pytest.mark.full)], ids=str
)
@pytest.mark.parametrize("hosts", [4000, 1])
@pytest.mark.timeout(300)
async def test_a_large_journal_opens_at_once(tmp_path: Path, pages: int, limit: float, hosts: int) -> None:
    """With a million pages pending, on many hosts or on one, the first lease comes within a second or so."""
    journal = tmp_path / "stall" / "job.db"
    await asyncio.to_thread(grown, journal, pages, hosts)
    spent, leases = await begin_and_lease(journal)
    assert spent < limit
    assert [len(lease.pages) for lease in leases] == [20] * min(100, hosts)
    began = time.process_time()
    code, said = told("status", "stall", "--folder", str(tmp_path))
    assert time.process_time() - began < limit
    assert f"{pages // 10 * 9:,} pending" in said, said
    assert (code, told("doctor", "stall", "--folder", str(tmp_path))[0]) == (0, 0)


def test_the_status_of_an_older_journal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A journal of version 1 that nobody has gone on with yet can be looked at."""
    bookstall.unpacked("journal-1.tar.gz", tmp_path / "stall")
    assert main(["status", "stall", "--folder", str(tmp_path)]) == 0
    assert "run 1: " in capsys.readouterr().out


async def test_a_journal_of_version_1_is_visited_again(tmp_path: Path) -> None:
    """What an older version left half done can be gone on with by visiting its pages again; none is forgotten."""
    async with Site() as site:
        bookstall.put_up(site)
        folder = bookstall.unpacked("journal-1.tar.gz", tmp_path / "stall")
        bookstall.moved(folder, site.port)
        summary = await bookstall.going_on(folder, site, revisit="1d", limits=Limits(max_time=4.0)).run()
    assert (summary.outcome, summary.counts.pending) == ("stopped: max-time", 0)
    journal = readable(folder / "job.db")
    assert list(checks.findings(journal)) == []
    unplanned = """SELECT path FROM pages WHERE revisit_at IS NULL AND state IN (1, 2, 4)
      AND coalesce(request->>'kind', 'page') = 'page'"""
    assert journal.execute(unplanned).fetchall() == [("/search",)]  # a POST
    journal.close()
