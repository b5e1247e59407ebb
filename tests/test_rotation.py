"""Several sessions over the wire: pages in turn, bans, logins that fail, kills, and pages that nobody is let in to."""

import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

import apsw
import pytest
from aiohttp import web

from crawler import Crawl, Response, Spider
from crawler.errors import ConfigError, HandlerError
from crawler.job import Summary
from crawler.session import Session, are_names
from crawler.testing import Site
from tests import restarts

PAGES = 12


class Accounts:
    """A site that knows its visitors by a cookie, and lets them in as long as it likes them."""

    def __init__(self, site: Site, pages: int = PAGES) -> None:
        self.site = site
        self.logins: list[str] = []
        self.banned: set[str] = set()  # accounts
        self.locked: set[str] = set()  # accounts that cannot log in
        self.lasts: dict[str, int] = {}  # how many pages accounts have until they are banned
        self.status = 403  # of an answer to who is banned
        self.links = "".join(f'<a href="/{number}">x</a>' for number in range(pages))
        site.answer("/login", self._login)
        site.answer("/", self.page)
        for number in range(pages):
            site.answer(f"/{number}", self.page)

    def _login(self, request: web.Request) -> web.Response:
        user = request.query["user"]
        if user in self.locked:
            return web.Response(status=403)
        self.logins.append(user)
        response = web.Response(text=f"old={request.cookies.get('old', '')}")
        response.set_cookie("user", user, domain="site.test")
        response.set_cookie("old", str(len(self.logins)))
        return response

    def page(self, request: web.Request) -> web.Response:
        user = request.cookies.get("user", "nobody")
        self.lasts[user] = self.lasts.get(user, 1_000) - 1
        if self.lasts[user] < 0:
            self.banned.add(user)
        if user in self.banned:
            return web.Response(status=self.status)
        return web.Response(text=f"<h1>{user}</h1>{self.links}", content_type="text/html")

    def refused(self) -> int:
        """How many pages were asked in vain."""
        return sum(seen.status == self.status for seen in self.site.seen)


class Reader(Spider):
    sessions: Sequence[str] = ("ann", "bob", "cyd")

    async def login(self, session: Session) -> None:
        answer = await session.get(str(self.seeds[0]) + f"login?user={session.name}")
        if answer.text() != "old=":
            raise HandlerError("who was banned is known by a cookie")

    def parse(self, response: Response) -> object:
        yield {"path": response.url.rpartition("/")[2], "user": response.text("h1")}
        yield response.follow("a")


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with Site() as site:
        yield site


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crawler.rotation.back_off", lambda _tries: 0.1)
    monkeypatch.setattr("crawler.logins.back_off", lambda _tries: 0.05)


async def crawled(
    site: Site, folder: Path, spider: Spider | None = None, **settings: object
) -> tuple[Summary, list[Mapping[str, object]]]:
    spider = spider or Reader()
    spider.seeds = spider.seeds or [site.url("/")]
    async with Crawl(spider, folder=folder, job="job", settings={**site.settings, **settings}) as crawl:
        items: list[Mapping[str, object]] = [item async for item in crawl]
        return await crawl.ended(), items


def paths(items: Sequence[Mapping[str, object]]) -> list[str]:
    return sorted(str(item["path"]) for item in items)


def users(items: Sequence[Mapping[str, object]]) -> Counter[str]:
    return Counter(str(item["user"]) for item in items)


def stored(folder: Path, wanted: str) -> list[tuple[object, ...]]:
    journal = apsw.Connection(str(folder / "job" / "job.db"), flags=apsw.SQLITE_OPEN_READONLY)
    return journal.execute(f"SELECT {wanted} FROM sessions ORDER BY name").fetchall()


ALL = sorted(["", *map(str, range(PAGES))])

# -- in turn


async def test_pages_are_asked_in_each_session_in_turn(site: Site, tmp_path: Path) -> None:
    """Each session logs in once, by its name, and has its share of the pages, in cookies of its own."""
    accounts = Accounts(site)
    summary, items = await crawled(site, tmp_path)
    assert (summary.outcome, summary.exit_code) == ("finished", 0)
    assert paths(items) == ALL
    assert sorted(accounts.logins) == ["ann", "bob", "cyd"]
    assert min(users(items).values()) >= 3
    assert stored(tmp_path, "name, version, is_valid, strikes, retired_until, reason") == [
        (name, 1, 1, 0, 0.0, "") for name in ("ann", "bob", "cyd")
    ]


