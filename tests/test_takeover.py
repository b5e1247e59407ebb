"""Who takes over from whom: engines that die, that stand still, that are killed by a page; and clocks that are set."""

import asyncio
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import pytest

from crawler import Crawl, Limits, Response, Spider
from crawler.export import Exporter
from crawler.frontier import Want
from crawler.frontier.liveness import SLOTS, EngineLock, wipe
from crawler.frontier.liveness import marks as marks_in
from crawler.frontier.schema import opened
from crawler.frontier.sqlite import SqliteFrontier
from crawler.models import DEATH, SUSPECT_DEATHS, Clock, Item, State
from crawler.sinks import sink_for
from crawler.testing import Site
from tests.frontier_contract import JOB, Desk, Now
from tests.test_engine import links_to, path_of, spider

ALL = Want(10, 100, 10.0)


class Machine:
    """Several engines on one journal, with a wall clock and a clock since boot."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.now, self.boot = folder, Now(), Now()
        self.desks: list[Desk] = []

    async def engine(self, supervisor: int | None = None) -> Desk:
        file = self.folder / "job.db"
        frontier = SqliteFrontier(file, clock=Clock(self.boot, self.now), supervisor=supervisor)
        self.desks.append(Desk(frontier, await frontier.begin(JOB, fresh=False), self.now))
        return self.desks[-1]

    def kill(self, desk: Desk, *inside: int) -> None:
        """Let an engine die as by SIGKILL, while these pages (seq) were inside a handler."""
        self.desks.remove(desk)
        lock = lock_of(desk)
        for page in inside:
            lock.enter(page)
        assert lock._own is not None
        marks = lock._own.read_bytes()
        own = lock._own
        lock.close()
        own.write_bytes(marks)  # the kernel drops the lock, not the file

    def pass_time(self, seconds: float) -> None:
        self.now.time += seconds
        self.boot.time += seconds


def lock_of(desk: Desk) -> EngineLock:
    return cast("SqliteFrontier", desk.frontier)._lock


@pytest.fixture
async def machine(tmp_path: Path) -> AsyncIterator[Machine]:
    machine = Machine(tmp_path)
    yield machine
    assert await machine.desks[-1].frontier.violations() == []
    for desk in machine.desks:
        await desk.frontier.close()


async def seqs(desk: Desk) -> list[int]:
    """The pages of the one host, once the delay after a takeover is over."""
    desk.now.time += 10
    return [page.seq for page in (await desk.lease_one()).pages]


# -- engines that stand still


async def test_an_engine_that_stands_still(machine: Machine) -> None:
    """An engine that has not said for half a minute that it lives is dead, though it still holds its lock."""
    first, second = await machine.engine(), await machine.engine()
    await first.add("http://a.test/")
    lease = await first.lease_one()
    machine.pass_time(29)
    assert (await second.frontier.renew()).freed == 0
    machine.pass_time(2)
    assert (await second.frontier.renew()).freed == 1
    machine.pass_time(2)
    assert await second.lease()
    stale = first.visit(lease)
    assert (await first.frontier.commit([stale])).refused == {0}
    assert (await first.frontier.renew()).was_buried
    assert not (await first.frontier.renew()).was_buried


async def test_an_engine_that_was_buried_is_one_again(machine: Machine) -> None:
    """An engine that wakes after others took it for dead becomes an engine again, with a lock that others see."""
    first, second = await machine.engine(), await machine.engine()
    machine.pass_time(20)
    await second.frontier.renew()
    machine.pass_time(11)
    await second.frontier.renew()
    assert (await first.frontier.renew()).was_buried
    await first.add("http://a.test/")
    lease = await first.lease_one()
    assert (await second.frontier.renew()).freed == 0
    assert (await first.frontier.commit([first.visit(lease)])).refused == frozenset()


async def test_all_stand_still(machine: Machine) -> None:
    """When all engines stood still, as by Ctrl-Z, none takes another for dead, and no page is put under suspicion."""
    first, second = await machine.engine(), await machine.engine()
    await first.add("http://a.test/")
    lease = await first.lease_one()
    lock_of(first).enter(lease.pages[0].seq)
    machine.pass_time(100)
    assert [(await desk.frontier.renew()).was_buried for desk in (second, first, second)] == [False] * 3
    assert (await first.frontier.commit([first.visit(lease)])).refused == frozenset()


# -- pages that kill


async def test_three_deaths(machine: Machine) -> None:
    """A page inside a handler at three deaths has failed; after two it is under suspicion; others are not charged."""
    desk = await machine.engine()
    await desk.add("http://a.test/good", "http://a.test/bad")
    good, bad = [page.seq for page in (await desk.lease_one()).pages]
    for deaths in (1, 2):
        machine.kill(desk, bad)
        desk = await machine.engine()
        machine.pass_time(10)
        found = {page.seq: page for page in (await desk.lease_one()).pages}
        assert (found[bad].deaths, found[good].deaths) == (deaths * DEATH, 0)
        assert found[bad].is_suspect == (deaths == 2)
    machine.kill(desk, bad)
    desk = await machine.engine()
    assert await seqs(desk) == [good]
    counts = await desk.frontier.counts()
    assert (counts.pending, counts.failed, counts.reasons) == (1, 1, {"failed: killed the process": 1})


@pytest.mark.parametrize("survives", [True, False], ids=["alone", "with its supervisor"])
async def test_who_died_with_it(machine: Machine, survives: bool) -> None:
    """Where the supervisor died too, as when an operator ends all, the page is hardly blamed: it takes twelve times."""
    with subprocess.Popen(["sleep", "60"]) as supervisor:
        if not survives:
            supervisor.kill()
            supervisor.wait()
        desk = await machine.engine(supervisor.pid)
        await desk.add("http://a.test/")
        lives = 0
        while (await desk.frontier.counts()).pending:
            machine.pass_time(10)
            (page,) = (await desk.lease_one()).pages
            machine.kill(desk, page.seq)
            desk = await machine.engine(supervisor.pid)
            lives += 1
        supervisor.kill()
    assert lives == (3 if survives else 12)


async def test_an_async_handler_is_blamed_while_it_runs(tmp_path: Path) -> None:
    """Only while its own code runs is a page marked, in a thread too; not while it waits."""
    marks: dict[str, list[int]] = {}

    def mark(what: str) -> None:
        (found,) = {tuple(marks_in(path) or ()) for path in (tmp_path / "tested").glob("engine-*.lock")}
        marks[what] = list(found)

    async def parse(self: Spider, _response: Response) -> AsyncIterator[object]:
        mark("at first")
        asyncio.get_running_loop().call_later(0.02, mark, "while it waits")
        await asyncio.sleep(0.05)
        mark("after")
        await self.in_thread(mark, "in a thread")
        yield {"x": 1}

    async with Site() as site:
        site.page("/", "x")
        await Crawl(spider(parse, site.url("/")), folder=tmp_path, settings=site.settings).run()
    seen = {what: len(found) for what, found in marks.items()}
    assert seen == {"at first": 1, "while it waits": 0, "after": 1, "in a thread": 1}


async def test_a_commit_clears_a_page(machine: Machine) -> None:
    """A page that came to an end in a living process is no longer under suspicion, even if it is tried again."""
    desk = await machine.engine()
    await desk.add("http://a.test/")
    for _ in range(2):
        (page,) = (await desk.lease_one()).pages
        machine.kill(desk, page.seq)
        desk = await machine.engine()
        machine.pass_time(10)
    lease = await desk.lease_one()
    assert lease.pages[0].is_suspect
    await desk.frontier.commit([desk.visit(lease, state=State.PENDING, charged=True)])
    await desk.release(lease)
    assert (await desk.lease_one()).pages[0].deaths == 0


async def test_killed_on_purpose(machine: Machine) -> None:
    """A death whose breadcrumb was wiped, as a supervisor does that has killed by itself, is put down to no page."""
    desk = await machine.engine()
    await desk.add("http://a.test/")
    (page,) = (await desk.lease_one()).pages
    machine.kill(desk, page.seq)
    (left,) = machine.folder.glob("engine-*.lock")
    wipe(left)
    desk = await machine.engine()
    machine.pass_time(10)
    assert (await desk.lease_one()).pages[0].deaths == 0


def test_a_breadcrumb_that_is_full(tmp_path: Path) -> None:
    """More pages inside a handler than there is room for leave no mark, and harm nothing."""
    lock = EngineLock(tmp_path)
    lock.take(1)
    slots = [lock.enter(page) for page in range(1, SLOTS + 3)]
    assert slots[-2:] == [-1, -1]
    for slot in slots[1:]:
        lock.leave(slot)
    assert EngineLock(tmp_path).remove(1) == [1]
    lock.close()


async def test_a_suspect_is_tried_alone(tmp_path: Path) -> None:
    """A page under suspicion is asked for when nothing else is under way, and nothing else is until it has ended."""
    inside: set[str] = set()
    beside: dict[str, set[str]] = {}

    async def parse(_self: object, response: Response) -> AsyncIterator[object]:
        inside.add(path_of(response))
        await asyncio.sleep(0.05)
        for path in inside:
            beside[path] = beside.get(path, set()) | inside
        inside.remove(path_of(response))
        yield {"path": path_of(response)}
        yield response.follow("a")

    async with Site() as site:
        paths = [f"/{n}" for n in range(6)]
        site.page("/", links_to(*paths))
        for path in paths:
            site.page(path, "x", after=0.01)
        settings, one = {**site.settings, "concurrency_per_host": 8}, Limits(max_pages=1)
        await Crawl(spider(parse, site.url("/")), limits=one, folder=tmp_path, settings=settings).run()
        with opened(tmp_path / "tested" / "job.db") as journal:
            journal.execute(f"UPDATE pages SET deaths = {SUSPECT_DEATHS} WHERE path IN ('/0', '/3')")
        summary = await Crawl(spider(parse, site.url("/")), folder=tmp_path, settings=settings).run()
    assert (summary.outcome, summary.counts.done) == ("finished", 7)
    assert (beside["/0"], beside["/3"]) == ({"/0"}, {"/3"})
    assert len(beside["/1"]) > 1


# -- who leaves, and who writes


async def test_nobody_leaves_while_others_work(tmp_path: Path) -> None:
    """An engine that finds nothing but pages that are due much later stays while another has a host to work for."""

    async def parse(_self: object, response: Response) -> AsyncIterator[object]:
        yield response.follow("a")

    async with Site() as site:
        site.page("/", links_to("/0"), status=503, headers={"Retry-After": "7200"}, host="away.test")
        site.tree(20, 2, host="here.test")
        seeds = [site.url("/", host="away.test"), site.url("/", host="here.test")]
        first, second = (
            Crawl(spider(parse, *seeds), folder=tmp_path, settings={**site.settings, "delay": 0.1}, output=output)
            for output in (str(tmp_path / "a.jsonl"), str(tmp_path / "b.jsonl"))
        )
        async with first:
            while len(site.paths("here.test")) < 4:  # noqa: ASYNC110  # the site tells nobody
                await asyncio.sleep(0.01)
            late = await second.run()
            assert late.outcome == "parked"
            assert late.counts.pending == 1
            assert (await first.ended()).outcome == "parked"


async def test_a_sink_that_is_taken_over_while_it_is_rebuilt(machine: Machine) -> None:
    """An engine that lets go of a file to write it anew, and finds it taken by another, stands by until it is free."""
    desk = await machine.engine()
    await desk.add("http://a.test/", "http://a.test/x")
    lease = await desk.lease_one()
    await desk.frontier.commit([desk.visit(lease, items=[Item("x", '{"a": 1}')])])
    target = str(machine.folder / "items.csv")
    sink, other = sink_for(target), sink_for(target)
    exporter = Exporter(desk.frontier, sink, desk.run, patience=0.2)
    await exporter.open("refuse")
    assert await exporter._write_next()
    await desk.frontier.commit([desk.visit(lease, lease.pages[1], items=[Item("x", '{"a": 2, "b": 3}')])])
    close, reopened = sink.close, asyncio.Event()
    loop = asyncio.get_running_loop()

    def close_and_lose() -> None:
        close()
        sink.close = close  # type: ignore[method-assign]
        other.open({"offset": 0})
        loop.call_soon_threadsafe(reopened.set)

    sink.close = close_and_lose  # type: ignore[method-assign]
    following = asyncio.create_task(exporter.follow())
    await asyncio.wait_for(reopened.wait(), 5)
    exporter.finish()
    done, _ = await asyncio.wait({following}, timeout=0.6)
    assert not done
    other.close()
    await following
    await exporter.close()
    assert Path(target).read_text().split() == ["a,b", "1,", "2,3"]


# -- clocks


async def test_the_clock_is_set(machine: Machine) -> None:
    """Where the system's clock is set, what waits goes on waiting as long as it had to; once, however many engines."""
    first, second = await machine.engine(), await machine.engine()
    await first.add("http://a.test/")
    await first.release(await first.lease_one(), ready_at=machine.now() + 60)
    for step in (3600.0, -7200.0):
        machine.now.time += step
        assert [(await desk.frontier.renew()).step for desk in (first, second)] == [pytest.approx(step), 0.0]
    machine.pass_time(49)
    assert await first.lease() == []
    machine.pass_time(2)
    assert [lease.ready_at - machine.now() for lease in await first.lease()] == [pytest.approx(9)]


async def test_the_clock_runs_slowly(machine: Machine) -> None:
    """A clock that drifts by less than a second is left alone."""
    desk = await machine.engine()
    machine.now.time += 0.9
    assert (await desk.frontier.renew()).step == 0.0


async def test_the_clock_was_set_while_nobody_looked(machine: Machine) -> None:
    """A clock that was set between two invocations on one start of the machine is followed too."""
    desk = await machine.engine()
    await desk.add("http://a.test/")
    await desk.release(await desk.lease_one(), ready_at=machine.now() + 60)
    machine.kill(desk)
    machine.now.time -= 7200
    desk = await machine.engine()
    assert await desk.lease() == []
    machine.pass_time(51)
    assert await desk.lease()
