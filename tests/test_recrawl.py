"""Whole crawls that visit their pages again, against a site on loopback that changes meanwhile."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from pathlib import Path
from typing import Any, Self

import pytest
from aiohttp import web

from crawler import Crawl, Limits, Response, Spider, export
from crawler.changes import Keys
from crawler.errors import ConfigError
from crawler.frontier import JobFacts, Parting, Want
from crawler.frontier.checks import findings
from crawler.frontier.schema import readable
from crawler.frontier.sqlite import SqliteFrontier
from crawler.models import Clock, Link, State, Visit
from crawler.progress import Summary
from crawler.recrawl import schedule
from crawler.revisit import Revisit
from crawler.testing import Site

SOON = "0.1"


class Shop(Spider):
    """What each page offers, and whatever it links to."""

    item_key: Keys = "name"

    def __init__(self) -> None:
        super().__init__()
        self.handled: list[str] = []

    def parse(self, response: Response) -> Iterator[object]:
        self.handled.append(response.url.rpartition(":")[2].partition("/")[2])
        for offer in response.css("li"):
            yield {"name": offer.text("b"), "price": int(offer.text("i"))}
        yield response.follow("a")


def offers(*links: str, **prices: int) -> str:
    listed = "".join(f"<li><b>{name}</b><i>{price}</i>" for name, price in prices.items())
    return f"<ul>{listed}</ul>" + "".join(f'<a href="{link}">x</a>' for link in links)


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "LONGEST_LOOK", 0.02)


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with Site() as site:
        yield site


class Recrawl:
    """A crawl under way, and what it has told so far."""

    def __init__(self, site: Site, folder: Path, spider: Shop | None = None, **settings: object) -> None:
        self.site = site
        self.spider = spider or Shop()
        self.handled = self.spider.handled
        self.spider.seeds = [site.url("/")]
        self.settings = {**site.settings, "revisit": SOON, "commit_window": 0.01, **settings}
        self.crawl = Crawl(self.spider, folder=folder, job="job", settings=self.settings)
        self.journal = folder / "job" / "job.db"
        self.output = folder / "job" / "run-0001" / "items.jsonl"

    async def __aenter__(self) -> Self:
        await self.crawl.__aenter__()
        return self

    async def __aexit__(self, *raised: object) -> None:
        await self.crawl.__aexit__(None, None, None)
        db = readable(self.journal)
        assert list(findings(db)) == []
        db.close()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not condition():  # noqa: ASYNC110  # nobody tells
                await asyncio.sleep(0.01)

    async def visits(self, path: str = "/", more: int = 2) -> None:
        """Wait until a page was asked for so many times more, so that what it was before was stored."""
        enough = self.site.paths().count(path) + more
        await self.until(lambda: self.site.paths().count(path) >= enough)

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        db = readable(self.journal)
        rows = db.execute(sql).fetchall()
        db.close()
        return rows

    def reason(self, path: str) -> tuple[str, str]:
        """State and reason of a page's last visit."""
        rows = self.query(
            f"SELECT state, reason FROM urls WHERE url LIKE 'http://site.test:%{path}' AND state <> 'pending'"
        )
        return rows[0] if rows else ("pending", "")

    @property
    def told(self) -> list[tuple[object, ...]]:
        lines = map(json.loads, self.output.read_text().splitlines())
        return [(line["_change"], line["_key"], line["price"]) for line in lines]


async def test_the_feed(site: Site, tmp_path: Path) -> None:
    """Items are told as they come, change and go; a page that is gone takes its items with it."""
    site.page("/", offers("/pears", "/figs", pear=1))
    site.page("/pears", offers(winter=2, summer=3))
    site.page("/figs", offers(fig=4))
    async with Recrawl(site, tmp_path) as recrawl:
        await recrawl.until(lambda: recrawl.output.exists() and len(recrawl.told) == 4)
        site.page("/pears", offers(winter=2, summer=5, autumn=6))
        await recrawl.until(lambda: len(recrawl.told) == 6)
        site.page("/pears", offers(autumn=6))
        await recrawl.until(lambda: len(recrawl.told) == 8)
        site.page("/figs", "", status=404)
        await recrawl.until(lambda: len(recrawl.told) == 9)
        await recrawl.until(lambda: recrawl.reason("/figs") == ("gone", "HttpError: status 404"))
        site.page("/figs", offers(fig=4))
        await recrawl.until(lambda: len(recrawl.told) == 10)
        await recrawl.visits()
    expected = [("added", "fig", 4), ("added", "pear", 1), ("added", "summer", 3), ("added", "winter", 2)]
    assert sorted(recrawl.told[:4]) == expected
    assert recrawl.told[4:6] == [("changed", "summer", 5), ("added", "autumn", 6)]
    assert sorted(recrawl.told[6:8]) == [("removed", "summer", 5), ("removed", "winter", 2)]
    assert recrawl.told[8:] == [("removed", "fig", 4), ("added", "fig", 4)]


