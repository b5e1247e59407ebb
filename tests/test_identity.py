"""Two URLs of a host that differ in nothing that counts are one page."""

import pytest

from crawler.identity import Identity
from crawler.settings import merged

ORIGIN = "http://a.test"


def known_as(path: str, **settings: object) -> str:
    """What a path of `ORIGIN` is known as."""
    return Identity(merged(("test", settings))).known_as(ORIGIN, path) or path


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/", "/"),
        ("/a?b=1&utm_source=x", "/a?b=1&utm_source=x"),
        ("/a?PHPSESSID=0af3", "/a"),
        ("/a?phpsessid=0af3&b=1", "/a?b=1"),
        ("/a?b=1&PHPSESSID=0af3&c", "/a?b=1&c"),
        ("/a?b=1&PHPSESSID", "/a?b=1"),
        ("/a?PHPSESSIDX=1", "/a?PHPSESSIDX=1"),
        ("/a?xPHPSESSID=1", "/a?xPHPSESSID=1"),
        ("/a?b=PHPSESSID=1", "/a?b=PHPSESSID=1"),
        ("/a?ASPSESSIONIDCQBT=ABC", "/a"),
        ("/a;jsessionid=12AB.node1", "/a"),
        ("/a;jsessionid=12AB/b;v=1?c=2", "/a/b;v=1?c=2"),
        ("/a;JSESSIONID=1?jsessionid=2", "/a"),
        ("/a;v=1", "/a;v=1"),
        ("/a?sid=4711", "/a?sid=4711"),
        ("/a?b&&c", "/a?b&&c"),
        ("/a?", "/a?"),
        ("/PHPSESSID?b", "/PHPSESSID?b"),
        ("/a?CFID=1&CFTOKEN=2&osCsid=3&zenid=4&sessionid=5&session_id=6", "/a"),
    ],
)
def test_session_ids_make_no_page(path: str, name: str) -> None:
    """Of a URL known session parameters are left out, in path and query, and nothing else."""
    assert known_as(path) == name


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/a?utm_source=x&utm_medium=y&q=1", "/a?q=1"),
        ("/a?q=1&a[]=1&a[]=2", "/a?q=1"),
        ("/a?q1=x&q12=y", "/a?q12=y"),
        ("/a?PHPSESSID=1", "/a?PHPSESSID=1"),
    ],
)
def test_parameters_by_pattern(path: str, name: str) -> None:
    """Patterns have * and ? as wildcards, all else is meant as it is; the list stands in place of the default one."""
    assert known_as(path, drop_parameters=["utm_*", "a[]", "q?"]) == name


def test_no_parameters_dropped() -> None:
    """An empty list drops nothing."""
    assert known_as("/a?PHPSESSID=1", drop_parameters=[]) == "/a?PHPSESSID=1"


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/a?b=2&a=1", "/a?a=1&b=2"),
        ("/a?a=1&b=2", "/a?a=1&b=2"),
        ("/a?b=2&a=2&a=1", "/a?a=2&a=1&b=2"),
        ("/a?c&PHPSESSID=1&b", "/a?b&c"),
        ("/a", "/a"),
    ],
)
def test_sorted_query(path: str, name: str) -> None:
    """A sorted query has its parameters by name; those of one name keep their order, which may mean something."""
    assert known_as(path, sort_query=True) == name


def test_hosts_have_rules_of_their_own() -> None:
    """What a host's pattern sets holds in place of what is set for all."""
    hosts = {"*.b.test": {"drop_parameters": ["sid"], "sort_query": True}, "c.test": {"delay": 1}}
    identity = Identity(merged(("test", {"hosts": hosts})))
    path = "/a?z&sid=1&PHPSESSID=2"
    assert identity.known_as("http://www.b.test:81", path) == "/a?PHPSESSID=2&z"
    assert identity.known_as("http://c.test", path) == "/a?z&sid=1"
    assert identity.known_as(ORIGIN, path) == "/a?z&sid=1"


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("http://a.test/a", "http://a.test/a", True),
        ("http://a.test/a", "http://a.test/a?PHPSESSID=1", True),
        ("http://a.test/a?PHPSESSID=2", "http://a.test/a?PHPSESSID=1", True),
        ("http://a.test/a", "https://a.test/a", False),
        ("http://a.test/a", "http://a.test/A", False),
    ],
)
def test_same_page(one: str, other: str, same: bool) -> None:
    """URLs are one page when they have origin and name in common."""
    assert Identity(merged()).is_same(one, other) is same