async def test_sessions_without_a_login(site: Site, tmp_path: Path) -> None:
    """They begin without cookies, and each keeps those that it is given."""

    def counted(request: web.Request) -> web.Response:
        visitor = request.cookies.get("visitor") or f"visitor-{len(site.seen)}"
        response = web.Response(text=f"<h1>{visitor}</h1>{accounts.links}", content_type="text/html")
        response.set_cookie("visitor", visitor)
        return response

    class Anybody(Reader):
        login = Spider.login

    accounts = Accounts(site)
    for path in ("/", *(f"/{number}" for number in range(PAGES))):
        site.answer(path, counted)
    _, items = await crawled(site, tmp_path, Anybody(), concurrency=1)
    assert paths(items) == ALL
    assert len(users(items)) == 3
    assert accounts.logins == []


async def test_a_request_in_a_session_of_its_own(site: Site, tmp_path: Path) -> None:
    """A request that names its session is asked in it, and so is where it is redirected, and what its forms send."""

    def told(request: web.Request) -> str:
        return f"<h1>{request.cookies['user']}</h1><form method=post action=/saved><input name=a></form>"

    class Bound(Reader):
        def parse(self, response: Response) -> object:
            for number in range(9):
                yield response.request(f"/mine?{number}", to=self.mine, session="bob")

        def mine(self, response: Response) -> object:
            yield {"path": response.url.rpartition("/")[2], "user": response.text("h1")}
            if response.css("form"):
                number = response.url.rpartition("?")[2]
                yield response.request("/saved", form={"a": number}, to=self.mine, method="POST")

    Accounts(site)
    for number in range(9):
        site.redirect(f"/mine?{number}", f"/moved?{number}")
        site.answer(f"/moved?{number}", told)
    site.answer("/saved", lambda request: f"<h1>{request.cookies['user']}</h1>")
    _, items = await crawled(site, tmp_path, Bound())
    assert len(items) == 18
    assert users(items) == {"bob": 18}


