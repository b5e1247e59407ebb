"""Pages of which only a part comes, and requests that say that this will do; against real sockets."""

import gzip
import random
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from crawler import Crawl, Request, Response, Spider, errors, export, politeness
from crawler.fetch.cache import CachingFetcher
from crawler.models import Page, State, Visit
from crawler.recrawl import note, schedule, unchanged
from crawler.revisit import History, Revisit, digest
from crawler.settings import MIB, Settings
from crawler.testing import Site
from crawler.wraps import Fetch
from tests.test_fetch import CHUNKED, OK, Wire, failure, fetcher, get, scripted, wire
from tests.test_recrawl import Recrawl, Shop, offers

CAP = 1000
NOISE = random.Random(1).randbytes(3 * MIB)  # which no coding makes shorter
GZIP = OK + b"Content-Encoding: gzip\r\n"
ZIPPED = gzip.compress(NOISE[:3000], mtime=0)
HALF_ZIPPED = gzip.compress(b"hello" * 100, mtime=0)[:-8]


def sized(head: bytes, body: bytes) -> list[object]:
    return [head + b"Content-Length: %d\r\n\r\n" % len(body), body]


OVER: dict[str, list[object]] = {
    "declared": sized(OK, NOISE[:3000]),
    "declared, and never sent": [OK + b"Content-Length: 99999999999\r\n\r\n" + NOISE[:3000], 5],
    "in one chunk": [CHUNKED + b"bb8\r\n" + NOISE[:3000] + b"\r\n0\r\n\r\n"],
    "in chunks, later": [CHUNKED, 0.05, b"190\r\n" + NOISE[:400] + b"\r\n", 0.05, b"a28\r\n" + NOISE[400:3000], 5],
    "gzip": sized(GZIP, ZIPPED),
    "gzip in chunks": [GZIP + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % len(ZIPPED) + ZIPPED + b"\r\n0\r\n\r\n"],
}
CUT: dict[str, tuple[list[object], bytes]] = {
    "length": ([OK + b"Content-Length: 10\r\n\r\nhel"], b"hel"),
    "length, later": ([OK + b"Content-Length: 10\r\n\r\nhel", 0.05, b"lo"], b"hello"),
    "length, without any of it": ([OK + b"Content-Length: 10\r\n\r\n"], b""),
    "reset": ([OK + b"Content-Length: 10\r\n\r\nhel", 0.05, Wire.RESET], b"hel"),
    "reset at an open end": ([OK + b"\r\nhel", 0.05, Wire.RESET], b"hel"),
    "within a chunk": ([CHUNKED + b"5\r\nhel"], b"hel"),
    "before the last chunk": ([CHUNKED + b"5\r\nhello\r\n", 0.05], b"hello"),
    "gzip, whole on the wire": (sized(GZIP, HALF_ZIPPED), b"hello" * 100),
    "gzip, on the wire too": ([GZIP + b"Content-Length: 999\r\n\r\n" + HALF_ZIPPED], b"hello" * 100),
}


def any_part(url: str) -> Request:
    return Request(url, truncate=True)


# -- what comes off the wire


@pytest.mark.parametrize("name", OVER)
async def test_over_the_cap(name: str) -> None:
    """A body over the cap is all of its bytes up to there, decoded; without the option it is an error as ever."""
    async with wire(*OVER[name]) as server, fetcher(max_body_bytes=CAP, read_timeout=2.0) as opened:
        reply = await get(opened, server.url(), request=any_part(server.url()))
        assert (reply.body, type(reply.incomplete)) == (NOISE[:CAP], errors.ResponseTooLarge)
        assert type(await failure(opened, server.url())) is errors.ResponseTooLarge


@pytest.mark.parametrize("name", CUT)
async def test_cut_off(name: str) -> None:
    """A body that ends too early is what came of it; without the option it is an error as ever."""
    pieces, came = CUT[name]
    async with wire(*pieces) as server, fetcher(max_body_bytes=CAP) as opened:
        reply = await get(opened, server.url(), request=any_part(server.url()))
        assert (reply.body, type(reply.incomplete)) == (came, errors.TruncatedBody)
        assert reply.incomplete is not None
        assert (reply.incomplete.url, reply.incomplete.status) == (server.url(), 200)
        assert type(await failure(opened, server.url())) is errors.TruncatedBody


