"""The SQLite journal keeps the frontier's promises, and some of its own."""

import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import apsw
import pytest

from crawler.errors import JournalVersionError, StorageFull
from crawler.frontier import Frontier, JobFacts, Parting, Want, queries
from crawler.frontier.schema import opened, readable
from crawler.frontier.sqlite import SqliteFrontier
from crawler.models import Clock, Link
from tests.frontier_contract import JOB, Desk, FrontierContract, Now

ABC = ["http://a.test", "http://b.test", "http://c.test"]


class TestSqliteFrontier(FrontierContract):
    """In memory."""

    async def open(self, now: Now) -> Frontier:
        return SqliteFrontier(":memory:", clock=Clock(now, now))


class TestSqliteFile(FrontierContract):
    """In a file."""

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.folder = tmp_path

    async def open(self, now: Now) -> Frontier:
        return SqliteFrontier(self.folder / "job.db", clock=Clock(now, now))

    async def test_a_second_engine(self, desk: Desk) -> None:
        """Two engines share a journal; what one holds the other leaves, and takes when it is given back."""
        other = SqliteFrontier(self.folder / "job.db", clock=Clock(desk.now, desk.now))
        await other.begin(JOB, fresh=False)
        await desk.add("http://a.test/")
        lease = await desk.lease_one()
        want = Want(10, 10, 10.0)
        assert (await other.lease(want)).leases == []
        assert (await other.renew()).freed == 0
        await desk.release(lease)
        assert len((await other.lease(want)).leases) == 1
        await other.close()
        assert len(await desk.lease()) == 1

    async def test_a_group_is_one_engines(self, desk: Desk) -> None:
        """A group that one engine holds no other joins, nor gets any of its hosts, until the last of them is free."""
        other = SqliteFrontier(self.folder / "job.db", clock=Clock(desk.now, desk.now))
        await other.begin(JOB, fresh=False)
        await desk.add("http://a.test/", "http://b.test/", "http://c.test/")
        first, second, third = (await desk.frontier.lease(Want(0, 9, 10.0, origins=ABC))).leases
        await desk.frontier.release([Parting(third.host, third.token, 0.0)])
        for lease in (first, second):
            assert await desk.frontier.join(lease.host, lease.token, {"key": 1.0}) is not None
        named = Want(0, 10, 10.0, origins=ABC)
        (strange,) = (await other.lease(named)).leases
        assert await other.join(strange.host, strange.token, {"key": 1.0}) is None
        await other.release([Parting(strange.host, strange.token, 0.0, groups={"key": 0.0})])
        assert (await other.lease(named)).leases == []
        assert (await other.lease(Want(10, 10, 10.0))).leases == []
        assert (await other.counts()).next_due_at is None
        await desk.release(first)
        assert (await other.lease(named)).leases == []
        await desk.release(second)
        assert len((await other.lease(named)).leases) == 3
        assert await other.violations() == []
        await other.close()

    async def test_hosts_of_ones_own_groups_come_first(self, desk: Desk) -> None:
        """Hosts that nobody else can ask are not left for others, though an engine has its share already."""
        other = SqliteFrontier(self.folder / "job.db", clock=Clock(desk.now, desk.now))
        await other.begin(JOB, fresh=False)
        await desk.add("http://a.test/", "http://b.test/", "http://c.test/")
        leases = (await desk.frontier.lease(Want(0, 9, 10.0, origins=ABC))).leases
        for lease in leases:
            await desk.frontier.join(lease.host, lease.token, {"key": 1.0})
        for lease in leases[1:]:
            await desk.release(lease)
        assert len(await desk.lease()) == 2
        await other.close()

    async def test_who_takes_a_group_over_waits(self, desk: Desk) -> None:
        """What a dead engine held of groups is free after their pause, whichever of their hosts is asked then."""
        await desk.add("http://a.test/")
        lease = await desk.lease_one()
        await desk.frontier.join(lease.host, lease.token, {"key": 9.0})
        assert isinstance(desk.frontier, SqliteFrontier)
        desk.frontier._lock.close()
        other = SqliteFrontier(self.folder / "job.db", clock=Clock(desk.now, desk.now))
        await other.begin(JOB, fresh=False)
        desk.now.time += 1.0
        (again,) = (await other.lease(Want(10, 10, 10.0))).leases
        assert list(again.groups["key"]) == [desk.now() - 1.0 + 9.0, 9.0]
        await other.close()

    async def test_seeds_of_others(self, desk: Desk) -> None:
        """An engine learns of seeds that another has added, once; of its own it knows."""
        other = SqliteFrontier(self.folder / "job.db", clock=Clock(desk.now, desk.now))
        await other.begin(JOB, fresh=False)
        await desk.frontier.add([desk.link("http://a.test/", seed=True)])
        want = Want(0, 1, 10.0)
        assert (await desk.frontier.lease(want)).seeds is None
        seeds = (await other.lease(want)).seeds
        assert seeds is not None
        assert seeds.hosts == ("http://a.test",)
        assert (await other.lease(want)).seeds is None
        await other.close()

    async def test_fresh_needs_the_job_for_itself(self, desk: Desk) -> None:
        """A job that runs is not started over."""
        other = SqliteFrontier(self.folder / "job.db", clock=Clock(desk.now, desk.now))
        with pytest.raises(Exception, match="running"):
            await other.begin(JOB, fresh=True)
        await other.close()


