"""What one page, one host or one handler may not do to the crawl as a whole."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

import pytest

from crawler import Crawl, FetchError, Limits, Request, Response, Spider, hops, politeness
from crawler.testing import Seen, Site
from tests.test_crawl import crawled
from tests.test_fetch import wire

pytestmark = pytest.mark.timeout(30)
PROMPTLY = 5.0  # seconds: half of what work under way is given when a crawl is stopped


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with Site() as site:
        yield site


def path_of(response: Response) -> str:
    return urlsplit(response.url).path


def everything(self: Spider, response: Response) -> Iterator[object]:
    yield {"path": path_of(response)}
    yield response.follow("a")


def spider(parse: Callable[..., object], *seeds: str, **attributes: object) -> Spider:
    """A spider of one handler, its seeds, and whatever else a spider's class may have."""
    kind: type[Spider] = type("Tested", (Spider,), {"seeds": list(seeds), "parse": parse, **attributes})
    return kind()


def links_to(*paths: str) -> str:
    return "".join(f'<a href="{path}">x</a>' for path in paths)


def only(site: Site, path: str, host: str = "site.test") -> list[Seen]:
    return [seen for seen in site.seen if (seen.host, seen.path_qs) == (host, path)]


# -- one page is one page


class Foreign(BaseException):
    """What no `except Exception` catches."""