async def test_a_whole_body_is_whole() -> None:
    """The option changes nothing for a body that comes whole, up to the very cap."""
    async with wire(*sized(OK, NOISE[:CAP])) as server, fetcher(max_body_bytes=CAP) as opened:
        reply = await get(opened, server.url(), request=any_part(server.url()))
        assert (reply.body, reply.incomplete) == (NOISE[:CAP], None)


async def test_a_bomb_stays_one() -> None:
    """What unpacks to more than a hundred times its size is no page of which a part would do."""
    async with wire(*sized(GZIP, gzip.compress(bytes(MIB)))) as server, fetcher(max_body_bytes=100_000) as opened:
        error = await failure(opened, server.url(), request=any_part(server.url()))
        assert type(error) is errors.DecompressionBomb


@pytest.mark.parametrize("head", [OK, GZIP])
async def test_a_long_part_gives_its_memory_back(head: bytes) -> None:
    """A part of more than one mebibyte has its share of the memory, and its connection, only until it is there."""
    body = NOISE if head is OK else gzip.compress(NOISE, 1)
    async with wire(*sized(head, body)) as server, fetcher(max_body_bytes=2 * MIB, body_memory=4 * MIB) as opened:
        reply = await get(opened, server.url(), request=any_part(server.url()))
        assert reply.body == NOISE[: 2 * MIB]
        assert opened._memory._free == 4 * MIB
        assert opened._session.connector is not None
        assert not opened._session.connector._acquired


async def test_a_part_is_not_cached(tmp_path: Path) -> None:
    """The cache keeps no part of a page: the next time there may be more of it."""
    async with wire(*OVER["declared"]) as server:
        settings = Settings(max_body_bytes=CAP, private_hosts=["*"], cache_for=60)
        async with CachingFetcher(settings, tmp_path / "cache") as opened:
            for _ in range(2):
                assert (await get(opened, server.url(), request=any_part(server.url()))).incomplete
        assert (opened.cached, len(server.heads)) == (0, 2)


# -- what becomes of the page


class Parts(Spider):
    """Tells what its handler sees of a page of which a part will do."""

    wants_parts: bool | None = True

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url = url

    async def start(self) -> AsyncIterator[Request]:
        yield self.request(self.url, truncate=self.wants_parts)

    def parse(self, response: Response) -> Iterator[object]:
        yield {"size": len(response.body), "truncated": response.truncated}


async def crawled(spider: Spider, **settings: object) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """The items of a crawl, and its pages by outcome."""
    more = {"private_hosts": ["*"], "delay": 0.0, "retries": 2, "max_body_bytes": CAP, **settings}
    crawl = Crawl(spider, folder=None, settings=more)
    async with crawl:
        items = [item async for item in crawl]
        assert crawl._running is not None
        summary = await crawl._running
    return items, dict(summary.counts.reasons)


@pytest.fixture
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(politeness, "back_off", lambda *_how: 0.01)


