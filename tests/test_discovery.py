"""Sitemaps in whole crawls: robots.txt names them, pages come of them once, and what is wrong with them is told."""

import asyncio
import gc
import gzip
import json
import os
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import crawler
from crawler import Crawl, Limits, Response, Scope, Spider
from crawler.errors import ConfigError
from crawler.simulation import Answer, Fortune
from crawler.spider import check
from crawler.testing import HOST, Site, simulate
from tests.test_crawl import Crawled, crawled

XML = "application/xml"
SOURCE = str(Path(crawler.__file__).parent.parent)
OTHER = "other.test"


def urlset(*urls: str) -> str:
    """A sitemap."""
    entries = "".join(f"<url><loc>{url}</loc></url>" for url in urls)
    return f'<?xml version="1.0"?><urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">{entries}</urlset>'


def index(*urls: str, lastmod: str = "2024-05-17") -> str:
    """An index of sitemaps."""
    entries = "".join(f"<sitemap><loc>{url}</loc><lastmod>{lastmod}</lastmod></sitemap>" for url in urls)
    return f"<sitemapindex>{entries}</sitemapindex>"


class Pages(Spider):
    """An item for each page; no link is followed."""

    sitemaps: Any = True

    def parse(self, response: Response) -> Iterator[object]:
        yield {"path": response.url.partition(".test")[2].partition("/")[2], "depth": response.depth}

    def product(self, response: Response) -> Iterator[object]:
        for item in self.parse(response):
            yield {**item, "is_product": True}  # type: ignore[dict-item]  # it is the dict above


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with Site() as site:
        site.page("/", "home")
        yield site


def spider(site: Site, **attributes: object) -> Pages:
    made = Pages()
    made.seeds = [] if isinstance(attributes.get("sitemaps"), list) else [site.url("/")]
    for name, value in attributes.items():
        setattr(made, name, value)
    return made


def put_up(site: Site, path: str, text: str, *, host: str = HOST) -> str:
    site.page(path, text, content_type=XML, host=host)
    return site.url(path, host=host)


def pages(site: Site, *paths: str) -> list[str]:
    for path in paths:
        site.page(path, "page")
    return [site.url(path) for path in paths]


def paths(crawl: Crawled) -> list[str]:
    return sorted(crawl.values("path"))


# -- from robots.txt to pages


async def test_from_robots_to_pages(site: Site) -> None:
    """robots.txt names an index, that a gzipped sitemap: its pages are fetched once, and only they count."""
    urls = pages(site, "/a", "/b", "/c")
    packed = gzip.compress(urlset(*urls, urls[0], site.url("/")).encode())
    site.page("/maps/1.xml.gz", packed, content_type="application/gzip")
    put_up(site, "/index.xml", index(site.url("/maps/1.xml.gz")))
    site.robots(f"User-agent: *\nAllow: /\nSitemap: {site.url('/index.xml')}\nSitemap: /index.xml")
    crawl = await crawled(spider(site), site)
    assert crawl.items[0]["path"] in {"", "a"}
    assert {item["path"]: item["depth"] for item in crawl.items} == {"": 0, "a": 1, "b": 1, "c": 1}
    assert set(Counter(site.paths()).values()) == {1}
    assert "/sitemap.xml" not in site.paths()
    assert (crawl.counts.done, crawl.counts.spent.pages, crawl.counts.failed) == (4, 4, 0)


async def test_without_a_word_of_robots(site: Site) -> None:
    """Where robots.txt names none, /sitemap.xml is tried, also where it was moved; without one nothing fails."""
    missing = await crawled(spider(site), site)
    assert (paths(missing), missing.counts.failed, missing.counts.gone) == ([""], 0, 0)
    assert site.paths().count("/sitemap.xml") == 1
    site.redirect("/sitemap.xml", "/real.xml")
    put_up(site, "/real.xml", urlset(*pages(site, "/a")))
    assert paths(await crawled(spider(site), site)) == ["", "a"]


