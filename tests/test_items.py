"""Items: what is one, what its pipeline makes of it, and the JSON that is stored: nothing lost, nothing raised."""

import datetime as dt
import math
import uuid
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from enum import Enum
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, NamedTuple

import attrs
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler import items
from crawler.items import Step, encode, is_item, refined
from crawler.models import Item, Request
from crawler.requests import Requests


@dataclass
class Author:
    name: str
    born: int | None = None


@dataclass
class Publisher:
    name: str


@dataclass
class Book:
    title: str
    price: Decimal = Decimal(0)
    authors: list[Author] = field(default_factory=list)
    by: Author | Publisher | None = None
    cover: PurePosixPath | None = None
    rating: Annotated[float, msgspec.Meta(ge=0, le=5)] = 0.0
    seen: ClassVar[int] = 0

    def __post_init__(self) -> None:
        Book.seen += 1


@dataclass
class Volume:
    title: str
    next: "Volume | None" = None


class Page(msgspec.Struct, rename="camel"):
    page_title: str
    links: int = 0


@attrs.define
class Shelf:
    title: str
    books: int = 0
    _note: str = ""


class Model:
    """As much of a pydantic model as counts here; pydantic itself checks it when it is made and when it is dumped."""

    model_fields: ClassVar[dict[str, object]] = {"title": None, "price": None}

    def __init__(self, title: object, price: float = 1.5) -> None:
        self.title = title
        self.price = price

    def model_dump(self, *, mode: str, warnings: str) -> dict[str, object]:
        assert (mode, warnings) == ("json", "error")
        if not isinstance(self.title, str):
            raise TypeError("title: expected str")
        return {"title": self.title, "price": self.price}


class Colour(Enum):
    RED = "red"


class Text(str):
    __slots__ = ()


class Unshowable:
    def __repr__(self) -> str:
        raise RuntimeError("no")


class Point(NamedTuple):
    x: int
    y: int


# -- what is an item


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({}, True),
        (OrderedDict(a=1), True),
        (Book("x"), True),
        (Page("x"), True),
        (Shelf("x"), True),
        (Model("x"), True),
        (Request("https://a.example/"), False),
        (Requests([], Request("")), False),
        (Book, False),
        ([{}], False),
        ("text", False),
        (None, False),
        (Point(1, 2), False),
        (object(), False),
    ],
)
def test_is_item(value: object, expected: bool) -> None:
    """Dicts and instances of typed classes are items; requests, classes, lists and plain values are none."""
    assert is_item(value) is expected


# -- encoding


@pytest.mark.parametrize(
    ("item", "kind", "body"),
    [
        (
            {"title": "Käse", "price": 1.5, "ok": True, "none": None},
            "",
            '{"title":"Käse","price":1.5,"ok":true,"none":null}',
        ),
        ({}, "", "{}"),
        (Counter("aab"), "", '{"a":2,"b":1}'),
        (Author("Ann"), "Author", '{"name":"Ann","born":null}'),
        (Page("x", 3), "Page", '{"pageTitle":"x","links":3}'),
        (Shelf("x", 3, "y"), "Shelf", '{"title":"x","books":3,"_note":"y"}'),
        (Model("x"), "Model", '{"title":"x","price":1.5}'),
    ],
)
def test_encode(item: object, kind: str, body: str) -> None:
    """An item is one line of JSON, its fields in their own order, named after its class unless it is a dict."""
    assert encode(item) == Item(kind, body)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC), '"2026-01-02T03:04:05Z"'),
        (dt.date(2026, 1, 2), '"2026-01-02"'),
        (Decimal("1.50"), '"1.50"'),
        (uuid.UUID(int=1), '"00000000-0000-0000-0000-000000000001"'),
        (b"\x00\xff", '"AP8="'),
        ({3}, "[3]"),
        (frozenset(), "[]"),
        ((1, "a"), '[1,"a"]'),
        (Point(1, 2), "[1,2]"),
        (deque([1]), "[1]"),
        (range(3), "[0,1,2]"),
        ({1: "a"}, '{"1":"a"}'),
        (MappingProxyType({"a": 1}), '{"a":1}'),
        (PurePosixPath("a/b"), '"a/b"'),
        (Colour.RED, '"red"'),
        (Text("x"), '"x"'),
        (1 << 70, "1180591620717411303424"),
        (Author("Ann"), '{"name":"Ann","born":null}'),
        (Model("x"), '{"title":"x","price":1.5}'),
        ("null", '"null"'),
        ("\x1b\u2028", '"\\u001b\u2028"'),
    ],
)
def test_values_that_have_a_json(value: object, expected: str) -> None:
    """Dates are ISO 8601, Decimals, UUIDs and paths text, bytes base64, collections lists, at any depth."""
    assert encode({"a": value}) == Item("", f'{{"a":{expected}}}')
    assert encode({"a": [{"b": value}]}) == Item("", f'{{"a":[{{"b":{expected}}}]}}')


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (math.nan, "NaN and infinity are not JSON"),
        (-math.inf, "NaN and infinity are not JSON"),
        ([{"b": (1.0, {math.inf})}], "NaN and infinity are not JSON"),
        ([Author("Ann", math.nan)], "NaN and infinity are not JSON"),  # type: ignore[arg-type]  # wrong on purpose
        ([Model("x", math.nan)], "NaN and infinity are not JSON"),
        (object(), "object has no JSON"),
        (3j, "complex has no JSON"),
        (len, "builtin_function_or_method has no JSON"),
        (iter(()), "tuple_iterator has no JSON"),
        (Author, "type has no JSON"),
        (Unshowable(), "Unshowable has no JSON"),
        ("\ud800", "surrogates not allowed"),
        ({(1, 2): 3}, "tuple has no JSON"),
    ],
)
def test_values_that_have_none(value: object, reason: str) -> None:
    """An item with a value that JSON cannot hold is set apart, the field named, its value kept as Python shows it."""
    item = encode({"good": [1, None], "bad": value})
    assert item.quarantine is not None
    assert item.quarantine.startswith("bad: ")
    assert reason in item.quarantine
    kept = msgspec.json.decode(item.body)
    assert kept["good"] == [1, None]
    assert isinstance(kept["bad"], str)
    if not isinstance(value, Unshowable):
        assert kept["bad"] == repr(value)


