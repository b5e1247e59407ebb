"""The cache for writing spiders: nothing is asked for twice while it lasts, and every summary says so."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from crawler import Crawl, Response, Spider
from crawler.cli import report
from crawler.errors import ConfigError
from crawler.progress import Summary
from crawler.testing import Site
from tests.hostile import ROWS
from tests.hostile.server import DOMAIN, serving
from tests.test_engine import everything, links_to, spider


@pytest.fixture(autouse=True)
def _tree(site: Site) -> None:
    site.page("/", links_to("/1", "/2", "/gone", "/moved", "/1"))
    site.page("/1", "x")
    site.page("/2", "x")
    site.redirect("/moved", "/3")
    site.page("/3", "x")


@pytest.fixture
def site() -> Iterator[Site]:
    with Site.in_thread() as site:
        yield site


async def crawl(site: Site, folder: Path, made: Spider | None = None, **settings: object) -> Summary:
    made = made or spider(everything, site.url("/"))
    settings = {**site.settings, "cache_for": 60, **settings}
    return await Crawl(
        made,
        folder=folder,
        fresh=True,
        existing="overwrite",
        settings=settings,
    ).run()


async def test_nothing_is_asked_twice(site: Site, tmp_path: Path) -> None:
    """A second crawl asks for nothing, robots.txt and redirects included, and ends the same."""
    first = await crawl(site, tmp_path)
    asked = len(site.seen)
    second = await crawl(site, tmp_path, delay=5.0)
    assert len(site.seen) == asked
    assert (first.cached, second.cached, second.bytes) == (0, asked, 0)
    assert (second.items, second.counts.reasons) == (first.items, first.counts.reasons)
    assert second.elapsed < 5.0  # what is not sent does not wait for its turn
    lines = report.lines(second, "")
    assert f"  {asked} answers from the cache, not from the site" in lines


async def test_it_runs_out(site: Site, tmp_path: Path) -> None:
    """What is older than its lifetime is asked for again."""
    await crawl(site, tmp_path)
    asked = len(site.seen)
    assert (await crawl(site, tmp_path, cache_for=0.000001)).cached == 0
    assert len(site.seen) == 2 * asked


async def test_without_it(site: Site, tmp_path: Path) -> None:
    """Unless it is asked for there is no cache."""
    for _ in range(2):
        assert (await crawl(site, tmp_path, cache_for=0)).cached == 0
    assert len(site.paths()) == 2 * len(set(site.paths()))
    assert not (tmp_path / ".cache").exists()


async def test_trouble_is_not_kept(site: Site, tmp_path: Path) -> None:
    """A server in trouble is asked again."""
    site.page("/1", "", status=500, times=2)
    await crawl(site, tmp_path, retries=0)
    await crawl(site, tmp_path, retries=0)
    assert site.paths().count("/1") == 2


async def test_a_request_is_more_than_its_url(site: Site, tmp_path: Path) -> None:
    """Requests that differ in method, body or headers have answers of their own."""

    def parse(_self: Spider, response: Response) -> Iterator[object]:
        if response.url.endswith("/"):
            for n, headers in enumerate(({}, {"X-Shape": "round"})):
                for body in ("a", "b"):
                    yield response.request(
                        "/echo", method="POST", body=body.encode(), headers=headers, key=f"{n}{body}"
                    )
        else:
            yield {"text": response.text()}

    async def echo(request: object) -> str:
        return f"{await request.text()} {request.headers.get('X-Shape')}"  # type: ignore[attr-defined]  # aiohttp's

    site.answer("/echo", echo)
    for _ in range(2):
        summary = await crawl(site, tmp_path, spider(parse, site.url("/")))
        lines = (tmp_path / "tested" / "run-0001" / "items.jsonl").read_text().splitlines()
        assert sorted(lines) == [f'{{"text":"{body} {shape}"}}' for body in "ab" for shape in ("None", "round")]
    assert (site.paths().count("/echo"), summary.cached) == (4, 6)


async def test_a_damaged_file(site: Site, tmp_path: Path) -> None:
    """What cannot be read is asked for again."""
    await crawl(site, tmp_path)
    asked = len(site.seen)
    for file in (tmp_path / ".cache").iterdir():
        file.write_bytes(file.read_bytes()[:20])
    assert (await crawl(site, tmp_path)).cached == 0
    assert len(site.seen) == 2 * asked


async def test_a_body_that_was_not_wanted(site: Site, tmp_path: Path) -> None:
    """A page whose body nobody wanted is asked for once somebody does."""
    site.page("/", links_to("/photo"))
    site.page("/photo", b"\x89PNG", content_type="image/png")

    def parse(_self: Spider, response: Response) -> Iterator[object]:
        yield {"size": len(response.body)}
        if response.url.endswith("/"):
            yield response.request("/photo", accept=accept)

    accept: tuple[str, ...] = ()
    assert (await crawl(site, tmp_path, spider(parse, site.url("/")))).items == 1
    accept = ("image/",)
    assert (await crawl(site, tmp_path, spider(parse, site.url("/")))).items == 2
    assert site.paths().count("/photo") == 2


def test_a_cache_needs_a_folder(site: Site) -> None:
    """A crawl that keeps nothing cannot keep replies."""
    with pytest.raises(ConfigError, match="folder"):
        Crawl(spider(everything, site.url("/")), folder=None, settings={"cache_for": 60})


async def test_headers_that_are_no_text(tmp_path: Path) -> None:
    """What a server sends in a header is kept byte for byte, also what is no UTF-8."""

    def parse(self: Spider, response: Response) -> object:
        return {"sent": response.headers["X"].encode("utf-8", "surrogateescape").hex()}

    name = "bytes-in-value.headers"
    async with serving(ROWS) as server:
        settings = {"resolve": {f"*.{DOMAIN}": "127.0.0.1"}, "delay": 0.0, "cache_for": 60}
        for asked in (1, 1):
            made = spider(parse, server.url(name))
            async with Crawl(made, folder=tmp_path, fresh=True, existing="overwrite", settings=settings) as running:
                assert [item["sent"] async for item in running] == [b"\xff\xfe\x80 \xc3\xa9".hex()]
            assert server.asked[f"{name}.{DOMAIN}", "/"] == asked
