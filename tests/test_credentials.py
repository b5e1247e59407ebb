"""Credentials belong to one origin: they are checked when they are configured, sent there, and told nowhere else."""

import logging
from pathlib import Path

import pytest

from crawler import Basic, Bearer, Crawl, Spider
from crawler.credentials import authorization, by_origin
from crawler.errors import ConfigError, HandlerError
from crawler.models import Request
from crawler.redirects import headers_for, hop
from crawler.settings import merged
from crawler.testing import Site

SECRET = "s3cr3t-w0rd"
ALADDIN = {"Authorization": "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="}  # the example of RFC 7617 section 2
KNOWN = by_origin({"https://api.example": Basic("Aladdin", "open sesame")})


@pytest.mark.parametrize(
    ("written", "header"),
    [
        (Basic("Aladdin", "open sesame"), ALADDIN["Authorization"]),
        ("Aladdin:open sesame", ALADDIN["Authorization"]),
        ({"user": "Aladdin", "password": "open sesame"}, ALADDIN["Authorization"]),
        (Basic("test", "123£"), "Basic dGVzdDoxMjPCow=="),
        (Bearer("mF_9.B5f-4.1JqM"), "Bearer mF_9.B5f-4.1JqM"),
        ("Bearer mF_9.B5f-4.1JqM", "Bearer mF_9.B5f-4.1JqM"),
        ({"token": "a=="}, "Bearer a=="),
    ],
)
def test_how_they_may_be_written(written: object, header: str) -> None:
    """In a spider, a TOML table or an environment variable, they mean the same; an origin is spelled as in URLs."""
    found = merged(("here", {"credentials": {"HTTPS://API.example:443/": written}})).credentials
    assert {origin: one.header for origin, one in found.items()} == {"https://api.example": header}


def test_one_line_of_text() -> None:
    """An environment variable or -s names several origins."""
    found = merged(("CRAWLER_CREDENTIALS", {"credentials": "https://a.test=u:p=w, https://b.test:81=Bearer t"}))
    assert found.credentials == {"https://a.test": Basic("u", "p=w"), "https://b.test:81": Bearer("t")}


@pytest.mark.parametrize(
    ("written", "complaint"),
    [
        ({"https://a.test": f"Bearer {SECRET}\r\nX: y"}, "a token consists of"),
        ({"https://a.test": {"user": "u\n", "password": SECRET}}, "control characters"),
        ({"https://a.test": {"user": "u", "password": SECRET, "realm": "x"}}, "give user and password, or token"),
        ({"https://a.test": SECRET}, "give user and password, or token"),
        ({"https://a.test/login": f"u:{SECRET}"}, "'https://a.test/login' is no origin"),
        ({"a.test": f"u:{SECRET}"}, "'a.test' is no origin"),
        ({f"https://u:{SECRET}@a.test": f"u:{SECRET}"}, "'a.test' is no origin"),
        (f"https://u:{SECRET}@a.test", "expected name=value"),
    ],
)
def test_what_cannot_be_sent_is_refused_when_it_is_configured(written: object, complaint: str) -> None:
    """A line break would be a header of its own, a path is no origin; the message does not repeat the secret."""
    with pytest.raises(ConfigError, match=complaint) as caught:
        merged(("here", {"credentials": written}))
    assert SECRET not in str(caught.value)


def test_the_repr_tells_nothing() -> None:
    """Neither a credential's repr nor that of settings that hold it shows the secret."""
    settings = merged(
        ("here", {"credentials": {"https://a.test": Basic("u", SECRET), "https://b.test": Bearer(SECRET)}})
    )
    assert SECRET not in repr(settings)
    assert Basic("u", SECRET).header not in repr(settings)
    assert repr(Bearer(SECRET)) == "<Bearer ****>"


