"""The tree of errors, and what of the outside world may stand in their messages."""

import inspect
import re
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crawler import errors
from crawler.errors import (
    DETAIL_LENGTH,
    ConfigError,
    ConnectionReset,
    CrawlerError,
    DnsError,
    FetchError,
    HttpError,
    LeaseLost,
    SpiderError,
    StoreError,
    escaped,
)

KINDS = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, CrawlerError)]
FETCH_ERRORS = [kind for kind in KINDS if issubclass(kind, FetchError) and kind is not FetchError]
DRAWN = re.compile(r"^    ([├└│]──|│) *(.*)$", re.MULTILINE)


def drawn() -> dict[str, set[str]]:
    """The branches of the tree in the module's docstring, each with the names that hang on it."""
    branches: dict[str, set[str]] = {}
    for sign, line in DRAWN.findall(errors.__doc__ or ""):
        if sign != "│":
            branch = line.split()[0]
            branches[branch] = set()
        branches[branch] |= set(re.findall(r"\b[A-Z]\w*[a-z][A-Z]\w*\b", line)) - {branch}
    return branches


def test_the_tree_that_is_drawn_is_the_one_that_is() -> None:
    """Every error stands on its branch in the docstring, and nothing stands there that is no error."""
    branches = [kind for kind in KINDS if kind.__base__ is CrawlerError]
    below = {branch.__name__: {kind.__name__ for kind in KINDS if kind.__base__ is branch} for branch in branches}
    assert below == drawn()
    assert {FetchError, SpiderError, ConfigError, StoreError, LeaseLost} == set(branches)
    assert sum(map(len, below.values())) + len(branches) + 1 == len(KINDS)


@pytest.mark.parametrize("kind", FETCH_ERRORS)
def test_codes(kind: type[FetchError]) -> None:
    """A failure's code is its class's name, which journals hold; its text says what happened to which URL."""
    error = kind("what happened", url="http://a.test/b")
    assert error.code == kind.__name__
    assert error.detail == "what happened"
    assert str(error) == f"{kind.__name__}: what happened (http://a.test/b)"
    assert str(kind("what happened")) == f"{kind.__name__}: what happened"
    assert (error.url, error.status, error.hops, error.retry_after) == ("http://a.test/b", None, (), None)
    assert kind.__doc__


def test_what_is_worth_another_try() -> None:
    """What a network may do once and not again is retryable; what the other side says or is, is not."""
    assert {kind.__name__ for kind in FETCH_ERRORS if kind.retryable} == {
        "ConnectTimeout", "ReadTimeout", "TruncatedBody", "ProtocolError", "ConnectionReset", "DnsError",
        "ContentDecodingError", "ProxyError",
    }  # fmt: skip


def test_facts_of_a_failure() -> None:
    """A failure carries what a journal and a handler need: URL, status, the chain of hops, whether a name can exist."""
    error = HttpError("status 500", url="http://a.test/c", status=500, hops=["http://a.test/b"])
    assert (error.status, error.hops) == (500, ("http://a.test/b",))
    assert not DnsError("no answer").permanent
    assert DnsError("no such name", url="http://a.test/", permanent=True).permanent


def test_messages_are_safe() -> None:
    """Neither detail nor URL of a failure can steer a terminal or forge a line of a log."""
    error = ConnectionReset("gone\n2026 INFO all is well\x1b[2J\u202e", url="http://a.test/\x1b]0;x\x07\n")
    assert error.detail == r"gone\n2026 INFO all is well\x1b[2J\u202e"
    assert str(error).isprintable()
    assert str(error).startswith("ConnectionReset: gone")
    assert error.url == "http://a.test/\x1b]0;x\x07\n"
    assert str(errors.ConnectionReset("x" * 10_000)) == f"ConnectionReset: {'x' * 299}…"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", ""),
        ("plain text, with é, 漢字 and 🐟", "plain text, with é, 漢字 and 🐟"),
        ("a\nb\r\nc\td", r"a\nb\r\nc\td"),
        ("\x00\x07\x08\x1b[31mred\x7f", r"\x00\x07\x08\x1b[31mred\x7f"),
        ("\x80\x85\x9b31m", r"\x80\x85\x9b31m"),
        ("\u202aa\u202eb\u2066c\u2069\u200e\u200f\u061c", r"\u202aa\u202eb\u2066c\u2069\u200e\u200f\u061c"),
        ("a\u2028b\u2029c", r"a\u2028b\u2029c"),
        ("a\xa0b\u3000c\ufeff\u200b\xad", r"a\xa0b\u3000c\ufeff\u200b\xad"),
        ("\udc80\ud800", r"\udc80\ud800"),
        ("\ue000\U000e0001\U0010ffff", r"\ue000\U000e0001\U0010ffff"),
        (r"C:\new", r"C:\new"),
    ],
)
def test_escaped(text: str, shown: str) -> None:
    """Letters of all languages stay; controls, line breaks, bidi marks and what cannot be seen become their numbers."""
    assert escaped(text) == shown


@settings(deadline=None)
@given(st.text(st.characters(), max_size=60), st.integers(1, 50))
def test_escaped_anything(text: str, limit: int) -> None:
    """Whatever comes from outside, what is shown is one line of visible text; twice is as once."""
    shown = escaped(text, limit)
    assert shown.isprintable()
    assert not {unicodedata.category(sign) for sign in shown} & {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
    assert escaped(shown, len(shown)) == shown


@pytest.mark.parametrize("limit", [1, 2, 10, DETAIL_LENGTH])
def test_escaped_is_bounded(limit: int) -> None:
    """At most as many characters as allowed are shown, and what is cut says so."""
    assert escaped("é" * limit, limit) == "é" * limit
    assert escaped("é" * (limit + 1), limit) == "é" * (limit - 1) + "…"
    assert escaped("é" * 1_000_000, limit) == "é" * (limit - 1) + "…"


@settings(deadline=None)
@given(st.text(st.characters(), max_size=60), st.integers(1, 50))
def test_escaped_is_bounded_whatever_it_escapes(text: str, limit: int) -> None:
    """The limit is for what is shown, escapes included."""
    shown = escaped(text, limit)
    assert shown.isprintable()
    assert len(shown) <= limit
    assert shown.endswith("…") or len(text) <= limit
