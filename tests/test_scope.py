"""What belongs to a crawl, and what does not: hosts, patterns, depth, seeds."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crawler.models import Kind, Request
from crawler.scope import Gate, Scope, authority
from crawler.urls import canonical


def refused(url: str, *hosts: str, include: tuple[str, ...] = (), exclude: tuple[str, ...] = ()) -> str | None:
    """The verdict of a gate whose seed is on a.test, unless it has hosts of its own."""
    return Gate(Scope(hosts, include, exclude), seed_hosts=["http://a.test"]).refusal(url)


@pytest.mark.parametrize(
    ("hosts", "inside", "outside"),
    [
        (("b.test",), ["http://b.test/", "https://b.test/c"], ["http://c.b.test/", "http://b.test:81/", "http://xb.test/"]),
        (("b.test",), [], ["http://a.test/", "http://b.test.c/", "http://b.tests/", "http://c/b.test", "http://c/?b.test"]),
        (("b.test:81",), ["http://b.test:81/", "https://b.test:81/"], ["http://b.test/", "http://b.test:8/"]),
        (("*.b.test",), ["http://c.b.test/", "http://d.c.b.test/"], ["http://b.test/", "http://cb.test/", "http://c.b.test:81/"]),
        (("b.test", "*.b.test"), ["http://b.test/", "http://c.b.test/"], ["http://xb.test/", "http://b.test:81/"]),
        (("b.test:*",), ["http://b.test:81/", "http://b.test:8443/"], ["http://b.test/"]),
        (("b?.test", "[cd].test"), ["http://b1.test/", "http://d.test/"], ["http://b.test/", "http://cd.test/"]),
        (("*",), ["http://b.test/", "http://[::1]:81/"], []),
        (("127.0.0.1:81",), ["http://127.0.0.1:81/"], ["http://127.0.0.1/", "http://127.0.0.10:81/"]),
        ((".",), [], ["http://b.test/"]),
        (("",), [], ["http://a.test/"]),
    ],
)  # fmt: skip
def test_hosts(hosts: tuple[str, ...], inside: list[str], outside: list[str]) -> None:
    """A host is in scope under its whole name, on any scheme; subdomains and other ports only if they are named too."""
    assert {url: refused(url, *hosts) for url in inside} == dict.fromkeys(inside)
    assert {url: refused(url, *hosts) for url in outside} == dict.fromkeys(outside, "scope: host")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://a.test/", None),
        ("https://a.test/b?c", None),
        ("http://a.test:8080/", "scope: host"),
        ("http://www.a.test/", "scope: host"),
        ("http://test/", "scope: host"),
        ("http://a.test.b/", "scope: host"),
        ("http://b.test/a.test/", "scope: host"),
        ("http://b.test/?http://a.test/", "scope: host"),
    ],
)
def test_default_scope(url: str, expected: str | None) -> None:
    """Without hosts, the seeds' hosts are the scope: on any scheme, on their own port, without subdomains."""
    assert refused(url) == expected


def test_hosts_that_seeds_lead_to() -> None:
    """A host let in belongs to the default scope from then on, and only the first time is news."""
    gate = Gate(Scope(), seed_hosts=["http://a.test", "https://b.test:8443"])
    assert gate.refusal("http://c.test/") == "scope: host"
    assert gate.refusal("http://b.test:8443/") is None
    assert gate.refusal("http://b.test/") == "scope: host"
    assert gate.let_in("https://c.test")
    assert not gate.let_in("https://c.test")
    assert not gate.let_in("http://c.test")
    assert not gate.let_in("https://a.test")
    assert gate.refusal("http://c.test/d") is None
    assert gate.let_in("http://c.test:81")
    assert gate.refusal("https://c.test:81/") is None


def test_own_hosts_are_all() -> None:
    """A spider that names its hosts means just those: a seed elsewhere does not widen its scope."""
    gate = Gate(Scope(hosts=("b.test",)), seed_hosts=["http://a.test"])
    gate.let_in("http://c.test")
    assert gate.refusal("http://a.test/") == gate.refusal("http://c.test/") == "scope: host"


def test_nothing_is_in_an_empty_scope() -> None:
    """Without hosts and before any seed, nothing belongs to the crawl."""
    assert Gate(Scope()).refusal("http://a.test/") == "scope: host"


