"""Whole crawls against a real site on loopback: what an author writes, and what comes out."""

import asyncio
import hashlib
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from crawler import Crawl, FetchError, Limits, Request, Response, Scope, Spider, politeness
from crawler.errors import ConfigError
from crawler.progress import Summary
from crawler.testing import Site
from crawler.workbench import Workbench


class Titles(Spider):
    """Follows everything, yields each page."""

    def parse(self, response: Response) -> Iterator[object]:
        yield {
            "path": response.url.partition(".test")[2].partition("/")[2],
            "title": response.text("title", default=""),
        }
        yield response.follow("a")


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with Site() as site:
        yield site


class Crawled:
    """What a crawl in memory came to."""

    def __init__(self, summary: Summary, items: list[dict[str, Any]]) -> None:
        self.summary = summary
        self.counts = summary.counts
        self.items = items

    def values(self, name: str) -> list[Any]:
        return [item[name] for item in self.items]


async def crawled(spider: Spider, site: Site, *, limits: Limits | None = None, **settings: object) -> Crawled:
    crawl = Crawl(spider, folder=None, settings={**site.settings, **settings}, limits=limits)
    async with crawl:
        items = [item async for item in crawl]
        assert crawl._running is not None
        summary = await crawl._running
        assert await crawl._frontier.violations() == []
    return Crawled(summary, items)


def seeded(spider: type[Spider], *urls: str) -> Spider:
    made = spider()
    made.seeds = list(urls)
    return made


# -- the four examples of the manual


async def test_items_and_following(site: Site) -> None:
    """A dict item a quote, and the next page followed to the end."""

    class Quotes(Spider):
        seeds = [site.url("/")]

        def parse(self, response):
            for quote in response.css("div.quote"):
                yield {"text": quote.text(".text"), "author": quote.text(".author")}
            yield from response.follow("li.next a")

    quote = '<div class="quote"><span class="text">{}</span><small class="author">A</small></div>'
    site.page("/", quote.format("one") + quote.format("two") + '<li class="next"><a href="/2">next</a></li>')
    site.page("/2", quote.format("three"))
    found = await crawled(Quotes(), site)
    assert found.values("text") == ["one", "two", "three"]
    assert site.paths() == ["/robots.txt", "/", "/2"]


@dataclass
class Book:
    title: str
    price: Decimal
    url: str


async def test_typed_items_and_pipeline(site: Site) -> None:
    """Typed items go through the pipeline in order, sync and async; a bad one is kept apart, never lost."""

    def drop_out_of_stock(item: Book) -> Book | None:
        return None if item.title == "Sold" else item

    async def add_currency(item: Book) -> dict[str, object]:
        await asyncio.sleep(0)
        return {"title": item.title, "price": f"{item.price} GBP"}

    class Books(Spider):
        seeds = [site.url("/")]
        settings = {"delay": 0.5, "concurrency_per_host": 2}
        pipeline = [drop_out_of_stock, add_currency]

        def parse(self, response):
            yield from response.follow("article h3 a", to=self.book, priority=1)
            yield from response.follow("li.next a")

        def book(self, response):
            yield Book(response.text("h1"), Decimal(response.text(".price_color").lstrip("£")), response.url)

    class Unrefined(Books):
        pipeline = []

        def book(self, response):
            yield Book(None, Decimal(1), response.url)  # type: ignore[arg-type]  # that is what is wrong with it

    site.page("/", "".join(f'<article><h3><a href="/{name}">x</a></h3></article>' for name in ("Pears", "Sold")))
    for name in ("Pears", "Sold"):
        site.page(f"/{name}", f'<h1>{name}</h1><p class="price_color">£12.50</p>')
    found = await crawled(Books(), site)
    assert found.items == [{"title": "Pears", "price": "12.50 GBP"}]
    bad = await crawled(Unrefined(), site)
    assert (bad.items, bad.counts.quarantined, bad.summary.exit_code) == ([], 2, 3)


