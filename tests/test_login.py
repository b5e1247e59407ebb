"""Sessions over the wire: a login with a form, its end in the middle of a crawl, kills, several engines, failures."""

import errno
import itertools
import json
import stat
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import apsw
import pytest
from aiohttp import web

from crawler import Crawl, Spider, parsing
from crawler.errors import ConfigError, HandlerError
from crawler.job import Summary
from crawler.testing import Site, run
from tests import restarts

FORM = "<form method=post action=/session><input type=hidden name=csrf value={}><input name=user><input name=password>"
PASSWORD = "open sesame"  # the members' own


class Club:
    """A site for members: a CSRF token in the form, a session cookie, and sessions that end after `lasts` pages."""

    def __init__(self, site: Site, *, pages: int = 6, lasts: int = 1000, redirects: bool = True) -> None:
        self.site = site
        self.logins = 0
        self.tokens: set[str] = set()
        self.left: dict[str, int] = {}
        self._lasts = lasts
        self._redirects = redirects
        self._numbers = itertools.count()
        site.answer("/login", self._form)
        site.answer("/session", self._session)
        site.answer("/", self._page)
        for number in range(pages):
            site.answer(f"/{number}", self._page)
        self._links = "".join(f'<a href="/{number}">{number}</a>' for number in range(pages))

    def _form(self, _request: web.Request) -> web.Response:
        token = f"token-{next(self._numbers)}"
        self.tokens.add(token)
        response = web.Response(text=FORM.format(token), content_type="text/html")
        response.set_cookie("csrf", token)
        return response

    async def _session(self, request: web.Request) -> web.Response:
        posted = await request.post()
        token = str(posted["csrf"])
        if token not in self.tokens or request.cookies["csrf"] != token or posted["password"] != PASSWORD:
            return web.Response(status=403)
        self.tokens.remove(token)
        self.logins += 1
        session = f"session-{self.logins}"
        self.left[session] = self._lasts
        response = web.Response(status=302, headers={"Location": "/welcome"})
        response.set_cookie("sid", session, httponly=True, max_age=3600)
        self.site.page("/welcome", "Welcome")
        return response

    def _page(self, request: web.Request) -> web.StreamResponse | str:
        session = request.cookies.get("sid", "")
        if not self.left.get(session):
            if self._redirects:
                return web.Response(status=302, headers={"Location": "/login?next=" + request.path})
            return "<p class=anonymous>Members only"
        self.left[session] -= 1
        return f"<h1>Page {request.path}</h1>{self._links}"


class Member(Spider):
    """Logs in as anybody would, and takes all pages."""

    password = PASSWORD

    async def login(self, session):
        page = await session.get(str(self.seeds[0]) + "login")
        response = await session.submit(page.form(user="ann", password=self.password))
        if response.text() != "Welcome":
            raise HandlerError("not welcome")

    def logged_out(self, response):
        return "/login" in response.url or bool(response.css("p.anonymous"))

    def parse(self, response):
        yield {"title": response.text("h1")}
        yield response.follow("a")


def member(site: Site, **attributes: object) -> Member:
    spider = Member()
    spider.seeds = [site.url("/")]
    for name, value in attributes.items():
        setattr(spider, name, value)
    return spider


def titles(items: Sequence[Mapping[str, object]]) -> list[str]:
    return sorted(str(item["title"]) for item in items)


ALL = sorted(["Page /", *(f"Page /{number}" for number in range(6))])


async def crawled(
    spider: Spider, site: Site, folder: Path, **settings: object
) -> tuple[Summary, list[Mapping[str, object]]]:
    async with Crawl(spider, folder=folder, settings={**site.settings, **settings}) as crawl:
        items: list[Mapping[str, object]] = [item async for item in crawl]
        return await crawl.ended(), items


async def test_a_login_before_the_first_page() -> None:
    """The form is filled in, the cookies come along, and every page is that of a member; one login is enough."""
    async with Site() as site:
        club = Club(site)
        assert titles(await run(member(site), site)) == ALL
        assert club.logins == 1
        assert site.paths()[:5] == ["/robots.txt", "/login", "/session", "/welcome", "/"]


@pytest.mark.parametrize("redirects", [True, False])
async def test_a_session_that_ends_in_the_middle(redirects: bool) -> None:
    """Whether the site redirects or shows another page, each page goes back and is asked again after one login."""
    async with Site() as site:
        club = Club(site, lasts=4, redirects=redirects)
        assert titles(await run(member(site), site)) == ALL
        assert club.logins == 2
        assert len([path for path in site.paths() if path.startswith("/login?")]) == 0


