"""What goes on at one time: requests side by side, several engines on one journal; and one run after another."""

import asyncio
import os
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from crawler import Crawl, Request, Response, Spider, politeness
from crawler.errors import ConfigError, HttpError
from crawler.frontier import JobFacts, Want
from crawler.frontier.schema import opened, readable
from crawler.frontier.sqlite import SqliteFrontier
from crawler.models import Link, Page, State
from crawler.progress import Summary
from crawler.settings import Settings
from crawler.testing import Site
from tests.test_crawl import crawled
from tests.test_engine import everything, links_to, only, path_of, spider

pytestmark = pytest.mark.timeout(30)
JOB = JobFacts("books")
WANT = Want(5, 5, 10.0)


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with Site() as site:
        yield site


async def ended(crawl: Crawl) -> Summary:
    """How an open crawl ends."""
    assert crawl._running is not None
    return await crawl._running


# -- one invocation


async def test_unverified_hosts_are_named_once(site: Site, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Whose certificates are not checked is said at the start, in one line however many engines work on the run."""
    site.page("/", "x")
    patterns = ["*.inner.test", "\x1b[2Jold.test", *(f"h{n}.test" for n in range(5000))]
    settings = {**site.settings, "insecure_hosts": patterns}
    async with Crawl(spider(everything, site.url("/")), folder=tmp_path, job="job", settings=settings) as first:
        second = Crawl(spider(everything, site.url("/")), folder=tmp_path, job="job", settings=settings)
        second.join(first.part)
        async with second:
            await ended(second)
        await ended(first)
    (line,) = [record.getMessage() for record in caplog.records if "insecure_hosts" in record.getMessage()]
    assert "certificates of *.inner.test, \\x1b[2Jold.test, h0.test, " in line
    assert line.isprintable()
    assert "4992 more" in line
    assert len(line) < 1000


# -- pace


async def test_a_retry_beside_a_slow_request(site: Site) -> None:
    """A page that is due again is asked for while another of its host is still under way."""
    tried_again = asyncio.Event()

    async def slow(_request: object) -> str:
        await asyncio.wait_for(tried_again.wait(), 10.0)
        return "x"

    def good(_request: object) -> str:
        tried_again.set()
        return "x"

    site.page("/", links_to("/flaky", "/slow"))
    site.page("/flaky", "", status=500, times=1)
    site.answer("/flaky", good)
    site.answer("/slow", slow)
    found = await crawled(spider(everything, site.url("/")), site, concurrency_per_host=2)
    assert (len(found.items), len(only(site, "/slow"))) == (3, 1)
    assert only(site, "/flaky")[1].at < only(site, "/slow")[0].ended_at


async def test_spacing_with_slow_connections(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The delay holds between any two requests of a host, however long connecting and answering take."""
    loop = asyncio.get_running_loop()
    connect = loop.sock_connect

    async def slow_connect(*arguments: object) -> None:
        await asyncio.sleep(0.08)
        await connect(*arguments)  # type: ignore[arg-type]  # passed on as they came

    monkeypatch.setattr(loop, "sock_connect", slow_connect)
    pages = [f"/{n}" for n in range(12)]
    site.page("/", links_to(*pages))
    for n, page in enumerate(pages):
        site.page(page, "x", after=0.13 + 0.1 * (n % 3), headers={"Connection": "close"})  # while others connect
    found = await crawled(spider(everything, site.url("/")), site, delay=0.1, concurrency_per_host=8)
    assert len(found.items) == 13
    assert min(site.gaps()) >= 0.08
    assert site.peak() > 1


async def test_slow_pages_do_not_slow_a_host_down(site: Site) -> None:
    """A host with free places is asked as soon as its delay is over, though no answer has come yet."""
    pages = [f"/{n}" for n in range(8)]
    site.page("/", links_to(*pages))
    for page in pages:
        site.page(page, "x", after=1.0)
    await crawled(spider(everything, site.url("/")), site, delay=0.05, concurrency_per_host=10)
    assert site.seen[-1].at - site.seen[0].at < 1.0
    assert site.peak() == 8


async def test_nothing_is_asked_before_retry_after(site: Site) -> None:
    """Once a host has answered 429 with Retry-After, nothing at all is asked of it before."""
    site.page("/", links_to("/0", "/1", "/2"))
    for n in range(3):
        site.page(f"/{n}", "x")
    site.page("/0", "", status=429, headers={"Retry-After": "1"}, after=0.15, times=1)
    found = await crawled(spider(everything, site.url("/")), site, delay=0.05)
    refused = only(site, "/0")[0]
    later = [seen.at for seen in site.seen if seen.at > refused.at]
    assert (len(found.items), len(later)) == (4, 3)
    assert min(later) - refused.ended_at >= 0.98


def test_overload_costs_a_page_nothing() -> None:
    """A page that its host has put off ten times is still to be had."""
    overload = HttpError("status 429", url="http://a.test/", status=429)
    page = Page(1, 1, Request("http://a.test/"), deferrals=10)
    fate = politeness.fate(overload, page, Settings(), 1e9)
    assert (fate.state, fate.charged) == (State.PENDING, False)


async def test_a_fetch_beside_a_slow_page(site: Site) -> None:
    """With one request at a time a handler's fetch and a slow page of another host both come to their end, once."""
    site.page("/", "x")
    site.page("/x", "x")
    site.page("/slow", "x", host="b.test", after=0.6)
    seeds = site.url("/"), site.url("/slow", host="b.test")

    async def parse(self: Spider, response: Response) -> AsyncIterator[object]:
        if path_of(response) == "/":
            await response.fetch("/x")
        yield {"path": path_of(response)}

    found = await crawled(spider(parse, *seeds), site, concurrency=1, hosts={"site.test": {"delay": 0.2}})
    assert sorted(found.values("path"), key=str) == ["/", "/slow"]
    assert sorted(site.paths("site.test")) == ["/", "/robots.txt", "/x"]
    assert site.paths("b.test") == ["/robots.txt", "/slow"]


async def test_fetches_count_on_the_wire(site: Site) -> None:
    """No more requests are under way than `concurrency` says, extra fetches and robots.txt included."""
    for n in range(8):
        site.page("/", "x", host=f"p{n}.test", after=0.02)
        site.page("/x", "x", host=f"f{n}.test", after=0.05)

    async def parse(self: Spider, response: Response) -> AsyncIterator[object]:
        yield {"status": (await response.fetch(response.url.replace("//p", "//f") + "x")).status}

    found = await crawled(spider(parse, *(site.url("/", host=f"p{n}.test") for n in range(8))), site, concurrency=2)
    assert found.values("status") == [200] * 8
    at_once = [sum(other.at <= seen.at < other.ended_at for other in site.seen) for seen in site.seen]
    assert max(at_once) == 2


async def test_fetches_at_once(site: Site) -> None:
    """A handler may fetch several things at once; its own time stands still until the last is there."""

    async def parse(self: Spider, response: Response) -> AsyncIterator[object]:
        both = await asyncio.gather(response.fetch("/a"), response.fetch("/b"))
        await asyncio.sleep(0.05)
        yield {"statuses": [one.status for one in both]}

    site.page("/", "x")
    site.page("/a", "x", after=0.1)
    site.page("/b", "x", after=0.5)
    found = await crawled(spider(parse, site.url("/")), site, concurrency_per_host=2, handler_timeout=0.4)
    assert found.items == [{"statuses": [200, 200]}]


# -- engines


async def test_an_engine_whose_run_is_over(tmp_path: Path) -> None:
    """An engine whose run another has ended takes nothing from the next run, and adds nothing to any."""
    ending, late, next_one = (SqliteFrontier(tmp_path / "job.db") for _ in range(3))
    await ending.begin(JOB, fresh=False)
    await late.begin(JOB, fresh=False)
    await ending.finish("finished")
    assert (await next_one.begin(JOB, fresh=False)).number == 2
    await next_one.add([Link("http://a.test", 1, "/", 0, 0)])
    assert list((await late.lease(WANT)).leases) == []
    await late.add([Link("http://b.test", 2, "/", 0, 0)])
    assert (await next_one.counts()).pending == 1
    assert [lease.origin for lease in (await next_one.lease(WANT)).leases] == ["http://a.test"]
    assert await next_one.violations() == []
    for frontier in (ending, late, next_one):
        await frontier.close()


async def test_engines_are_never_taken_for_one_another(tmp_path: Path) -> None:
    """No engine has the lock of one that was there before it, not even after a fresh start."""
    names = []
    for n in range(4):
        frontier = SqliteFrontier(tmp_path / "job.db")
        await frontier.begin(JOB, fresh=n == 2)
        names += [path.name for path in tmp_path.glob("engine-*.lock")]
        await frontier.close()
    assert len(set(names)) == len(names) == 4


async def test_an_engine_comes_while_another_goes(tmp_path: Path) -> None:
    """An engine may begin in the very moment in which another has left the journal, but not yet the disk."""
    going = SqliteFrontier(tmp_path / "job.db")
    journal = opened(tmp_path / "job.db")
    journal.execute("DELETE FROM engines")
    journal.close()
    coming = SqliteFrontier(tmp_path / "job.db")
    await going.close()
    third = SqliteFrontier(tmp_path / "job.db")
    assert (await third.renew()).freed == 0
    await coming.begin(JOB, fresh=False)
    await coming.add([Link("http://a.test", 1, "/", 0, 0)])
    assert len((await coming.lease(WANT)).leases) == 1
    assert (await third.renew()).freed == 0
    await coming.close()
    await third.close()


async def test_two_engines_and_many_hosts(site: Site, tmp_path: Path) -> None:
    """Two engines that begin at once do every page of every host, each page once."""
    hosts = [f"h{n}.test" for n in range(70)]  # more than one engine leases at once
    for host in hosts:
        for n in range(4):
            site.page(f"/{n or ''}", links_to(f"/{n + 1}") if n < 3 else "x", host=host, after=0.025)
    both = asyncio.Event()

    async def start(self: Spider) -> AsyncIterator[str]:
        await both.wait()
        for host in hosts:
            yield site.url("/", host=host)

    def crawl(output: str) -> Crawl:
        settings = {**site.settings, "concurrency": 4, "obey_robots": False}
        made = spider(everything, start=start)
        return Crawl(made, folder=tmp_path, settings=settings, output=str(tmp_path / output))

    async with crawl("1.jsonl") as one, crawl("2.jsonl") as other:
        both.set()
        summaries = await asyncio.gather(ended(one), ended(other))
        assert await one._frontier.violations() == []
    assert {summary.outcome for summary in summaries} == {"finished"}
    assert all(summary.pages for summary in summaries)
    assert sum(summary.pages for summary in summaries) == 280
    asked = [(seen.host, seen.path_qs) for seen in site.seen]
    assert len(asked) == len(set(asked)) == 280
    for output in ("1.jsonl", "2.jsonl"):
        assert len((tmp_path / output).read_text().splitlines()) == 280


async def test_hosts_for_those_that_are_starting(site: Site, tmp_path: Path) -> None:
    """The first of several engines takes only what keeps it busy until the others are there."""
    answer, asked = asyncio.Event(), asyncio.Event()

    async def slow(_request: object) -> str:
        asked.set()
        await answer.wait()
        return "x"

    hosts = [f"h{n}.test" for n in range(70)]
    for host in hosts:
        site.answer("/", slow, host=host)

    def crawl(engines: int) -> Crawl:
        settings = {**site.settings, "concurrency": 4, "obey_robots": False}
        seeds = [site.url("/", host=host) for host in hosts]
        made = Crawl(spider(everything, *seeds), settings=settings, folder=tmp_path / str(engines))
        made.supervise(os.getpid(), engines, lambda size: size)
        return made

    async with crawl(2) as one_of_two, crawl(1) as alone:
        await asked.wait()
        while alone._engine is None or len(alone._engine.workbench.lanes) < 32:  # noqa: ASYNC110  # no event
            await asyncio.sleep(0.01)
        assert one_of_two._engine is not None
        assert len(one_of_two._engine.workbench.lanes) <= 16
        answer.set()
        assert (await ended(one_of_two)).pages == (await ended(alone)).pages == 70


async def test_an_idle_engine_is_quiet(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine with nothing to do, since another has all there is, looks into the journal a few times a second."""
    asked, answer = asyncio.Event(), asyncio.Event()

    async def slow(_request: object) -> str:
        asked.set()
        await answer.wait()
        return "x"

    def crawl(output: str) -> Crawl:
        made = spider(everything, site.url("/"))
        return Crawl(made, folder=tmp_path, settings=site.settings, output=str(tmp_path / output))

    def counting(verb: Callable[..., Awaitable[object]]) -> Callable[..., Awaitable[object]]:
        async def counted(*arguments: object) -> object:
            looks.append(verb)
            return await verb(*arguments)

        return counted

    looks: list[object] = []
    site.answer("/", slow)
    async with crawl("1.jsonl") as busy:
        await asked.wait()
        async with crawl("2.jsonl") as idle:
            for verb in ("lease", "counts", "add", "renew"):
                monkeypatch.setattr(idle._frontier, verb, counting(getattr(idle._frontier, verb)))
            await asyncio.sleep(1.0)
            assert len(looks) < 20
            answer.set()
            summaries = await asyncio.gather(ended(busy), ended(idle))
    assert [summary.pages for summary in summaries] == [1, 0]


# -- a run after another


KILLED = """
import asyncio, sys
from crawler import Crawl, Spider

class Tested(Spider):
    seeds = [sys.argv[1]]

    def parse(self, response):
        pass

settings = {"resolve": {"*.test": "127.0.0.1"}, "delay": 0.0, "min_free_space": 0}
asyncio.run(Crawl(Tested(), folder=sys.argv[2], settings=settings).run())
"""


async def test_a_crawl_delay_outlives_its_engine(site: Site, tmp_path: Path) -> None:
    """After a kill a host is not asked before its Crawl-delay is over, whatever the delay in the settings."""
    child: asyncio.subprocess.Process

    async def kill(_request: object) -> str:
        child.kill()
        await child.wait()
        return "x"

    site.robots("User-agent: *\nCrawl-delay: 1")
    site.answer("/", kill, times=1)
    site.page("/", "x")
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", KILLED, site.url("/"), str(tmp_path))
    await child.wait()
    assert site.paths() == ["/robots.txt", "/"]
    resumed = await Crawl(spider(everything, site.url("/")), folder=tmp_path, settings=site.settings).run()
    assert (resumed.resumed, resumed.items) == (True, 1)
    assert site.paths() == ["/robots.txt", "/", "/"]
    assert min(site.gaps()) >= 0.98


async def test_a_parked_host_and_more_patience(site: Site, tmp_path: Path) -> None:
    """A host that was parked for its Crawl-delay is asked once max_crawl_delay allows it."""

    def crawl(patience: float) -> Crawl:
        settings = {**site.settings, "max_crawl_delay": patience}
        return Crawl(spider(everything, site.url("/")), folder=tmp_path, settings=settings)

    site.robots("User-agent: *\nCrawl-delay: 1")
    site.page("/", "x")
    assert (await crawl(0.5).run()).outcome == "parked"
    resumed = await crawl(2.0).run()
    assert (resumed.resumed, resumed.outcome, resumed.items) == (True, "finished", 1)
    assert site.paths()[-1] == "/"
    assert min(site.gaps()) >= 0.98


async def test_a_fresh_start_that_is_refused(site: Site, tmp_path: Path) -> None:
    """fresh=True forgets nothing where an output stands in its way; with the job's own output it starts over."""

    def crawl(*output: str, fresh: bool = False) -> Crawl:
        made = spider(everything, site.url("/"))
        return Crawl(made, folder=tmp_path, output=output, settings=site.settings, fresh=fresh)

    site.page("/", "x")
    first = await crawl().run()
    own, foreign = Path(first.outputs[0]), tmp_path / "mine.jsonl"
    stored = own.read_text()
    foreign.write_text("precious\n")
    with pytest.raises(ConfigError, match=r"mine\.jsonl"):
        await crawl(str(foreign), fresh=True).run()
    assert (foreign.read_text(), own.read_text(), runs_with_items(first.folder)) == ("precious\n", stored, [1])
    second = await crawl().run()
    assert second.run == 2
    again = await crawl(fresh=True).run()
    assert (again.run, again.resumed, again.items, own.read_text()) == (1, False, 1, stored)
    assert runs_with_items(again.folder) == [1]


async def test_what_could_not_be_opened(site: Site, tmp_path: Path) -> None:
    """A crawl that could not be opened leaves nothing behind: no lock, thread or engine, and no run that was begun."""

    def crawl(*output: str, fresh: bool = False, **attributes: object) -> Crawl:
        made = spider(everything, site.url("/"), **attributes)
        return Crawl(made, folder=tmp_path, job="j", output=output, settings=site.settings, fresh=fresh)

    site.page("/", "x")
    foreign = tmp_path / "mine.jsonl"
    foreign.write_text("precious\n")
    await crawl(str(tmp_path / "1.jsonl")).run()
    before = set(threading.enumerate())
    for refused in (crawl(str(foreign)), crawl(name="other")):
        with pytest.raises(ConfigError):
            await refused.run()
    assert list(tmp_path.rglob("*.lock")) == []
    assert [thread.name for thread in set(threading.enumerate()) - before if "journal" in thread.name] == []
    journal = readable(tmp_path / "j" / "job.db")
    assert journal.execute("SELECT count(*) FROM engines").get == 0
    assert journal.execute("SELECT count(*) FROM runs").get == 1
    journal.close()
    assert (await crawl(fresh=True).run()).outcome == "finished"


@pytest.mark.parametrize(("keep", "kept"), [(1, [3]), (2, [2, 3]), (3, [1, 2, 3])])
async def test_keep_runs(site: Site, tmp_path: Path, keep: int, kept: list[int]) -> None:
    """The items of the last `keep_runs` runs stay in the journal, and earlier ones go when the next run begins."""
    site.tree(3, 2)
    for run in range(1, 4):
        settings = {**site.settings, "keep_runs": keep}
        summary = await Crawl(spider(everything, site.url("/")), folder=tmp_path, settings=settings).run()
        assert (summary.run, summary.items) == (run, 3)
    assert runs_with_items(summary.folder) == kept


def runs_with_items(folder: Path) -> list[int]:
    """The runs of which the journal has items."""
    journal = readable(folder / "job.db")
    found = [int(str(run)) for (run,) in journal.execute("SELECT DISTINCT run FROM items ORDER BY run")]
    journal.close()
    return found