async def test_async_handlers_and_fetch(site: Site) -> None:
    """An async handler may fetch more before it yields, at the pace of the host."""

    class Posts(Spider):
        seeds = [site.url("/posts?cursor=")]

        async def parse(self, response):
            page = response.json()
            names = (await response.fetch("/authors?ids=" + ",".join(page["author_ids"]))).json()
            for post in page["posts"]:
                yield {"id": post["id"], "title": post["title"], "author": names[post["author_id"]]}
            if page["next"]:
                yield response.request(f"/posts?cursor={page['next']}")

    def posts(number: int, more: str) -> dict[str, object]:
        return {
            "author_ids": ["7"], "next": more, "posts": [{"id": number, "title": f"t{number}", "author_id": "7"}],
        }  # fmt: skip

    site.answer("/posts?cursor=", lambda _: posts(1, "b"))
    site.answer("/posts?cursor=b", lambda _: posts(2, ""))
    site.answer("/authors?ids=7", lambda _: {"7": "Ada"})
    found = await crawled(Posts(), site, delay=0.1)
    assert found.items == [{"id": 1, "title": "t1", "author": "Ada"}, {"id": 2, "title": "t2", "author": "Ada"}]
    assert min(site.gaps()) >= 0.08


# -- pages, links and scope


async def test_every_page_once(site: Site) -> None:
    """Each page of a linked site is fetched once and gives one item."""
    pages = site.tree(60, 5)
    found = await crawled(seeded(Titles, site.url(pages[0])), site, concurrency_per_host=8)
    assert len(found.items) == found.counts.done == 60
    assert len(set(found.values("path"))) == 60
    assert sorted(site.paths()) == sorted(["/robots.txt", *pages])


async def test_scope(site: Site) -> None:
    """Other hosts and subdomains are left alone by default; patterns and depth bound what is followed."""
    site.page(
        "/", '<a href="/in/a">a</a><a href="/out/b">b</a><a href="//sub.site.test/">c</a><a href="/in/no/x">d</a>'
    )
    site.page("/in/a", '<a href="/in/deep">deep</a>')
    site.page("/in/deep", '<a href="/in/deeper">deeper</a>')

    class Scoped(Titles):
        scope = Scope(include=("*/", "*/in/*"), exclude=("*/no/*",), max_depth=2)

    found = await crawled(seeded(Scoped, site.url("/")), site)
    assert found.values("path") == ["", "in/a", "in/deep"]
    assert found.counts.reasons["skipped: depth"] == 1
    assert all(seen.host == "site.test" for seen in site.seen)


async def test_odd_links(site: Site) -> None:
    """Links are read as browsers read them: base, white space, area; what is no web page is passed over."""
    site.page(
        "/x/",
        '<base href="/y/"><a href=" a\n">1</a><area href="b"><a href="javascript:1">2</a><a href="mailto:x@y">3</a>'
        '<a href="http://[bad">4</a><a>5</a><a href="a#f">6</a><a href="tel:1">7</a>',
    )
    site.page("/y/a", "a")
    site.page("/y/b", "b")
    found = await crawled(seeded(Titles, site.url("/x/")), site)
    assert found.values("path") == ["x/", "y/a", "y/b"]


async def test_priorities(site: Site) -> None:
    """Of one host, what has the higher priority goes first, though it was found later."""

    class Ranked(Spider):
        def parse(self, response):
            yield response.request("/last", to=self.leaf, priority=-1)
            yield response.request("/middle", to=self.leaf)
            yield response.request("/first", to=self.leaf, priority=5)

        def leaf(self, response):
            yield {"path": response.url.rpartition("/")[2]}

    for name in ("/", "/first", "/middle", "/last"):
        site.page(name, "x")
    found = await crawled(seeded(Ranked, site.url("/")), site)
    assert found.values("path") == ["first", "middle", "last"]


