"""``crawler doctor --repair`` mends what the journal itself proves, says so, and leaves everything else alone."""

import asyncio
import contextlib
import io
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from aiohttp import web

from crawler import Crawl
from crawler.__main__ import main
from crawler.frontier.sqlite import SqliteFrontier
from crawler.testing import Site
from tests import bookstall

BOOKS = 40


class Stopped(NamedTuple):
    """A job stopped in the middle, the site it may go on with, and the items that it must end with."""

    folder: Path
    site: Site
    expected: list[str]


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stopped]:
    jobs = tmp_path_factory.mktemp("jobs")
    with Site.in_thread() as site:
        bookstall.put_up(site, books=BOOKS)
        asyncio.run(bookstall.going_on(jobs / "whole", site).run())
        crawl = bookstall.going_on(jobs / "stall", site, concurrency_per_host=2)
        asyncio.run(until_downloaded(crawl, site, jobs / "stall"))
        yield Stopped(jobs / "stall", site, lines(jobs / "whole"))


async def until_downloaded(crawl: Crawl, site: Site, folder: Path) -> None:
    """Stop `crawl` when it has downloaded; the last shelf answers after that, so that its books are left to do."""
    downloaded = threading.Event()

    async def last_shelf(_request: web.Request) -> web.Response:
        await asyncio.to_thread(downloaded.wait)
        books = (f'<a class="book" href="/book/{BOOKS - 10 + n}">book</a>' for n in range(10))
        return web.Response(text="".join(books), content_type="text/html")

    site.answer(f"/shelf/{BOOKS // 10 - 1}", last_shelf, times=1)
    async with crawl:
        while not (folder / "files" / "objects").exists() or crawl.progress().counts.quarantined < 2:  # noqa: ASYNC110  # no events
            await asyncio.sleep(0.01)
        crawl.stop()
        downloaded.set()
        summary = await crawl.ended()
    assert summary.outcome != "finished"


@pytest.fixture
def stall(stopped: Stopped, tmp_path: Path) -> Path:
    """A copy of the stopped job for one test."""
    return moved(stopped.folder, tmp_path, stopped.site)


def moved(folder: Path, to: Path, site: Site) -> Path:
    copy = Path(shutil.copytree(folder, to / "stall"))
    bookstall.moved(copy, site.port)
    return copy


def lines(folder: Path) -> list[str]:
    return sorted((folder / "items.jsonl").read_text().splitlines())


def doctor(folder: Path, *options: str) -> tuple[int, str]:
    """Its exit code, and all that it says."""
    words = ["doctor", folder.name, "--folder", str(folder.parent), *options]
    with contextlib.redirect_stdout(io.StringIO()) as said, contextlib.redirect_stderr(said):
        return main(words), said.getvalue()


def edit(folder: Path, *statements: str) -> None:
    db = sqlite3.connect(folder / "job.db")
    for statement in statements:
        db.execute(statement)
    db.commit()
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()


def rows(journal: Path, question: str) -> list[tuple[object, ...]]:
    db = sqlite3.connect(journal)
    found = db.execute(question).fetchall()
    db.close()
    return found


def copies(folder: Path) -> list[Path]:
    return sorted(folder.glob("job.db.before-repair-*"))


def stale_index(
    folder: Path, name: str = "pages_pending", change: str = "UPDATE pages SET rank = rank + 1 WHERE state = 0"
) -> None:
    """Let an index lag behind its table, as a lost write does."""
    (entry,) = rows(folder / "job.db", f"SELECT * FROM sqlite_schema WHERE name = '{name}'")
    edit(folder, "PRAGMA writable_schema = ON", f"DELETE FROM sqlite_schema WHERE name = '{name}'")
    edit(folder, change)
    shown = ", ".join(f"'{value}'" if isinstance(value, str) else str(value) for value in entry)
    edit(folder, "PRAGMA writable_schema = ON", f"INSERT INTO sqlite_schema VALUES ({shown})")


