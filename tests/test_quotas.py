"""How much a run takes of one host: exactly so many pages, whoever asks, dies and goes on."""

import logging
import os
import re
import signal
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from crawler import Crawl, Limits, Response, Spider
from crawler.models import Page, Request, State, Visit
from crawler.quotas import Quota, are_set, quota
from crawler.revisit import History
from crawler.settings import merged
from crawler.simulation import Served
from crawler.testing import Site, simulate
from tests.test_crawl import crawled, seeded
from tests.test_processes import Job, links, many_hosts, wait_for

URL = "http://a.test/1"
PAGE = Page(1, 1, Request(URL))


class Paths(Spider):
    def parse(self, response: Response) -> object:
        yield {"path": "/" + response.url.rpartition("/")[2]}
        yield response.follow("a")


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with Site() as site:
        yield site


@pytest.fixture
def threaded() -> Iterator[Site]:
    with Site.in_thread() as site:
        yield site


def visit(page: Page = PAGE, state: State = State.DONE, reason: str = "", size: int = 10) -> Visit:
    return Visit(page, 1, state, reason, size=size)


# -- the count


@pytest.mark.parametrize(
    ("ended", "spent"),
    [
        (visit(), "quota: pages"),
        (visit(reason="unchanged"), "quota: pages"),
        (visit(Page(1, 1, Request(URL, kind="download"))), "quota: pages"),
        (visit(reason="redirected: http://a.test/2"), None),
        (visit(reason="canonical: http://a.test/2"), None),
        (visit(state=State.GONE), None),
        (visit(state=State.FAILED), None),
        (visit(state=State.SKIPPED, reason="robots"), None),
        (visit(state=State.PENDING, size=1000), None),
        (visit(Page(1, 1, Request(URL, kind="robots")), size=1000), None),
        (visit(Page(1, 1, Request(URL, kind="sitemap"))), None),
        (visit(Page(1, 1, Request(URL), history=History(b"x", None, None, 1.0, 0)), size=1000), None),
        (visit(state=State.FAILED, size=100), "quota: bytes"),
        (visit(reason="redirected: http://a.test/2", size=100), "quota: bytes"),
        (visit(Page(1, 1, Request(URL, kind="sitemap")), size=100), "quota: bytes"),
        (None, None),
    ],
)
def test_what_counts(ended: Visit | None, spent: str | None) -> None:
    """Pages count that are done and led nowhere else, and the bytes of all that ended, but for robots.txt."""
    found, page = Quota(2, 110, (1, 10)), PAGE if ended is None else ended.page
    found.start(page)
    assert found.end(page, ended) is (spent is not None)
    assert found.spent == spent
    assert found.refusal(PAGE) == spent


def test_pages_under_way_have_their_room() -> None:
    """While those under way may use the quota up nothing else begins; one that came to nothing leaves its room."""
    found = Quota(2, None)
    for expected in (False, True):
        found.start(PAGE)
        assert found.must_wait is expected
    assert found.spent is None
    assert not found.end(PAGE, visit(state=State.GONE))
    assert not found.must_wait
    found.start(PAGE)
    assert found.must_wait
    assert [found.end(PAGE, visit()), found.end(PAGE, visit())] == [False, True]
    assert not found.must_wait  # what is refused need not wait


@pytest.mark.parametrize("kind", ["robots", "start"])
def test_what_is_never_refused(kind: str) -> None:
    """A host whose quota is used up is still asked for its robots.txt, and `start()` runs."""
    assert Quota(1, None, (1, 0)).refusal(Page(2, 1, Request(URL, kind=kind))) is None  # type: ignore[arg-type]  # one


def test_settings_of_hosts() -> None:
    """A host's own quota goes before the general one; without any nothing is counted."""
    own = {"a.test": {"max_bytes_per_host": "1KiB"}, "b.test": {"max_pages_per_host": 5}}
    settings = merged(("", {"hosts": own}))
    assert are_set(settings)
    assert quota(settings, "http://c.test") is None
    found = quota(settings, "http://a.test", (9, 1024))
    assert found is not None
    assert found.spent == "quota: bytes"
    both = merged(("", {"hosts": own, "max_pages_per_host": 9}))
    assert [one.spent for host in "abc" if (one := quota(both, f"http://{host}.test", (5, 0)))] == [
        None, "quota: pages", None,
    ]  # fmt: skip
    assert not are_set(merged(("", {"hosts": {"a.test": {"delay": 1}}})))


# -- crawls