async def test_data_depth_and_post(site: Site) -> None:
    """A request carries data, method and body to the server and back to its handler."""

    class Poster(Spider):
        def parse(self, response):
            for n in (1, 2):
                yield response.request("/api", to=self.answer, json={"n": n}, data={"n": [n]}, headers={"X-T": "1"})

        def answer(self, response):
            yield {"n": response.data["n"][0], "depth": response.depth, "got": response.json()["got"]}

    async def echo(request):
        return {"got": (await request.json())["n"] * 10 + int(request.headers["X-T"])}

    site.page("/", "x")
    site.answer("/api", echo)
    found = await crawled(seeded(Poster, site.url("/")), site)
    assert sorted(found.values("got")) == [11, 21]
    assert {item["depth"] for item in found.items} == {1}


async def test_start(site: Site) -> None:
    """Seeds may come one by one from anywhere, as URLs or requests; each is fetched as it comes."""
    asked = asyncio.Event()

    class Slow(Spider):
        async def start(self):
            yield site.url("/a")
            await asked.wait()
            yield self.request(site.url("/b"), to=self.other, data=1)

        def parse(self, response):
            asked.set()
            yield {"by": "parse"}

        def other(self, response):
            yield {"by": "other"}

    site.page("/a", "x")
    site.page("/b", "x")
    found = await crawled(Slow(), site)
    assert found.values("by") == ["parse", "other"]


# -- redirects, robots.txt, failures


async def test_redirects(site: Site) -> None:
    """A redirect is a link: its target is fetched once, by the same handler; a seed's may leave the host."""
    site.redirect("/", site.url("/home", host="www.test"), status=301)
    site.page("/home", '<a href="/old">1</a><a href="/new">2</a><a href="/loop">3</a>', host="www.test")
    site.redirect("/old", "/new", host="www.test")
    site.page("/new", "new", host="www.test")
    site.redirect("/loop", "/loop", host="www.test")
    found = await crawled(seeded(Titles, site.url("/")), site)
    assert len(found.items) == 2
    assert site.paths("www.test").count("/new") == 1
    assert found.counts.reasons["failed: TooManyRedirects"] == 1
    assert found.counts.reasons["done: redirected"] == 2


async def test_robots(site: Site) -> None:
    """robots.txt is asked for first, once, and obeyed, its Crawl-delay too."""
    site.robots("User-agent: *\nDisallow: /no\nCrawl-delay: 0.2")
    site.page("/", '<a href="/a">a</a><a href="/no/x">b</a>')
    site.page("/a", "a")
    found = await crawled(seeded(Titles, site.url("/")), site, concurrency_per_host=4)
    assert site.paths() == ["/robots.txt", "/", "/a"]
    assert min(site.gaps()) >= 0.18
    assert found.counts.reasons["skipped: robots"] == 1
    assert found.summary.exit_code == 0


