"""Cookies by RFC 6265: what is taken, what goes along, and how many there may be."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.cookies import LONGEST_HEADER, MOST, MOST_OF_A_DOMAIN, Cookie, Jar, is_public_suffix, parsed

NOW = 1_700_000_000.0
URL = "https://www.shop.example/a/b?c=/d/"


def sent(url: str, *lines: str, given_by: str = URL, later: float = 0.0) -> str:
    jar = Jar()
    jar.learn(given_by, lines, NOW)
    return jar.header(url, NOW + later)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("a=1", Cookie("a", "1", "www.shop.example", "/a", True, False)),
        (" a = 1 ; PATH=/ ; Secure ", Cookie("a", "1", "www.shop.example", "/", True, True)),
        ("a=1=2", Cookie("a", "1=2", "www.shop.example", "/a", True, False)),
        ('a="x y"', Cookie("a", '"x y"', "www.shop.example", "/a", True, False)),
        ("a=; Domain=.Shop.Example", Cookie("a", "", "shop.example", "/a", False, False)),
        ("a=1; domain=", Cookie("a", "1", "www.shop.example", "/a", True, False)),
        ("a=1; Path=b", Cookie("a", "1", "www.shop.example", "/a", True, False)),
        ("a=1; Max-Age=60", Cookie("a", "1", "www.shop.example", "/a", True, False, NOW + 60)),
        ("a=1; Max-Age=x", Cookie("a", "1", "www.shop.example", "/a", True, False)),
        ("a=1; Max-Age=0; Expires=Wed, 09 Jun 2100 10:18:14 GMT",
         Cookie("a", "1", "www.shop.example", "/a", True, False, NOW)),
        ("a=1; Expires=Thu, 01 Jan 1970 00:00:00 GMT", Cookie("a", "1", "www.shop.example", "/a", True, False, 0.0)),
        ("a=1; Expires=Tuesday, 14-Nov-23 23:13:20 GMT",
         Cookie("a", "1", "www.shop.example", "/a", True, False, NOW + 3600)),
        ("a=1; Expires=Tue Nov 14 23:13:20 2023", Cookie("a", "1", "www.shop.example", "/a", True, False, NOW + 3600)),
        ("a=1; Expires=tomorrow", Cookie("a", "1", "www.shop.example", "/a", True, False)),
        ("a=1; Expires=Wed, 31 Feb 2100 10:18:14 GMT", Cookie("a", "1", "www.shop.example", "/a", True, False)),
        ("__Host-a=1; Secure; Path=/", Cookie("__Host-a", "1", "www.shop.example", "/", True, True)),
        ("a", None),
        ("=1", None),
        ("", None),
        ("a=1; Domain=other.example", None),
        ("a=1; Domain=ww.shop.example", None),
        ("a=1; Domain=example", None),
        ("a=\x01", None),
        ("a=\udce9", None),
        ("__Secure-a=1", None),
        ("__Host-a=1; Secure; Path=/a", None),
        ("__Host-a=1; Secure; Path=/; Domain=shop.example", None),
        ("a=" + "x" * 4095, None),
    ],
)  # fmt: skip
def test_what_a_line_says(line: str, expected: Cookie | None) -> None:
    """Sections 5.2 and 5.3: attributes in any case, defaults from the URL, and nothing for what is no cookie."""
    assert parsed(line, URL, NOW) == expected


def test_nobodys_domain() -> None:
    """A cookie for all of co.uk is nobody's; a host that is a public suffix itself may have its own."""
    assert is_public_suffix("co.uk")
    assert is_public_suffix("github.io")
    assert parsed("a=1; Domain=co.uk", "https://shop.co.uk/", NOW) is None
    own = parsed("a=1; Domain=github.io", "https://github.io/", NOW)
    assert own is not None
    assert own.is_host_only


def test_secure_cookies_come_by_https() -> None:
    """A plain connection neither sets a secure cookie nor is sent one."""
    assert parsed("a=1; Secure", "http://shop.example/", NOW) is None
    assert sent("http://www.shop.example/a/", "a=1; Secure", "b=2") == "b=2"