class Speechless(Exception):
    """What cannot be put in words."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


RAISED = {
    "CancelledError": asyncio.CancelledError(),
    "GeneratorExit": GeneratorExit(),
    "no Exception": Foreign(),
    "SystemExit": SystemExit(2),
    "lone surrogate": ValueError("bad \ud800"),
    "no words": Speechless(),
}


@pytest.mark.parametrize("waits", [False, True], ids=["plain", "async"])
@pytest.mark.parametrize("error", RAISED.values(), ids=RAISED)
async def test_whatever_a_handler_raises(site: Site, error: BaseException, waits: bool) -> None:
    """Whatever a handler raises fails its own page, and the crawl goes on to its end."""

    def plain(self: Spider, response: Response) -> list[object]:
        if path_of(response) == "/3":
            raise error
        return list(everything(self, response))

    async def waiting(self: Spider, response: Response) -> AsyncIterator[object]:
        await asyncio.sleep(0)
        for one in plain(self, response):
            yield one

    site.tree(6, 3)
    found = await crawled(spider(waiting if waits else plain, site.url("/")), site)
    assert sorted(found.values("path"), key=str) == ["/", "/1", "/2", "/4", "/5"]
    assert (found.counts.failed, found.counts.reasons["failed: HandlerError"]) == (1, 1)
    assert (found.summary.outcome, found.summary.exit_code) == ("finished", 3)


async def test_a_content_type_that_is_no_text(site: Site) -> None:
    """Bytes that are no text in a Content-Type skip their page, and it alone."""
    answer = b"HTTP/1.1 200 OK\r\nContent-Type: app/\xff\xfe\r\nContent-Length: 3\r\n\r\nabc"
    site.tree(4, 2)
    async with wire(answer) as odd:
        seeds = odd.url("/", host="odd.test"), site.url("/")
        found = await crawled(spider(everything, *seeds), site, obey_robots=False)
    assert len(found.items) == 4
    assert found.counts.reasons["skipped: content type"] == found.counts.skipped == 1


UNUSABLE: dict[str, tuple[str, Callable[[Response], object]]] = {
    "to": ("'tpyo'", lambda response: response.follow("a", to="tpyo")),
    "failed": ("'tpyo'", lambda response: response.follow("a", failed="tpyo")),
    "priority": ("priority", lambda response: Request(response.url + "/never", priority=1 << 40)),
}


@pytest.mark.parametrize(("named", "request_for"), UNUSABLE.values(), ids=UNUSABLE)
async def test_a_request_that_cannot_be_made(
    site: Site, named: str, request_for: Callable[[Response], object], caplog: pytest.LogCaptureFixture
) -> None:
    """A request that names no method of the spider, or that no journal can hold, fails the page that yields it."""

    def parse(self: Spider, response: Response) -> Iterator[object]:
        yield from everything(self, response)
        if path_of(response) == "/1":
            yield request_for(response)

    site.tree(4, 2)
    found = await crawled(spider(parse, site.url("/")), site)
    assert sorted(found.values("path"), key=str) == ["/", "/2", "/3"]
    assert found.counts.reasons["failed: HandlerError"] == found.counts.failed == 1
    assert named in caplog.text
    assert "/1/never" not in site.paths()


@dataclass
class Pairs:
    """An item that can be iterated over, as those of some libraries can."""

    a: int

    def __iter__(self) -> Iterator[tuple[str, int]]:
        yield "a", self.a


async def test_an_item_that_is_iterable(site: Site) -> None:
    """An item that a handler returns is one item, though it could be iterated over."""

    def parse(self: Spider, response: Response) -> Pairs:
        return Pairs(1)

    site.page("/", "x")
    found = await crawled(spider(parse, site.url("/")), site)
    assert (found.items, found.counts.quarantined) == ([{"a": 1}], 0)


async def test_a_pipeline_step_that_hangs(site: Site) -> None:
    """A step of the pipeline that does not end fails its page after handler_timeout."""

    async def hang(item: object) -> object:
        await asyncio.Event().wait()
        return item

    site.page("/", "x")
    found = await crawled(spider(everything, site.url("/"), pipeline=[hang]), site, handler_timeout=0.2)
    assert (found.items, found.counts.reasons["failed: HandlerError"]) == ([], 1)
    assert found.summary.elapsed < PROMPTLY


# -- start() and the end


@pytest.mark.parametrize("wrong", [OSError("no such file"), "nonsense", 7], ids=str)
async def test_a_start_that_fails(site: Site, wrong: object) -> None:
    """What start() had yielded before it failed is crawled; the crawl ends, and says that something failed."""

    async def start(self: Spider) -> AsyncIterator[object]:
        yield site.url("/")
        if isinstance(wrong, OSError):
            raise wrong
        yield wrong

    site.tree(5, 3)
    found = await crawled(spider(everything, start=start), site)
    assert len(found.items) == 5
    assert (found.counts.failed, found.summary.outcome, found.summary.exit_code) == (1, "finished", 3)


async def test_a_start_that_waits_for_results(site: Site) -> None:
    """start() may wait for what its seeds bring, though only one request may be under way."""
    crawled_one = asyncio.Event()

    async def start(self: Spider) -> AsyncIterator[str]:
        yield site.url("/")
        await crawled_one.wait()
        yield site.url("/late")

    def parse(self: Spider, response: Response) -> Iterator[object]:
        crawled_one.set()
        yield {"path": path_of(response)}

    site.page("/", "x")
    site.page("/late", "x")
    found = await crawled(spider(parse, start=start), site, concurrency=1)
    assert found.values("path") == ["/", "/late"]


async def test_a_start_that_is_one_task(site: Site) -> None:
    """start() runs in one task from its beginning to its end, so that a time limit may span its seeds."""

    async def start(self: Spider) -> AsyncIterator[str]:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.1):
                yield site.url("/")
                await asyncio.Event().wait()
        yield site.url("/late")

    site.page("/", "x")
    site.page("/late", "x")
    found = await crawled(spider(everything, start=start), site, limits=Limits(max_time=PROMPTLY))
    assert (found.counts.done, found.summary.outcome) == (2, "finished")


def listening(site: Site) -> Spider:
    """A spider whose start() never ends."""

    async def start(self: Spider) -> AsyncIterator[str]:
        yield site.url("/")
        await asyncio.Event().wait()

    site.tree(5, 3)
    return spider(everything, start=start)


async def test_a_limit_and_a_start_that_listens(site: Site) -> None:
    """A limit ends the crawl at once, though start() would listen for ever."""
    found = await crawled(listening(site), site, limits=Limits(max_pages=2))
    assert (found.summary.outcome, found.summary.pages, len(found.items)) == ("stopped: max-pages", 2, 2)
    assert found.summary.elapsed < PROMPTLY


async def test_leaving_a_start_that_listens(site: Site) -> None:
    """A crawl that is left ends at once, though start() would listen for ever."""
    async with Crawl(listening(site), folder=None, settings=site.settings) as crawl:
        async for _ in crawl:
            break
        left_at = time.monotonic()
    assert time.monotonic() - left_at < PROMPTLY


async def test_stopped_before_it_begins(site: Site) -> None:
    """A crawl that was stopped before it began asks for nothing, and says why."""
    site.tree(5, 3)
    crawl = Crawl(spider(everything, site.url("/")), folder=None, settings=site.settings)
    crawl.stop("enough")
    summary = await crawl.run()
    assert (summary.outcome, summary.exit_code, site.seen) == ("stopped: enough", 4, [])


# -- extra fetches of a handler


async def test_a_fetch_from_a_host_whose_robots_fails_once(site: Site) -> None:
    """A fetch waits for a robots.txt that fails at first, without computing meanwhile, and the crawl ends."""
    site.page("/", "x")
    site.page("/x", "y", host="api.test")
    site.page("/robots.txt", "", host="api.test", status=503, headers={"Retry-After": "1"}, times=1)

    async def parse(self: Spider, response: Response) -> AsyncIterator[object]:
        yield {"status": (await response.fetch(site.url("/x", host="api.test"))).status}

    began = time.process_time()
    found = await crawled(spider(parse, site.url("/")), site)
    assert time.process_time() - began < 0.4
    assert found.items == [{"status": 200}]
    assert site.paths("api.test") == ["/robots.txt", "/robots.txt", "/x"]
    assert site.gaps("api.test")[0] >= 0.98


def fetching(*urls: str) -> Callable[..., object]:
    """A handler that fetches further URLs, one after the other."""

    async def parse(self: Spider, response: Response) -> AsyncIterator[object]:
        yield {"path": path_of(response), "statuses": [(await response.fetch(url)).status for url in urls]}

    return parse


@pytest.mark.parametrize("concurrency", [1, 8])
@pytest.mark.parametrize("most", [1, 2])
async def test_max_pages_and_fetches(site: Site, most: int, concurrency: int) -> None:
    """--max-pages is exact though handlers fetch more: that counts as no page, and is let through."""
    for path in ("/", "/b", "/c", "/x"):
        site.page(path, "x")
    made = spider(fetching("/x"), *map(site.url, ("/", "/b", "/c")))
    found = await crawled(made, site, limits=Limits(max_pages=most), concurrency=concurrency)
    assert (found.summary.pages, len(found.items), found.counts.pending) == (most, most, 3 - most)
    assert found.summary.outcome == "stopped: max-pages"
    assert found.summary.elapsed < PROMPTLY


@pytest.mark.parametrize("catches", [False, True], ids=["let pass", "caught"])
async def test_an_overloaded_host_and_fetches(site: Site, catches: bool) -> None:
    """A fetch answered 429 puts its page off until Retry-After; its host is left alone, and the page's own is not."""

    async def parse(self: Spider, response: Response) -> AsyncIterator[object]:
        yield response.follow("a")
        if path_of(response) == "/":
            return
        try:
            status = (await response.fetch(site.url("/x", host="api.test"))).status
        except Exception:
            if not catches:
                raise
            status = 0
        yield {"path": path_of(response), "status": status}

    site.page("/", links_to("/0", "/1", "/2"))
    for n in range(3):
        site.page(f"/{n}", "x")
    site.page("/x", "", host="api.test", status=429, headers={"Retry-After": "1"}, times=1)
    site.page("/x", "x", host="api.test")
    found = await crawled(spider(parse, site.url("/")), site)
    assert sorted(found.values("path"), key=str) == ["/0", "/1", "/2"]
    assert found.values("status") == [200] * 3
    refused, *others = only(site, "/x", "api.test")
    assert others[0].at - refused.ended_at >= 0.98
    assert {only(site, f"/{n}")[0].at < others[0].at for n in range(3)} == {True}