KILLED = """
import asyncio, os, sys, time
from crawler.frontier import JobFacts, Want
from crawler.frontier.sqlite import SqliteFrontier
from crawler.models import Link
async def main():
    frontier = SqliteFrontier(sys.argv[1])
    await frontier.begin(JobFacts("books"), fresh=False)
    await frontier.add([Link("http://a.test", 1, "/", 0, 0)])
    assert (await frontier.lease(Want(1, 1, 10.0))).leases
    print("leased", flush=True)
    time.sleep(60)
asyncio.run(main())
"""


async def test_the_hosts_of_a_killed_engine_are_free_at_once(tmp_path: Path) -> None:
    """A restart need not wait for leases to run out, only for the host's own pause."""
    journal = tmp_path / "job.db"
    child = subprocess.Popen([sys.executable, "-c", KILLED, str(journal)], stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == b"leased\n"
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    frontier = SqliteFrontier(journal, default_delay=5.0)
    await frontier.begin(JobFacts("books"), fresh=False)
    (lease,) = (await frontier.lease(Want(1, 1, 10.0))).leases
    assert lease.pages
    assert 3.0 < lease.ready_at - journal.stat().st_mtime < 6.0
    await frontier.close()
    assert list(tmp_path.glob("*.lock")) == []


def test_a_foreign_file_is_refused(tmp_path: Path) -> None:
    """A file that is not a journal is told apart before anything is written to it."""
    (tmp_path / "text.db").write_text("not a database" * 100)
    other = sqlite3.connect(tmp_path / "other.db")
    other.execute("CREATE TABLE t(x)")
    other.close()
    before = (tmp_path / "other.db").read_bytes()
    for name in ("text.db", "other.db"):
        with pytest.raises(JournalVersionError):
            opened(tmp_path / name)
    assert (tmp_path / "other.db").read_bytes() == before


def test_a_newer_journal_is_refused(tmp_path: Path) -> None:
    """A journal of a later version is left alone."""
    journal = opened(tmp_path / "job.db")
    journal.pragma("user_version", 99)
    journal.close()
    with pytest.raises(JournalVersionError, match="99"):
        opened(tmp_path / "job.db")


def test_reading_writes_nothing(tmp_path: Path) -> None:
    """A journal can be queried while a crawl runs, by a connection that cannot write."""
    opened(tmp_path / "job.db").close()
    reader = readable(tmp_path / "job.db")
    assert reader.execute("SELECT count(*) FROM urls").fetchone() == (0,)
    with pytest.raises(Exception, match="readonly"):
        reader.execute("DELETE FROM pages")
    reader.close()


async def test_a_rollback_that_sqlite_makes_by_itself(tmp_path: Path) -> None:
    """On a full disk SQLite may end the transaction with the statement: what was learned in it is forgotten as well."""
    frontier = SqliteFrontier(tmp_path / "job.db")
    await frontier.begin(JOB, fresh=False)
    link = Link("http://a.test", 1, "/", 0, 0)

    def fails() -> None:
        frontier._add([link])
        frontier._journal.execute("ROLLBACK")
        raise apsw.IOError("disk I/O error")

    with pytest.raises(StorageFull):
        frontier._journal.transaction(fails)
    await frontier.add([link])
    assert await frontier.violations() == []
    (lease,) = (await frontier.lease(Want(1, 10, 10.0))).leases
    assert [page.request.url for page in lease.pages] == ["http://a.test/"]
    await frontier.close()


def test_two_processes_begin_one_journal(tmp_path: Path) -> None:
    """While another process turns the same new file into a journal, opening it waits."""
    other = apsw.Connection(str(tmp_path / "job.db"))
    other.execute("BEGIN IMMEDIATE").fetchall()
    done = threading.Timer(0.1, other.close)
    done.start()
    journal = opened(tmp_path / "job.db")
    assert journal.pragma("journal_mode") == "wal"
    journal.close()
    done.join()


async def test_a_journal_without_its_version(tmp_path: Path) -> None:
    """A journal that has lost its version is refused, before anything is written."""
    file = tmp_path / "job.db"
    frontier = SqliteFrontier(file)
    await frontier.begin(JOB, fresh=False)
    await frontier.close()
    with sqlite3.connect(file) as journal:
        journal.execute("PRAGMA user_version = 0")
    journal.close()
    before = file.read_bytes()
    for open_it in (opened, readable):
        with pytest.raises(JournalVersionError, match="does not say its version"):
            open_it(file)
    assert file.read_bytes() == before


@pytest.mark.parametrize(
    "damage",
    ["DROP TABLE tallies", "UPDATE job SET value = '{\"spider' WHERE key = 'facts'"],
)
async def test_a_journal_that_is_out_of_shape(tmp_path: Path, damage: str) -> None:
    """A journal whose tables or rows cannot be what was written is told as damaged, not as a bug."""
    frontier = SqliteFrontier(tmp_path / "job.db")
    await frontier.begin(JOB, fresh=False)
    await frontier.close()
    with sqlite3.connect(tmp_path / "job.db") as journal:
        journal.execute(damage)
    journal.close()
    frontier = SqliteFrontier(tmp_path / "job.db")

    async def use() -> None:
        await frontier.begin(JOB, fresh=False)
        await frontier.counts()

    with pytest.raises(JournalVersionError, match="damaged"):
        await use()
    await frontier.close()


async def test_new_pages_are_found_by_their_numbers(tmp_path: Path) -> None:
    """What a commit added is looked up at the end of the pages, however many there are: never by all of them."""
    frontier = SqliteFrontier(tmp_path / "job.db")
    await frontier.close()
    with readable(tmp_path / "job.db") as db:
        plan = [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {queries.BEST_NEW}", (0,))]
    assert "SEARCH pages USING INTEGER PRIMARY KEY (rowid>?)" in plan
    assert not any(step.startswith("SCAN pages") for step in plan)


async def test_only_hosts_that_are_asked_for_are_looked_at(tmp_path: Path) -> None:
    """More pages for some hosts cost the same however many hosts the engine holds."""
    frontier = SqliteFrontier(tmp_path / "job.db")
    await frontier.close()
    bindings = {"asked": "[]", "limit": 1, "engine": 1, "now": 0.0, "run": 1, "counts_taken": False}
    with readable(tmp_path / "job.db") as db:
        plan = [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {queries.LEASED}", bindings)]
    assert plan[:2] == ["SCAN a VIRTUAL TABLE INDEX 1:", "SEARCH h USING INTEGER PRIMARY KEY (rowid=?)"]
    assert "SEARCH pages USING INDEX pages_pending (host=?)" in plan