def test_all_fields_at_fault_are_named() -> None:
    """The reason names each bad field."""
    assert encode({"a": object(), "b": 1, "c": math.nan}).quarantine == (
        "a: object has no JSON; c: NaN and infinity are not JSON"
    )


@pytest.mark.parametrize("key", [None, (1, 2), "\ud800"])
def test_keys_that_json_cannot_have(key: object) -> None:
    """A dict with a key that is no text or number is set apart, key and value kept."""
    item = encode({key: 1, "b": 2})
    assert item.quarantine
    assert list(msgspec.json.decode(item.body).values()) == [1, 2]


def test_what_holds_itself() -> None:
    """A structure without end is set apart."""
    endless: dict[str, object] = {"good": 1}
    endless["bad"] = [endless]
    item = encode(endless)
    assert item.quarantine is not None
    assert item.quarantine.startswith("bad: ")
    assert msgspec.json.decode(item.body)["good"] == 1


def test_what_is_nested_too_deep() -> None:
    """So is one that is deeper than any reader of JSON would follow."""
    deep: object = 1
    for _ in range(100_000):
        deep = [deep]
    item = encode({"good": 1, "bad": deep})
    assert item.quarantine is not None
    assert msgspec.json.decode(item.body)["good"] == 1


def test_what_is_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """An item over the limit is set apart, and its longest fields are cut; one at the limit is not."""
    monkeypatch.setattr(items, "MAX_BYTES", 100)
    monkeypatch.setattr(items, "MAX_KEPT", 50)
    assert encode({"a": "x" * 92}).quarantine is None
    item = encode({"a": "x" * 93, "b": 1})
    assert item.quarantine == "a: 95 bytes, cut to 50 characters"
    assert msgspec.json.decode(item.body) == {"a": "'" + "x" * 49, "b": 1}
    many = encode({"a": "x" * 40, "b": "y" * 40, "c": "z" * 40})
    assert many.quarantine == "142 bytes of JSON are more than 100"
    assert len(many.body) == 142


# -- typed items


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        (Book(None), "Expected `str`, got `null` - at `$.title`"),  # type: ignore[arg-type]  # wrong on purpose
        (Book("x", price=None), "Expected `decimal`, got `null` - at `$.price`"),  # type: ignore[arg-type]  # wrong on purpose
        (Book("x", authors=[Author("Ann"), Author(3)]), "Expected `str`, got `int` - at `$.authors[1].name`"),  # type: ignore[arg-type]  # wrong on purpose
        (Volume("x", next="y"), "- at `$.next`"),  # type: ignore[arg-type]  # wrong on purpose
        (Book("x", cover="a.jpg"), "Expected `PurePosixPath`, got `str` - at `$.cover`"),  # type: ignore[arg-type]  # wrong on purpose
        (Book("x", rating=7), "Expected `float` <= 5.0 - at `$.rating`"),
        (Page(3), "Expected `str`, got `int` - at `$.page_title`"),  # type: ignore[arg-type]  # wrong on purpose
        (Shelf("x", "3"), "Expected `int`, got `str` - at `$.books`"),  # type: ignore[arg-type]  # wrong on purpose
        (Model(3), "title: expected str"),
    ],
)
def test_items_that_break_their_annotations(item: object, reason: str) -> None:
    """A typed item is held against its own annotations, nested ones too; a bad one is stored with the reason."""
    stored = encode(item)
    assert stored.kind == type(item).__name__
    assert stored.quarantine is not None
    assert reason in stored.quarantine
    assert msgspec.json.decode(stored.body)


