"""Whole crawls of sites that show one page at many URLs, or URLs without end."""

from collections.abc import AsyncIterator
from hashlib import sha256
from itertools import permutations
from pathlib import Path

import apsw
import pytest
from aiohttp import web

from crawler import Crawl, Limits, LinkRules, Response, Spider
from crawler.cli import report
from crawler.frontier import checks
from crawler.models import Counts
from crawler.testing import Site


class Paths(Spider):
    """Follows everything, yields the path of each page that it handles."""

    def parse(self, response: Response) -> object:
        yield {"path": "/" + response.url.partition("://")[2].partition("/")[2]}
        yield response.follow()


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with Site() as site:
        yield site


async def handled(site: Site, folder: Path, *, spider: Spider | None = None, **settings: object) -> list[str]:
    """The paths that were handled, in alphabetical order; the journal is what it must be."""
    spider = spider or Paths()
    spider.seeds = [site.url("/")]
    async with Crawl(spider, folder=folder, job="job", settings={**site.settings, **settings}) as crawl:
        items = [str(item["path"]) async for item in crawl]
        await crawl.ended()
    assert [str(finding) for finding in checks.findings(journal(folder))] == []
    return sorted(items)


def journal(folder: Path) -> apsw.Connection:
    return apsw.Connection(str(folder / "job" / "job.db"))


def rows(folder: Path, question: str) -> list[tuple[object, ...]]:
    return list(journal(folder).execute(question))


def anchors(*paths: str) -> str:
    return "".join(f"<a href='{path}'>x</a>" for path in paths)


def canonical(url: str) -> str:
    return f"<head><link rel=canonical href='{url}'></head>"


# -- one page by many names


async def test_a_session_id_makes_no_page(site: Site, tmp_path: Path) -> None:
    """What differs in a session id only is fetched once, as it was found first, and again in the next run."""
    site.page("/", anchors("/a?PHPSESSID=1", "/a?PHPSESSID=2", "/a", "/b;jsessionid=7", "/b?x=1"))
    for path in ("/a?PHPSESSID=1", "/b;jsessionid=7", "/b?x=1"):
        site.page(path, anchors("/a?PHPSESSID=3", "/b"))
    wanted = ["/", "/a?PHPSESSID=1", "/b;jsessionid=7", "/b?x=1"]
    assert await handled(site, tmp_path) == wanted
    assert rows(tmp_path, "SELECT path, known_as FROM pages WHERE known_as IS NOT NULL ORDER BY path") == [
        ("/a?PHPSESSID=1", "/a"), ("/b;jsessionid=7", "/b"),
    ]  # fmt: skip
    site.page("/", anchors("/a?PHPSESSID=9"))
    site.page("/a?PHPSESSID=9", anchors("/a"))
    assert await handled(site, tmp_path) == ["/", "/a?PHPSESSID=9"]


async def test_rules_may_change_between_runs(site: Site, tmp_path: Path) -> None:
    """With other rules the next run finds other pages, and the journal stays sound."""
    site.page("/", anchors("/a?b&a", "/a?a&b", "/a?a&b&utm_x"))
    for path in ("/a?b&a", "/a?a&b", "/a?a&b&utm_x"):
        site.page(path, "x")
    assert len(await handled(site, tmp_path, sort_query=True, drop_parameters=["utm_*"])) == 2
    assert len(await handled(site, tmp_path)) == 4
    assert len(await handled(site, tmp_path, drop_parameters=["utm_*"])) == 3


async def test_a_redirect_to_the_same_page_with_a_session_id(site: Site, tmp_path: Path) -> None:
    """A site that gives a session id by a redirect, or takes it away, is crawled all the same."""
    site.page("/", anchors("/a", "/b?PHPSESSID=1", "/c"))
    site.redirect("/a", "/a?PHPSESSID=2")
    site.page("/a?PHPSESSID=2", anchors("/a?PHPSESSID=2"))
    site.redirect("/b?PHPSESSID=1", "/b")
    site.page("/b", "b")
    site.redirect("/c", "/login")
    site.redirect("/login", "/c?PHPSESSID=3")
    site.page("/c?PHPSESSID=3", "c")
    assert await handled(site, tmp_path) == ["/", "/a?PHPSESSID=2", "/b", "/c?PHPSESSID=3"]


