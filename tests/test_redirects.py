"""One redirect at a time: what is asked next, and what goes along."""

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crawler.errors import BadRedirect, FetchError, TooManyRedirects, UnsafeRedirect
from crawler.models import Request
from crawler.redirects import headers_for, hop
from crawler.urls import MAX_LENGTH, split

START = "http://a.test/b/c?d"
SECRETS = {"Authorization": "Basic Zm9v", "Cookie": "id=1", "Proxy-Authorization": "Basic Zm9v", "X-Api-Key": "1"}
HARMLESS = {
    "Accept": "text/html",
    "ACCEPT-LANGUAGE": "de",
    "accept-encoding": "gzip",
    "User-Agent": "x",
    "From": "a@a.test",
}
EVERYTHING = {**SECRETS, **HARMLESS}


def follow(request: Request, *locations: str, status: int = 302, most: int = 10) -> Request:
    for location in locations:
        request = hop(request, status, location, most)
    return request


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_methods(status: int, method: str) -> None:
    """303 becomes a GET, but for HEAD; 301 and 302 do for POST; 307 and 308 repeat the request as it was."""
    becomes_get = {301: {"POST"}, 302: {"POST"}, 303: {"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}}
    body = b"e=f" if method in {"POST", "PUT", "PATCH"} else None
    moved = hop(Request(START, method=method, body=body), status, "/e", 10)
    if method in becomes_get.get(status, set()):
        assert (moved.method, moved.body) == ("GET", None)
    else:
        assert (moved.method, moved.body) == (method, body)
    assert moved.url == "http://a.test/e"


def test_everything_else_goes_along() -> None:
    """A hop is the same request in all but its URL, and remembers where it has been."""
    request = Request(
        START, handler="book", headers={"X-Api-Key": "1"}, data={"e": [1]}, priority=3, depth=2, failed="broken",
        statuses=(404,), accept=("image/",), anywhere=True, retry=True, path="files/e", truncate=True,
    )  # fmt: skip
    moved = hop(hop(request, 301, "/e", 10), 308, "f", 10)
    assert moved.hops == (START, "http://a.test/e")
    assert moved.url == "http://a.test/f"
    changed = {name for name in Request.__struct_fields__ if getattr(moved, name) != getattr(request, name)}
    assert changed == {"url", "hops", "key"}, "a request that carries data is not the plain page"


@pytest.mark.parametrize("kind", ["page", "download", "robots"])
def test_kind_stays(kind: str) -> None:
    """A download that moved is a download, and a moved robots.txt is a robots.txt."""
    request = Request(START, kind=kind)  # type: ignore[arg-type]  # one of the kinds
    moved = hop(request, 302, "/e", 10)
    assert moved.kind == kind
    assert (moved.key is not None) == (kind == "download"), "its path was promised for the first URL"


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("http://b.test/e", "http://b.test/e"),
        ("//b.test/e", "http://b.test/e"),
        ("/e", "http://a.test/e"),
        ("e", "http://a.test/b/e"),
        ("?e", "http://a.test/b/c?e"),
        ("../e", "http://a.test/e"),
        ("\\e", "http://a.test/e"),
        (" /e\t", "http://a.test/e"),
        ("/é ü", "http://a.test/%C3%A9%20%C3%BC"),
        ("/e#f", "http://a.test/e"),
        ("HTTPS://B.TEST:443", "https://b.test/"),
        ("http://user:secret@b.test/e", "http://b.test/e"),
        ("//a.test@b.test/e", "http://b.test/e"),
        ("http:e", "http://a.test/b/e"),
        ("1:e", "http://a.test/b/1:e"),
        ("./javascript:e", "http://a.test/b/javascript:e"),
    ],
)
def test_locations(location: str, target: str) -> None:
    """A Location is read as browsers read it: relative, with white space, in any letters; credentials are dropped."""
    assert follow(Request(START), location).url == target


@pytest.mark.parametrize(
    "location",
    [
        "javascript:alert(1)", "JavaScript:alert(1)", " data:text/html,x", "file:///etc/passwd", "ftp://a.test/",
        "mailto:a@a.test", "about:blank", "blob:http://a.test/e", "ws://a.test/", "localhost:8080/e",
    ],
)  # fmt: skip
def test_unsafe_schemes(location: str) -> None:
    """A redirect never leads out of http and https."""
    with pytest.raises(UnsafeRedirect) as raised:
        follow(Request(START), location)
    assert (raised.value.url, raised.value.status) == (START, 302)
    assert location.strip()[:20] in raised.value.detail