@pytest.mark.parametrize(
    ("include", "exclude", "url", "expected"),
    [
        (("http://a.test/b/*",), (), "http://a.test/b/c/d?e", None),
        (("http://a.test/b/*",), (), "http://a.test/b/", None),
        (("http://a.test/b/*",), (), "http://a.test/b", "scope: not included"),
        (("http://a.test/b/*",), (), "https://a.test/b/c", "scope: not included"),
        (("http://a.test/b/*",), (), "http://c.test/?http://a.test/b/", "scope: host"),
        (("*/b/*",), (), "https://a.test/b/c", None),
        (("b",), (), "http://a.test/b", "scope: not included"),
        (("*/b", "*/c"), (), "http://a.test/c", None),
        (("*/b", "*/c"), (), "http://a.test/b/c", None),
        (("*/b", "*/c"), (), "http://a.test/d", "scope: not included"),
        (("*/[0-9]",), (), "http://a.test/7", None),
        (("*/[!0-9]",), (), "http://a.test/7", "scope: not included"),
        (("*/page?",), (), "http://a.test/page7", None),
        (("*/page[?]b",), (), "http://a.test/page?b", None),
        (("*/page[?]b",), (), "http://a.test/page1b", "scope: not included"),
        ((), ("*.pdf",), "http://a.test/b.pdf", "scope: excluded"),
        ((), ("*.pdf",), "http://a.test/b.pdf?c", None),
        ((), ("*.pdf",), "http://a.test/b.PDF", None),
        ((), ("*[?]*",), "http://a.test/b?c", "scope: excluded"),
        ((), ("*[?]*",), "http://a.test/b", None),
        (("*/b/*",), ("*/b/c*",), "http://a.test/b/c", "scope: excluded"),
        (("*/b/*",), ("*/b/c*",), "http://a.test/b/d", None),
        (("*/b/*",), ("*/d*",), "http://a.test/d", "scope: not included"),
        ((), ("*.(a|b)+$",), "http://a.test/x.(a|b)+$", "scope: excluded"),
        ((), ("*.(a|b)+$",), "http://a.test/x.ab", None),
    ],
)
def test_patterns(include: tuple[str, ...], exclude: tuple[str, ...], url: str, expected: str | None) -> None:
    """Patterns are for whole URLs, as in a shell; one of `include` must match, none of `exclude` may."""
    assert refused(url, include=include, exclude=exclude) == expected


@pytest.mark.parametrize(
    ("url", "inside", "outside"),
    [
        ("http://a.test/b/c.html", ["http://a.test/b/", "http://a.test/b/d/e?f"], ["http://a.test/b", "http://a.test/bc/"]),
        ("http://a.test/b/", ["http://a.test/b/", "http://a.test/b/c"], ["http://a.test/", "http://a.test/c/b/"]),
        ("http://a.test/b", ["http://a.test/", "http://a.test/c"], ["http://c.test/", "http://a.test:81/"]),
        ("http://a.test/b/?c=/d/e", ["http://a.test/b/f"], ["http://a.test/c"]),
        ("http://a.test/b/c?d/e?f/", ["http://a.test/b/f"], ["http://a.test/c"]),
        ("http://a.test/[b]/c", ["http://a.test/[b]/d"], ["http://a.test/b/d"]),
        ("http://a.test/[!b]/c", ["http://a.test/[!b]/d"], ["http://a.test/c/d", "http://a.test/!/d"]),
        ("http://a.test/b]/c", ["http://a.test/b]/d"], ["http://a.test/b/d"]),
        ("http://a.test/[b/c", ["http://a.test/[b/d"], ["http://a.test/b/d"]),
        ("http://a.test/*/c", ["http://a.test/*/d"], ["http://a.test/b/d"]),
        ("http://a.test/b*[c]]**/d", ["http://a.test/b*[c]]**/"], ["http://a.test/bx[c]]**/", "http://a.test/b*c]**/"]),
        ("http://a.test/(b|c).+/d", ["http://a.test/(b|c).+/"], ["http://a.test/b.+/", "http://a.test/(b|c)xx/"]),
        ("http://[::1]:81/b/c", ["http://[::1]:81/b/d"], ["http://[::1]:81/c", "http://:81/b/d"]),
    ],
)  # fmt: skip
def test_below(url: str, inside: list[str], outside: list[str]) -> None:
    """The scope below a URL is its folder and all that lies in it, whatever signs its name has."""
    gate = Gate(Scope.below(url), seed_hosts=["http://a.test", "http://[::1]:81", "http://c.test", "http://a.test:81"])
    assert {inner: gate.refusal(inner) for inner in (url, *inside)} == dict.fromkeys((url, *inside))
    assert {outer: gate.refusal(outer) for outer in outside if gate.refusal(outer) is None} == {}


@settings(deadline=None)
@given(st.text(st.sampled_from("ab/*?[]!-^\\.+(|)"), max_size=20), st.text(st.sampled_from("ab/*?[]!-"), max_size=10))
def test_below_any_folder(folder: str, page: str) -> None:
    """A page is below itself, and its folder's other pages are, however it is called."""
    url = canonical(f"http://a.test/{folder}/{page}")
    assert url is not None
    beside = url.partition("?")[0].rpartition("/")[0] + "/x"
    gate = Gate(Scope.below(url), seed_hosts=["http://a.test"])
    assert gate.refusal(url) is None
    assert gate.refusal(beside) is None
    assert gate.refusal("http://a.test") == "scope: folder"