@pytest.mark.parametrize("status", [200, 403, 500])
async def test_no_sitemap_but_a_page(site: Site, caplog: pytest.LogCaptureFixture, status: int) -> None:
    """An error page at /sitemap.xml is no failure, nor worth a word, if nobody said that there is a sitemap."""
    site.page("/sitemap.xml", "<!DOCTYPE html><a href='/a'>Not found</a>", status=status)
    crawl = await crawled(spider(site), site, retries=0)
    assert (paths(crawl), crawl.counts.failed, crawl.counts.done) == ([""], 0, 1)
    assert not caplog.records


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        ("<!DOCTYPE html><p>Not found", 200, "BadSitemap"),
        ("", 200, "BadSitemap"),
        ("no", 403, "HttpError"),
        ("no", 500, "HttpError"),
    ],
)
async def test_a_named_one_that_fails(
    site: Site, caplog: pytest.LogCaptureFixture, body: str, status: int, reason: str
) -> None:
    """A sitemap that was named and is none counts as a failed page, whose reason stands in log and journal."""
    site.page("/map.xml", body, status=status)
    crawl = await crawled(spider(site, sitemaps=[site.url("/map.xml")]), site, retries=0)
    assert (crawl.counts.failed, crawl.counts.reasons) == (1, {f"failed: {reason}": 1})
    assert any(reason in record.getMessage() for record in caplog.records)
    assert crawl.counts.spent.pages == 0


async def test_failed_is_told(site: Site) -> None:
    """A spider's `failed` hears of a sitemap that was named, and of none that was not."""

    class Told(Pages):
        def failed(self, request: object, error: object) -> Iterator[object]:
            yield {"path": repr(request)}

    site.robots(f"User-agent: *\nAllow: /\nSitemap: {site.url('/gone.xml')}")
    told = Told()
    told.seeds = [site.url("/")]
    crawl = await crawled(told, site)
    assert paths(crawl) == ["", f"<Request GET {site.url('/gone.xml')} to=parse>"]
    assert crawl.counts.gone == 1


async def test_robots_forbid(site: Site) -> None:
    """A sitemap that robots.txt forbids is not asked for."""
    site.robots("User-agent: *\nDisallow: /private\nSitemap: /private/map.xml\nSitemap: /open.xml")
    put_up(site, "/open.xml", urlset(*pages(site, "/a", "/private/b")))
    crawl = await crawled(spider(site), site)
    assert paths(crawl) == ["", "a"]
    assert sorted(set(site.paths())) == ["/", "/a", "/open.xml", "/robots.txt"]


# -- what the spider says


async def test_a_list(site: Site) -> None:
    """Sitemaps and feeds of a list are where to begin; their hosts are in scope, and those they redirect to."""
    feed = f"<rss><channel><item><link>{site.url('/a')}</link></item></channel></rss>"
    put_up(site, "/feed", feed)
    pages(site, "/a")
    site.page("/b", "page", host=OTHER)
    site.redirect("/map.txt", site.url("/map.txt", host=OTHER))
    site.page("/map.txt", site.url("/b", host=OTHER), content_type="text/plain", host=OTHER)
    crawl = await crawled(spider(site, sitemaps=[site.url("/feed"), site.url("/map.txt")]), site)
    assert sorted((item["path"], item["depth"]) for item in crawl.items) == [("a", 1), ("b", 1)]
    assert "/" not in site.paths()