@pytest.mark.parametrize(
    "location",
    [
        "",
        "http://",
        "https://",
        "//",
        "http://a b.test/",
        "http://[::1/",
        "http://a.test:99999/",
        "//%00/",
        "/\udce9",
        "/" + "e" * MAX_LENGTH,
    ],
)
def test_unusable_locations(location: str) -> None:
    """A redirect without a Location, or with one that no browser would follow, is a failure of that answer."""
    with pytest.raises(BadRedirect) as raised:
        follow(Request(START), location, status=301)
    assert (raised.value.url, raised.value.status) == (START, 301)
    assert len(raised.value.detail) <= 300


@pytest.mark.parametrize(
    ("locations", "is_circle"),
    [
        ([" "], True),
        (["#e"], True),
        ([START], True),
        (["http://x@a.test:80/b/./c?d#e"], True),
        (["/e", START], True),
        (["/e", "/f", "/e"], True),
        (["//b.test/", START], True),
        (["https://a.test/b/c?d"], False),
        (["/e", "/E", "/e?", "/e/", "/e?f"], False),
    ],
)
def test_circles(locations: list[str], is_circle: bool) -> None:
    """A chain that comes back to a URL it has been to would go round for ever."""
    if not is_circle:
        assert len(follow(Request(START), *locations).hops) == len(locations)
        return
    before = follow(Request(START), *locations[:-1])
    with pytest.raises(TooManyRedirects, match="circle") as raised:
        follow(before, locations[-1])
    assert raised.value.url == before.url
    assert raised.value.hops == (*before.hops, before.url)


@pytest.mark.parametrize("status", [301, 302, 303])
def test_a_form_may_lead_back_to_its_page(status: int) -> None:
    """A POST that is answered with a redirect to the same URL is asked again as a GET: no circle, until it is one."""
    page = hop(Request(START, method="POST", body=b"e"), status, START, 10)
    assert (page.method, page.body, page.url, page.hops) == ("GET", None, START, (START,))
    with pytest.raises(TooManyRedirects):
        hop(page, status, START, 10)


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("status", [307, 308])
def test_a_repeated_request_is_a_circle(status: int, method: str) -> None:
    """307 and 308 to where they come from can only go on so."""
    with pytest.raises(TooManyRedirects):
        follow(Request(START, method=method), *[START] * 5, status=status)


@pytest.mark.parametrize("most", [0, 1, 10])
def test_too_many(most: int) -> None:
    """A chain has as many hops as the setting says, and not one more."""
    request = follow(Request(START), *[f"/{n}" for n in range(most)], most=most)
    assert len(request.hops) == most
    with pytest.raises(TooManyRedirects, match=f"more than {most} redirects") as raised:
        follow(request, "/more", most=most)
    assert raised.value.hops == (*request.hops, request.url)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize(
    "elsewhere", ["https://a.test/e", "http://a.test:81/e", "http://www.a.test/e", "//b.test", "http://b@b.test"]
)
def test_secrets_stay_at_home(status: int, elsewhere: str) -> None:
    """Another scheme, host or port gets none of a request's headers but those that tell nothing."""
    request = Request(START, method="POST", body=b"e", headers=EVERYTHING)
    assert hop(request, status, elsewhere, 10).headers == HARMLESS
    assert set(SECRETS) <= set(hop(request, status, "/e", 10).headers)


def test_headers_never_come_back() -> None:
    """Once a chain has left the origin, its headers are gone: also back at home, and by way of the spider's own."""
    own = {"authorization": "Bearer 1", "X-Own": "1", "Accept": "*/*"}
    there = follow(Request(START, headers=EVERYTHING), "//b.test")
    back = follow(there, "http://a.test/home", "/further")
    for request in (there, back):
        sent = headers_for(request, own)
        assert {name.lower() for name in sent} <= {name.lower() for name in HARMLESS}
    assert back.headers == HARMLESS


@settings(deadline=None)
@given(
    st.lists(
        st.sampled_from(["/e", "f", "//a.test:80/g", "//b.test/h", "https://a.test/i", "//a.test:81/j"]), unique=True
    ),
    st.sampled_from([301, 302, 303, 307, 308]),
    st.sampled_from(["GET", "POST"]),
)
def test_secrets_along_any_chain(locations: list[str], status: int, method: str) -> None:
    """Along every chain, headers of request and spider are sent as long as it is at home, and not after."""
    request = Request(START, method=method, headers=dict(SECRETS))
    is_home = True
    for location in locations:
        request = hop(request, status, location, 10)
        is_home = is_home and split(request.url)[0] == "http://a.test"
        sent = headers_for(request, {"X-Own": "1"})
        assert sent == ({**SECRETS, "X-Own": "1"} if is_home else {})