DAMAGES: dict[str, tuple[str | Callable[[Path], None], str, str]] = {
    "pending": ("UPDATE runs SET pending = 1000", "count of pending pages is wrong: 1, 1000", "pending pages counted"),
    "items": ("UPDATE runs SET items = items + 4", "count of items is wrong", "items counted anew (1)"),
    "quarantined": ("UPDATE runs SET quarantined = 0, items = items + quarantined", "count of items", "items counted"),
    "bytes": ("UPDATE runs SET item_bytes = 1", "count of items is wrong", "items counted anew (1)"),
    "tallies": ("UPDATE tallies SET pages = pages + 1 WHERE state = 1", "tallies do not add up", "are counted anew"),
    "no tallies": ("DELETE FROM tallies", "tallies do not add up", "tallies are counted anew"),
    "owner": (
        "UPDATE hosts SET owner = 77",
        "a host whose owner is unknown",
        "hosts are free whose engine is gone (3)",
    ),
    "no due time": ("UPDATE hosts SET due_at = NULL", "pending page and no due time", "hosts are due when the first"),
    "vain due time": (
        "UPDATE hosts SET due_at = 5 WHERE origin LIKE 'start%'",
        "no pending page",
        "hosts are due when",
    ),
    "finished": (
        "UPDATE runs SET finished_at = 9",
        "a finished run with a pending page",
        "with pending pages go on (1)",
    ),
    "sink ahead": ("UPDATE sinks SET seq = seq + 999", "a sink ahead of the items", "get their items again"),
    "sink behind": ("UPDATE sinks SET seq = seq - 5", "place is not where its items end", "get their items again"),
    "index": (stale_index, "missing from index pages_pending", "all indexes are built anew"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_what_the_journal_proves_is_mended(stopped: Stopped, stall: Path, name: str) -> None:
    """The damage is told without being touched; mended when told to, after a copy is made; and the crawl goes on."""
    damage, wrong, repaired = DAMAGES[name]
    if callable(damage):
        damage(stall)
    else:
        edit(stall, damage)
    before = (stall / "job.db").read_bytes()
    code, said = doctor(stall)
    assert code == 1
    assert wrong in said
    assert "'crawler doctor --repair' mends it\n" in said
    assert ((stall / "job.db").read_bytes(), copies(stall)) == (before, [])
    code, said = doctor(stall, "--repair")
    assert code == 0, said
    assert repaired in said
    (copy,) = copies(stall)
    assert f"repair: the journal as it was is {copy}\n" in said
    assert rows(copy, "SELECT * FROM runs, sinks, hosts") == rows_of(before, stall, "SELECT * FROM runs, sinks, hosts")
    assert asyncio.run(bookstall.going_on(stall, stopped.site).run()).outcome == "finished"
    assert lines(stall) == stopped.expected
    assert doctor(stall)[0] == 0


def test_pages_of_an_older_run_join_the_last(stall: Path) -> None:
    """Pages that an older run left pending are the last run's, so that they are fetched and counted there."""
    ((pending,),) = rows(stall / "job.db", "SELECT count(*) FROM pages WHERE state = 0")
    edit(stall, "INSERT INTO runs(number, started_at) VALUES (2, 9.0)")
    assert "an older run that is not finished: 1" in doctor(stall)[1]
    code, said = doctor(stall, "--repair")
    assert code == 0
    assert "older runs end where the next one began (1)" in said
    assert rows(stall / "job.db", "SELECT pending, finished_at FROM runs") == [(0, 9.0), (pending, None)]


def rows_of(data: bytes, folder: Path, question: str) -> list[tuple[object, ...]]:
    (folder.parent / "was.db").write_bytes(data)
    return rows(folder.parent / "was.db", question)


@pytest.mark.parametrize(
    ("damage", "wrong"),
    [
        ("UPDATE pages SET path = '/book/x1' WHERE path = '/book/1'", "a page whose URL is not what it was: "),
        ("UPDATE items SET body = '{' WHERE seq = 2", "an item that is not what it was: 2"),
        ("DELETE FROM items WHERE seq = 2", "a number that a page or an item lacks: items"),
        ("DELETE FROM pages WHERE seq = 9", "a number that a page or an item lacks: pages"),
        ("UPDATE pages SET state = 7 WHERE seq = 9", "a page of no host, no run or no state: 9"),
        ("DELETE FROM job WHERE key = 'key'", "the key of the fingerprints: gone"),
        ("ALTER TABLE events RENAME COLUMN kind TO king", "the layout of the tables: events"),
    ],
)
def test_what_would_be_guessed_is_told_only(stall: Path, damage: str, wrong: str) -> None:
    """What was lost cannot be proved: it is said, with what to do, before and after a repair."""
    edit(stall, damage)
    code, said = doctor(stall)
    assert code == 1
    assert wrong in said
    assert "save what it holds with 'crawler export'" in said
    code, said = doctor(stall, "--repair")
    assert code == 1
    assert wrong in said


def test_no_repair_beside_a_crawl(stall: Path) -> None:
    """A job that runs is not repaired: exit code 2, nothing copied, nothing changed."""
    edit(stall, "UPDATE runs SET pending = 1000")
    engine = SqliteFrontier(stall / "job.db")
    code, said = doctor(stall, "--repair")
    asyncio.run(engine.close())
    assert code == 2
    assert "stop it before you repair its journal" in said
    assert copies(stall) == []
    assert rows(stall / "job.db", "SELECT pending FROM runs") == [(1000,)]


def test_a_sound_job_is_left_alone(stall: Path) -> None:
    """Where nothing is wrong, --repair changes nothing and makes no copy."""
    before = (stall / "job.db").read_bytes()
    code, said = doctor(stall, "--repair")
    assert (code, said) == (0, "job stall: the journal, its sinks and its downloads are as they should be\n")
    assert ((stall / "job.db").read_bytes(), copies(stall)) == (before, [])


# -- output files


@pytest.fixture(scope="module", params=["items.jsonl", "items.csv", "items.jsonl.gz", "items.csv.zst"])
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, stopped: Stopped) -> Path:
    """The output file of a finished job."""
    folder = tmp_path_factory.mktemp("finished") / "stall"
    asyncio.run(bookstall.going_on(folder, stopped.site, output=request.param).run())
    return folder / str(request.param)


@pytest.mark.parametrize("damage", ["gone", "empty", "short", "lacks items"])
def test_an_output_file_is_written_again(whole: Path, tmp_path: Path, stopped: Stopped, damage: str) -> None:
    """A finished run's file that is gone, short or not at its end holds the run's items again, as it held them."""
    folder = moved(whole.parent, tmp_path, stopped.site)
    output = folder / whole.name
    match damage:
        case "gone":
            output.unlink()
        case "empty":
            output.write_bytes(b"")
        case "short":
            output.write_bytes(output.read_bytes()[:-7])
        case "lacks items":
            columns = rows(folder / "job.db", "SELECT position ->> 'columns' FROM sinks")[0][0]
            begun = f'{{"offset": 0, "start": 0, "columns": {columns}}}'
            edit(folder, f"UPDATE sinks SET seq = 0, position = '{begun}'")
            output.write_bytes(b"")
    code, said = doctor(folder)
    assert code == 1
    assert "'crawler export' writes its items to a new file; 'crawler doctor --repair' mends it" in said
    code, said = doctor(folder, "--repair")
    assert code == 0, said
    assert f"repair: {output} holds the items of run 1\n" in said
    assert unpacked(output) == unpacked(whole)


def unpacked(path: Path) -> bytes:
    from crawler.sinks.compressed import PACKINGS

    with PACKINGS[path.suffix if path.suffix in PACKINGS else ""].reading(path) as stream:
        return stream.read()


def test_a_file_that_another_program_changed_is_kept(tmp_path: Path, stopped: Stopped, whole: Path) -> None:
    """What others wrote is not cut off, whatever the journal would have there."""
    folder = moved(whole.parent, tmp_path, stopped.site)
    output = folder / whole.name
    output.write_bytes(edited := output.read_bytes() + b"a note of mine\n")
    code, said = doctor(folder, "--repair")
    assert code == 1
    assert "is longer by 15 bytes than what was written to it: another program changed it" in said
    assert output.read_bytes() == edited


# -- what the dead leave


def test_what_a_killed_engine_left_is_no_fault(tmp_path: Path) -> None:
    """A killed process leaves its hosts and its lock file: that is told as harmless, and cleared when told to."""
    folder = bookstall.unpacked("journal-1.tar.gz", tmp_path / "stall")
    bookstall.moved(folder, 80)
    code, said = doctor(folder)
    assert code == 0
    assert "left over: what 1 engine held that died: the next crawl clears it away, and --repair does\n" in said
    code, said = doctor(folder, "--repair")
    assert code == 0
    assert "hosts are free whose engine is gone (" in said
    assert "left over" not in said
    assert list(folder.glob("engine-*.lock")) == []
    assert rows(folder / "job.db", "SELECT count(owner), (SELECT count(*) FROM engines) FROM hosts") == [(0, 0)]


def test_stored_bytes_of_no_download_are_deleted(stall: Path) -> None:
    """Only bytes that no row of the journal and no other name stands for go, and only when told to."""
    objects = stall / "files" / "objects"
    (recorded,) = objects.iterdir()
    names = {letter: objects / (letter * 64) for letter in "abc"}
    for path in names.values():
        path.write_bytes(b"12345")
    (stall / "files" / "0001" / "linked.pdf").hardlink_to(names["b"])
    (stall / "files" / "0001" / "half.pdf.part").write_bytes(b"123")
    (objects / "notes.txt").write_text("mine")
    edit(stall, f"INSERT INTO files SELECT 1, 1, 'files/0001/{recorded.name}', 5, '{'c' * 64}'")
    names["c"].rename(stall / "files" / "0001" / recorded.name)
    (objects / ("c" * 64)).write_bytes(b"12345")
    code, said = doctor(stall)
    assert code == 0
    assert "left over: 1 file of no download below files/objects, 5 bytes: --repair deletes them\n" in said
    assert names["a"].exists()
    code, said = doctor(stall, "--repair")
    assert code == 0
    assert f"repair: {names['a']} (5 bytes), of no download, is deleted\n" in said
    assert {path.name for path in objects.iterdir()} == {recorded.name, "b" * 64, "c" * 64, "notes.txt"}
    assert (stall / "files" / "0001" / "half.pdf.part").exists()


# -- what SQLite itself cannot read


def broken(folder: Path, table: str) -> bytes:
    """Overwrite the first page of a table; what the file holds then."""
    ((root,),) = rows(folder / "job.db", f"SELECT rootpage FROM sqlite_schema WHERE name = '{table}'")
    data = bytearray((folder / "job.db").read_bytes())
    start = (int(str(root)) - 1) * 4096
    data[start : start + 100] = b"\xff" * 100
    (folder / "job.db").write_bytes(data)
    return bytes(data)


def test_a_broken_table_is_saved_not_mended(stall: Path) -> None:
    """When the pages' table is unreadable, nothing is changed, and 'crawler export' saves the items."""
    data = broken(stall, "pages")
    code, said = doctor(stall, "--repair")
    assert code == 1
    assert "save what it holds with 'crawler export'" in said
    assert ((stall / "job.db").read_bytes(), copies(stall)) == (data, [])
    output = stall.parent / "saved.jsonl"
    with contextlib.redirect_stderr(io.StringIO()):
        assert main(["export", "stall", "--folder", str(stall.parent), "-o", str(output)]) == 0
    assert sorted(output.read_text().splitlines()) == lines(stall)


def test_a_broken_file_is_not_mended_in_part(stall: Path) -> None:
    """Beside damage that lasts, nothing else is mended: the rows that would be counted may be lost."""
    edit(stall, "UPDATE runs SET pending = 1000")
    twice = "UPDATE pages SET (host, fingerprint) = (SELECT host, fingerprint FROM pages WHERE seq = 9) WHERE seq = 10"
    stale_index(stall, "pages_fingerprint", twice)
    data = (stall / "job.db").read_bytes()
    code, said = doctor(stall, "--repair")
    assert code == 1
    assert "repair: nothing was changed: an index cannot be built anew: " in said
    assert (stall / "job.db").read_bytes() == data
