"""A page in a handler's hands, without a crawl around it: reading, links, and the requests that it yields."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, assert_type

import pytest

from crawler.errors import HandlerError, SelectorError
from crawler.models import Request
from crawler.requests import Requests
from crawler.response import File, Response
from crawler.urls import Joiner

URL = "https://books.example/list/index.html"
LISTING = """<!doctype html><title>Shelf</title><nav><a href="../">Home</a></nav>
<article><h3><a href="pears.html#top">Winter Pears</a></h3><p class=price>£3.50</p></article>
<article><h3><a href="/salt.html">Salt and Rain</a></h3></article>
<article><h3>Sold out</h3></article>
<map><area href="pears.html"></map><img src="cover.jpg"><a href="mailto:us@books.example">Write</a>
<ul><li class="next"><a href="?page=2">next</a></li></ul>"""


@dataclass
class Door:
    """The crawl, as far as a response sees it; extra fetches are answered from ``answers``."""

    answers: Mapping[str, str] = field(default_factory=dict)
    joiner: Joiner = field(default_factory=Joiner)
    max_links: int = 50_000
    obeys_nofollow: bool = True
    product_token: str = "crawler"
    obeys_rel_nofollow: bool = False
    fetched: list[Request] = field(default_factory=list)

    def file_path(self, url: str) -> str:
        return "files/" + url.rpartition("/")[2]

    async def fetch(self, request: Request, parent: Response) -> Response:
        self.fetched.append(request)
        return page(self.answers[request.url], url=request.url, content_type="application/json", door=self)


def page(
    body: str | bytes = LISTING,
    *,
    url: str = URL,
    content_type: str = "text/html; charset=utf-8",
    door: Door | None = None,
    request: Request | None = None,
) -> Response:
    """A response with that body, to a plain request for `url` unless another is given."""
    return Response(
        request or Request(url),
        url=url,
        status=200,
        headers={"Content-Type": content_type},
        body=body.encode() if isinstance(body, str) else body,
        door=door or Door(),
    )


# -- reading


def test_what_a_response_holds() -> None:
    """A response has what was answered, and what was asked with the data that rode along."""
    asked = Request(URL, handler="book", data={"shelf": 3}, depth=2)
    response = page(request=asked)
    assert (response.url, response.status, response.body) == (URL, 200, LISTING.encode())
    assert response.headers["Content-Type"] == "text/html; charset=utf-8"
    assert (response.requested, response.data, response.depth) == (asked, {"shelf": 3}, 2)
    assert response.file is None


@pytest.mark.parametrize(("size", "shown"), [(0, "0 B"), (999, "999 B"), (12_345, "12.3 kB"), (2_500_000, "2.5 MB")])
def test_repr_is_for_operators(size: int, shown: str) -> None:
    """A response shows its status, its URL and the size of its body."""
    assert repr(page(b"x" * size)) == f"<Response 200 {URL} {shown}>"


def test_reading_verbs() -> None:
    """css, text and attr read the page as they read a node, and errors name the page."""
    response = page()
    assert response.css("h3 a").css("::text").getall() == ["Winter Pears", "Salt and Rain"]
    assert response.text("p.price") == "£3.50"
    assert response.attr("img", "src") == "cover.jpg"
    assert response.text("h1", default=None) is None
    assert response.attr("h1", "id", default="x") == "x"
    assert response.text("title") == "Shelf"
    assert response.node.text().startswith("Home Winter Pears £3.50 Salt and Rain")
    with pytest.raises(SelectorError, match=URL):
        response.text("h1")


def test_types_of_the_reading_verbs() -> None:
    """A verb returns text; with a default that is no text, text or the default. This is checked by the type checker."""
    response = page()
    assert_type(response.text(), str)
    assert_type(response.text("title"), str)
    assert_type(response.text("h1", default=None), str | None)
    assert_type(response.text("h1", default=""), str)
    assert_type(response.attr("img", "src"), str)
    assert_type(response.attr("h1", "id", default=None), str | None)
    assert_type(response.css("h1::text").get(), str | None)
    assert_type(response.css("h1::text").get(""), str)
    assert_type(response.css("img")[0].attr("src"), str)
    assert [node.text() for node in response.css("h1")] == []


def test_text_without_a_selector_is_the_source() -> None:
    """The whole body is had decoded, HTML with its tags, without a byte order mark."""
    assert page("<p>ä</p>").text() == "<p>ä</p>"
    assert page("\ufeffä", content_type="text/plain").text() == "ä"
    assert page("ä".encode("cp1252"), content_type="text/plain; charset=latin1").text() == "ä"


def test_encoding_is_decided_once_for_text_and_tree() -> None:
    """The charset of the header holds for the text and for the tree alike."""
    response = page("<p>Привет</p>".encode("cp1251"), content_type="text/html; charset=windows-1251")
    assert response.encoding == "cp1251"
    assert response.text("p") == "Привет"
    assert response.text() == "<p>Привет</p>"


def test_a_page_is_parsed_once() -> None:
    """All verbs, and the links, share one tree."""
    response = page()
    assert response.html is response.html
    assert response.node.raw.parser is response.html


@dataclass
class Post:
    id: int
    title: str
    price: Decimal = Decimal(0)


def test_json() -> None:
    """A body is JSON in whatever encoding, and of a type when one is given."""
    assert page('{"a": [1, null]}').json() == {"a": [1, None]}
    assert page("\ufeff[1]").json() == [1]
    assert page('"ä"'.encode("utf-16"), content_type="application/json").json() == "ä"
    post = page('{"id": 1, "title": "x", "price": "3.50"}').json(Post)
    assert_type(post, Post)
    assert post == Post(1, "x", Decimal("3.50"))
    assert_type(page("[1]").json(list[int]), list[int])


@pytest.mark.parametrize(
    ("body", "kind", "message"),
    [
        (b'{"a": 1,}', Any, "byte 8"),
        (b"", Any, "truncated"),
        (b"<html>", Any, "byte 0"),
        (b'["\xff"]', Any, "utf-8"),
        (b"[" * 100_000, Any, "nested too deep"),
        (b'{"id": "one", "title": "x"}', Post, "$.id"),
        (b"[NaN]", Any, "byte 1"),
    ],
)
def test_bad_json_is_an_error_that_says_where(body: bytes, kind: Any, message: str) -> None:
    """A body that is not JSON, or not of the type, is a HandlerError with the URL and the place."""
    response = page(body, content_type="application/json; charset=utf-8")
    with pytest.raises(HandlerError) as caught:
        response.json(kind)
    assert URL in str(caught.value)
    assert message in str(caught.value)


# -- links


def test_links() -> None:
    """Links are absolute and canonical, in page order, each page once whatever its fragment; others are left out."""
    assert page().links() == [
        "https://books.example/",
        "https://books.example/list/pears.html",
        "https://books.example/salt.html",
        "https://books.example/list/index.html?page=2",
    ]


@pytest.mark.parametrize(
    ("base", "href", "expected"),
    [
        ("/other/", "a", "https://books.example/other/a"),
        ("https://cdn.example/x/y", "a", "https://cdn.example/x/a"),
        ("/other/", "#top", "https://books.example/other/"),
        ("javascript:alert(1)", "a", "https://books.example/list/a"),
        ("", "a", "https://books.example/list/a"),
    ],
)
def test_links_honour_the_base_element(base: str, href: str, expected: str) -> None:
    """A base element moves what links are relative to, for links, follow and request alike; a bad one is ignored."""
    response = page(f"<base href='{base}'><a href='{href}'>x</a>")
    assert response.links() == [expected]
    assert response.follow("a[href]").urls == [expected]
    assert response.request(href).url == expected


@pytest.mark.parametrize(
    ("content_type", "body", "expected"),
    [
        ("text/html", b"", True),
        (" Text/HTML ; charset=utf-8", b'{"a": 1}', True),
        ("application/xhtml+xml", b"<?xml version='1.0'?><html/>", True),
        ("text/plain", b"<!doctype html>", False),
        ("application/json", b'"<p>"', False),
        ("application/xml", b"<html>", False),
        ("image/svg+xml", b"<svg>", False),
        ("", b"<!DOCTYPE html><p>", True),
        ("", b"\n <!-- hello --><p>", True),
        ("", b"\xef\xbb\xbf\r\n<HTML>", True),
        ("", "<ul><li>".encode("utf-16"), True),
        ("", b"<?xml version='1.0' encoding='utf-8'?>\n<!DOCTYPE html PUBLIC '-//W3C//DTD XHTML 1.0//EN'>", True),
        ("", b"<?xml version='1.0'?><html xmlns='http://www.w3.org/1999/xhtml'>", True),
        ("", b"<?xml version='1.0'?><rss><channel>", False),
        ("", b"Hello <a href=/x>you</a>", False),
        ("", b"<ann@books.example> wrote:", False),
        ("", b'{"a": "<p>"}', False),
        ("", b"%PDF-1.7", False),
        ("", b"", False),
    ],
)
def test_is_html(content_type: str, body: bytes, expected: object) -> None:
    """A response is HTML if its Content-Type says so; without one, if its body begins like it."""
    assert page(body, content_type=content_type).is_html is expected
    if not content_type:
        headers: dict[str, str] = {}
        assert Response(Request(URL), url=URL, status=200, headers=headers, body=body, door=Door()).is_html is expected


@pytest.mark.parametrize("content_type", ["text/plain", "application/json", "application/rss+xml", "text/xml"])
def test_only_html_has_links(content_type: str) -> None:
    """In JSON, XML or plain text links and base elements are somebody's words; selectors still find what is there."""
    response = page(f'<base href="/x/">{LISTING}', content_type=content_type)
    assert response.links() == []
    assert [list(response.follow(selector)) for selector in ("a", "li.next a", "img::attr(src)")] == [[], [], []]
    assert response.request("a").url == "https://books.example/list/a"
    assert response.css("li.next a::attr(href)").get() == "?page=2"
    with pytest.raises(SelectorError, match=r"for a URL use response\.request\("):
        response.follow("/list")
    with pytest.raises(HandlerError, match="priority='high'"):
        response.follow("a", priority="high")  # type: ignore[arg-type]  # what a type checker would have found


