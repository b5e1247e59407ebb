"""Requests on their way through the journal: nothing is lost, and what tells two of them apart does so."""

import copy
from typing import get_args

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crawler.models import PLAIN, ROBOTS_PRIORITY, SITEMAP_PRIORITY, Clock, Kind, Request, State, packed, rank, unpacked

URL = "http://a.test/b?c"
numbers = st.integers(-(1 << 80), 1 << 80) | st.floats(allow_nan=False, allow_infinity=False)
json_values = st.recursive(
    st.none() | st.booleans() | numbers | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
texts = st.text(max_size=10)
requests = st.builds(
    Request,
    url=texts,
    handler=texts,
    kind=st.sampled_from(get_args(Kind)),
    method=st.sampled_from(["GET", "POST", "HEAD"]) | texts,
    headers=st.dictionaries(texts, texts, max_size=3),
    body=st.none() | st.binary(max_size=20),
    data=json_values,
    priority=st.integers(-(1 << 31), 1 << 31),
    depth=st.integers(0, 1 << 31),
    key=st.none() | texts,
    failed=st.none() | texts,
    statuses=st.lists(st.integers(100, 599), max_size=3).map(tuple),
    accept=st.lists(texts, max_size=3).map(tuple),
    anywhere=st.booleans(),
    retry=st.booleans(),
    truncate=st.booleans(),
    hops=st.lists(texts, max_size=3).map(tuple),
    path=st.none() | texts,
)
few_changes = st.builds(  # most requests differ from a plain one in a thing or two
    lambda request, names: msgspec.structs.replace(Request(URL), **{name: getattr(request, name) for name in names}),
    requests,
    st.lists(st.sampled_from(Request.__struct_fields__), max_size=2),
)


@settings(deadline=None, max_examples=300)
@given(requests | few_changes)
def test_what_is_packed_is_unpacked(request_: Request) -> None:
    """A request comes out of the journal as it went in, in all its parts and their types."""
    back = unpacked(request_.url, request_.depth, request_.priority, packed(request_))
    assert back == request_
    for name in Request.__struct_fields__:
        assert type(getattr(back, name)) is type(getattr(request_, name))
    assert back.identity == request_.identity


@settings(deadline=None)
@given(requests | few_changes)
def test_plain_requests_are_packed_to_nothing(request_: Request) -> None:
    """URL, depth and priority have columns of their own: a request without more needs no more, and only that one."""
    is_plain = msgspec.structs.replace(request_, url="", depth=0, priority=0) == Request("")
    assert (packed(request_) is None) == is_plain


@pytest.mark.parametrize("url", [URL, "", '{"url":""}', PLAIN])
def test_the_url_is_not_packed(url: str) -> None:
    """What is packed holds neither URL nor depth nor priority, which would stand in the journal twice."""
    assert packed(Request(url, depth=3, priority=7)) is None
    rest = packed(Request(url, handler="book", depth=3, priority=7))
    assert rest == packed(Request("elsewhere", handler="book"))
    assert unpacked(url, 3, 7, rest) == Request(url, handler="book", depth=3, priority=7)


def test_packed_is_small_and_readable() -> None:
    """The journal's column is JSON of what was set, which other programs may query."""
    rest = packed(Request(URL, handler="book", data={"e": [1, "é"]}))
    assert rest is not None
    assert msgspec.json.decode(rest) == {"url": "", "handler": "book", "data": {"e": [1, "é"]}}


def test_journals_of_older_versions() -> None:
    """What was packed once can be unpacked: names and forms may not change, and unknown names are let be."""
    rest = (
        '{"url":"","handler":"book","kind":"download","method":"POST","headers":{"A":"b"},"body":"AP8=","data":{"e":1},'
        '"key":"k","failed":"broken","statuses":[404],"accept":["image/"],"anywhere":true,"retry":true,"hops":["http://a.test/"],'
        '"path":"files/e","of_a_newer_version":1}'
    )
    assert unpacked(URL, 1, 2, rest) == Request(
        URL, "book", "download", "POST", {"A": "b"}, b"\x00\xff", {"e": 1}, 2, 1, "k", "broken", (404,), ("image/",),
        anywhere=True, retry=True, hops=("http://a.test/",), path="files/e",
    )  # fmt: skip


def test_a_plain_request_has_no_identity() -> None:
    """A GET is known by its URL alone, whatever headers, data, handler and place it has."""
    alike = Request(
        URL, handler="book", headers={"A": "b"}, data=1, priority=5, depth=5, failed="broken", statuses=(404,),
        accept=("image/",), anywhere=True, retry=True, hops=(URL,),
    )  # fmt: skip
    assert Request(URL).identity == alike.identity == ""


def test_identities() -> None:
    """Method and body, kind, and the author's key tell requests of one URL apart."""
    different = [
        Request(URL),
        Request(URL, method="HEAD"),
        Request(URL, method="POST"),
        Request(URL, method="PUT"),
        Request(URL, method="POST", body=b"e"),
        Request(URL, method="POST", body=b"f"),
        Request(URL, method="POST", body=b"e\n"),
        Request(URL, method="GET", body=b"e"),
        Request(URL, body=b""),
        Request(URL, key=""),
        Request(URL, key="e"),
        Request(URL, key="POST 65"),
        Request(URL, key="download"),
        Request(URL, kind="download"),
        Request(URL, kind="robots"),
        Request(URL, kind="start"),
        Request(URL, kind="sitemap"),
    ]
    assert len({request.identity for request in different}) == len(different)


def test_a_key_is_all() -> None:
    """Requests with the same key of their author's are the same, however they are made."""
    assert Request(URL, key="e", method="POST", body=b"e").identity == Request(URL, key="e").identity


@pytest.mark.parametrize(
    ("kind", "is_counted"),
    [("page", True), ("download", True), ("robots", False), ("start", False), ("sitemap", False)],
)
def test_what_limits_count(kind: Kind, is_counted: bool) -> None:
    """Limits are about pages and downloads; robots.txt, sitemaps and the seeds' own page come on top."""
    assert Request(URL, kind=kind).is_counted == is_counted


def test_requests_do_not_change() -> None:
    """A request can be passed on and kept: nobody changes it, and the defaults are nobody's."""
    request = Request(URL)
    with pytest.raises(AttributeError):
        request.url = "http://b.test/"  # type: ignore[misc]  # that it cannot be done is the point
    request.headers["A"] = "b"
    assert Request(URL).headers == {}
    assert copy.copy(request) == request
    assert repr(Request(URL, handler="book", method="POST")) == "<Request POST http://a.test/b?c to=book>"


places = st.tuples(st.integers(-(1 << 30), 1 << 30), st.integers(0, (1 << 32) - 1))


@settings(deadline=None)
@given(places, places)
def test_rank(one: tuple[int, int], other: tuple[int, int]) -> None:
    """Higher priority goes first, then smaller depth; a rank fits the journal's 64 bits."""
    (priority, depth), (priority2, depth2) = one, other
    assert (rank(*one) < rank(*other)) == ((-priority, depth) < (-priority2, depth2))
    assert (rank(*one) == rank(*other)) == (one == other)
    assert -(1 << 63) <= rank(*one) < 1 << 63


def test_robots_go_first() -> None:
    """A host's robots.txt goes before all that an author would call urgent; its sitemaps come next."""
    assert rank(ROBOTS_PRIORITY, 0) < rank(SITEMAP_PRIORITY, 0) < rank(10**9, 0)
    assert rank(0, 0) < rank(0, 1) < rank(-1, 0)


def test_states_are_numbers_in_journals() -> None:
    """The numbers of states stand in journals and in their users' queries."""
    assert {state.name: state.value for state in State} == {
        "PENDING": 0,
        "DONE": 1,
        "GONE": 2,
        "SKIPPED": 3,
        "FAILED": 4,
    }


def test_clock() -> None:
    """The clock of a real crawl has both times; only the one that never jumps is for waiting."""
    clock = Clock()
    assert clock.monotonic() <= clock.monotonic()
    assert clock.epoch() > 1_700_000_000
    assert Clock(lambda: 1.0, lambda: 2.0).epoch() == 2.0