@pytest.mark.parametrize(
    "item",
    [
        Book("x", Decimal("1.5"), [Author("Ann", 1950)], Author("Ann"), PurePosixPath("a.jpg"), 4.5),
        Book(Text("x"), by=Publisher("P")),
        Book("x", rating=4),
        Volume("x", Volume("y", Volume("z"))),
        Page("x"),
        Shelf("x"),
    ],
)
def test_items_that_keep_their_annotations(item: object) -> None:
    """Right items pass; so do subclasses of text, whole numbers for floats, and what msgspec cannot tell apart."""
    assert encode(item).quarantine is None


def test_checking_runs_no_code_of_the_item() -> None:
    """An item's constructor has run once, when the author made it, and runs no more."""
    book = Book("x", by=Author("Ann"))
    before = Book.seen
    encode(book)
    assert Book.seen == before


def test_annotations_that_cannot_be_read_are_not_held_against_the_item() -> None:
    """A class whose annotations name what only a type checker knows is stored unchecked."""
    unknown: Any = dataclass(type("Unknown", (), {"__annotations__": {"title": "Nowhere"}}))
    assert encode(unknown("x")) == Item("Unknown", '{"title":"x"}')


@pytest.mark.parametrize(
    ("value", "kind", "body"),
    [
        ("text", "str", '"text"'),
        (3, "int", "3"),
        (None, "NoneType", "null"),
        ([{"a": 1}], "list", '[{"a":1}]'),
        (Request("https://a.example/"), "Request", '{"url":"https://a.example/"}'),
        (len, "builtin_function_or_method", '"<built-in function len>"'),
        (math.nan, "float", '"nan"'),
    ],
)
def test_what_is_no_item_is_kept_too(value: object, kind: str, body: str) -> None:
    """A value that is no item at all, from a pipeline step perhaps, is set apart as what it is."""
    stored = encode(value)
    assert (stored.kind, stored.body) == (kind, body)
    assert stored.quarantine is not None
    assert "no item" in stored.quarantine


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.decimals() | st.dates(),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.text() | st.integers() | st.none(), inner) | st.builds(Author, inner)
    ),
    max_leaves=20,
)


@given(
    st.dictionaries(st.text(), ANYTHING) | st.builds(Book, title=ANYTHING, price=ANYTHING, authors=ANYTHING) | ANYTHING
)
def test_anything_is_stored_as_json(value: object) -> None:
    """Whatever is yielded comes back as JSON on one line, and without a reason only if it holds no NaN or infinity."""
    stored = encode(value)
    msgspec.json.decode(stored.body)
    assert "\n" not in stored.body
    assert stored.body.encode()
    assert stored.quarantine is None or stored.quarantine.isprintable()
    assert stored.quarantine is not None or not any(map(_is_infinite, _leaves(value)))


def _is_infinite(leaf: object) -> bool:
    return isinstance(leaf, float) and not math.isfinite(leaf)


def _leaves(value: object) -> Iterator[object]:
    if isinstance(value, Author | Book):
        value = vars(value)
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    yield value
    for one in inner:
        yield from _leaves(one)


# -- the pipeline


def with_page(item: dict[str, object]) -> dict[str, object]:
    return {**item, "page": 1}


async def with_name(item: dict[str, object]) -> dict[str, object]:
    return {**item, "name": item["page"]}


def dropped(item: object) -> None: ...


async def dropped_later(item: object) -> None: ...


def not_reached(item: object) -> object:
    raise AssertionError("a dropped item went on")


@pytest.mark.parametrize(
    ("pipeline", "expected"),
    [
        ([], {"a": 0}),
        ([with_page], {"a": 0, "page": 1}),
        ([with_page, with_name], {"a": 0, "page": 1, "name": 1}),
        ([dropped, not_reached], None),
        ([dropped_later, not_reached], None),
        ([with_page, dropped, not_reached], None),
        ([lambda item: Author("Ann")], Author("Ann")),
    ],
)
async def test_refined(pipeline: list[Step], expected: object) -> None:
    """Steps, plain and async, are taken in order; what one drops goes no further."""
    assert await refined({"a": 0}, pipeline) == expected


def test_a_plain_pipeline_never_waits() -> None:
    """With plain functions only, refining ends in one step, without an event loop."""
    with pytest.raises(StopIteration) as ended:
        refined({"a": 0}, [with_page]).send(None)
    assert ended.value.value == {"a": 0, "page": 1}


@pytest.mark.parametrize("step", [lambda item: item["missing"], lambda item: 1 / 0])
async def test_a_step_that_raises_is_not_hidden(step: Callable[[Any], object]) -> None:
    """What a step raises is raised, for whoever runs the page to judge."""
    with pytest.raises((KeyError, ZeroDivisionError)):
        await refined({"a": 0}, [step])
