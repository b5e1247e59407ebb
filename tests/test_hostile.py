"""Each way to misbehave ends as it should."""

import pytest

from crawler import Crawl, Limits, Response, Scope, Spider, politeness
from tests.hostile import ROWS
from tests.hostile.redirects import LEADS
from tests.hostile.server import DOMAIN, Server, serving

HASTE = {"connect_timeout": 1.0, "header_timeout": 0.5, "read_timeout": 0.5, "total_timeout": 3.0}


class Wanderer(Spider):
    """Follows everything, and keeps what it sees."""

    scope = Scope(hosts=("*",), exclude=("http://out.example/*",))

    def parse(self, response: Response):
        yield {"url": response.url, "title": response.text("title", default="")}
        yield response.follow("a")


async def ends(server: Server, name: str, retries: int, limits: Limits) -> dict[str, str]:
    """How each page of a crawl of one host ended, by its path, or by its URL on other hosts: state and reason."""
    spider = Wanderer()
    spider.seeds = [server.url(name)]
    settings = {"resolve": {f"*.{DOMAIN}": "127.0.0.1"}, "delay": 0.0, "min_free_space": 0, "retries": retries}
    async with Crawl(spider, folder=None, settings={**settings, **HASTE}, limits=limits) as crawl:
        await crawl.ended()
        found = crawl._frontier._journal.db.execute("SELECT url, state, coalesce(reason, '') FROM urls").fetchall()
    return {str(url).removeprefix(server.url(name, "")): f"{state} {reason}" for url, state, reason in found}


@pytest.mark.parametrize("name", ROWS)
async def test_each_row(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that misbehaves costs its own page, and ends it as the row says."""
    monkeypatch.setattr(politeness, "ROBOTS_TRIES_UNCONNECTED", 1)
    row = ROWS[name]
    retries = 1 if row.ends == "done" and row.tries == 2 else 0
    limits = Limits(max_time=2.0 if row.ends.startswith("pending") else None)
    async with serving(ROWS) as server:
        found = await ends(server, name, retries, limits)
        assert found["/"].startswith(row.ends), found
        if name in LEADS:
            path, end = LEADS[name]
            (led,) = [outcome for url, outcome in found.items() if url.endswith(path) and len(url) > 1]
            assert led.startswith(end), found
        assert not {path for _, path in server.asked} & {"/inside", "/poison", "/secret"}
        assert not [host for host, _ in server.asked if not host.endswith(DOMAIN)]