async def test_not_modified(site: Site, tmp_path: Path) -> None:
    """Who sends validators is asked with them; a 304 costs no parse, and the page's items stand."""
    asked: list[tuple[str | None, str | None]] = []
    date = formatdate(1_700_000_000, usegmt=True)

    def answer(request: web.Request) -> web.Response:
        asked.append((request.headers.get("If-None-Match"), request.headers.get("If-Modified-Since")))
        headers = {"ETag": '"1"', "Last-Modified": date}
        if asked[-1][0] == '"1"':
            return web.Response(status=304, headers=headers)
        return web.Response(text=offers(pear=1), headers=headers, content_type="text/html")

    site.answer("/", answer)
    async with Recrawl(site, tmp_path) as recrawl:
        await recrawl.visits(more=4)
        await recrawl.until(lambda: recrawl.reason("/") == ("done", "unchanged"))
    assert recrawl.handled == [""]
    assert recrawl.told == [("added", "pear", 1)]
    assert asked[0] == (None, None)
    assert set(asked[1:]) == {('"1"', date)}
    assert recrawl.query("SELECT status, etag, modified FROM pages WHERE reason = 'unchanged'") in (
        [], [(304, '"1"', date)]
    )  # fmt: skip


async def test_the_same_bytes(site: Site, tmp_path: Path) -> None:
    """A page that comes with the same bytes is not handled again, whatever its server says of them."""
    site.page("/", offers(pear=1))
    async with Recrawl(site, tmp_path) as recrawl:
        await recrawl.visits(more=4)
        await recrawl.until(lambda: recrawl.reason("/") == ("done", "unchanged"))
        summary = await stopped(recrawl)
    assert (recrawl.handled, recrawl.told) == ([""], [("added", "pear", 1)])
    assert (summary.outcome, summary.exit_code) == ("stopped: interrupted", 4)
    assert summary.counts.items == summary.items == 1


async def stopped(recrawl: Recrawl) -> Summary:
    recrawl.crawl.stop()
    return await recrawl.crawl.ended()


async def test_unasked_for_304(site: Site, tmp_path: Path) -> None:
    """A 304 that nobody asked for tells nothing of a page: it is a failure."""
    site.page("/", "", status=304)
    async with Recrawl(site, tmp_path) as recrawl:
        await recrawl.visits()
        await recrawl.until(lambda: recrawl.reason("/")[0] == "failed")
        assert recrawl.reason("/") == ("failed", "HttpError: status 304")


async def test_links(site: Site, tmp_path: Path) -> None:
    """New links of a changed page are followed; links to known pages have these not fetched again."""
    site.page("/", offers("/old"))
    site.page("/old", offers(old=1))
    site.page("/new", offers(new=2))
    async with Recrawl(site, tmp_path, revisit="*/=0.1") as recrawl:
        await recrawl.visits()
        site.page("/", offers("/old", "/new"))
        await recrawl.until(lambda: len(recrawl.told) == 2)
        await recrawl.visits(more=3)
    assert [site.paths().count(path) for path in ("/old", "/new")] == [1, 1]
    assert recrawl.query("SELECT count(*) FROM urls WHERE url LIKE '%/old' AND state = 'done' AND reason = ''") == [
        (1,)
    ]


@pytest.mark.parametrize(("status", "text"), [(500, "trouble"), (200, offers(pear="none"))])  # type: ignore[arg-type]  # no number
async def test_what_could_not_be_seen_stands(site: Site, tmp_path: Path, status: int, text: str) -> None:
    """A page that fails, or on which the handler fails, has not lost its items; and is handled when it is back."""
    site.page("/", offers(pear=1))
    async with Recrawl(site, tmp_path, retries=0) as recrawl:
        await recrawl.until(lambda: recrawl.output.exists() and len(recrawl.told) == 1)
        site.page("/", text, status=status)
        await recrawl.until(lambda: recrawl.reason("/")[0] == "failed")
        site.page("/", offers(pear=2))
        await recrawl.until(lambda: len(recrawl.told) == 2)
    assert recrawl.told == [("added", "pear", 1), ("changed", "pear", 2)]