def test_killed_in_the_middle(tmp_path: Path) -> None:
    """Killed without warning and started again, it goes on in the same session, without another login."""
    with Site.in_thread() as site:
        club = Club(site, pages=20)
        command = restarts.command(Member, site.url("/"), tmp_path)
        restarts.killed(command, lambda: any(seen.path_qs == "/5" for seen in site.seen))
        assert club.logins == 1
        restarts.ended(command)
        assert club.logins == 1
        assert all(seen.status == 200 for seen in site.seen if seen.path_qs.strip("/").isdigit() and seen.status)
    lines = restarts.lines(tmp_path / "member")
    assert len(lines) == len(set(lines)) == 21


async def test_resumed_without_a_new_login(tmp_path: Path) -> None:
    """Stopped after some pages and started again, it goes on in the same session; the journal is its owner's alone."""
    async with Site() as site:
        club = Club(site)
        crawl = Crawl(member(site), folder=tmp_path, settings={**site.settings, "delay": 0.05})
        async with crawl:
            async for _item in crawl:
                break
        assert club.logins == 1
        journal = tmp_path / "member" / "job.db"
        assert stat.S_IMODE(journal.stat().st_mode) == 0o600
        summary, _ = await crawled(member(site), site, tmp_path)
        assert (summary.outcome, summary.counts.items, summary.counts.failed) == ("finished", 7, 0)
        assert club.logins == 1
        assert titles((await crawled(member(site), site, tmp_path))[1]) == ALL  # another run, days later
        assert club.logins == 1


async def test_two_engines_log_in_once(tmp_path: Path) -> None:
    """One engine logs in while the other waits for it, at the beginning and when the session ends."""
    async with Site() as site:
        club = Club(site, pages=30, lasts=16)
        settings = {**site.settings, "delay": 0.01}
        async with Crawl(member(site), folder=tmp_path, settings=settings) as one:
            other = Crawl(member(site), folder=tmp_path, settings=settings)
            other.join(one.part)
            async with other:
                assert (await one.ended()).counts.failed == 0
                assert (await other.ended()).counts.items == 31
        assert club.logins == 2


async def test_engines_of_several_hosts(tmp_path: Path) -> None:
    """With work on hosts of their own, both engines ask in the session that one of them made."""
    async with Site() as site:
        club = Club(site)
        for host in ("www.site.test", "shop.site.test"):
            site.tree(20, 3, host=host)
        spider = member(site)
        spider.seeds = [site.url("/"), site.url("/", host="www.site.test"), site.url("/", host="shop.site.test")]
        settings = {**site.settings, "delay": 0.02}
        async with Crawl(spider, folder=tmp_path, settings=settings) as one:
            other = Crawl(spider, folder=tmp_path, settings=settings)
            other.join(one.part)
            async with other:
                assert (await one.ended()).counts.failed == 0
                await other.ended()
        assert club.logins == 1


async def test_a_page_that_is_never_shown(caplog: pytest.LogCaptureFixture) -> None:
    """A page that says it is logged out after each login fails as LoginFailed after two; the others are taken."""
    async with Site() as site:
        club = Club(site)
        site.page("/3", "<p class=anonymous>Directors only")
        spider = member(site)
        async with Crawl(spider, folder=None, settings=site.settings) as crawl:
            items = [item async for item in crawl]
            summary = await crawl.ended()
        assert len(items) == 6
        assert summary.counts.failed == 1
        assert site.paths().count("/3") == 3
        assert club.logins <= 3
    assert "LoginFailed: logged out after 2 logins" in caplog.text


