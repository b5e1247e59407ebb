"""Pages that are visited again, and what is known of pages by their contents; wraps and sessions among it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from crawler import Request, Response, export
from crawler.models import Page, State, Visit
from crawler.recrawl import schedule
from crawler.revisit import History, Revisit
from crawler.session import Session
from crawler.testing import Site
from crawler.wraps import Fetch
from tests.test_likeness import prose
from tests.test_recrawl import Recrawl, Shop, offers


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "LONGEST_LOOK", 0.02)


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with Site() as site:
        yield site


async def test_a_page_counts_once_for_the_shape_of_its_url(site: Site, tmp_path: Path) -> None:
    """However often a page with a counter is visited in vain, it is no trap: its new links are followed."""
    visits: list[str] = []

    def counted(_request: web.Request) -> str:
        visits.append("x")
        return f"visit {len(visits)}<a href=/day/{2 if len(visits) > 8 else 1}>next</a>"  # alike but for numbers

    site.page("/", offers("/day/1"))
    site.answer("/day/1", counted)
    site.page("/day/2", offers(fig=1))
    async with Recrawl(site, tmp_path, max_barren_pages=2) as recrawl:
        await recrawl.until(lambda: recrawl.output.exists() and recrawl.told == [("added", "fig", 1)])
    assert recrawl.handled.count("day/1") > 8


async def test_near_duplicates_that_change(site: Site, tmp_path: Path) -> None:
    """A page that becomes like another loses its items, one that becomes unlike it is handled; none is like itself."""
    text, other = " ".join(prose(1)), " ".join(prose(2))
    site.page("/", offers("/a"))
    site.page("/a", text + offers("/b", one=1))
    site.page("/b", other + offers(two=2))
    async with Recrawl(site, tmp_path, near_duplicates=0.8) as recrawl:
        await recrawl.until(lambda: recrawl.output.exists() and len(recrawl.told) == 2)
        site.page("/b", text + offers(two=2))
        await recrawl.until(lambda: len(recrawl.told) == 3)
        assert recrawl.told[2] == ("removed", "two", 2)
        await recrawl.until(lambda: recrawl.reason("/b") == ("done", "unchanged"))
        site.page("/a", text + offers("/b", one=3))
        await recrawl.until(lambda: len(recrawl.told) == 4)
        assert recrawl.told[3] == ("changed", "one", 3)
        site.page("/b", other + offers(two=4))
        await recrawl.until(lambda: len(recrawl.told) == 5)
        assert recrawl.told[4] == ("added", "two", 4)


@pytest.mark.parametrize(("reason", "interval"), [("near-duplicate: http://a.test/", 4.0), ("unchanged", 12.0)])
def test_a_near_duplicate_has_changed(reason: str, interval: float) -> None:
    """A page with other bytes than before is visited again sooner, though it is told as another's double."""
    page = Page(1, 1, Request("http://a.test/b"), history=History(b"before", interval=8.0))
    visit = Visit(page, 1, State.DONE, reason, 200, ended_at=100.0)
    schedule(visit, {"*": Revisit(1.0, 100.0)})
    assert (visit.interval, visit.revisit_at) == (interval, 100.0 + interval)


async def test_a_wrap_sees_what_is_asked_again(site: Site, tmp_path: Path) -> None:
    """A wrap is given the conditional request, and the 304 that answers it; the page's items stand."""
    seen: list[tuple[str | None, int]] = []

    async def watched(request: Request, fetch: Fetch) -> Response:
        response = await fetch(request)
        seen.append((request.headers.get("If-None-Match"), response.status))
        return response

    class Watched(Shop):
        wrap = (watched,)

    def answer(request: web.Request) -> web.Response:
        if request.headers.get("If-None-Match") == '"1"':
            return web.Response(status=304, headers={"ETag": '"1"'})
        return web.Response(text=offers(pear=1), headers={"ETag": '"1"'}, content_type="text/html")

    site.answer("/", answer)
    async with Recrawl(site, tmp_path, Watched()) as recrawl:
        await recrawl.visits(more=3)
        await recrawl.until(lambda: recrawl.reason("/") == ("done", "unchanged"))
    assert seen[0] == (None, 200)
    assert set(seen[1:]) == {('"1"', 304)}
    assert recrawl.told == [("added", "pear", 1)]


async def test_an_unchanged_page_speaks_for_its_session(site: Site, tmp_path: Path) -> None:
    """A 304 clears the signs of a ban as any good answer does; and whoever is not asked is not logged out by it."""

    class Members(Shop):
        sessions = ("ann",)

        async def login(self, session: Session) -> None:
            await session.get(str(self.seeds[0]) + "login")

        def logged_out(self, response: Response) -> bool:
            return not response.css("ul")

    answers: list[int] = []

    def answer(request: web.Request) -> web.Response:
        known = request.headers.get("If-None-Match") == '"1"'
        answers.append(403 if len(answers) % 3 == 1 else 304 if known else 200)
        return web.Response(
            text=offers(pear=1) if answers[-1] == 200 else "", status=answers[-1], headers={"ETag": '"1"'},
            content_type="text/html",
        )  # fmt: skip

    site.page("/login", "<ul></ul>")
    site.page("/", offers("/1", "/2"))
    site.answer("/1", answer)
    site.answer("/2", answer)
    async with Recrawl(site, tmp_path, Members(), session_bans=2, concurrency=1) as recrawl:
        await recrawl.until(lambda: answers.count(403) > 4)
        assert recrawl.query("SELECT version, retired_until FROM sessions") == [(1, 0.0)]
    assert site.paths().count("/login") == 1
    assert 304 in answers