# -- canonical URLs


async def test_canonical_urls_are_recorded(site: Site, tmp_path: Path) -> None:
    """A page's canonical URL stands in the journal, where it is another; by default it changes nothing."""
    site.page("/", canonical("/") + anchors("/a?x", "/b"))
    site.page("/a?x", canonical("/a"))
    site.page("/b", "b", headers={"Link": "</c>; rel=canonical"})
    assert await handled(site, tmp_path) == ["/", "/a?x", "/b"]
    assert rows(tmp_path, "SELECT path, canonical FROM pages WHERE canonical IS NOT NULL ORDER BY path") == [
        ("/a?x", site.url("/a")), ("/b", site.url("/c")),
    ]  # fmt: skip


async def test_canonical_identity(site: Site, tmp_path: Path) -> None:
    """With canonical_identity the canonical page is handled, once, in place of those that name it."""
    site.page("/", anchors("/a?x=1", "/a?x=2", "/out", "/session?PHPSESSID=1"))
    site.page("/a?x=1", canonical("/a") + anchors("/never"))
    site.page("/a?x=2", canonical("/a"))
    site.page("/a", canonical("/a"))
    site.page("/out", canonical("http://elsewhere.test/"))
    site.page("/session?PHPSESSID=1", canonical("/session"))
    wanted = ["/", "/a", "/out", "/session?PHPSESSID=1"]
    assert await handled(site, tmp_path, canonical_identity=True) == wanted
    assert site.paths().count("/a") == 1
    assert rows(tmp_path, "SELECT path, state, reason FROM pages WHERE reason LIKE 'canonical%' ORDER BY path") == [
        ("/a?x=1", 1, f"canonical: {site.url('/a')}"), ("/a?x=2", 1, f"canonical: {site.url('/a')}"),
    ]  # fmt: skip


@pytest.mark.parametrize("order", list(permutations(("/a", "/b", "/c"))))
async def test_a_circle_of_canonical_urls_loses_nothing(site: Site, tmp_path: Path, order: tuple[str, ...]) -> None:
    """Pages that name one another, in whichever order they are found: one of them is handled."""
    site.page("/", anchors(*order))
    for path, named in (("/a", "/b"), ("/b", "/c"), ("/c", "/a")):
        site.page(path, canonical(named))
    found = await handled(site, tmp_path, canonical_identity=True)
    assert len(found) == 2
    assert len(site.paths()) == 6  # robots.txt is one, and who is handled is asked for twice


@pytest.mark.parametrize("order", [("/a",), ("/a", "/b"), ("/b", "/a"), ("/x", "/b", "/a"), ("/a", "/x", "/b")])
@pytest.mark.parametrize(("delay", "places"), [(0.0, 4), (0.02, 1)])
async def test_a_canonical_url_that_leads_back(
    site: Site, tmp_path: Path, order: tuple[str, ...], delay: float, places: int
) -> None:
    """A canonical URL that redirects to the page that names it, as http to https: the page is handled, once."""
    site.page("/", anchors(*order))
    site.page("/a", canonical("/x"))
    site.redirect("/x", "/b")
    site.redirect("/b", "/a")
    found = await handled(site, tmp_path, canonical_identity=True, delay=delay, concurrency_per_host=places)
    assert found == ["/", "/a"]
    assert len(site.paths()) == 6  # robots.txt is one, and /a is asked for twice


async def test_a_canonical_url_with_a_handler_of_its_own(site: Site, tmp_path: Path) -> None:
    """The canonical page has the handler of the page that names it, also where another handler has had it."""

    class Two(Paths):
        def parse(self, response: Response) -> object:
            yield {"path": response.url.rpartition("/")[2]}
            yield response.follow("a.own", to=self.own)
            yield response.follow("a:not(.own)")

        def own(self, response: Response) -> object:
            yield {"path": "own " + response.url.rpartition("/")[2]}

    site.page("/", "<a href=/b>b</a><a class=own href=/a>a</a>")
    site.page("/a", canonical("/b"))
    site.page("/b", "b")
    assert await handled(site, tmp_path, spider=Two(), canonical_identity=True) == ["", "b", "own b"]