async def test_moved(site: Site, tmp_path: Path) -> None:
    """A page that redirects has no items of its own any more; an item that its target has stands."""
    site.page("/", offers("/a", "/b"))
    site.page("/a", offers(pear=1, plum=2))
    site.page("/b", offers(pear=1))
    async with Recrawl(site, tmp_path) as recrawl:
        await recrawl.until(lambda: recrawl.output.exists() and len(recrawl.told) == 2)
        await recrawl.visits("/b")
        site.redirect("/a", "/b")
        await recrawl.until(lambda: len(recrawl.told) == 3)
        await recrawl.until(lambda: recrawl.reason("/a")[1].startswith("redirected: "))
    assert recrawl.told[2] == ("removed", "plum", 2)


async def test_sitemaps(site: Site, tmp_path: Path) -> None:
    """A sitemap that gives a page a date after its last visit makes it due, however long it was to be left alone."""

    def sitemap(when: str) -> str:
        return f"<urlset><url><loc>{site.url('/pears')}</loc><lastmod>{when}</lastmod></url></urlset>"

    class Mapped(Shop):
        sitemaps = True

    site.page("/", "x")
    site.page("/sitemap.xml", sitemap("2020-01-01T00:00:00Z"), content_type="application/xml")
    site.page("/pears", offers(pear=1))
    async with Recrawl(site, tmp_path, Mapped(), revisit="*/sitemap.xml=0.1,*=1d") as recrawl:
        await recrawl.until(lambda: recrawl.output.exists() and len(recrawl.told) == 1)
        await recrawl.visits("/sitemap.xml", more=3)
        assert site.paths().count("/pears") == 1
        site.page("/pears", offers(pear=2))
        site.page("/sitemap.xml", sitemap(next_second()), content_type="application/xml")
        await recrawl.until(lambda: len(recrawl.told) == 2)
        await recrawl.visits("/sitemap.xml", more=3)
    assert recrawl.told == [("added", "pear", 1), ("changed", "pear", 2)]
    assert site.paths().count("/pears") == 2


def next_second() -> str:
    """Later than all visits so far, also by a reader who leaves fractions out; it counts once it has come."""
    return (datetime.now(UTC) + timedelta(seconds=1)).isoformat(timespec="seconds")


async def test_adaptive(site: Site, tmp_path: Path) -> None:
    """A page that changes is visited more often than one that does not."""
    number = iter(range(10_000))
    site.page("/", "x" + offers("/changes"))
    site.answer("/changes", lambda _: offers(pear=next(number)))
    async with Recrawl(site, tmp_path, revisit="0.05-5") as recrawl:
        await recrawl.until(lambda: site.paths().count("/changes") >= 6)
        intervals = dict(recrawl.query("SELECT path, interval FROM pages WHERE interval IS NOT NULL"))
    assert site.paths().count("/") <= 3
    assert intervals["/changes"] <= 0.1
    assert intervals["/"] >= 0.5


async def test_first_visits_go_on(site: Site, tmp_path: Path) -> None:
    """Pages that are due again, more than can be asked for, do not keep new ones out, nor the other way round."""
    paths = ["/", *(f"/{number}" for number in range(1, 40))]
    for path, *more in zip(paths, paths[1::3], paths[2::3], paths[3::3], strict=False):
        site.page(path, offers(*more))
    for path in paths[13:]:
        site.page(path, "x")
    async with Recrawl(site, tmp_path, revisit="0.01", delay=0.02) as recrawl:
        await recrawl.until(lambda: set(paths) <= set(site.paths()))
        asked = len(site.paths())
    assert 41 < asked < 41 * 4 / 3 + 5
    assert sum(site.gaps()) >= 0.02 * (asked - 1) - 0.05  # each by itself may be told late by a busy server