@pytest.mark.parametrize(
    ("url", "line", "goes"),
    [
        ("https://www.shop.example/a", "a=1", True),
        ("https://www.shop.example/a/c", "a=1", True),
        ("https://www.shop.example/ab", "a=1", False),
        ("https://www.shop.example/", "a=1", False),
        ("https://www.shop.example:8443/a", "a=1", True),
        ("https://shop.example/a", "a=1", False),
        ("https://x.www.shop.example/a", "a=1", False),
        ("https://shop.example/a", "a=1; Domain=shop.example", True),
        ("https://x.y.shop.example/a", "a=1; Domain=shop.example", True),
        ("https://notshop.example/a", "a=1; Domain=shop.example", False),
    ],
)
def test_where_it_goes(url: str, line: str, goes: bool) -> None:
    """Section 5.4: to its host or the hosts below its domain, on its path and below."""
    assert sent(url, line) == ("a=1" if goes else "")


def test_addresses_have_no_domain_above_them() -> None:
    """A cookie of an IP address is for that address alone."""
    assert sent("http://127.0.0.1/", "a=1", given_by="http://127.0.0.1/") == "a=1"
    assert parsed("a=1; Domain=0.0.1", "http://127.0.0.1/", NOW) is None


def test_order_and_end() -> None:
    """Longer paths go first, then older cookies; a cookie goes until it expires, or is taken back."""
    lines = ("old=1; Path=/", "new=2; Path=/", "deep=3; Path=/a", "short=4; Path=/; Max-Age=10", "old=5; Path=/")
    assert sent(URL, *lines) == "deep=3; old=5; new=2; short=4"
    assert sent(URL, *lines, later=10) == "deep=3; old=5; new=2"
    assert sent(URL, *lines, "old=; Path=/; Max-Age=0") == "deep=3; new=2; short=4"


def test_how_many() -> None:
    """50 of a domain and 3,000 in all, the oldest give way, those that have expired first; the header has its end."""
    jar = Jar()
    jar.learn(URL, [f"a{n}={n}; Path=/" for n in range(MOST_OF_A_DOMAIN + 5)], NOW)
    assert len(jar) == MOST_OF_A_DOMAIN
    assert jar.all()[0].name == "a5"
    for host in range(MOST // MOST_OF_A_DOMAIN + 2):
        jar.learn(f"https://h{host}.example/", [f"a{n}=1" for n in range(MOST_OF_A_DOMAIN)], NOW)
    assert len(jar) == MOST
    assert {cookie.domain for cookie in jar.all()}.isdisjoint({"www.shop.example", "h0.example"})
    large = Jar()
    large.learn(URL, [f"a{n}={'x' * 4000}" for n in range(5)], NOW)
    assert 8000 < len(large.header(URL, NOW)) <= LONGEST_HEADER


def test_what_is_news() -> None:
    """The same cookie again, one that lasts seconds longer, and the end of one that is not there are no change."""
    jar = Jar()
    assert [cookie.value for cookie in jar.learn(URL, ["a=1; Max-Age=1000"], NOW)] == ["1"]
    assert jar.learn(URL, ["a=1; Max-Age=1000"], NOW + 100) == []
    assert jar.learn(URL, ["b=; Max-Age=0"], NOW) == []
    assert len(jar.learn(URL, ["a=1; Max-Age=1000"], NOW + 900)) == 1
    assert len(jar.learn(URL, ["a=2"], NOW)) == 1
    assert len(jar.learn(URL, ["a=; Max-Age=0"], NOW)) == 1
    assert len(jar) == 0


@given(st.text(st.sampled_from(string.printable + "\x00é€"), max_size=80))
def test_any_line_is_harmless(line: str) -> None:
    """Whatever a server says, it is a cookie that can be sent on one header line, or none."""
    header = sent(URL, f"a={line}", line)
    assert not set(header) & set("\r\n\0")