def test_links_are_limited() -> None:
    """At most max_links different links are taken; what leads to the same page counts once."""
    door = Door(max_links=3)
    body = "".join(f"<a href='{n // 2}#{n}'>x</a>" for n in range(20))
    assert page(body, door=door).links() == [f"https://books.example/list/{n}" for n in range(3)]
    assert len(page(body, door=door).follow("a[href]")) == 3


def test_links_belong_to_the_caller() -> None:
    """Changing the list that links returned changes no other."""
    response = page()
    response.links().clear()
    assert len(response.links()) == len(response.follow()) == 4


# -- follow


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("a", ["/", "/list/pears.html", "/salt.html", "/list/index.html?page=2"]),
        ("article", ["/list/pears.html", "/salt.html"]),
        ("article h3 a", ["/list/pears.html", "/salt.html"]),
        ("area", ["/list/pears.html"]),
        ("li.next a", ["/list/index.html?page=2"]),
        ("img::attr(src)", ["/list/cover.jpg"]),
        ("a[href^='mailto://'], a[href^='../']", ["/"]),
        ("h1", []),
        ("h3 a::attr(href), li a::attr(href)", ["/list/pears.html", "/salt.html", "/list/index.html?page=2"]),
    ],
)
def test_follow(selector: str, expected: list[str]) -> None:
    """An element is followed by its own link or the first in it, each page once; what has none is passed over."""
    assert page().follow(selector).urls == ["https://books.example" + path for path in expected]


