"""What spiders put around each fetch: what it may do, and the laws that it cannot break."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from itertools import pairwise
from pathlib import Path

import pytest
from aiohttp import web
from msgspec.structs import replace

from crawler import Crawl, Request, Response, Spider
from crawler.errors import ConfigError, FetchError, HttpError
from crawler.progress import Summary
from crawler.testing import Site
from crawler.wraps import Fetch, Wrap
from tests.test_same_pages import Paths, anchors, rows


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with Site() as site:
        site.page("/", anchors("/a"))
        site.page("/a", "plain")
        yield site


class Texts(Spider):
    def parse(self, response: Response) -> object:
        yield {"text": response.text()}


async def crawled(
    site: Site, *wraps: Wrap, spider: Spider | None = None, folder: Path | None = None, **settings: object
) -> tuple[Sequence[object], Summary]:
    """The items of a crawl, or their texts, and how it ended."""
    spider = spider or Texts()
    spider.wrap = wraps
    spider.seeds = spider.seeds or [site.url("/a")]
    async with Crawl(spider, folder=folder, job="job", settings={**site.settings, "delay": 0, **settings}) as crawl:
        items = [item.get("text", item) async for item in crawl]
        return items, await crawl.ended()


async def test_a_request_is_changed(site: Site) -> None:
    """What a wrap changes is what is sent, the first of several coming first; the page stays the one it was."""

    async def signed(request: Request, fetch: Fetch) -> Response:
        return await fetch(replace(request, headers={**request.headers, "X-Sign": "1"}))

    async def sealed(request: Request, fetch: Fetch) -> Response:
        return await fetch(
            replace(request, url=request.url + "?seal", headers={"X-Seal": request.headers["X-Sign"] + "2"})
        )

    async def told(request: web.Request) -> str:
        return f"{request.path_qs} {request.headers.get('X-Sign')} {request.headers['X-Seal']}"

    site.answer("/a?seal", told)
    items, summary = await crawled(site, signed, sealed)
    assert items == ["/a?seal None 12"]
    assert summary.counts.done == 1


async def test_an_answer_without_fetching(site: Site) -> None:
    """Nothing is sent for what a wrap answers itself; its text is a page like others, its host is asked on."""

    async def known(request: Request, fetch: Fetch) -> Response:
        return fetch.answer(request, anchors("/a", "/b")) if request.url.endswith("/") else await fetch(request)

    site.page("/b", "b")
    spider = Paths()
    spider.seeds = [site.url("/")]
    items, _ = await crawled(site, known, spider=spider)
    assert sorted(str(item["path"]) for item in items) == ["/", "/a", "/b"]  # type: ignore[index]  # these items are dicts
    assert site.paths() == ["/robots.txt", "/a", "/b"]


async def test_a_response_is_changed(site: Site) -> None:
    """What comes back may be made anew: body, status and headers."""

    async def loud(request: Request, fetch: Fetch) -> Response:
        response = await fetch(request)
        return fetch.answer(request, response.body.upper(), headers={"Content-Type": "text/plain"})

    async def gone(request: Request, fetch: Fetch) -> Response:
        return fetch.answer(request, status=410)

    assert (await crawled(site, loud))[0] == ["PLAIN"]
    items, summary = await crawled(site, gone)
    assert (items, summary.counts.gone) == ([], 1)


async def test_a_response_is_asked_for_again(site: Site) -> None:
    """A wrap may look at a response and fetch once more, at the pace of the host."""

    async def patient(request: Request, fetch: Fetch) -> Response:
        response = await fetch(request)
        while b"wait" in response.body:
            response = await fetch(request)
        return response

    site.page("/a", "wait", times=2)
    items, _ = await crawled(site, patient, delay=0.2)
    assert items == ["plain"]
    assert site.paths() == ["/robots.txt", "/a", "/a", "/a"]
    assert min(site.gaps()) >= 0.18


async def test_a_failure_reaches_a_wrap(site: Site) -> None:
    """A status is a response; a fetch that fails raises, and what is raised on ends the page as it would without."""
    seen: list[object] = []

    async def noted(request: Request, fetch: Fetch) -> Response:
        response = await fetch(request)
        seen.append(response.status)
        if response.status == 200:
            raise HttpError("not that", url=request.url)
        return response

    site.page("/a", "no", status=503, times=1)
    site.robots("")
    items, summary = await crawled(site, noted, retries=0)
    assert (items, seen, dict(summary.counts.reasons)) == ([], [503, 200], {"failed: HttpError": 1})


async def test_a_redirect_goes_its_way(site: Site, tmp_path: Path) -> None:
    """A wrap sees a redirect as it is, and each of its hops; that of a changed URL is relative to that one."""
    seen: list[tuple[str, int]] = []

    async def noted(request: Request, fetch: Fetch) -> Response:
        moved = replace(request, url=site.url("/deep/x")) if request.url.endswith("/a") else request
        response = await fetch(moved)
        seen.append((response.url, response.status))
        return response

    site.redirect("/deep/x", "y")
    site.page("/deep/y", "y")
    items, _ = await crawled(site, noted, folder=tmp_path)
    assert (items, seen) == (["y"], [(site.url("/deep/x"), 301), (site.url("/deep/y"), 200)])
    assert rows(tmp_path, "SELECT path, reason FROM pages WHERE path = '/a'") == [
        ("/a", f"redirected: {site.url('/deep/y')}")
    ]


async def test_extra_fetches_are_wrapped(site: Site) -> None:
    """What a handler fetches goes by the same wraps, hop by hop."""

    class Twice(Spider):
        async def parse(self, response: Response) -> AsyncIterator[object]:
            yield {"text": response.text() + (await response.fetch("/b")).text()}

    async def doubled(request: Request, fetch: Fetch) -> Response:
        response = await fetch(request)
        return fetch.answer(request, response.body * 2) if response.status == 200 else response

    site.redirect("/b", "/c")
    site.page("/c", "c")
    assert (await crawled(site, doubled, spider=Twice()))[0] == ["plainplaincc"]


# -- the laws


async def to_b(request: Request, fetch: Fetch) -> Response:
    return await fetch(replace(request, url=request.url.replace("/a", "/b")))


async def test_robots_txt_holds(site: Site) -> None:
    """What robots.txt forbids is not fetched by a detour."""
    site.robots("User-agent: *\nDisallow: /b")
    items, summary = await crawled(site, to_b)
    assert items == []
    assert [name for name in summary.counts.reasons if "RobotsDisallowed" in name]
    assert "/b" not in site.paths()


async def test_scope_holds(site: Site) -> None:
    """What is out of scope is not fetched unless the wrap says that it means it."""
    site.page("/a", "else", host="else.test")
    away = site.url("/a", host="else.test")

    async def astray(request: Request, fetch: Fetch) -> Response:
        return await fetch(replace(request, url=away))

    async def abroad(request: Request, fetch: Fetch) -> Response:
        return await fetch(replace(request, url=away, anywhere=True))

    items, summary = await crawled(site, astray)
    assert (items, dict(summary.counts.reasons)) == ([], {"failed: HandlerError": 1})
    assert site.paths("else.test") == []
    assert (await crawled(site, abroad))[0] == ["else"]
    assert site.paths("else.test") == ["/robots.txt", "/a"]
    assert site.paths("site.test").count("/a") == 0


async def test_many_at_once_keep_the_pace(site: Site) -> None:
    """Fetches that a wrap makes at once go one by one, as far apart as any."""

    async def greedy(request: Request, fetch: Fetch) -> Response:
        responses = await asyncio.gather(*(fetch(request) for _ in range(4)))
        return responses[-1]

    items, _ = await crawled(site, greedy, delay=0.15)
    assert items == ["plain"]
    assert site.paths() == ["/robots.txt"] + ["/a"] * 4
    assert min(site.gaps()) >= 0.13
    assert site.peak() == 1


async def test_there_is_an_end(site: Site) -> None:
    """A wrap that asks again without end has 21 fetches, one that sleeps has its time; then its page has failed."""

    async def stubborn(request: Request, fetch: Fetch) -> Response:
        while True:
            await fetch(request)

    async def asleep(request: Request, fetch: Fetch) -> Response:
        await asyncio.sleep(60)
        return await fetch(request)

    _, summary = await crawled(site, stubborn)
    assert dict(summary.counts.reasons) == {"failed: HandlerError": 1}
    assert site.paths().count("/a") == 21
    began = time.monotonic()
    _, summary = await crawled(site, asleep, handler_timeout=0.3)
    assert dict(summary.counts.reasons) == {"failed: HandlerError": 1}
    assert time.monotonic() - began < 10


async def test_waiting_for_a_turn_takes_no_time_of_its_own(site: Site) -> None:
    """The time that a wrap has is its own code's; what a host makes it wait does not count."""

    async def twice(request: Request, fetch: Fetch) -> Response:
        await fetch(request)
        return await fetch(request)

    items, _ = await crawled(site, twice, delay=0.5, handler_timeout=0.2)
    assert items == ["plain"]