async def test_a_login_that_fails(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is tried three times, since passwords get locked; then the crawl stops, and its pages stay pending."""
    monkeypatch.setattr("crawler.logins.back_off", lambda _tries: 0.05)
    async with Site() as site:
        club = Club(site)
        async with Crawl(member(site, password="wrong"), folder=None, settings=site.settings) as crawl:
            summary = await crawl.ended()
        assert (summary.outcome, summary.counts.failed) == ("stopped: login failed", 0)
        assert summary.counts.pending > 0
        assert club.logins == 0
        assert site.paths().count("/session") == 3
    assert "the login failed: HttpError: status 403" in caplog.text
    assert "wrong" not in caplog.text


class Token(Member):
    """Gets a token, and sends it from then on."""

    async def login(self, session):
        answer = await session.post(str(self.seeds[0]) + "token", json={"user": "ann"})
        session.headers["Authorization"] = "Bearer " + answer.json()["token"]

    def logged_out(self, response):
        return response.status == 401

    def parse(self, response):
        yield response.json()
        yield response.request("/there", anywhere=True)


async def test_a_machine_that_is_short_during_a_login(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A login for which the machine had no process to try a page in is made again, and nobody's password was wrong."""
    popen, refused = subprocess.Popen, [OSError(errno.ENOMEM, "Cannot allocate memory")] * 2

    def short(*args: Any, **options: Any) -> object:
        if refused:
            raise refused.pop()
        return popen(*args, **options)

    async with Site() as site:
        club = Club(site)
        spider = member(site)
        monkeypatch.setattr(parsing, "LONGEST", -1.0)  # each large page is doubtful
        monkeypatch.setattr(parsing, "LARGE", 1)
        monkeypatch.setattr(subprocess, "Popen", short)
        items = await run(spider, site)
    assert not refused
    assert titles(items) == ALL
    assert club.logins == 1
    assert "login failed" not in caplog.text
    assert caplog.text.count("Cannot allocate memory") == 1


async def test_headers_of_a_session_stay_with_their_origin(tmp_path: Path) -> None:
    """They go to the origin of the login only, not over another and back, and survive a restart."""
    async with Site() as site:
        site.answer("/token", lambda _request: {"token": "t0k3n"})
        site.answer("/", lambda request: {"sent": request.headers.get("Authorization")})
        site.answer("/back", lambda request: {"sent": request.headers.get("Authorization")})
        site.redirect("/there", site.url("/over", host="other.test"))
        site.redirect("/over", site.url("/back"), host="other.test")
        spider = Token()
        spider.seeds = [site.url("/")]
        for _ in range(2):
            _, items = await crawled(spider, site, tmp_path)
            assert items == [{"sent": "Bearer t0k3n"}, {"sent": None}]
        assert site.paths().count("/token") == 1


async def test_cookies_that_pages_change_are_stored_with_them(tmp_path: Path) -> None:
    """What a page sets goes with the next requests, and is in the journal when its visit is."""
    async with Site() as site:
        Club(site, pages=0)

        def counted(request: web.Request) -> web.Response:
            count = int(request.cookies.get("count", "0")) + 1
            response = web.Response(text=f"<h1>{count}</h1>", content_type="text/html")
            response.set_cookie("count", str(count))
            return response

        site.answer("/", counted)
        for expected in ("1", "2", "3"):
            assert titles((await crawled(member(site), site, tmp_path))[1]) == [expected]
        state = json.loads(
            apsw.Connection(str(tmp_path / "member" / "job.db")).execute("SELECT state FROM sessions").get
        )
        assert {cookie[0]: cookie[1] for cookie in state["cookies"]} == {
            "csrf": "token-0", "sid": "session-1", "count": "3",
        }  # fmt: skip


async def test_without_a_login_no_cookies_are_kept() -> None:
    """A spider that does not log in sends no cookies, whatever it is given."""

    class Tree(Spider):
        def parse(self, response):
            yield response.follow("a")

    async with Site() as site:
        site.page("/", "<a href=/next>", headers={"Set-Cookie": "a=1"})
        site.page("/next", "")
        spider = Tree()
        spider.seeds = [site.url("/")]
        await run(spider, site)
        assert all("Cookie" not in seen.headers for seen in site.seen)


async def test_a_broken_logged_out(caplog: pytest.LogCaptureFixture) -> None:
    """An exception in it ends its page as failed, as one of a handler does."""
    async with Site() as site:
        Club(site)
        spider = member(site, logged_out=lambda response: 1 / 0)
        async with Crawl(spider, folder=None, settings=site.settings) as crawl:
            summary = await crawl.ended()
        assert summary.counts.failed == 1
    assert "logged_out failed on " in caplog.text


async def test_a_session_has_no_headers_before_its_first_page(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Headers need an origin; one that could not be sent is the login's failure."""

    class Early(Member):
        async def login(self, session):
            with pytest.raises(HandlerError, match="fetch a page of it first"):
                session.headers["X"] = "1"
            await session.get(str(self.seeds[0]) + "login")
            session.headers["X"] = "a\r\nHost: evil.test"

    async with Site() as site:
        Club(site)
        spider = Early()
        spider.seeds = [site.url("/")]
        monkeypatch.setattr("crawler.logins.back_off", lambda _tries: 0.05)
        async with Crawl(spider, folder=None, settings=site.settings) as crawl:
            assert (await crawl.ended()).outcome == "stopped: login failed"
        assert {seen.path_qs for seen in site.seen} == {"/robots.txt", "/login"}
    assert "the session's headers: " in caplog.text


def test_login_is_a_coroutine() -> None:
    """A plain function is refused before the crawl begins."""

    class Plain(Spider):
        seeds = ("http://a.test/",)

        def login(self, session):
            """Nothing is awaited here."""

        def parse(self, response):
            """Nothing."""

    with pytest.raises(ConfigError, match="async def login"):
        Crawl(Plain(), folder=None)