async def test_pages_of_a_host(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """As many pages are done as the quota says, however many are asked at once; the others are told and counted."""
    caplog.set_level(logging.INFO)
    site.page("/", links("/gone", "/moved", *(f"/{n}" for n in range(40))))
    site.redirect("/moved", "/0")
    for n in range(40):
        site.page(f"/{n}", "x")
    settings: dict[str, Any] = {"max_pages_per_host": 9, "concurrency_per_host": 6, "delay": 0.0}
    found = await crawled(seeded(Paths, site.url("/")), site, **settings)
    assert len(found.items) == 9
    assert found.summary.outcome == "finished"
    assert found.counts.reasons["skipped: quota"] == found.counts.skipped == 32
    assert len(set(site.paths()) - {"/robots.txt", "/gone", "/moved"}) == 9
    (told,) = [record.getMessage() for record in caplog.records if "quota" in record.getMessage()]
    assert told == f"{site.url('').rstrip('/')}: its other pages are skipped in this run (quota: pages)"


async def test_bytes_of_a_host(site: Site) -> None:
    """The body that passes the quota is the last; a host of its own settings goes on."""
    for host in ("a.test", "b.test"):
        site.page("/", links(*(f"/{n}" for n in range(9))), host=host)
        for n in range(9):
            site.page(f"/{n}", "x" * 1000, host=host)
    spider = seeded(Paths, site.url("/", host="a.test"), site.url("/", host="b.test"))
    hosts = {"b.test": {"max_bytes_per_host": 10**9}}
    found = await crawled(spider, site, max_bytes_per_host=3000, delay=0.0, hosts=hosts)
    asked = Counter(seen.host for seen in site.seen if seen.path_qs != "/robots.txt")
    assert asked == {"a.test": 4, "b.test": 10}
    assert found.counts.reasons["skipped: quota"] == 6


async def test_extra_fetches_go_on(site: Site) -> None:
    """The last page of a quota may ask its own host for more; that is no page."""

    class Fetching(Spider):
        async def parse(self, response: Response) -> object:
            extra = await response.fetch("/extra")
            return {"size": len(extra.body)}

    site.page("/", "x")
    site.page("/extra", "12345")
    found = await crawled(seeded(Fetching, site.url("/"), site.url("/2")), site, max_pages_per_host=1)
    assert [len(found.items), found.counts.done, found.counts.skipped] == [1, 1, 1]


@pytest.mark.parametrize("most", [{"max_pages_per_host": 9}, {"max_bytes_per_host": 9500}])
async def test_a_crawl_in_many_parts(site: Site, tmp_path: Path, most: dict[str, int]) -> None:
    """What the journal counts is what a crawl in one go counts, of redirects, pages that are gone, and retries too."""
    ends = {"/": links(*(f"/moved{n}" for n in range(20)), *(f"/gone{n}" for n in range(3)), "/flaky")}
    ends |= {f"/{n}": "x" * 1000 for n in range(20)} | {"/flaky": "x" * 1000}
    found = []
    for pages in (None, 2):
        for path, text in ends.items():
            site.page(path, text)
        for n in range(20):
            site.redirect(f"/moved{n}", f"/{n}")
        site.page("/flaky", "x" * 5000, status=500, times=1)
        paths, outcome = [], ""
        while outcome != "finished":
            settings = {**site.settings, **most, "delay": 0.0}
            spider, job = seeded(Paths, site.url("/")), f"parts-of-{pages}"
            crawl = Crawl(spider, folder=tmp_path, job=job, settings=settings, limits=Limits(max_pages=pages))
            async with crawl:
                paths += [str(item["path"]) async for item in crawl]
                outcome = (await crawl.ended()).outcome
        found.append(paths)
    assert len(set(found[0])) == len(found[0]) == len(found[1]) == len(set(found[1]))
    assert len(found[0]) == 9 or "max_bytes_per_host" in most


async def test_the_next_run_begins_anew(site: Site, tmp_path: Path) -> None:
    """What was skipped stays so in its run; the next one finds it again, under the quota as it is then."""
    site.page("/", links(*(f"/{n}" for n in range(9))))
    for n in range(9):
        site.page(f"/{n}", "x")
    found = []
    for most in (4, 7):
        settings = {**site.settings, "delay": 0.0, "max_pages_per_host": most}
        async with Crawl(seeded(Paths, site.url("/")), folder=tmp_path, job="job", settings=settings) as crawl:
            found.append(len([item async for item in crawl]))
            await crawl.ended()
    assert found == [4, 7]


def test_kept_by_engines_that_are_killed(tmp_path: Path, threaded: Site) -> None:
    """All engines die at once, and two others go on: no host gives a page more than its quota, and none less."""
    many_hosts(threaded, 6, 12)
    job = Job(tmp_path, threaded, threaded.url("/"), pause=0.01)
    words = ("-j", "2", "-s", "max_pages_per_host=7", "-s", "concurrency_per_host=3")
    process = job.start(*words, own_group=True)
    wait_for(lambda: len(threaded.seen) > 24 or process.poll() is not None)
    assert process.poll() is None
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)
    code, told = job.run(*words)
    assert code == 0, told
    hosts = Counter(re.findall(r"//(h\d)\.test", " ".join(job.urls())))
    assert hosts == {f"h{n}": 7 for n in range(6)}
    assert job.rows("SELECT DISTINCT reason FROM pages WHERE state = 3") == [("quota: pages",)]
    job.check()


WEB: dict[str, Served] = {
    f"http://h{host}.test/{n or ''}": links(f"/{2 * n + 1}", f"/{2 * n + 2}", f"http://h{1 - host}.test/{n or ''}")
    for host in (0, 1)
    for n in range(16)
}


@pytest.mark.parametrize("seed", range(12))
def test_any_misfortune(seed: int) -> None:
    """Whatever moment engines die at, a host with pages enough ends with its quota, and all the others are skipped."""
    spider = seeded(Paths, "http://h0.test/", "http://h1.test/")
    settings = {"max_pages_per_host": 6, "concurrency_per_host": 3, "delay": 0.2}
    faults: dict[str, list[Served]] = {"http://h0.test/1": [500], "http://h1.test/2": [500, 503]}
    crawl = simulate(spider, WEB, seed=seed, kills=3, engines=2, settings=settings, faults=faults)
    for host in ("h0", "h1"):
        states = Counter(state for url, state in crawl.states.items() if f"//{host}.test/" in url)
        assert states["done"] == 6
        assert set(states) == {"done", "skipped: quota: pages"}