@pytest.mark.parametrize(
    "selector",
    ["https://books.example/2", "/list?page=2", "//cdn.example/", "../up", "./here", " HTTP://x/", "ftp://x"],
)
def test_follow_takes_no_url(selector: str) -> None:
    """A URL is told from a selector, and the error says what takes one."""
    with pytest.raises(SelectorError, match=r"for a URL use response\.request\("):
        page().follow(selector)


def test_follow_names_a_malformed_selector() -> None:
    """A malformed selector is a SelectorError here too."""
    with pytest.raises(SelectorError, match="malformed selector 'a\\['"):
        page().follow("a[")


def test_followed_requests_are_like_a_list() -> None:
    """What follow returns has a length, indexes and slices; its requests share all but their URL."""
    requests = page(request=Request(URL, handler="shelf", depth=1)).follow("article", priority=2)
    expected = [
        Request("https://books.example/list/pears.html", handler="shelf", depth=2, priority=2),
        Request("https://books.example/salt.html", handler="shelf", depth=2, priority=2),
    ]
    assert list(requests) == expected
    assert (len(requests), requests[0], requests[-1], list(requests[1:])) == (2, expected[0], expected[1], expected[1:])
    assert isinstance(requests[:1], Requests)
    assert repr(requests) == "<Requests 2 to=shelf>"
    assert not page().follow("h1")