async def test_it_sleeps_and_goes_on(site: Site, tmp_path: Path) -> None:
    """A job with nothing to do for hours sleeps until it is stopped, and knows all when it goes on."""
    site.page("/", offers("/pears", pear=1))
    site.page("/pears", offers(winter=2))
    async with Recrawl(site, tmp_path, revisit="5h") as recrawl:
        await recrawl.until(lambda: recrawl.output.exists() and len(recrawl.told) == 2)
        await recrawl.until(lambda: "the next visit is due in 1" in recrawl.crawl.progress().limited_by)
        summary = await stopped(recrawl)
    assert (summary.outcome, summary.counts.pending, summary.exit_code) == ("stopped: interrupted", 0, 4)
    site.page("/pears", offers(winter=3))
    async with Recrawl(site, tmp_path, revisit=SOON) as again:
        assert again.crawl.resumes is not None
        await again.until(lambda: len(again.told) == 3)
    assert again.told[2] == ("changed", "winter", 3)


@pytest.mark.parametrize("limit", [Limits(max_time=0.5), Limits(max_pages=7), Limits(max_items=3)])
async def test_limits(site: Site, tmp_path: Path, limit: Limits) -> None:
    """Limits end it as they end any crawl; they are exact, and items are those that the feed tells."""
    number = iter(range(10_000))
    site.page("/", offers("/a", "/b", pear=1))
    site.page("/a", offers(pear=1))
    site.answer("/b", lambda _: offers(fig=next(number)))
    recrawl = Recrawl(site, tmp_path)
    summary = await Crawl(recrawl.spider, folder=tmp_path, job="job", settings=recrawl.settings, limits=limit).run()
    assert (summary.outcome.partition(":")[0], summary.exit_code) == ("stopped", 4)
    assert len(recrawl.told) == summary.items
    if limit.max_pages:
        assert summary.pages == 7
    if limit.max_items:
        assert summary.items == 3
        assert [change for change, _, _ in recrawl.told] == ["added", "added", "changed"]


async def test_a_plain_run_becomes_one(site: Site, tmp_path: Path) -> None:
    """A run that was begun without it goes on with it; its pages are handled once more, for the feed to begin."""
    site.page("/", offers("/a", pear=1))
    site.page("/a", offers(fig=2))
    recrawl = Recrawl(site, tmp_path)
    plain = {**recrawl.settings, "revisit": {}}
    await Crawl(recrawl.spider, folder=tmp_path, job="job", settings=plain, limits=Limits(max_pages=1)).run()
    async with recrawl:
        await recrawl.until(lambda: len(recrawl.output.read_text().splitlines()) == 3)
        await recrawl.visits()
    lines = [json.loads(line) for line in recrawl.output.read_text().splitlines()]
    assert lines[0] == {"name": "pear", "price": 1}
    assert sorted((line["_change"], line["_key"]) for line in lines[1:]) == [("added", "fig"), ("added", "pear")]


async def test_it_may_come_to_an_end(site: Site, tmp_path: Path) -> None:
    """Without the setting the run ends when nothing is pending; the next run knows nothing of it."""
    site.page("/", offers(pear=1))
    async with Recrawl(site, tmp_path) as recrawl:
        await recrawl.visits()
    plain = {**recrawl.settings, "revisit": {}}
    first = await Crawl(recrawl.spider, folder=tmp_path, job="job", settings=plain).run()
    assert (first.outcome, first.run, first.exit_code) == ("finished", 1, 0)
    second = await Crawl(recrawl.spider, folder=tmp_path, job="job", settings=plain).run()
    assert (second.outcome, second.run, second.items) == ("finished", 2, 1)
    assert json.loads((tmp_path / "job" / "run-0002" / "items.jsonl").read_text()) == {"name": "pear", "price": 1}
    assert "If-None-Match" not in site.seen[-1].headers


async def test_posts(site: Site, tmp_path: Path) -> None:
    """A request that may change something is not repeated, unless its author says that it may be."""

    class Poster(Shop):
        def parse(self, response: Response) -> Iterator[object]:
            yield response.request("/once", method="POST", to=self.answer)
            yield response.request("/often", method="POST", to=self.answer, retry=True)

        def answer(self, response: Response) -> Iterator[object]:
            yield {"name": response.url[-5:], "price": 1}

    for path in ("/", "/once", "/often"):
        site.page(path, "x")
    async with Recrawl(site, tmp_path, Poster()) as recrawl:
        await recrawl.visits("/often", more=3)
        await recrawl.visits()
    assert site.paths().count("/once") == 1


