"""What may be said of a request, as handlers say it, and every mistake that is caught on the spot."""

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest

from crawler.errors import HandlerError
from crawler.models import Request, packed, unpacked
from crawler.requests import Options
from crawler.response import Response

from .test_response import URL, page


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
        truncate=True,
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
        truncate=True,
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
        {"key": "\udce9"},
        {"headers": {"X": "\udce9"}},
        {"key": 3},
        {"accept": "application/pdf"},
        {"accept": ["pdf"]},
        {"statuses": 404},
        {"statuses": [99]},
        {"statuses": ["404"]},
        {"anywhere": "yes"},
        {"truncate": 1000},
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


@pytest.mark.parametrize("value", ["a;b", "a\r\nb", "a\udce9"])
def test_cookies_that_cannot_be_sent(value: str) -> None:
    """They are refused, and the message does not tell their values."""
    with pytest.raises(HandlerError) as caught:
        page().request("/x", cookies={"secret": value})
    assert str(caught.value).startswith("cookies=['secret']: ")


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
