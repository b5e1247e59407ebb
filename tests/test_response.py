"""A page in a handler's hands, without a crawl around it: reading, links, and the requests that it yields."""

import datetime as dt
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, assert_type

import pytest

from crawler.errors import HandlerError, SelectorError
from crawler.models import Request, packed, unpacked
from crawler.response import File, Options, Requests, Response
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


class Books:
    """As much of a spider as `to=` looks at."""

    seeds = ()

    def book(self, response: Response) -> None: ...

    def gone(self, request: Request, error: Exception) -> None: ...

    @staticmethod
    def static(response: Response) -> None: ...


class Special(Books):
    def book(self, response: Response) -> None: ...

    def refer(self) -> Request:
        return page().request("/", to=super().book)


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
    assert response.node.text().startswith("ShelfHome Winter Pears£3.50 Salt and Rain")
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


def test_only_html_has_a_base() -> None:
    """In JSON or plain text a base element is somebody's words."""
    response = page('{"text": "<base href=/x/>"}', content_type="application/json")
    assert response.request("a").url == "https://books.example/list/a"


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


# -- request, download, fetch


def test_request_is_by_default_for_the_running_handler() -> None:
    """A request is one link deeper, for the handler that is running, and its URL may be relative."""
    response = page(request=Request(URL, handler="shelf", depth=4))
    assert response.request("x.html#top") == Request("https://books.example/list/x.html", handler="shelf", depth=5)


def test_request_options() -> None:
    """All that may be said of a request is in it, and survives the journal."""
    books = Books()
    request = page().request(
        "/buy",
        to=books.book,
        failed=books.gone,
        method="put",
        headers={"X-Shelf": "3"},
        body=b"\x00\xff",
        data={"seen": [1, None, {"a": "ä"}]},
        priority=-3,
        key="buy 3",
        accept=["image/PNG", "application/pdf"],
        statuses={410, 404},
        anywhere=True,
        retry=True,
    )
    assert request == Request(
        "https://books.example/buy",
        handler="book",
        failed="gone",
        method="PUT",
        headers={"X-Shelf": "3"},
        body=b"\x00\xff",
        data={"seen": [1, None, {"a": "ä"}]},
        priority=-3,
        depth=1,
        key="buy 3",
        accept=("application/pdf", "image/png"),
        statuses=(404, 410),
        anywhere=True,
        retry=True,
    )
    assert unpacked(request.url, 1, -3, packed(request)) == request


def test_options_of_none_are_as_if_not_given() -> None:
    """Passing None is the same as not passing it, so that authors can hand their own options on."""
    options: Options = {"to": None, "data": None, "headers": None, "method": None, "json": None, "failed": None}
    assert page().request("/x", **options) == page().request("/x")


def test_json_of_a_request() -> None:
    """json= is the body with its Content-Type, unless the author names another, and makes the method POST."""
    request = page().request("/search", json={"q": "pears"})
    assert (request.method, request.body) == ("POST", b'{"q":"pears"}')
    assert request.headers == {"Content-Type": "application/json"}
    own = page().request("/search", json=[1], method="QUERY", headers={"content-type": "application/x+json"})
    assert (own.method, own.headers) == ("QUERY", {"content-type": "application/x+json"})
    assert page().request("/search", body=b"q=pears").method == "POST"


def test_data_is_a_copy() -> None:
    """Data changed after the request was made does not change the request."""
    data = {"pages": [1]}
    request = page().request("/x", data=data)
    data["pages"].append(2)
    assert request.data == {"pages": [1]}


@pytest.mark.parametrize("to", [Books().book, "book"])
def test_to_is_a_method_or_its_name(to: Callable[..., object] | str) -> None:
    """A handler is stored by its name."""
    assert page().request("/x", to=to).handler == page().follow(to=to)[0].handler == "book"


def function(response: Response) -> None: ...


def decorated(handler: Callable[[Any, Response], None]) -> Callable[[Any, Response], None]:
    def inner(self: Any, response: Response) -> None:
        handler(self, response)

    return inner


class Odd(Books):
    @decorated
    def shelf(self, response: Response) -> None: ...


@pytest.mark.parametrize(
    "to",
    [
        lambda response: None,
        function,
        Books.book,
        Books().static,
        Odd().shelf,
        [].append,
        "not a name",
        "",
        3,
    ],
)
def test_to_must_be_found_again_by_its_name(to: Any) -> None:
    """What a later process could not find by name is refused, and shown."""
    with pytest.raises(HandlerError, match="a method of the spider") as caught:
        page().follow("a", to=to)
    assert str(caught.value).startswith(f"to={to!r}"[:100])


def test_to_a_parents_method_that_is_overridden() -> None:
    """super().book cannot be told from self.book by name, so it is refused."""
    with pytest.raises(HandlerError, match="a method of the spider"):
        Special().refer()


@pytest.mark.parametrize(
    "options",
    [
        {"data": {"at": dt.date(2026, 1, 1)}},
        {"data": {1: "one"}},
        {"data": (1, 2)},
        {"data": float("nan")},
        {"data": b"bytes"},
        {"data": object()},
        {"json": object()},
        {"body": "text"},
        {"method": "GET /"},
        {"method": 3},
        {"headers": {"X-Shelf": "3\r\nHost: evil.example"}},
        {"headers": {"X Shelf": "3"}},
        {"headers": {"X-Shelf": 3}},
        {"headers": "X-Shelf: 3"},
        {"priority": "high"},
        {"priority": 1 << 40},
        {"priority": 1.5},
        {"key": ""},
        {"key": 3},
        {"accept": "application/pdf"},
        {"accept": ["pdf"]},
        {"statuses": 404},
        {"statuses": [99]},
        {"statuses": ["404"]},
        {"anywhere": "yes"},
        {"retry": 1},
        {"failed": "no name"},
    ],
)
def test_wrong_options_are_named(options: dict[str, Any]) -> None:
    """An option of the wrong kind is a HandlerError that begins with the option and its value."""
    name, value = next(iter(options.items()))
    with pytest.raises(HandlerError) as caught:
        page().request("/x", **options)
    assert str(caught.value).startswith(f"{name}={value!r}: ")


def test_unknown_options_are_named() -> None:
    """A misspelt option is refused with the one that was meant; json and body exclude each other."""
    misspelt: Any = {"prioirty": 3}
    with pytest.raises(HandlerError, match=r"no prioirty=; did you mean priority=\?"):
        page().request("/x", **misspelt)
    with pytest.raises(HandlerError, match="json= or body="):
        page().request("/x", json={}, body=b"{}")


@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", "mailto:a@b.example", "http://", "https://x/" + "a" * 2048, None, 3]
)
def test_request_refuses_what_is_no_url_of_the_web(url: Any) -> None:
    """A URL that cannot be asked for is a HandlerError that shows it and the page."""
    with pytest.raises(HandlerError, match="not an http or https URL") as caught:
        page().request(url)
    assert URL in str(caught.value)


def test_download() -> None:
    """A download knows its path at once; without to= no handler is called for it."""
    response = page(request=Request(URL, handler="shelf", depth=1))
    pdf = response.download("../pears.pdf", priority=1)
    assert pdf == Request(
        "https://books.example/pears.pdf", handler="", kind="download", priority=1, depth=2, path="files/pears.pdf"
    )
    assert response.download("/x.pdf", to=Books().book).handler == "book"


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