def raising(error: BaseException) -> Wrap:
    async def wrapped(request: Request, fetch: Fetch) -> Response:
        raise error

    return wrapped


async def nothing(request: Request, fetch: Fetch) -> Response:
    return None  # type: ignore[return-value]  # on purpose


async def misaddressed(request: Request, fetch: Fetch) -> Response:
    return await fetch(request.url)  # type: ignore[arg-type]  # on purpose


async def injected(request: Request, fetch: Fetch) -> Response:
    return await fetch(replace(request, headers={"X": "1\r\nY: 2"}))


async def misspelt(request: Request, fetch: Fetch) -> Response:
    return await fetch(replace(request, url=request.url.upper()))


@pytest.mark.parametrize(
    "wrap", [raising(ZeroDivisionError()), raising(SystemExit()), nothing, misaddressed, injected, misspelt]
)
async def test_what_is_wrong_with_a_wrap_fails_its_page_alone(site: Site, wrap: Wrap, tmp_path: Path) -> None:
    """The page ends as a handler's failure with the traceback; others go on, and their host is asked."""

    async def at_a(request: Request, fetch: Fetch) -> Response:
        return await (wrap(request, fetch) if request.url.endswith("/a") else fetch(request))

    site.page("/b", "b")
    spider = Texts()
    spider.seeds = [site.url("/a"), site.url("/b")]
    items, summary = await crawled(site, at_a, spider=spider, folder=tmp_path)
    assert (items, dict(summary.counts.reasons)) == (["b"], {"failed: HandlerError": 1, "done": 1})
    assert rows(tmp_path, "SELECT count(*) FROM events WHERE kind = 'HandlerError'") == [(1,)]