async def test_pauses_count_from_when_requests_leave(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each request tells when it has left this process, which a busy loop may put off; here it lies about for 0.2 s."""
    left = Workbench.left
    monkeypatch.setattr(Workbench, "left", lambda bench, lane, now, group: left(bench, lane, now + 0.2, group))
    site.page("/", '<a href="/a">a</a>')
    site.page("/a", "a")
    await crawled(seeded(Titles, site.url("/")), site, delay=0.1)
    assert site.paths() == ["/robots.txt", "/", "/a"]
    assert min(site.gaps()) >= 0.28


@pytest.mark.parametrize(
    ("said", "shortened"),
    [("", ["ROBOTS_SHORTEST_LIFETIME", "ROBOTS_LIFETIME"]), ("public, max-age=0", ["ROBOTS_SHORTEST_LIFETIME"])],
)
async def test_robots_are_asked_for_again(
    site: Site, monkeypatch: pytest.MonkeyPatch, said: str, shortened: list[str]
) -> None:
    """A robots.txt counts for a day (RFC 9309 section 2.4) or its max-age; then it is asked for and obeyed anew."""
    assert (politeness.ROBOTS_LIFETIME, politeness.ROBOTS_SHORTEST_LIFETIME) == (86_400, 60)
    for name in shortened:
        monkeypatch.setattr(politeness, name, 0.3)
    site.page("/robots.txt", "", times=1, headers={"Cache-Control": said})
    site.robots("User-agent: *\nDisallow: /12")
    for n in range(14):
        site.page(f"/{n}", f"<a href=/{n + 1}>next</a>")
    found = await crawled(seeded(Titles, site.url("/0")), site, delay=0.05)
    assert site.paths().count("/robots.txt") >= 2
    assert found.values("path") == [str(n) for n in range(12)]
    assert found.counts.reasons["skipped: robots"] == 1


async def test_robots_moved(site: Site) -> None:
    """A robots.txt that was moved to another host counts for the host that was asked."""
    site.redirect("/robots.txt", site.url("/r.txt", host="www.test"))
    site.page("/r.txt", "User-agent: *\nDisallow: /no", host="www.test", content_type="text/plain")
    site.page("/", '<a href="/no">b</a>')
    found = await crawled(seeded(Titles, site.url("/")), site)
    assert found.values("path") == [""]
    assert found.counts.reasons["skipped: robots"] == 1


async def test_a_crawl_delay_too_long(site: Site) -> None:
    """A host that asks for more patience than there is is not asked at all, and the crawl says that it is not done."""
    site.robots("User-agent: *\nCrawl-delay: 3000")
    site.page("/", "x")
    found = await crawled(seeded(Titles, site.url("/")), site)
    assert site.paths() == ["/robots.txt"]
    assert (found.summary.outcome, found.counts.pending, found.summary.exit_code) == ("parked", 1, 4)


async def test_nofollow(site: Site) -> None:
    """A page that says nofollow, in its head or its headers, is read, and its links are left alone."""
    site.page("/", '<a href="/meta">m</a><a href="/header">h</a><a href="/other">o</a>')
    site.page("/meta", '<head><meta name="Robots" content="noindex, NOFOLLOW"></head><a href="/hidden">x</a>')
    site.page("/header", '<a href="/hidden">x</a>', headers={"X-Robots-Tag": "none"})
    site.page("/other", '<a href="/seen">x</a>', headers={"X-Robots-Tag": "otherbot: nofollow"})
    site.page("/seen", "x")
    found = await crawled(seeded(Titles, site.url("/")), site)
    assert sorted(found.values("path")) == ["", "header", "meta", "other", "seen"]


@pytest.mark.parametrize("size", [600_000, 12_000_000])
async def test_robots_too_long(site: Site, size: int) -> None:
    """Of an endless robots.txt the first 512,000 bytes count, and the crawl goes on."""
    site.robots("User-agent: *\nDisallow: /no\n" + "# filler\n" * (size // 9) + "Disallow: /late\n")
    site.page("/", '<a href="/no">n</a><a href="/late">l</a>')
    site.page("/late", "x")
    found = await crawled(seeded(Titles, site.url("/")), site)
    assert found.values("path") == ["", "late"]


async def test_robots_that_fail_once(site: Site) -> None:
    """A robots.txt that could not be had is asked for again after a second or so, not after a polling time."""
    site.page("/robots.txt", "x", status=503, times=2)
    site.page("/", "x")
    found = await crawled(seeded(Titles, site.url("/")), site)
    assert site.paths() == ["/robots.txt"] * 3 + ["/"]
    assert len(found.items) == 1
    assert found.summary.elapsed < 8


async def test_robots_ignored_on_request(site: Site) -> None:
    """The setting obey_robots=False asks for no robots.txt at all."""
    site.robots("User-agent: *\nDisallow: /")
    site.page("/", "x")
    found = await crawled(seeded(Titles, site.url("/")), site, obey_robots=False)
    assert (len(found.items), site.paths()) == (1, ["/"])


async def test_retries(site: Site) -> None:
    """A passing failure is tried again later; a lasting one ends the page with its reason."""
    site.page("/", "x", status=500, times=1)
    site.page("/", '<a href="/bad">x</a><a href="/gone">x</a>')
    site.page("/bad", "x", status=403)
    found = await crawled(seeded(Titles, site.url("/")), site)
    assert site.paths().count("/") == 2
    assert site.gaps()[1] >= 0.4
    assert (found.counts.gone, found.counts.failed, found.summary.exit_code) == (1, 1, 3)


async def test_overload(site: Site) -> None:
    """After a 429 with Retry-After the whole host is left alone for that long."""
    site.page("/", "x", status=429, headers={"Retry-After": "1"}, times=1)
    site.page("/", '<a href="/a">a</a>')
    site.page("/a", "a")
    found = await crawled(seeded(Titles, site.url("/")), site)
    assert site.gaps()[1] >= 0.98
    assert (found.counts.failed, len(found.items)) == (0, 2)


async def test_a_handler_that_raises(site: Site) -> None:
    """A handler's error ends its page alone, with the traceback kept and nothing of what it had yielded."""

    class Fragile(Titles):
        def parse(self, response):
            yield from super().parse(response)
            if "bad" in response.url:
                yield response.request("/never")
                raise ValueError("no such thing")

    site.page("/", '<a href="/bad">b</a><a href="/good">g</a>')
    site.page("/bad", "x")
    site.page("/good", "x")
    found = await crawled(seeded(Fragile, site.url("/")), site)
    assert sorted(found.values("path")) == ["", "good"]
    assert found.counts.reasons["failed: HandlerError"] == 1
    assert "/never" not in site.paths()


async def test_an_async_handler_that_hangs(site: Site) -> None:
    """An async handler that does not end is cancelled, and its page failed."""

    class Hanging(Spider):
        async def parse(self, response):
            await asyncio.sleep(3600)
            yield {}

    site.page("/", "x")
    found = await crawled(seeded(Hanging, site.url("/")), site, handler_timeout=0.2)
    assert found.counts.reasons["failed: HandlerError"] == 1


async def test_failed_reaches_the_author(site: Site) -> None:
    """A page that fails for good is told to the spider, which may yield; statuses lets a handler have it instead."""

    class Checker(Spider):
        def parse(self, response):
            yield response.request("/gone", data="here", failed=self.broken)
            yield response.request("/teapot", to=self.odd, statuses={418})

        def broken(self, request: Request, error: FetchError):
            yield {"url": request.url.rpartition("/")[2], "on": request.data, "status": error.status}

        def odd(self, response):
            yield {"url": "teapot", "on": None, "status": response.status}

    site.page("/", "x")
    site.page("/teapot", "short and stout", status=418)
    found = await crawled(seeded(Checker, site.url("/")), site)
    assert sorted(found.items, key=str) == [
        {"url": "gone", "on": "here", "status": 404},
        {"url": "teapot", "on": None, "status": 418},
    ]


async def test_content_types(site: Site) -> None:
    """A handler gets text; what else a link leads to is cut after its headers, unless it is asked for."""

    class Any(Titles):
        def parse(self, response):
            yield response.request("/image", to=self.size)
            yield response.request("/wanted", to=self.size, accept=["image/png"])

        def size(self, response):
            yield {"size": len(response.body)}

    site.page("/", "x")
    site.page("/image", b"\x89PNG", content_type="image/png")
    site.page("/wanted", b"\x89PNG", content_type="image/png")
    found = await crawled(seeded(Any, site.url("/")), site)
    assert found.values("size") == [4]
    assert found.counts.reasons["skipped: content type"] == 1


# -- pace and bounds


async def test_pace(site: Site) -> None:
    """The delay holds between any two requests of a host, robots.txt included; hosts do not wait for each other."""
    urls = [site.url(site.tree(6, 3, host=f"h{n}.test")[0], host=f"h{n}.test") for n in range(5)]
    began = asyncio.get_running_loop().time()
    found = await crawled(seeded(Titles, *urls), site, delay=0.15)
    assert len(found.items) == 30
    for n in range(5):
        assert min(site.gaps(f"h{n}.test")) >= 0.13
        assert site.peak(f"h{n}.test") == 1
    assert asyncio.get_running_loop().time() - began < 5 * 6 * 0.15


async def test_concurrency_per_host(site: Site) -> None:
    """A host has no more requests under way than it may, and as many as it may."""
    site.page("/", "".join(f'<a href="/{n}">x</a>' for n in range(12)))
    for n in range(12):
        site.page(f"/{n}", "x", after=0.05)
    await crawled(seeded(Titles, site.url("/")), site, concurrency_per_host=3)
    assert site.peak() == 3


@pytest.mark.parametrize(("limit", "pages"), [(1, 1), (7, 7), (500, 40)])
async def test_max_pages(site: Site, limit: int, pages: int) -> None:
    """--max-pages is exact, whatever is under way; below the whole it ends resumable."""
    start = site.tree(40, 6)[0]
    found = await crawled(
        seeded(Titles, site.url(start)), site, limits=Limits(max_pages=limit), concurrency_per_host=16
    )
    assert found.summary.pages == pages
    assert len(found.items) == pages
    assert found.summary.exit_code == (4 if pages < 40 else 0)


async def test_max_items(site: Site) -> None:
    """--max-items is never passed: a page that would exceed it stays pending, whole."""

    class Triples(Titles):
        def parse(self, response):
            yield [{"n": n} for n in range(3)]
            yield response.follow("a")

    start = site.tree(20, 4)[0]
    found = await crawled(seeded(Triples, site.url(start)), site, limits=Limits(max_items=10), concurrency_per_host=8)
    assert len(found.items) == 9
    assert found.summary.outcome == "stopped: max-items"
    assert found.counts.pending > 0


async def test_max_bytes_and_time(site: Site) -> None:
    """--max-bytes stops within a chunk; --max-time stops the leasing; what was under way stays pending."""
    site.page("/", "".join(f'<a href="/{n}">x</a>' for n in range(50)))
    for n in range(50):
        site.page(f"/{n}", "y" * 10_000)
    found = await crawled(seeded(Titles, site.url("/")), site, limits=Limits(max_bytes=100_000))
    assert found.summary.outcome == "stopped: max-bytes"
    assert found.summary.bytes <= 100_000 + 70_000
    found = await crawled(seeded(Titles, site.url("/")), site, limits=Limits(max_time=0.5), delay=0.1)
    assert found.summary.outcome == "stopped: max-time"
    assert found.summary.elapsed < 3


# -- jobs and runs


async def test_a_stopped_job_resumes(site: Site, tmp_path: Path) -> None:
    """A stopped crawl goes on where it was, and ends with the same items, each once."""
    start = site.tree(30, 4)[0]

    def crawl(limits: Limits | None = None) -> Crawl:
        spider = seeded(Titles, site.url(start))
        return Crawl(spider, folder=tmp_path, job="t", settings=site.settings, limits=limits)

    first = await crawl(Limits(max_pages=12)).run()
    assert (first.outcome, first.exit_code, first.resumed) == ("stopped: max-pages", 4, False)
    second = await crawl().run()
    assert (second.outcome, second.exit_code, second.resumed, second.run) == ("finished", 0, True, 1)
    lines = Path(first.outputs[0]).read_text().splitlines()
    assert len(lines) == len(set(lines)) == 30
    assert len(site.paths()) == 31
    third = await crawl().run()
    assert (third.run, third.items) == (2, 30)
    assert Path(third.outputs[0]).read_text().count("\n") == 30


async def test_outputs(site: Site, tmp_path: Path) -> None:
    """A file that is not this run's own is refused before anything is fetched."""
    site.page("/", "x")
    target = tmp_path / "mine.jsonl"
    target.write_text("precious\n")
    with pytest.raises(ConfigError, match=r"mine\.jsonl exists"):
        await Crawl(seeded(Titles, site.url("/")), folder=tmp_path, output=str(target), settings=site.settings).run()
    assert target.read_text() == "precious\n"
    assert site.seen == []
    summary = await Crawl(
        seeded(Titles, site.url("/")), folder=tmp_path, output=[str(target), str(tmp_path / "x.csv")],
        settings=site.settings, existing="append",
    ).run()  # fmt: skip
    assert target.read_text().startswith("precious\n{")
    assert len((tmp_path / "x.csv").read_text().splitlines()) == 2
    assert summary.exit_code == 0


async def test_leaving_the_loop_stops_the_crawl(site: Site, tmp_path: Path) -> None:
    """A program that has seen enough leaves; the job can be resumed, and hands out again what was not asked past."""
    start = site.tree(30, 4)[0]
    spider = seeded(Titles, site.url(start))
    async with Crawl(spider, folder=tmp_path, settings={**site.settings, "delay": 0.05}) as crawl:
        seen = []
        async for item in crawl:
            seen.append(item["path"])
            if len(seen) == 3:
                break
    async with Crawl(spider, folder=tmp_path, settings=site.settings) as crawl:
        rest = [item["path"] async for item in crawl]
    assert set(seen) | set(rest) == {item.lstrip("/") for item in site.tree(30, 4)}
    assert len(rest) in {27, 28}


async def test_two_engines_share_a_job(site: Site, tmp_path: Path) -> None:
    """Two crawls of one job divide its hosts: each page once, each host at its pace."""
    urls = [site.url(site.tree(8, 3, host=f"h{n}.test")[0], host=f"h{n}.test") for n in range(6)]

    def crawl(output: str) -> Crawl:
        settings = {**site.settings, "delay": 0.05}
        return Crawl(seeded(Titles, *urls), folder=tmp_path, job="t", settings=settings, output=str(tmp_path / output))

    async def late() -> Summary:
        await asyncio.sleep(0.2)
        return await crawl("b.jsonl").run()

    first, second = await asyncio.gather(crawl("a.jsonl").run(), late())
    assert first.pages + second.pages == 48
    assert {first.outcome, second.outcome} == {"finished"}
    for n in range(6):
        assert min(site.gaps(f"h{n}.test")) >= 0.03
    assert len((tmp_path / "a.jsonl").read_text().splitlines()) == 48
    assert len(site.paths()) == len({(seen.host, seen.path_qs) for seen in site.seen}) == 54


# -- downloads


class Fetcher(Spider):
    """Downloads what its page links to, with and without a handler."""

    def parse(self, response):
        for link in response.css("a::attr(href)").getall():
            file = response.download(link, to=self.saved)
            yield {"link": link, "path": file.path}
            yield file

    def saved(self, response):
        file = response.file
        assert file.path.stat().st_size == file.size
        yield {"path": file.name, "size": file.size, "sha256": file.sha256}


async def test_downloads(site: Site, tmp_path: Path) -> None:
    """A file is streamed to the path that the item knew beforehand; its handler has size and checksum."""
    site.page("/", '<a href="/big.pdf">1</a><a href="/moved.pdf">2</a><a href="/gone.pdf">3</a>')
    site.file("/big.pdf", 3_000_000)
    site.redirect("/moved.pdf", "/small.pdf")
    site.file("/small.pdf", b"small")
    crawl = Crawl(seeded(Fetcher, site.url("/")), folder=tmp_path, settings=site.settings)
    async with crawl:
        items = [item async for item in crawl]
    saved = [item for item in items if "size" in item]
    for item in saved:
        data = (crawl.folder / str(item["path"])).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (item["size"], item["sha256"])
    assert sorted((item["size"] for item in saved), key=str) == [3_000_000, 5]
    paths = {item["link"]: item["path"] for item in items if "link" in item}
    assert paths["/big.pdf"] in {item["path"] for item in saved}
    counts = crawl.progress().counts
    assert (counts.gone, counts.bytes > 3_000_000) == (1, True)


async def test_a_stopped_download_goes_on(site: Site, tmp_path: Path) -> None:
    """A download that was cut off is asked for from where it stands, and ends as the whole file."""
    site.page("/", '<a href="/big.zip">1</a>')
    site.file("/big.zip", 6_000_000, etag="v1", cut_after=4_000_000, times=1)
    site.file("/big.zip", 6_000_000, etag="v1")
    crawl = Crawl(seeded(Fetcher, site.url("/")), folder=tmp_path, settings=site.settings)
    async with crawl:
        items = [item async for item in crawl]
    (saved,) = [item for item in items if "size" in item]
    assert saved["size"] == 6_000_000
    asked = [seen.headers.get("Range", "") for seen in site.seen if seen.path_qs == "/big.zip"]
    assert asked[0] == ""
    assert int(asked[1].removeprefix("bytes=").rstrip("-")) >= 3_000_000
    assert site.gaps()[-1] >= 0.4


async def test_an_overloaded_download(site: Site, tmp_path: Path) -> None:
    """A host that answers a download with 503 and Retry-After is left alone at once, by all requests."""
    site.page("/", '<a href="/big.zip">1</a>')
    site.page("/big.zip", "", status=503, headers={"Retry-After": "1"}, times=1)
    site.file("/big.zip", 1000)
    spider = seeded(Fetcher, site.url("/"), *(site.url(f"/{n}") for n in range(200)))
    async with Crawl(spider, folder=tmp_path, settings={**site.settings, "concurrency_per_host": 1}) as crawl:
        assert [item async for item in crawl]
    (refused,) = [seen for seen in site.seen if seen.status == 503]
    after = [seen.at for seen in site.seen if seen.at > refused.at]
    assert min(after) >= refused.ended_at + 0.95


FEW_FILES = """
import resource, sys
limit, taken = int(sys.argv[3]), int(sys.argv[4])
resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
from crawler import Crawl, Spider
from crawler.job import crawl

class All(Spider):
    seeds = [sys.argv[1]]
    settings = {
        "resolve": {"*.test": "127.0.0.1"}, "delay": 0, "concurrency_per_host": 40, "min_free_space": 0,
    }
    files = []

    def parse(self, response):
        if not self.files:
            self.files += [open(sys.executable) for _ in range(taken)]
        yield {"url": response.url}
        yield response.follow("a")

summary = crawl(All(), output=sys.argv[2] + "/x.jsonl", folder=sys.argv[2])
print(summary.outcome, summary.items, summary.counts.failed)
"""


@pytest.mark.parametrize(
    ("limit", "taken", "said"),
    [(100, 0, "concurrency is 18 here"), (30, 0, "concurrency is 1 here"), (150, 110, "out of file descriptors")],
    ids=["few", "very few", "taken by the spider"],
)
def test_out_of_file_descriptors(tmp_path: Path, limit: int, taken: int, said: str) -> None:
    """More requests than there may be open files: less is done at once, which is said once, and no page fails."""
    with Site.in_thread() as site:
        site.page("/", "".join(f'<a href="/{n}">x</a>' for n in range(60)))
        for n in range(60):
            site.page(f"/{n}", "x", after=0.02)
        command = [
            sys.executable,
            "-W",
            "ignore",
            "-c",
            FEW_FILES,
            site.url("/"),
            str(tmp_path),
            str(limit),
            str(taken),
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.split() == ["finished", "61", "0"], done.stderr
    assert done.stderr.count(said) == 1, done.stderr
    assert site.peak() <= 40
