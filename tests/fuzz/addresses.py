"""URLs, redirects, and what a URL is known as."""

from hypothesis import strategies as st

from crawler.errors import BadRedirect, FetchError, TooManyRedirects, UnsafeRedirect
from crawler.identity import Identity
from crawler.models import Request
from crawler.redirects import KEPT_ACROSS_ORIGINS, headers_for, hop
from crawler.settings import Settings
from crawler.traps import SETTING_OF, TrapLimits
from crawler.urls import MAX_LENGTH, Joiner, canonical, hostname, port_of, split
from tests.fuzz.words import Target, fields, texts

PARTS = (
    "http:// https:// HTTP: //a.test a.test /b ../ ./ ? # @ : :80 :443 :65536 user:pw@ [::1] [::ffff:10.0.0.1] 127.1"
    " 0x7f.1 %2e%2e %00 %zz % \\ ; & = x=1 &amp; javascript: data: file:/// ftp:// xn--a xn-- b%C3%BC bü 。 ﹒ ⒈ ß"
    " \u00ad \u200d ;jsessionid=1 PHPSESSID=1 utm_source=x"
)
BASES = ["http://a.test/b/c?d=1", "https://a.test/", "http://a.test:8080/b;c/../d/", "http://[::1]/x"]
SECRETS = {"Authorization": "Basic Zm9v", "Cookie": "a=1", "X-Key": "1", "Accept": "text/html"}
IDENTITY = Identity(Settings())
SORTED = Identity(Settings(sort_query=True))
LIMITS = TrapLimits()


def url_holds(given: tuple[str, str]) -> None:
    """A canonical URL is of the web, plain ASCII, means itself on any page, and can be taken apart."""
    url, base = given
    found = canonical(url, base)
    assert Joiner().join(base, [url, url]) == ([] if found is None else [found])
    if found is None:
        return
    assert found.startswith(("http://", "https://"))
    assert len(found) <= MAX_LENGTH
    assert found.isascii()
    assert found.isprintable()
    assert not {" ", "#", "\\"} & set(found.partition("?")[0])
    assert canonical(found) == found == canonical(found, "https://other.test/x")
    origin, path = split(found)
    assert "@" not in origin
    assert hostname(origin) == hostname(found) != ""
    assert 0 <= port_of(found) <= 65_535
    assert LIMITS.trap(found) in {None, *SETTING_OF}
    known_holds(found, origin, path)


def refusal_holds(error: FetchError) -> None:
    """What is said of a failure can be logged."""
    assert error.detail.isprintable()
    assert len(error.detail) <= 300


def known_holds(url: str, origin: str, path: str) -> None:
    """What a URL is known as is a path that is known as itself, and the same page."""
    for identity in (IDENTITY, SORTED):
        known = identity.known_as(origin, path)
        if known is not None:
            assert known.startswith("/")
            assert len(known) <= len(path)
            assert identity.known_as(origin, known) is None
            assert identity.is_same(url, origin + known)


def redirect_holds(given: tuple[int, list[str], str]) -> None:
    """A chain of redirects ends; each hop is of the web, and no secret goes to another origin or comes back from it."""
    status, locations, method = given
    start = request = Request(BASES[0], method=method, headers=SECRETS, body=b"x" if method == "POST" else None)
    was_away = False
    for number, location in enumerate(locations, 1):
        try:
            request = hop(request, status, location, 10)
        except (BadRedirect, UnsafeRedirect, TooManyRedirects) as error:
            refusal_holds(error)
            return
        assert canonical(request.url) == request.url
        assert len(request.hops) == number <= 10
        assert (request.body is None) == (request.method != "POST")
        was_away = was_away or split(request.url)[0] != split(start.url)[0]
        sent = {name.lower() for name in headers_for(request, {"X-Own": "1"})}
        assert sent <= KEPT_ACROSS_ORIGINS if was_away else sent == {"x-own", *map(str.lower, SECRETS)}


TARGETS = (
    Target("urls", st.tuples(texts(PARTS), st.sampled_from(BASES)), url_holds),
    Target(
        "redirects",
        st.tuples(
            st.sampled_from([301, 302, 303, 307, 308]),
            st.lists(texts(PARTS, most=6) | fields(PARTS, most=6), min_size=1, max_size=14),
            st.sampled_from(["GET", "HEAD", "POST"]),
        ),
        redirect_holds,
    ),
)