def serve(*answers: list[object]) -> Any:
    """One answer a page's try, the last for all further ones; there is no robots.txt."""
    tries = iter(answers[:-1])

    def answer(head: bytes, _number: int) -> list[object]:
        if b"/robots.txt" in head:
            return [b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n", None]
        return next(tries, answers[-1])

    return scripted(answer)


def tries(server: Wire) -> int:
    return sum(b"/robots.txt" not in head for head in server.heads)


@pytest.mark.usefixtures("_hasty")
@pytest.mark.parametrize(("wants_parts", "found", "ended"), [
    (True, [{"size": CAP, "truncated": True}], {"done: truncated": 1}),
    (None, [], {"failed: ResponseTooLarge": 1}),
])  # fmt: skip
async def test_a_page_over_the_cap(wants_parts: bool | None, found: list[object], ended: dict[str, int]) -> None:
    """It is asked for once, and handled with its beginning if the request says so, else it has failed."""
    async with serve(OVER["in one chunk"]) as server:
        spider = Parts(server.url())
        spider.wants_parts = wants_parts
        assert await crawled(spider) == (found, ended)
        assert tries(server) == 1


@pytest.mark.usefixtures("_hasty")
@pytest.mark.parametrize(("wants_parts", "found", "ended"), [
    (True, [{"size": 3, "truncated": True}], {"done: truncated": 1}),
    (None, [], {"failed: TruncatedBody": 1}),
])  # fmt: skip
async def test_a_page_cut_off(wants_parts: bool | None, found: list[object], ended: dict[str, int]) -> None:
    """It has all its tries, and then is handled with what came last if the request says so, else it has failed."""
    async with serve(CUT["length, later"][0], CUT["length"][0]) as server:
        spider = Parts(server.url())
        spider.wants_parts = wants_parts
        assert await crawled(spider) == (found, ended)
        assert tries(server) == 3


@pytest.mark.usefixtures("_hasty")
async def test_a_page_that_comes_whole_in_the_end() -> None:
    """A page that is cut off once and then comes whole is a page like any other."""
    async with serve(CUT["length"][0], sized(OK, b"hello")) as server:
        assert await crawled(Parts(server.url())) == ([{"size": 5, "truncated": False}], {"done": 1})


async def test_wraps_and_extra_fetches_see_it() -> None:
    """A wrap sees that there is only a part, and so does who fetches a page at once: that has one try."""
    seen: list[tuple[str, bool]] = []

    async def watching(request: Request, fetch: Fetch) -> Response:
        response = await fetch(request)
        seen.append((request.url.rpartition("/")[2], response.truncated))
        return response

    class Both(Parts):
        wrap = [watching]

        async def parse(self, response: Response) -> AsyncIterator[object]:  # type: ignore[override]  # as any handler
            extra = await response.fetch("/extra", truncate=True)
            yield {"sizes": [len(response.body), len(extra.body)], "truncated": [response.truncated, extra.truncated]}

    async with serve(OVER["declared"], CUT["length"][0]) as server:
        items, ended = await crawled(Both(server.url()))
    assert items == [{"sizes": [CAP, 3], "truncated": [True, True]}]
    assert ended == {"done: truncated": 1}
    assert seen == [("", True), ("extra", True)]


class PartialShop(Shop):
    def parse(self, response: Response) -> Iterator[object]:
        yield from (one for one in super().parse(response) if isinstance(one, dict))
        yield response.follow("a", truncate=True)


async def test_a_part_takes_nothing_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At a further visit a part is never taken for unchanged, and items that it does not show stand."""
    monkeypatch.setattr(export, "LONGEST_LOOK", 0.02)
    async with Site() as site:
        site.page("/", offers("/p"))
        site.page("/p", offers(pear=1, fig=2), headers={"ETag": '"1"'})
        async with Recrawl(site, tmp_path, PartialShop(), max_body_bytes=CAP) as recrawl:
            await recrawl.until(lambda: recrawl.output.exists() and len(recrawl.told) == 2)
            site.page("/p", offers(pear=3) + "x" * CAP + offers(fig=2), headers={"ETag": '"1"'})
            await recrawl.until(lambda: len(recrawl.told) == 3)
            before = recrawl.handled.count("p")
            await recrawl.until(lambda: recrawl.handled.count("p") > before + 1)
            await recrawl.until(lambda: recrawl.reason("/p")[1].startswith("truncated: ResponseTooLarge: "))
            known = recrawl.query("SELECT content, etag FROM pages WHERE reason LIKE 'truncated%'")
            assert known in ([], [(None, None)])
            site.page("/p", "x" * 2 * CAP)
            before = recrawl.handled.count("p")
            await recrawl.until(lambda: recrawl.handled.count("p") > before + 1)
            assert len(recrawl.told) == 3
            site.page("/p", offers(pear=3))
            await recrawl.until(lambda: len(recrawl.told) == 4)
            await recrawl.until(lambda: recrawl.reason("/p") == ("done", "unchanged"))
    assert recrawl.told[2:] == [("changed", "pear", 3), ("removed", "fig", 2)]


async def test_a_part_is_not_the_same_page() -> None:
    """Bytes as before are no proof when more should have come after them; nor does a part say that it has changed."""
    async with wire(*CUT["before the last chunk"][0]) as server, fetcher() as opened:
        reply = await get(opened, server.url(), request=any_part(server.url()))
    page = Page(1, 1, any_part(reply.url), history=History(digest(b"hello"), interval=8.0))
    assert unchanged(page, 1, reply, 0.0) is None
    visit = Visit(page, 1, State.DONE, status=200)
    note(visit, reply)
    schedule(visit, {"*": Revisit(1.0, 100.0)})
    assert (visit.content, visit.interval) == (b"", 8.0)