# -- traps


async def test_traps_are_cut_counted_and_told(site: Site, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Links that look like a trap's are not followed; the journal has their number and reason, and the end tells."""
    deep = "/" + "/".join(map(str, range(25)))
    site.page("/", anchors(deep, "/loop/loop/loop/"))
    site.page("/loop/loop/loop/", "<a href='loop/'>1</a><a href='loop/?2'>2</a>" + anchors(deep))
    assert await handled(site, tmp_path) == ["/", "/loop/loop/loop/"]
    assert rows(tmp_path, "SELECT reason, links, example FROM cuts ORDER BY reason") == [
        ("trap: path segments", 1, site.url(deep)),
        ("trap: repeated segment", 2, site.url("/loop/loop/loop/loop/?2")),
    ]
    assert "max_path_segments" in caplog.text
    site.page(deep, "deep")
    assert deep in await handled(site, tmp_path, max_path_segments=30)


async def test_what_was_cut_is_told_at_the_end(site: Site) -> None:
    """The summary has a line for each reason, with an example."""
    site.page("/", "".join(f"<a href='/?{'&' * n}'>x</a>" for n in range(20)))
    spider = Paths()
    spider.seeds = [site.url("/")]
    summary = await Crawl(spider, folder=None, settings=site.settings).run()
    (line,) = report.cuts(summary.counts.cuts)
    assert line.startswith("  10 links left out (trap: query parameters, see max_query_parameters): http")
    assert report.cuts(Counts().cuts) == []


def put_up_soft_404s(site: Site, pages: int) -> None:
    """Pages with one body, each of which leads one step further."""
    site.page("/", anchors(*(f"/gone/{n:02}/" for n in range(pages))))
    for n in range(pages):
        site.page(f"/gone/{n:02}/", anchors("more"))
        site.page(f"/gone/{n:02}/more", f"more {n}")


async def test_pages_with_one_body_lead_no_further(
    site: Site, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """All pages that are linked are asked, but from the 21st with one body on their links are left out, and counted."""
    put_up_soft_404s(site, 25)
    paths = await handled(site, tmp_path, delay=0, concurrency=1)
    assert sum(path.endswith("more") for path in paths) == 20
    assert sum(path.endswith("/") for path in paths) == 26
    ((reason, links, example),) = rows(tmp_path, "SELECT reason, links, example FROM cuts")
    assert (reason, links) == ("trap: same content", 5)
    assert str(example).endswith("/more")
    assert caplog.text.count("max_same_pages would let them in") == 1
    assert rows(tmp_path, "SELECT path, pages, reason FROM shapes") == [("/gone/#/", 20, "trap: same content")]
    assert len(await handled(site, tmp_path, max_same_pages=0)) == 51


async def test_a_kill_does_not_let_them_lead_further(site: Site, tmp_path: Path) -> None:
    """What was known of a shape is known to the process that goes on."""
    put_up_soft_404s(site, 25)
    spider = Paths()
    spider.seeds = [site.url("/")]
    settings = {**site.settings, "delay": 0, "concurrency": 1}
    for pages in (22, 100):  # the first page, and 21 with one body
        crawl = Crawl(spider, folder=tmp_path, job="job", settings=settings, limits=Limits(max_pages=pages))
        summary = await crawl.run()
    assert (summary.resumed, summary.counts.done) == (True, 46)
    assert rows(tmp_path, "SELECT reason, links FROM cuts") == [("trap: same content", 5)]


async def test_pages_that_a_spider_asks_for_itself(site: Site, tmp_path: Path) -> None:
    """A frame that is the same for all pages does not keep a spider from asking for what fills it."""

    class Framed(Paths):
        def parse(self, response: Response) -> object:
            yield from super().parse(response)  # type: ignore[misc]  # a generator
            if "/app/" in response.url:
                yield response.request(response.url.replace("/app/", "/api/"), to=self.filled)

        def filled(self, response: Response) -> object:
            yield {"path": response.url}

    site.page("/", anchors(*(f"/app/{n}" for n in range(25))))
    for n in range(25):
        site.page(f"/app/{n}", "<div id=frame></div>")
        site.page(f"/api/{n}", "{}", content_type="application/json")
    assert len(await handled(site, tmp_path, spider=Framed(), delay=0, concurrency=1)) == 51


async def test_a_calendar_without_end(site: Site, tmp_path: Path) -> None:
    """A shape of URLs that only brings more of itself is left when half as many pages as it may have were in vain."""

    class Quiet(Spider):
        def parse(self, response: Response) -> object:
            if response.url.endswith("about"):
                yield {"path": "/about"}
            yield response.follow()

    async def month(request: web.Request) -> str:
        n = int(request.path.rpartition("/")[2])
        return f"<h1>{n % 12} {2000 + n // 12}</h1>" + anchors(f"/month/{n + 1}", f"/month/{n + 2}", "/about")

    site.page("/", anchors("/month/1"))
    site.page("/about", "about")
    for n in range(1, 80):
        site.answer(f"/month/{n}", month)
    settings = {"delay": 0, "concurrency": 1, "max_barren_pages": 40}
    assert await handled(site, tmp_path, spider=Quiet(), **settings) == ["/about"]
    asked = sum(path.startswith("/month/") for path in site.paths())
    assert 41 <= asked <= 44
    assert rows(tmp_path, "SELECT reason, links > 0 FROM cuts") == [("trap: nothing new", 1)]


async def test_a_redirect_into_a_trap(site: Site, tmp_path: Path) -> None:
    """A redirect to what looks like a trap ends as skipped, and says where it led."""
    site.page("/", anchors("/go"))
    site.redirect("/go", "/x/x/x/x/")
    assert await handled(site, tmp_path) == ["/"]
    assert rows(tmp_path, "SELECT reason FROM pages WHERE path = '/go'") == [
        (f"trap: repeated segment: redirected to {site.url('/x/x/x/x/')}",)
    ]


# -- what a page was


async def test_the_journal_has_a_digest_of_each_body(site: Site, tmp_path: Path) -> None:
    """16 bytes tell the body that a page was handled with in this run; a page that was not handled has none."""

    class Picky(Paths):
        def parse(self, response: Response) -> object:
            assert "broken" not in response.text()
            yield from super().parse(response)  # type: ignore[misc]  # a generator

    for path, body in (("/", anchors("/a", "/b", "/none")), ("/a", "one"), ("/b", "one")):
        site.page(path, body)
    content = "SELECT path, hex(content) FROM pages WHERE path IN ('/a', '/b', '/none') ORDER BY 1"
    await handled(site, tmp_path, spider=Picky())
    one = sha256(b"one").hexdigest()[:32].upper()
    assert rows(tmp_path, content) == [("/a", one), ("/b", one), ("/none", "")]
    site.page("/a", "broken")
    site.page("/b", "two")
    await handled(site, tmp_path, spider=Picky())
    assert rows(tmp_path, content) == [("/a", ""), ("/b", sha256(b"two").hexdigest()[:32].upper()), ("/none", "")]


# -- links by choice, over the wire


async def test_pages_of_an_api_by_its_link_header(site: Site, tmp_path: Path) -> None:
    """A JSON API that pages by its Link header is followed to its end."""

    class Api(Paths):
        def parse(self, response: Response) -> object:
            yield {"path": response.url.rpartition("/")[2]}
            yield response.follow(LinkRules(elements=("link",), rel=("next",)))

    for n in range(3):
        headers = {"Link": f'</?page={n + 1}>; rel="next", </?page=9>; rel="last"'} if n < 2 else {}
        path = f"/?page={n}" if n else "/"
        site.page(path, "{}", content_type="application/json", headers=headers)
    assert await handled(site, tmp_path, spider=Api()) == ["", "?page=1", "?page=2"]


async def test_single_links_that_are_not_to_be_followed(site: Site, tmp_path: Path) -> None:
    """rel=nofollow is obeyed by setting."""
    site.page("/", "<a rel='nofollow ugc' href=/a>a</a><a href=/b>b</a>")
    for path in ("/a", "/b"):
        site.page(path, "x")
    assert await handled(site, tmp_path, obey_rel_nofollow=True) == ["/", "/b"]
    assert await handled(site, tmp_path) == ["/", "/a", "/b"]
