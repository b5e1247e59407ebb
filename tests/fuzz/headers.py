"""What headers say: cookies, directives, links, waits, charsets."""

import re

import msgspec
from hypothesis import strategies as st

from crawler import charset
from crawler.cookies import LONGEST_HEADER, LONGEST_LIFE, MOST, MOST_OF_A_DOMAIN, Cookie, Jar, is_public_suffix
from crawler.directives import directives
from crawler.links import candidates, header_links, refresh
from crawler.politeness import LONGEST_RETRY_AFTER, retry_after
from crawler.urls import hostname
from tests.fuzz.words import Target, fields, scraps, texts

NOW = 1_800_000_000.0
PAGES = ["https://shop.a.co.uk/b/c", "http://shop.a.co.uk/", "https://127.0.0.1/x", "https://co.uk/", "http://[::1]/"]
COOKIES = (
    "a=1 b=2 __Host-a=1 __Secure-b= =; ; ;Domain= ;domain=.co.uk ;Domain=a.co.uk ;Domain=127.0.0.1 ;Path=/ ;Path=/b"
    ' ;Path= ;Secure ;HttpOnly ;Max-Age=60 ;Max-Age=-1 ;Max-Age=99999999999999999999 ;Expires= " = , é'
    " Wed,21-Oct-2099 07:28:00 GMT 1999 99 Feb 31"
)
DATES = "Wed, 21 Oct 2099 07:28:00 GMT 120 -1 0 1e9 99999999999 +0000 -9999 +2359 0000 31 Feb 1999 ٣ Sun Nov : ::: () ("


def cookies_hold(given: tuple[str, list[str], list[str]]) -> None:
    """A jar keeps its bounds; a cookie goes only where it may, breaks no header, and survives being stored."""
    url, lines, more = given
    jar = Jar()
    for at, asked in ((lines, url), (more, PAGES[0])):
        for cookie in jar.learn(asked, at, NOW):
            cookie_holds(cookie, hostname(asked))
    stored = jar.all()
    assert msgspec.json.decode(msgspec.json.encode(stored), type=list[Cookie]) == stored
    assert len(jar) <= MOST
    assert all(sum(one.domain == cookie.domain for one in stored) <= MOST_OF_A_DOMAIN for cookie in stored)
    for page in PAGES:
        header = jar.header(page, NOW)
        assert len(header.encode()) <= LONGEST_HEADER
        assert not re.search(r"[\x00-\x08\x0a-\x1f\x7f]", header)
    assert not jar.header("https://other.test/", NOW)


def cookie_holds(cookie: Cookie, host: str) -> None:
    """It is the host's, or that of a domain above it that is somebody's."""
    assert cookie.name
    assert cookie.path.startswith("/")
    assert not set(";\r\n\0") & set(cookie.name + cookie.value)
    assert host == cookie.domain or (host.endswith("." + cookie.domain) and not is_public_suffix(cookie.domain))
    assert cookie.expires_at is None or cookie.expires_at <= NOW + LONGEST_LIFE


def directives_hold(lines: list[str]) -> None:
    """Directives are words in lower case, the same for a token in any case."""
    found = directives(lines, "Our-Bot")
    assert found == directives(lines, "our-bot")
    assert all(one and one == one.strip() and "," not in one and one.lower() == one for one in found)


def links_hold(value: str) -> None:
    """What is found in a header of links, a srcset or a refresh stands in it."""
    for link in header_links(value):
        assert link.target in value
        assert ">" not in link.target
        assert all(relation.lower() == relation and len(relation.split()) == 1 for relation in link.rel)
    for url in candidates(value):
        assert url in value
        assert len(url.split()) <= 1
    target = refresh(value)
    assert target is None or (target and target in value)


def wait_holds(value: str) -> None:
    """A wait is a number of seconds, of a day at most."""
    wait = retry_after(value, NOW)
    assert wait is None or 0 <= wait <= LONGEST_RETRY_AFTER


def charset_holds(given: tuple[bytes, str]) -> None:
    """Any body under any header has a codec of the table, and a text without halves of characters."""
    body, content_type = given
    codec = charset.sniff(body, content_type)
    assert codec in charset._LABELS
    charset.decode(body, codec).encode()


BODIES = (
    "<meta charset= utf-8 latin1 utf-16 utf-7 rot13 ' \" > < = <!-- --> <?xml encoding= ?> http-equiv content-type"
    " content= text/html;charset= shift_jis gb18030 iso-2022-jp \x1b$B \x1b(J é ü ß привет <\0?\0x\0 koi8-r"
)
TARGETS = (
    Target(
        "cookies",
        st.tuples(
            st.sampled_from(PAGES),
            st.lists(fields(COOKIES, most=8), max_size=12),
            st.lists(fields(COOKIES, most=5), max_size=70),
        ),
        cookies_hold,
    ),
    Target(
        "directives",
        st.lists(fields("noindex , : our-bot: other: nofollow unavailable_after: max-snippet: é"), max_size=6),
        directives_hold,
    ),
    Target(
        "header-links",
        fields('<a> < > ; , rel= " \\" \\ rel="next" anchor= title* = 2x 1.5x 100w ( ) 5; url= \' 0 . é'),
        links_hold,
    ),
    Target("retry-after", fields(DATES) | texts(DATES), wait_holds),
    Target(
        "charset",
        st.tuples(scraps(BODIES), fields('text/html application/json ; charset= utf-8 " \\ = x koi8-r unicode')),
        charset_holds,
    ),
)