@pytest.mark.parametrize(
    ("url", "hops", "is_sent"),
    [
        ("https://api.example/x", (), True),
        ("https://api.example/x", ("https://api.example/",), True),
        ("http://api.example/x", (), False),
        ("https://api.example:8443/x", (), False),
        ("https://www.api.example/x", (), False),
        ("https://api.example/x", ("https://api.example/", "https://other.example/"), False),
        ("https://api.example/x", ("http://api.example/",), False),
    ],
)
def test_which_requests_carry_them(url: str, hops: tuple[str, ...], is_sent: bool) -> None:
    """Scheme, host and port must be those, and no redirect of the chain may have come by another origin."""
    assert authorization(Request(url, hops=hops), KNOWN) == (ALADDIN if is_sent else {})


def test_whose_authorization_is_sent() -> None:
    """A request's own header goes before the origin's, and that before the spider's, in whatever case."""
    asked, own = Request("https://api.example/"), {"authorization": "the spider's", "X-Key": "1"}
    assert headers_for(asked, own, authorization(asked, KNOWN)) == {**ALADDIN, "X-Key": "1"}
    asked = Request("https://api.example/", headers={"AUTHORIZATION": "its own"})
    assert headers_for(asked, own, authorization(asked, KNOWN)) == {"AUTHORIZATION": "its own", "X-Key": "1"}


def test_cookies_of_a_request() -> None:
    """They are a header, which stays behind when a redirect leaves the origin; what would break out is refused."""
    asked = Spider().request("https://a.test/", cookies={"id": "7", "lang": "de"})
    assert asked.headers == {"Cookie": "id=7; lang=de"}
    assert hop(asked, 302, "/b", 10).headers == asked.headers
    assert hop(hop(asked, 302, "https://b.test/", 10), 302, "https://a.test/c", 10).headers == {}
    for name, value in [("id", f"{SECRET};x=y"), ("id", f"{SECRET}\r\nX: y"), ("i d", SECRET)]:
        with pytest.raises(HandlerError, match="cookies=") as caught:
            Spider().request("https://a.test/", cookies={name: value})
        assert SECRET not in str(caught.value)


class Api(Spider):
    """Asks an API that sends on to elsewhere and back."""

    async def parse(self, response):
        yield {"first": (await response.fetch("/extra")).json()["authorization"]}
        yield response.request("/there", to=self.shown, anywhere=True)
        yield response.download("/file", to=self.saved)

    def shown(self, response):
        yield {"back": response.json()["authorization"]}

    def saved(self, response):
        yield {"file": response.file.size}


async def test_on_the_wire_and_nowhere_else(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The origin gets them, also for robots.txt, downloads and extra fetches; another does not, nor log and journal."""
    caplog.set_level(logging.DEBUG)
    async with Site() as site:
        for path in ("/", "/extra", "/back"):
            site.answer(path, lambda request: {"authorization": request.headers.get("Authorization")})
        site.redirect("/there", site.url("/over", host="other.test"))
        site.redirect("/over", site.url("/back"), host="other.test")
        site.file("/file", 1000)
        spider = Api()
        spider.seeds = [site.url("/")]
        spider.settings = {**site.settings, "credentials": {site.url("/"): {"user": "u", "password": SECRET}}}
        async with Crawl(spider, folder=tmp_path) as crawl:
            items = [item async for item in crawl]
            assert (await crawl.ended()).counts.failed == 0
    header = Basic("u", SECRET).header
    assert sorted(items, key=str) == [{"back": None}, {"file": 1000}, {"first": header}]
    carried = {(seen.host, seen.path_qs): seen.headers.get("Authorization") for seen in site.seen}
    assert {place for place, value in carried.items() if value == header} == {
        ("site.test", path) for path in ("/robots.txt", "/", "/extra", "/there", "/file")
    }
    assert set(carried.values()) == {header, None}
    journal = b"".join(path.read_bytes() for path in tmp_path.rglob("job.db*"))
    for secret in (SECRET, header.removeprefix("Basic ")):
        assert secret not in caplog.text
        assert secret.encode() not in journal.replace(f'{{"first":"{header}"}}'.encode(), b"")