@settings(deadline=None)
@given(st.lists(st.text(st.sampled_from("ab*?[]!-^\\.+(|){}$é\n")), max_size=4), st.text(max_size=20))
def test_any_pattern_is_one(patterns: list[str], path: str) -> None:
    """No pattern is malformed: each matches something or nothing, and says so."""
    url = canonical("./" + path, "http://a.test/")
    many = tuple(patterns)
    verdict = Gate(Scope((), many, many), seed_hosts=["http://a.test"]).refusal(url or "http://a.test/")
    assert verdict in ({"scope: not included", "scope: excluded"} if many else {None})


@pytest.mark.parametrize(
    ("pattern", "url"),
    [
        ("*a" * 20 + "*b", "http://a.test/" + "a" * 2_000),
        ("*" * 50 + "b", "http://a.test/" + "a" * 2_000),
        ("http://a.test/" + "*?" * 40 + "b", "http://a.test/" + "a" * 2_000),
        ("*/" * 20 + "b", "http://a.test" + "/" * 2_000),
        ("*[a-z]" * 20 + "[A-Z]", "http://a.test/" + "a" * 2_000),
    ],
)
def test_hostile_urls_cost_no_time(pattern: str, url: str) -> None:
    """However a URL repeats what a pattern looks for, the verdict comes at once."""
    gate = Gate(Scope(include=(pattern,), exclude=(pattern,)), seed_hosts=["http://a.test"])
    began = time.process_time()
    verdicts = {gate.refusal(url + str(n)) for n in range(20)}
    assert time.process_time() - began < 1.0
    assert verdicts == {"scope: not included"}


def ask(depth: int, url: str = "http://b.test/", *, kind: Kind = "page", anywhere: bool = False) -> Request:
    return Request(url, depth=depth, kind=kind, anywhere=anywhere)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (ask(0), None),
        (ask(1), "scope: host"),
        (ask(1, "http://a.test/"), None),
        (ask(2, "http://a.test/"), None),
        (ask(3, "http://a.test/"), "depth"),
        (ask(3), "depth"),
        (ask(1, anywhere=True), None),
        (ask(3, anywhere=True), "depth"),
        (ask(1, kind="download"), None),
        (ask(1, kind="robots"), None),
        (ask(1, "http://a.test/no"), "scope: excluded"),
        (ask(0, "http://a.test/no"), None),
        (ask(1, "http://a.test/no", anywhere=True), None),
    ],
)
def test_admit(asked: Request, expected: str | None) -> None:
    """Seeds, downloads and what is asked `anywhere` need not be in scope; the depth is everybody's limit."""
    gate = Gate(Scope(exclude=("*/no",), max_depth=2), seed_hosts=["http://a.test"])
    assert gate.admit(asked) == expected


@pytest.mark.parametrize(
    ("own", "setting", "effective"),
    [(None, None, None), (2, None, 2), (None, 3, 3), (2, 3, 2), (3, 2, 2), (0, 5, 0), (5, 0, 0)],
)
def test_depth(own: int | None, setting: int | None, effective: int | None) -> None:
    """Of the scope's depth and the setting's the smaller holds; without one there is no limit."""
    gate = Gate(Scope(max_depth=own), max_depth=setting, seed_hosts=["http://b.test"])
    assert gate.max_depth == effective
    deepest = 10**6 if effective is None else effective
    assert gate.admit(ask(deepest)) is None
    assert gate.admit(ask(deepest + 1)) == (None if effective is None else "depth")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://a.test/b:81", "a.test"),
        ("https://a.test:81/", "a.test:81"),
        ("http://a.test:81", "a.test:81"),
        ("http://[::1]:81/b", "[::1]:81"),
        ("http://a.test/?b://c/", "a.test"),
    ],
)
def test_authority(url: str, expected: str) -> None:
    """Scopes are about host and port, of a URL as of an origin."""
    assert authority(url) == expected


@pytest.mark.parametrize("host", ["B.Test", "bücher.test", "*.B.test", "[::1]", "[::1]:81", "[2001:DB8::1]"])
def test_hosts_as_people_write_them(host: str) -> None:
    """Hosts are matched as URLs spell them, whatever letters their author used; IPv6 addresses too."""
    url = canonical(f"http://{host.replace('*', 'x')}/")
    assert url is not None
    assert Gate(Scope(hosts=(host,))).refusal(url) is None


@pytest.mark.parametrize(
    "url",
    [
        "HTTP://A.Test/b/c",
        "http://a.test:80/b/c",
        "http://u@a.test/b/c",
        "http://a.test/b/c#/d",
        "http://a.test/x/../b/c",
    ],
)
def test_below_as_people_write_it(url: str) -> None:
    """The scope below a URL is that below the URL it means."""
    gate = Gate(Scope.below(url), seed_hosts=["http://a.test"])
    assert gate.refusal("http://a.test/b/d") is None
    assert gate.refusal("http://a.test/d") == "scope: folder"