async def test_scope(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """What a sitemap names is in scope or left; if nothing of it is, that is said. A sitemap need not be."""
    put_up(site, "/map.xml", urlset(site.url("/x", host=OTHER), *pages(site, "/in/a", "/out/b")), host=OTHER)
    put_up(site, "/others.xml", urlset(site.url("/y", host=OTHER)))
    site.robots(f"User-agent: *\nAllow: /\nSitemap: {site.url('/map.xml', host=OTHER)}\nSitemap: /others.xml")
    scope = Scope(hosts=(HOST + ":*",), exclude=("*/out/*",))
    crawl = await crawled(spider(site, scope=scope), site)
    assert paths(crawl) == ["", "in/a"]
    (said,) = [record.getMessage() for record in caplog.records]
    assert said.startswith(f"nothing that {site.url('/others.xml')} names is in scope, such as")


async def test_traps(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """What looks like a trap is left out of sitemaps as it is of pages, and counted."""
    put_up(site, "/sitemap.xml", urlset(*pages(site, "/a"), site.url("/b/b/b/b/b")))
    crawl = await crawled(spider(site), site)
    assert paths(crawl) == ["", "a"]
    assert {reason: cut.links for reason, cut in crawl.counts.cuts.items()} == {"trap: repeated segment": 1}
    assert "max_repeated_segments would let them in" in caplog.text


async def test_depth(site: Site) -> None:
    """Pages of sitemaps are as deep as links of a seed: 1."""
    put_up(site, "/sitemap.xml", urlset(*pages(site, "/a")))
    assert paths(await crawled(spider(site), site, max_depth=1)) == ["", "a"]
    crawl = await crawled(spider(site), site, max_depth=0)
    assert (paths(crawl), crawl.counts.reasons["skipped: depth"]) == ([""], 1)


async def test_handlers_and_priorities(site: Site) -> None:
    """The first pattern that matches names the handler; among the pages of a host, the sitemap's priority decides."""
    first, second = pages(site, "/product/1", "/about")
    rare, often = f"<url><loc>{second}</loc><priority>0.1</priority></url>", f"<url><loc>{first}</loc></url>"
    put_up(site, "/map.xml", f"<urlset>{rare}{often}</urlset>")
    routes = {"*/product/*": "product", "*/about": "parse", "*": "product"}
    crawl = await crawled(spider(site, sitemaps=[site.url("/map.xml")], sitemap_to=routes), site)
    assert [(item["path"], "is_product" in item) for item in crawl.items] == [("product/1", True), ("about", False)]


def dated(url: str, date: str) -> str:
    return f"<url><loc>{url}</loc><lastmod>{date}</lastmod></url>"


async def test_since(site: Site) -> None:
    """Pages, and sitemaps of an index, that are older than `sitemap_since` are left; those without a date are not."""
    today, a, b, c, d = datetime.now(UTC).date().isoformat(), *pages(site, "/a", "/b", "/c", "/d")
    put_up(site, "/1.xml", f"<urlset>{dated(a, today)}{dated(b, '2024-05-17')}<url><loc>{c}</loc></url></urlset>")
    put_up(site, "/2.xml", urlset(d))
    children = index(site.url("/1.xml"), lastmod=today) + index(site.url("/2.xml"))
    put_up(site, "/index.xml", children.replace("</sitemapindex><sitemapindex>", ""))
    sitemaps = [site.url("/index.xml")]
    assert paths(await crawled(spider(site, sitemaps=sitemaps, sitemap_since="7d"), site)) == ["a", "c"]
    assert "/2.xml" not in site.paths()
    since = await crawled(spider(site, sitemaps=sitemaps, sitemap_since="2024-05-17"), site)
    assert paths(since) == ["a", "b", "c", "d"]


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"sitemaps": "https://a.test/"}, "True, or a list of absolute http or https URLs"),
        ({"sitemaps": ["/sitemap.xml"]}, "True, or a list of absolute"),
        ({"sitemaps": [7]}, "True, or a list of absolute"),
        ({"sitemap_since": "last week"}, "a date such as 2024-05-17, or how long ago, such as 7d"),
        ({"sitemap_since": 7}, "a date such as"),
        ({"sitemap_to": ["x"]}, "a dict of names of handlers"),
        ({"sitemap_to": {"*": "prodct"}}, "has no handler 'prodct'; did you mean 'product'?"),
        ({"sitemaps": True, "seeds": []}, "has nowhere to begin"),
        ({"sitemaps": [], "seeds": []}, "has nowhere to begin"),
    ],
)
def test_mistakes(attributes: Mapping[str, object], message: str) -> None:
    """What cannot work is said before anything begins, with what would."""
    made = Pages()
    made.seeds = ["https://a.test/"]
    for name, value in attributes.items():
        setattr(made, name, value)
    with pytest.raises(ConfigError, match=message.replace("?", r"\?")):
        check(made)


# -- indexes


async def test_loops(site: Site) -> None:
    """Indexes that name one another are read once each."""
    put_up(site, "/1.xml", index(site.url("/2.xml"), site.url("/1.xml"), site.url("/map.xml")))
    put_up(site, "/2.xml", index(site.url("/1.xml"), site.url("/2.xml#again")))
    put_up(site, "/map.xml", urlset(*pages(site, "/a"), site.url("/map.xml")))
    crawl = await crawled(spider(site, sitemaps=[site.url("/1.xml")]), site)
    assert Counter(site.paths()) == {"/robots.txt": 1, "/1.xml": 1, "/2.xml": 1, "/map.xml": 2, "/a": 1}
    assert paths(crawl) == ["a", "map.xml"], "a page of its URL is another thing"