async def test_what_a_wrap_swallows(site: Site) -> None:
    """A wrap that catches all failures may answer in place of what cannot be had."""

    async def calm(request: Request, fetch: Fetch) -> Response:
        try:
            return await fetch(request)
        except FetchError as error:
            return fetch.answer(request, error.code)

    site.answer("/a", lambda request: request.transport.abort() or "")  # type: ignore[union-attr]
    assert (await crawled(site, calm))[0] == ["ConnectionReset"]


@pytest.mark.parametrize("wrap", ["name", [1], 5])
async def test_what_is_no_list_of_wraps(wrap: Sequence[Wrap], site: Site) -> None:
    """A wrong attribute is told before the crawl begins."""
    spider = Texts()
    spider.seeds = [site.url("/a")]
    spider.wrap = wrap
    with pytest.raises(ConfigError, match=r"Texts\.wrap is .* it takes a list of"):
        Crawl(spider, folder=None)


@pytest.mark.parametrize("own_first", [True, False])
async def test_wraps_keep_the_limits_of_groups(site: Site, own_first: bool) -> None:
    """Whatever a wrap fetches, on whichever host, keeps the pause of the group that the hosts share."""

    async def twice(request: Request, fetch: Fetch) -> Response:
        other = replace(request, url=site.url("/other", host="b.test"), anywhere=True)
        one, two = [await fetch(asked) for asked in ((request, other) if own_first else (other, request))]
        return one if own_first else two

    class Two(Spider):
        async def parse(self, response: Response) -> AsyncIterator[object]:
            extra = await response.fetch("/extra")
            yield {"text": f"{response.text()} {extra.text()}"}

    site.page("/extra", "extra")
    site.page("/other", "other", host="b.test")
    groups = {"ip:*": {"delay": 0.1}}
    items, summary = await crawled(site, twice, spider=Two(), groups=groups, obey_robots=False)
    assert (items, summary.counts.failed) == (["plain extra"], 0)
    expected = ["/a", "/other", "/extra", "/other"] if own_first else ["/other", "/a", "/other", "/extra"]
    assert [seen.path_qs for seen in site.seen] == expected
    assert all(later.at - earlier.at >= 0.08 for earlier, later in pairwise(site.seen))