async def test_a_clock_that_is_set(tmp_path: Path) -> None:
    """When the system's clock is set, the times of the next visits go along with it."""
    times = [1000.0, 0.0]  # the calendar's, and since the start of the machine
    frontier = SqliteFrontier(tmp_path / "job.db", clock=Clock(lambda: times[1], lambda: times[0]))
    await frontier.begin(JobFacts("spider"), fresh=False, revisit={"*": Revisit(50, 50)})
    await frontier.add([Link("http://a.test", 1, "/", 0, 0)])
    (lease,) = (await frontier.lease(Want(1, 1, 10.0))).leases
    visit = Visit(lease.pages[0], lease.token, State.DONE, ended_at=1000.0)
    schedule(visit, {"*": Revisit(50, 50)})
    await frontier.commit([visit])
    assert (await frontier.counts()).revisit_at == 1050.0
    times[0] += 3600.0
    assert (await frontier.renew()).step == pytest.approx(3600.0)
    assert (await frontier.counts()).revisit_at == pytest.approx(4650.0)
    await frontier.release([Parting(lease.host, lease.token, 0.0)])
    times[0], times[1] = times[0] + 51, times[1] + 51
    (again,) = (await frontier.lease(Want(1, 1, 10.0))).leases
    assert [page.seq for page in again.pages] == [lease.pages[0].seq]
    assert await frontier.violations() == []
    await frontier.close()


@dataclass
class Offer:
    """A typed item."""

    price: int
    name: str | None = None


async def test_typed_items(site: Site, tmp_path: Path) -> None:
    """Keys are declared by class; an item without its key is set aside, with the reason."""

    class Typed(Shop):
        item_key = {"Offer": "name"}

        def parse(self, response: Response) -> Iterator[object]:
            yield Offer(1, "pear")
            yield Offer(2)

    site.page("/", "x")
    async with Recrawl(site, tmp_path, Typed()) as recrawl:
        await recrawl.until(lambda: recrawl.output.exists() and len(recrawl.told) == 1)
        await recrawl.visits()
    assert recrawl.query("SELECT kind, quarantine FROM items WHERE quarantine IS NOT NULL") == [
        ("Offer", "name: missing, though it is the item's key")
    ]


async def test_csv(site: Site, tmp_path: Path) -> None:
    """A table has the feed's columns first, all of them from the first row on."""
    site.page("/", offers(pear=1))
    recrawl = Recrawl(site, tmp_path)
    output = tmp_path / "feed.csv"
    await Crawl(
        recrawl.spider, folder=tmp_path, output=str(output), settings=recrawl.settings, limits=Limits(max_items=1)
    ).run()
    header, row = output.read_text().splitlines()
    assert header == "_change,_key,_hash,_previous_hash,_at,name,price"
    assert row.startswith("added,pear,")
    assert row.endswith(",pear,1")


async def test_two_at_once(site: Site, tmp_path: Path) -> None:
    """Two engines that share the job tell the same feed together, each line once."""
    hosts = [f"{letter}.test" for letter in "abcd"]
    spider = Shop()
    for host in hosts:
        site.page("/", offers("/x", **{host[0]: 1}), host=host)
        site.page("/x", offers(shared=7), host=host)
    async with Recrawl(site, tmp_path) as recrawl:
        spider.seeds = recrawl.spider.seeds = [site.url("/", host=host) for host in hosts]
        other = Crawl(spider, folder=tmp_path, job="job", settings=recrawl.settings)
        async with other:
            await recrawl.until(lambda: recrawl.output.exists() and len(recrawl.told) == 5)
            for host in hosts:
                site.page("/x", offers(shared=8), host=host)
            await recrawl.until(lambda: len(recrawl.told) == 6)
            for host in hosts:
                site.page("/x", "", status=410, host=host)
            await recrawl.until(lambda: len(recrawl.told) == 7)
    assert recrawl.told[5:] == [("changed", "shared", 8), ("removed", "shared", 8)]


def test_a_cache_is_refused() -> None:
    """Answers that are kept for an author's sake would never change."""
    with pytest.raises(ConfigError, match="cache_for would have pages visited again on the disk only"):
        Crawl(seeded(), settings={"revisit": "1d", "cache_for": 60})


def test_wrong_keys() -> None:
    """What names no fields is refused, with what it takes."""
    spider = seeded()
    vars(spider)["item_key"] = 7
    with pytest.raises(ConfigError, match="item_key is 7; it takes a field"):
        Crawl(spider)


def seeded() -> Shop:
    spider = Shop()
    spider.seeds = ["http://a.test/"]
    return spider