async def test_depth_of_indexes(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """An index may lie within three others, one above the other, and what a fourth names is left."""
    for n in range(6):
        site.page(f"/page{n}", "page")
        put_up(site, f"/map{n}.xml", urlset(site.url(f"/page{n}")))
        put_up(site, f"/{n}.xml", index(site.url(f"/map{n}.xml"), site.url(f"/{n + 1}.xml")))
    crawl = await crawled(spider(site, sitemaps=[site.url("/0.xml")]), site)
    assert paths(crawl) == ["page0", "page1", "page2"]
    assert "/3.xml" in site.paths()
    assert any(
        "/3.xml lies within 3 indexes: the 2 that it names are left" in record.message for record in caplog.records
    )


async def test_an_index_sends_nobody_elsewhere(site: Site) -> None:
    """The sitemaps of an index lie on its own host, or on one of the crawl: else it could make a crawl ask anybody."""
    put_up(
        site, "/index.xml", index(site.url("/far.xml", host="far.test"), site.url("/near.xml", host=OTHER)), host=OTHER
    )
    put_up(site, "/near.xml", urlset(*pages(site, "/a")), host=OTHER)
    site.robots(f"User-agent: *\nAllow: /\nSitemap: {site.url('/index.xml', host=OTHER)}")
    assert paths(await crawled(spider(site), site)) == ["", "a"]
    assert not site.paths("far.test")


# -- long and broken ones


async def test_broken(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """What stands before the fault of a sitemap is crawled, and the fault is told."""
    put_up(site, "/map.xml", urlset(*pages(site, "/a", "/b"))[:-20])
    crawl = await crawled(spider(site, sitemaps=[site.url("/map.xml")]), site)
    assert (paths(crawl), crawl.counts.failed) == (["a"], 0)
    assert "/map.xml was read only in part: its XML is broken at line 1" in caplog.text


async def test_a_broken_connection(site: Site) -> None:
    """A sitemap whose connection breaks is read again, and nothing comes of it twice."""
    text = urlset(*pages(site, *(f"/{n}" for n in range(200)))).encode()
    site.file("/map.xml", text, content_type=XML, cut_after=2000, times=1)
    site.file("/map.xml", text, content_type=XML)
    crawl = await crawled(spider(site, sitemaps=[site.url("/map.xml")]), site)
    assert len(crawl.items) == 200
    assert set(Counter(site.paths()).values()) == {1, 2}


async def test_a_long_sitemap_blocks_nobody(site: Site) -> None:
    """50,000 URLs, far more than `max_links`, are all stored, and the loop is never held up for long."""
    text = urlset(*(site.url(f"/{n}") for n in range(50_000)))
    site.page("/map.xml.gz", gzip.compress(text.encode()), content_type="application/gzip")
    gaps: list[float] = []

    async def watch() -> None:
        while True:
            began = time.thread_time()  # a busy machine holds it up as well
            await asyncio.sleep(0.005)
            gaps.append(time.thread_time() - began)

    gc.collect()
    gc.freeze()  # a collection of all that other tests have left would be counted, too
    made = spider(site, sitemaps=[site.url("/map.xml.gz")])
    crawl = Crawl(made, folder=None, settings={**site.settings, "max_links": 10}, limits=Limits(max_pages=1))
    watching = asyncio.create_task(watch())
    summary = await crawl.run()
    watching.cancel()
    gc.unfreeze()
    assert summary.counts.pending == 49_999
    assert max(gaps) < 0.1


# -- killed


class Killed(Pages):
    seeds = ["http://shop.test/"]


def shop() -> dict[str, Any]:
    """A shop of thirty pages in three sitemaps, one of them named twice."""
    maps = {
        f"http://shop.test/{n}.xml": Answer(body=urlset(*(f"http://shop.test/{n}/{m}" for m in range(10))))
        for n in range(3)
    }
    robots = "User-agent: *\nAllow: /\nSitemap: /index.xml\nSitemap: http://shop.test/0.xml"
    return {
        "http://shop.test/": "home",
        "http://shop.test/robots.txt": robots,
        "http://shop.test/index.xml": Answer(body=index(*maps)),
        **maps,
        **{f"http://shop.test/{n}/{m}": "page" for n in range(3) for m in range(10)},
    }


EVERY = {"", *(f"{n}/{m}" for n in range(3) for m in range(10))}


@pytest.mark.parametrize("moment", ["before", "within", "after"])
def test_killed_at_each_transaction(moment: Any) -> None:
    """Killed before, within or after any transaction, also amid a sitemap, every page is there once."""
    for last in range(1, 40):
        crawl = simulate(Killed(), shop(), seed=last, fortunes=[Fortune(last_transaction=last, moment=moment)])
        assert Counter(str(item["path"]) for item in crawl.items) == Counter(EVERY), last


def test_killed_often() -> None:
    """With two engines that die now and then, and servers that fail, every page is there once."""
    for seed in range(10):
        faults: dict[str, Sequence[Any]] = {"http://shop.test/1.xml": [503, 500], "http://shop.test/index.xml": [429]}
        crawl = simulate(Killed(), shop(), seed=seed, engines=2, kills=4, faults=faults)
        assert Counter(str(item["path"]) for item in crawl.items) == Counter(EVERY), seed


KILLABLE = """
import sys
from crawler import Crawl, Spider
from crawler.job import crawl

class Killable(Spider):
    sitemaps = [sys.argv[1]]
    settings = {"resolve": {"*.test": "127.0.0.1"}, "delay": 0, "min_free_space": 0, "commit_window": 0.01}

    def parse(self, response):
        yield {"url": response.url}

print(crawl(Killable()).outcome)
"""


def test_killed_by_sigkill(tmp_path: Path) -> None:
    """Killed while a sitemap comes in, and among its pages, a crawl goes on, and has every page once."""
    with Site.in_thread() as site:
        names = pages(site, *(f"/{n}" for n in range(400)))
        text = gzip.compress(urlset(*names).encode())
        site.file("/map.xml.gz", text, content_type="application/gzip", bytes_per_second=len(text) / 2)

        def kill(when: Callable[[], bool]) -> None:
            command = [sys.executable, "-c", KILLABLE, site.url("/map.xml.gz")]
            with subprocess.Popen(command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": SOURCE}) as process:
                ends_at = time.monotonic() + 30
                while not when():
                    assert process.poll() is None
                    assert time.monotonic() < ends_at
                    time.sleep(0.005)
                process.kill()

        journal = tmp_path / "output/killable/job.db"
        kill(lambda: journal.exists() and stored(journal) > 20)
        assert 20 < stored(journal) < 400
        kill(lambda: len(site.paths()) > 100)
        command = [sys.executable, "-c", KILLABLE, site.url("/map.xml.gz")]
        ran = subprocess.run(
            command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": SOURCE}, capture_output=True, text=True, check=True
        )
        assert ran.stdout == "finished\n"
        asked = Counter(site.paths())
    items = (tmp_path / "output/killable/run-0001/items.jsonl").read_text().splitlines()
    assert sorted(json.loads(line)["url"] for line in items) == sorted(names)
    assert asked.pop("/map.xml.gz") == 2
    assert max(asked.values()) <= 2, "what was not stored when it was killed"


def stored(journal: Path) -> int:
    """How many pages a journal holds that another process is writing."""
    with closing(sqlite3.connect(f"file:{journal}?mode=ro", uri=True, timeout=5)) as db:
        try:
            return int(db.execute("SELECT count(*) FROM pages").fetchone()[0])
        except sqlite3.OperationalError:  # it has no tables yet
            return 0


async def test_the_next_run_reads_them_again(site: Site, tmp_path: Path) -> None:
    """Each run reads the sitemaps as they are then, though robots.txt is known from the last one."""
    site.robots("User-agent: *\nAllow: /\nSitemap: /map.xml")
    put_up(site, "/map.xml", urlset(*pages(site, "/a")))
    for count in (2, 3):
        crawl = Crawl(spider(site), folder=tmp_path, settings=site.settings)
        summary = await crawl.run()
        assert (summary.counts.done, summary.counts.pending) == (count, 0)
        put_up(site, "/map.xml", urlset(*pages(site, "/a", "/b")))
    assert site.paths().count("/robots.txt") == 1