async def test_a_session_that_there_is_not(site: Site, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A request in a session that the spider does not name, or that cannot be changed any more, fails its page."""

    class Wrong(Reader):
        async def parse(self, response: Response) -> object:
            if response.url.endswith("/now"):
                await response.fetch("/0", session="ann")
                await response.fetch("/0", session="bob")
            yield response.request("/now", session="ann")
            yield response.request("/1", session="dan")

    accounts = Accounts(site)
    site.answer("/now", accounts.page)
    spider = Wrong()
    spider.seeds = [site.url("/"), spider.request(site.url("/now"), session="ann")]
    summary, _ = await crawled(site, tmp_path, spider)
    assert summary.counts.failed == 2
    assert "'dan' is none of the spider's sessions" in caplog.text
    assert "yield a request for 'bob'" in caplog.text


@pytest.mark.parametrize("names", ["ann", ("ann", "ann"), ("",), (1,), ("a\nb",), None])
def test_names_that_are_none(names: object) -> None:
    """What cannot name sessions is refused before the crawl begins."""
    assert not are_names(names)
    spider = Reader()
    spider.seeds = ["http://a.test/"]
    spider.sessions = names  # type: ignore[assignment]
    with pytest.raises(ConfigError, match="sessions"):
        Crawl(spider, folder=None)


# -- bans


@pytest.mark.parametrize("status", [401, 403, 429])
async def test_a_session_that_is_banned(
    site: Site, tmp_path: Path, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    """After three refusals in a row a session is retired; its pages are asked in the others, and none is lost."""
    accounts = Accounts(site, pages=30)
    accounts.lasts["bob"], accounts.status = 2, status
    summary, items = await crawled(site, tmp_path, concurrency_per_host=1, session_bans=1 if status == 429 else 3)
    assert (summary.outcome, summary.exit_code) == ("finished", 0)
    assert paths(items) == sorted(["", *map(str, range(30))])
    assert users(items)["bob"] == 2
    assert 1 <= accounts.refused() <= 10  # some were under way
    assert "session bob of reader is retired: banned, as on http://site.test" in caplog.text
    (bob,) = (row for row in stored(tmp_path, "name, is_valid, retired_until, reason") if row[0] == "bob")
    assert (bob[1], bob[2] > time.time() + 3_000) == (0, True)  # type: ignore[operator]
    assert str(bob[3]).startswith("banned, as on ")


async def test_a_spiders_own_signs_of_a_ban(site: Site, tmp_path: Path) -> None:
    """What looks like a ban is for the spider to say: a page that is answered with 200, or a redirect."""

    class Watchful(Reader):
        def banned(self, response: Response) -> bool:
            return "captcha" in response.url or "are you a robot" in response.text()

    accounts = Accounts(site)

    def suspicious(request: web.Request) -> web.StreamResponse:
        if request.cookies["user"] == "ann":
            return web.Response(text="are you a robot?", content_type="text/html")
        if request.cookies["user"] == "bob":
            return web.Response(status=302, headers={"Location": "/captcha"})
        return accounts.page(request)

    for path in ("/", *(f"/{number}" for number in range(PAGES))):
        site.answer(path, suspicious)
    summary, items = await crawled(site, tmp_path, Watchful())
    assert (summary.outcome, summary.exit_code, paths(items)) == ("finished", 0, ALL)
    assert users(items) == {"cyd": PAGES + 1}
    assert "/captcha" not in site.paths()


async def test_a_broken_verdict(site: Site, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """An exception in `banned` fails its page, as one of a handler does."""

    class Broken(Reader):
        def banned(self, response: Response) -> bool:
            return response.json() is None

    Accounts(site)
    summary, _ = await crawled(site, tmp_path, Broken())
    assert summary.counts.failed == 1
    assert "banned or logged_out failed on" in caplog.text


async def test_a_page_that_nobody_is_let_in_to(site: Site, tmp_path: Path) -> None:
    """It fails as 403, in the middle of a crawl and at its end, and costs no session its place."""
    accounts = Accounts(site)
    for number in (0, PAGES - 1):
        site.page(f"/{number}", "Directors only", status=403)
    summary, items = await crawled(site, tmp_path, concurrency_per_host=1)
    assert (summary.outcome, summary.counts.failed) == ("finished", 2)
    assert paths(items) == sorted({*ALL} - {"0", str(PAGES - 1)})
    assert site.paths().count("/0") == 4  # in each session, and once more when others had been let in to other pages
    assert stored(tmp_path, "retired_until") == [(0.0,)] * 3
    assert sorted(accounts.logins) == ["ann", "bob", "cyd"]


@pytest.mark.parametrize("sessions", [("ann",), ("ann", "bob")])
async def test_nothing_but_a_page_that_nobody_is_let_in_to(site: Site, tmp_path: Path, sessions: Sequence[str]) -> None:
    """With nothing else to go by, what is refused again and again is the page's own."""
    Accounts(site)
    site.page("/", "Directors only", status=403)
    spider = Reader()
    spider.sessions = sessions
    summary, items = await crawled(site, tmp_path, spider)
    assert (summary.outcome, summary.counts.failed, items) == ("finished", 1, [])
    assert site.paths().count("/") == 2 * len(sessions) + 1


async def test_all_sessions_are_banned(site: Site, tmp_path: Path) -> None:
    """The crawl is parked, and says why; the same command goes on when they have rested, each with a new login."""
    accounts = Accounts(site)
    accounts.lasts = dict.fromkeys(Reader.sessions, 2)
    summary, _ = await crawled(site, tmp_path, session_rest=2.0)
    assert summary.outcome.startswith("parked: all sessions are retired, the first until 20")
    assert "bob (banned, as on http://site.test" in summary.outcome
    assert (summary.exit_code, summary.counts.failed) == (4, 0)
    assert summary.counts.pending >= PAGES + 1 - 6
    asked = len(site.seen)
    summary, _ = await crawled(site, tmp_path)  # too early
    assert (summary.outcome[:7], len(site.seen)) == ("parked:", asked)
    until = max(float(str(row[0])) for row in stored(tmp_path, "retired_until"))
    time.sleep(max(0.0, until - time.time()))  # noqa: ASYNC251  # nothing goes on meanwhile
    accounts.banned.clear()
    accounts.lasts.clear()
    summary, _ = await crawled(site, tmp_path)
    assert (summary.outcome, summary.exit_code, summary.counts.items) == ("finished", 0, PAGES + 1)
    assert Counter(accounts.logins) == {"ann": 2, "bob": 2, "cyd": 2}


async def test_refusals_that_are_not_in_a_row(site: Site, tmp_path: Path) -> None:
    """A good answer between them clears the signs of a ban: a site that refuses one page in three bans nobody."""
    accounts = Accounts(site, pages=40)

    def moody(request: web.Request) -> web.Response:
        return web.Response(status=403) if len(site.seen) % 3 == 0 else accounts.page(request)

    for path in ("/", *(f"/{number}" for number in range(40))):
        site.answer(path, moody)
    spider = Reader()
    spider.sessions = ("ann",)
    summary, items = await crawled(site, tmp_path, spider, session_bans=2)
    assert (summary.outcome, len(items) + summary.counts.failed) == ("finished", 41)
    assert stored(tmp_path, "version, strikes, retired_until") == [(1, 0, 0.0)]


async def test_a_retired_session_comes_back(site: Site, tmp_path: Path) -> None:
    """When it has rested it logs in anew within the same crawl, with none of its old cookies."""
    accounts = Accounts(site, pages=40)

    def forgiving(request: web.Request) -> web.Response:
        if accounts.logins.count("ann") > 1:
            accounts.banned.discard("ann")
        return accounts.page(request)

    accounts.banned.add("ann")
    for path in ("/", *(f"/{number}" for number in range(40))):
        site.answer(path, forgiving)
    summary, items = await crawled(site, tmp_path, session_rest=0.3, session_bans=1, delay=0.02)
    assert (summary.outcome, len(items)) == ("finished", 41)
    assert Counter(accounts.logins) == {"ann": 2, "bob": 1, "cyd": 1}
    assert users(items)["ann"] > 2


async def test_a_request_waits_for_its_session(site: Site, tmp_path: Path) -> None:
    """What is bound to a session that is retired is asked in no other, but in that one when it has rested."""

    class Bound(Reader):
        sessions = ("ann", "bob")

        def parse(self, response: Response) -> object:
            yield {"path": "", "user": response.text("h1")}
            for number in range(4):
                yield response.request(f"/{number}", to=self.page, session="bob")

        def page(self, response: Response) -> object:
            accounts.banned.clear()
            yield {"path": response.url.rpartition("/")[2], "user": response.text("h1")}

    accounts = Accounts(site)

    def forgiving(request: web.Request) -> web.Response:
        if accounts.logins.count("bob") > 1:
            accounts.banned.clear()
        return accounts.page(request)

    accounts.banned.add("bob")
    for number in range(4):
        site.answer(f"/{number}", forgiving)
    summary, items = await crawled(site, tmp_path, Bound(), session_rest=0.5)
    assert (summary.outcome, summary.counts.failed) == ("finished", 0)
    assert [item["user"] for item in items if item["path"]] == ["bob"] * 4


# -- logins


async def test_a_login_that_fails_retires_its_session(site: Site, tmp_path: Path) -> None:
    """After three tries its account is left alone, and the others do its work."""
    accounts = Accounts(site)
    accounts.locked.add("bob")
    summary, items = await crawled(site, tmp_path)
    assert (summary.outcome, summary.exit_code, paths(items)) == ("finished", 0, ALL)
    assert set(users(items)) == {"ann", "cyd"}
    assert site.paths().count("/login?user=bob") == 3
    (reason,) = (row[1] for row in stored(tmp_path, "name, reason") if row[0] == "bob")
    assert reason == f"its login failed: HttpError: status 403 ({site.url('/login?user=bob')})"


async def test_a_session_that_ends_is_made_anew(site: Site, tmp_path: Path) -> None:
    """Logged out is not banned: the session logs in again, and the others are left as they are."""

    class Renewed(Reader):
        async def login(self, session: Session) -> None:
            await session.get(str(self.seeds[0]) + f"login?user={session.name}")

        def logged_out(self, response: Response) -> bool:
            return response.status == 440

        def banned(self, response: Response) -> bool:
            return response.status == 403

    accounts = Accounts(site)
    accounts.lasts["bob"], accounts.status = 2, 440

    def lasting(request: web.Request) -> web.Response:
        if accounts.logins.count("bob") > 1:
            accounts.lasts.clear()
            accounts.banned.clear()
        return accounts.page(request)

    for path in ("/", *(f"/{number}" for number in range(PAGES))):
        site.answer(path, lasting)
    summary, items = await crawled(site, tmp_path, Renewed())
    assert (summary.outcome, summary.exit_code, paths(items)) == ("finished", 0, ALL)
    assert Counter(accounts.logins) == {"ann": 1, "bob": 2, "cyd": 1}
    assert stored(tmp_path, "name, version") == [("ann", 1), ("bob", 2), ("cyd", 1)]


async def test_a_session_that_another_engine_has_made_anew(site: Site, tmp_path: Path) -> None:
    """An engine that still has the old one, which is banned by now, takes up the new one, and does not log in."""
    accounts = Accounts(site, pages=30)

    def replaced(request: web.Request) -> web.Response:
        if len(site.seen) > 12 and "bob" not in accounts.banned:
            accounts.banned.add("bob")
            journal = apsw.Connection(str(tmp_path / "job" / "job.db"))
            journal.set_busy_timeout(5_000)
            journal.execute(
                "UPDATE sessions SET version = 2, state = replace(state, '\"bob\"', '\"robert\"') WHERE name = 'bob'"
            )
            journal.close()
        return accounts.page(request)

    for path in ("/", *(f"/{number}" for number in range(30))):
        site.answer(path, replaced)
    summary, items = await crawled(site, tmp_path, delay=0.01)
    assert (summary.outcome, summary.counts.failed, len(items)) == ("finished", 0, 31)
    assert users(items)["robert"] > 2
    assert sorted(accounts.logins) == ["ann", "bob", "cyd"]
    assert stored(tmp_path, "name, version, strikes") == [("ann", 1, 0), ("bob", 2, 0), ("cyd", 1, 0)]


# -- over processes


def test_killed_in_the_middle(tmp_path: Path) -> None:
    """Killed without warning and started again, no session logs in again, and one that is retired stays so."""

    def is_retired() -> bool:
        try:
            return _retired(tmp_path / "reader" / "job.db") == ["bob"]
        except apsw.Error:
            return False

    with Site.in_thread() as site:
        accounts = Accounts(site, pages=30)
        accounts.banned.add("bob")
        command = restarts.command(Reader, site.url("/"), tmp_path)
        restarts.killed(command, is_retired)
        refused = accounts.refused()
        restarts.ended(command)
        assert accounts.refused() == refused
        assert sorted(accounts.logins) == ["ann", "bob", "cyd"]
    lines = restarts.lines(tmp_path / "reader")
    assert len(lines) == len(set(lines)) == 31


def _retired(journal: Path) -> list[str]:
    found = apsw.Connection(str(journal), flags=apsw.SQLITE_OPEN_READONLY)
    return [row[0] for row in found.execute("SELECT name FROM sessions WHERE retired_until > 0")]


async def test_two_engines_share_the_sessions(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each session logs in once for all engines; a ban that one finds is known to the other at its first sign."""
    monkeypatch.setattr("crawler.hops.LONGEST_QUEUE", 0.3)  # until a login whose host the other has is left to that
    accounts = Accounts(site, pages=30)
    for host in ("www.site.test", "shop.site.test"):
        for path in ("/", *(f"/{number}" for number in range(30))):
            site.answer(path, accounts.page, host=host)
    accounts.lasts["bob"] = 20
    spider = Reader()
    spider.seeds = [site.url("/"), site.url("/", host="www.site.test"), site.url("/", host="shop.site.test")]
    settings = {**site.settings, "delay": 0.01}
    async with Crawl(spider, folder=tmp_path, settings=settings) as one:
        other = Crawl(spider, folder=tmp_path, settings=settings)
        other.join(one.part)
        async with other:
            summary = await one.ended()
            await other.ended()
    assert summary.counts.failed == 0
    assert (await one.ended()).outcome == "finished"
    assert sorted(accounts.logins) == ["ann", "bob", "cyd"]
    assert _retired(tmp_path / "reader" / "job.db") == ["bob"]
