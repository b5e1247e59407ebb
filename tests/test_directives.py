"""What pages and headers say to robots: tables, and a real server."""

from pathlib import Path

import pytest

from crawler import Crawl, Response, Spider
from crawler.directives import directives
from crawler.testing import Site


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([], set()),
        ([""], set()),
        (["noindex"], {"noindex"}),
        ([" NoIndex ,\tNOFOLLOW "], {"noindex", "nofollow"}),
        (["noindex", "nofollow"], {"noindex", "nofollow"}),
        (["none"], {"none"}),
        (["crawler: nofollow"], {"nofollow"}),
        (["Crawler:nofollow, noindex"], {"nofollow", "noindex"}),
        (["*: nofollow"], {"nofollow"}),
        (["otherbot: nofollow"], set()),
        (["otherbot: noindex, nofollow"], set()),
        (["otherbot: noindex, nofollow", "noarchive"], {"noarchive"}),
        (["otherbot: noindex, crawler: nofollow"], {"nofollow"}),
        (["nofollow, otherbot: noindex"], {"nofollow"}),
        (["max-snippet: 20, nofollow"], {"max-snippet: 20", "nofollow"}),
        (["unavailable_after: 25 Jun 2030 15:00:00 PST"], {"unavailable_after: 25 jun 2030 15:00:00 pst"}),
        (["mycrawler: nofollow", "crawlers: nofollow"], set()),
    ],
)
def test_header(lines: list[str], said: set[str]) -> None:
    """Directives count that are for everybody or for us by name, on whichever line; those for others do not."""
    assert directives(lines, "Crawler") == said


class Facts(Spider):
    def parse(self, response: Response):
        yield {"path": response.url.rpartition("/")[2], "said": sorted(response.directives)}
        yield response.follow("a")


@pytest.mark.parametrize(
    ("headers", "meta", "token", "said", "followed"),
    [
        ([], "", "", [], True),
        (["noindex"], "", "", ["noindex"], True),
        (["noindex", "nofollow"], "", "", ["nofollow", "noindex"], False),
        (["otherbot: none"], "", "", [], True),
        (["noarchive", "crawler: none"], "", "", ["noarchive", "none"], False),
        (["crawler: none"], "", "MyBot/1.0", [], True),
        (["mybot: nofollow"], "", "MyBot/1.0", ["nofollow"], False),
        ([], "<meta name=robots content='NOINDEX, nofollow'>", "", ["nofollow", "noindex"], False),
        ([], "<meta name=mybot content=none>", "MyBot/1.0", ["none"], False),
        ([], "<meta name=googlebot content=none>", "", [], True),
    ],
)
async def test_pages(  # one row of the table
    headers: list[str], meta: str, token: str, said: list[str], followed: bool, tmp_path: Path
) -> None:
    """What a page says to us is obeyed where it forbids to follow its links, and is a fact for the author."""
    from aiohttp import web

    def first(_request: web.Request) -> web.Response:
        answer = web.Response(text=f"{meta}<a href=/next>x</a>", content_type="text/html")
        for line in headers:
            answer.headers.add("X-Robots-Tag", line)
        return answer

    async with Site() as site:
        site.answer("/first", first)
        site.page("/next", "")
        spider = Facts()
        spider.seeds = [site.url("/first")]
        async with Crawl(spider, folder=None, settings={**site.settings, "user_agent": token}) as crawl:
            items = [item async for item in crawl]
        assert items[0] == {"path": "first", "said": said}
        assert ("/next" in site.paths()) is followed