async def test_a_fetch_without_a_robots_txt(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is fetched from a host whose robots.txt cannot be had; the handler is told, and may go on."""
    monkeypatch.setattr(politeness, "ROBOTS_TRIES", 0)

    async def parse(self: Spider, response: Response) -> AsyncIterator[object]:
        try:
            await response.fetch(site.url("/x", host="api.test"))
        except FetchError as error:
            yield {"error": error.code}

    site.page("/", "x")
    site.page("/x", "y", host="api.test")
    site.page("/robots.txt", "", host="api.test", status=503)
    found = await crawled(spider(parse, site.url("/")), site)
    assert found.items == [{"error": "RobotsUnreachable"}]
    assert set(site.paths("api.test")) == {"/robots.txt"}
    assert found.summary.elapsed < PROMPTLY


def caught(url: str) -> Callable[..., object]:
    """A handler that makes do without its fetch, whatever befalls it."""

    async def parse(self: Spider, response: Response) -> AsyncIterator[object]:
        try:
            status = (await response.fetch(url)).status
        except Exception:  # noqa: BLE001  # as authors do
            status = 0
        yield {"status": status}

    return parse


@pytest.mark.parametrize("handler", [fetching, caught])
async def test_max_bytes_within_a_fetch(site: Site, handler: Callable[[str], Callable[..., object]]) -> None:
    """A page whose fetch would pass --max-bytes stays pending, whole, whatever its handler catches."""
    site.page("/", "x" * 10)
    site.page("/a", "y" * 1000)
    found = await crawled(spider(handler("/a"), site.url("/")), site, limits=Limits(max_bytes=500))
    assert (found.items, found.counts.pending, found.counts.failed) == ([], 1, 0)
    assert found.summary.outcome == "stopped: max-bytes"


async def test_a_busy_host_is_not_passed_over(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page whose fetch must wait too long is tried again, whatever its handler catches: no half of it is stored."""
    monkeypatch.setattr(hops, "LONGEST_QUEUE", 0.2)
    site.page("/", "x")
    site.page("/x", "y", host="api.test")
    made = spider(caught(site.url("/x", host="api.test")), site.url("/"))
    found = await crawled(made, site, hosts={"api.test": {"delay": 0.8}})
    assert found.items == [{"status": 200}]
    assert len(only(site, "/")) >= 2


# -- redirects


@pytest.mark.parametrize("data", [None, {"k": 1}])
async def test_a_redirect_to_a_page_of_another_handler(site: Site, data: object) -> None:
    """A redirect reaches the handler it was asked for, though another handler has had the page already."""

    def parse(self: Spider, response: Response) -> Iterator[object]:
        yield {"by": "parse", "path": path_of(response)}
        if path_of(response) == "/":
            yield response.request("/b")
        else:
            yield response.request("/a", to="book", data=data)

    def book(self: Spider, response: Response) -> Iterator[object]:
        yield {"by": "book", "path": path_of(response), "data": response.data}

    site.page("/", "x")
    site.page("/b", "x")
    site.redirect("/a", "/b", status=302)
    found = await crawled(spider(parse, site.url("/"), book=book), site)
    parsed = [{"by": "parse", "path": path} for path in ("/", "/b")]
    assert found.items == [*parsed, {"by": "book", "path": "/b", "data": data}]


@pytest.mark.parametrize("paths", [("/old", "/new"), ("/new", "/old")])
async def test_a_redirect_to_a_page_of_the_same_handler(site: Site, paths: tuple[str, str]) -> None:
    """A page and a redirect to it are one page, in whichever order they are found."""
    site.page("/", links_to(*paths))
    site.page("/new", "x")
    site.redirect("/old", "/new")
    found = await crawled(spider(everything, site.url("/")), site)
    assert found.values("path") == ["/", "/new"]
    assert len(only(site, "/new")) == 1