def test_headers_of_request_and_spider() -> None:
    """A request's own headers come before its spider's."""
    request = Request(START, headers={"X-Api-Key": "mine", "X-More": "1"})
    assert headers_for(request, {"X-Api-Key": "ours", "Cookie": "id=1"}) == {
        "X-Api-Key": "mine",
        "Cookie": "id=1",
        "X-More": "1",
    }
    assert headers_for(request, {}) == request.headers
    assert headers_for(Request(START), {"Cookie": "id=1"}) == {"Cookie": "id=1"}


def test_hops_of_a_plain_request_are_plain() -> None:
    """A redirected GET is the page it leads to, known by its URL alone: whoever links to it means the same."""
    assert follow(Request(START), "/e", "//b.test/").identity == ""
    assert follow(Request(START, headers=SECRETS), "/e").identity == ""


def test_hops_of_other_requests_are_their_own() -> None:
    """What a POST or a request with a key is redirected to is another page for each of them, and for each hop."""
    requests = [
        Request(START, method="POST", body=b"e"),
        Request(START, method="POST", body=b"f"),
        Request(START, method="PUT", body=b"e"),
        Request(START, key="e"),
        Request(START, data={"e": 1}),
        Request("http://a.test/other", method="POST", body=b"e"),
    ]
    found = [follow(request, *["/e", "/f"][:n]).identity for request, n in product(requests, (0, 1, 2))]
    assert len(set(found)) == len(found) - 1  # the same POST to two URLs is told apart by the URL itself
    assert found.count("") == 1, "data alone does not make the first request another page"
    again = [follow(request, *["/e", "/f"][:n]).identity for request, n in product(requests, (0, 1, 2))]
    assert again == found


@settings(deadline=None)
@given(st.text(st.characters(), max_size=30), st.sampled_from([301, 302, 303, 307, 308]))
def test_any_location(location: str, status: int) -> None:
    """Whatever stands in a Location, a hop is an http request on its way, or one of three failures."""
    try:
        moved = hop(Request(START, headers=SECRETS), status, location, 10)
    except (BadRedirect, UnsafeRedirect, TooManyRedirects) as error:
        failure: FetchError = error
        assert failure.url == START
        assert str(failure).isprintable()
    else:
        assert moved.url.startswith(("http://", "https://"))
        assert moved.url != START


def test_a_form_may_lead_back_to_its_page_by_way_of_another() -> None:
    """POST /login, 302 /check, 302 /login is a GET that was never made before: no circle, until it is one."""
    request = Request("http://a.test/login", method="POST", body=b"e")
    for location in ("/check", "/login"):
        request = hop(request, 302, location, 10)
    assert (request.method, request.url) == ("GET", "http://a.test/login")


@pytest.mark.parametrize("location", ["view-source:http://a.test/", "ms-settings:x", "web+e:f", "x.y-z+1:e"])
def test_unsafe_schemes_with_signs(location: str) -> None:
    """A scheme may have signs in its name (RFC 3986 section 3.1); it is unsafe all the same."""
    with pytest.raises(UnsafeRedirect):
        hop(Request(START), 302, location, 10)


@pytest.mark.parametrize(("status", "method"), [(301, "POST"), (302, "POST"), (303, "POST"), (303, "PUT")])
def test_headers_of_the_body_go_with_it(status: int, method: str) -> None:
    """A request that becomes a GET says nothing of the body it had (Fetch Standard, HTTP-redirect fetch)."""
    headers = {"content-type": "e/f", "Content-Length": "1", "Content-Encoding": "x", "X-Own": "1"}
    request = Request(START, method=method, body=b"e", headers=headers)
    assert hop(request, status, "/e", 10).headers == {"X-Own": "1"}
    assert hop(request, 307, "/e", 10).headers == headers


def test_a_header_has_one_value() -> None:
    """A request's header replaces its spider's in whatever letters either is written."""
    assert headers_for(Request(START, headers={"x-api-key": "mine"}), {"X-Api-Key": "ours"}) == {"x-api-key": "mine"}