def test_a_page_of_links_makes_no_requests_until_it_is_looked_at() -> None:
    """Following all links costs one template, not a request a link, and no second pass through the page."""
    response = page("".join(f"<a href='/{n}'>{n}</a>" for n in range(1000)))
    requests = response.follow(to="book")
    assert requests.urls is response.follow().urls
    assert requests.template == Request("", handler="book", depth=1)


# -- download, fetch


def test_download() -> None:
    """A download knows its path at once; without to= no handler is called for it."""
    response = page(request=Request(URL, handler="shelf", depth=1))
    pdf = response.download("../pears.pdf", priority=1)
    assert pdf == Request(
        "https://books.example/pears.pdf", handler="", kind="download", priority=1, depth=2, path="files/pears.pdf"
    )
    assert response.download("/x.pdf", to="book").handler == "book"


async def test_fetch() -> None:
    """An extra fetch goes through the door with the same options, at the page's own depth."""
    door = Door(answers={"https://books.example/authors": '["Ann"]'})
    response = page(door=door, request=Request(URL, handler="shelf", depth=3))
    authors = await response.fetch("/authors", headers={"Accept": "application/json"})
    assert authors.json() == ["Ann"]
    assert door.fetched == [
        Request("https://books.example/authors", handler="shelf", depth=3, headers={"Accept": "application/json"})
    ]


def test_file_of_a_download() -> None:
    """The handler of a download finds the file, and no body."""
    file = File(Path("output/files/x.pdf"), "x.pdf", 3, "0" * 64)
    response = Response(Request(URL), url=URL, status=200, headers={}, body=b"", door=Door(), file=file)
    assert response.file is file
    assert (file.name, file.size, file.path.suffix) == ("x.pdf", 3, ".pdf")


def handler_as_authors_write_it(response: Response) -> Iterator[object]:
    """Type checkers take a handler that is declared like this."""
    yield {"title": response.text("title")}
    yield response.follow("li.next a")
    yield from response.follow("article", to="book", data={"from": response.url})
    yield response.request("/x", statuses={404})


def test_requests_are_yielded_whole_or_one_by_one() -> None:
    """yield hands over all requests as one, yield from each of them."""
    kinds = [type(one).__name__ for one in handler_as_authors_write_it(page())]
    assert kinds == ["dict", "Requests", "Request", "Request", "Request"]
