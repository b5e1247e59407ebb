"""The change feed, as a table: what pages held before, what they hold now, what is said of it."""

import json
from typing import Any

import pytest

from crawler.changes import FIELDS, Keys, Record, are_keys, feed, hash_of, keyed
from crawler.models import Item

AT = 1_700_000_000.0


class Journal:
    """Pages and the items that stand, as a journal has them."""

    def __init__(self) -> None:
        self.sighted: dict[int, dict[str, str]] = {}
        self.records: dict[str, Record] = {}

    def visit(self, page: int, *items: Item) -> list[dict[str, Any]]:
        sighted = self.sighted.setdefault(page, {})
        told = feed(items, (page, f"http://a.test/{page}"), AT, sighted, self.records)
        return [json.loads(item.body) for item in told]


def item(name: object, price: int = 1, keys: Keys = "name", kind: str = "") -> Item:
    return keyed(Item(kind, json.dumps({"name": name, "price": price})), keys)


def brief(told: list[dict[str, Any]]) -> list[tuple[object, ...]]:
    return [(line["_change"], line["_key"], line.get("price")) for line in told]


def test_a_line() -> None:
    """A line has the change, the key, the hashes of now and before, and the time, in front of the item's own fields."""
    journal = Journal()
    (added,) = journal.visit(1, item("a"))
    now = hash_of('{"name": "a", "price": 1}')
    assert list(added) == [*FIELDS, "name", "price"]
    assert list(added.values()) == ["added", "a", now, None, "2023-11-14T22:13:20Z", "a", 1]
    (changed,) = journal.visit(1, item("a", 2))
    later = hash_of('{"name": "a", "price": 2}')
    assert list(changed.values()) == ["changed", "a", later, now, "2023-11-14T22:13:20Z", "a", 2]
    (removed,) = journal.visit(1)
    assert list(removed.values()) == ["removed", "a", None, later, "2023-11-14T22:13:20Z", "a", 2]
    assert journal.records == {}


def test_as_before() -> None:
    """An item that is as before is not told again, in whatever order its fields and its fellows come."""
    journal = Journal()
    journal.visit(1, item("a"), item("b"))
    assert journal.visit(1, item("b"), keyed(Item("", '{"price": 1, "name": "a"}'), "name")) == []


def test_without_keys() -> None:
    """Without a key an item is known by its page and its place there."""
    journal = Journal()
    journal.visit(7, item("a", keys=()), item("b", keys=()))
    told = journal.visit(7, item("b", keys=()))
    assert brief(told) == [("changed", "http://a.test/7#0", 1), ("removed", "http://a.test/7#1", 1)]
    assert [line["name"] for line in told] == ["b", "b"]


def test_on_several_pages() -> None:
    """An item that several pages have is added once, and gone when the last of them has it no more."""
    journal = Journal()
    assert brief(journal.visit(1, item("a"))) == [("added", "a", 1)]
    assert journal.visit(2, item("a")) == []
    assert journal.visit(1) == []
    assert brief(journal.visit(2)) == [("removed", "a", 1)]


def test_pages_that_disagree() -> None:
    """What one page says as before is no change of what another says."""
    journal = Journal()
    journal.visit(1, item("a", 1))
    assert brief(journal.visit(2, item("a", 2))) == [("changed", "a", 2)]
    assert journal.visit(1, item("a", 1)) == []
    assert journal.visit(2, item("a", 2)) == []
    assert brief(journal.visit(1, item("a", 3))) == [("changed", "a", 3)]


def test_twice_on_a_page() -> None:
    """Of two items with one key on a page the last counts."""
    journal = Journal()
    assert brief(journal.visit(1, item("a", 1), item("a", 2))) == [("added", "a", 2)]
    assert journal.visit(1, item("a", 1), item("a", 2)) == []


def test_kinds() -> None:
    """Items of two classes may have the same key."""
    journal = Journal()
    told = journal.visit(1, item("a", kind="Book"), item("a", kind="Film"))
    assert brief(told) == [("added", "a", 1)] * 2


def test_quarantined() -> None:
    """An item that is there, but not as it should be, is not told as gone; it goes to the quarantine itself."""
    journal = Journal()
    journal.visit(1, item("a"))
    bad = keyed(Item("", '{"name": "a"}', "no price"), "name")
    sighted = journal.sighted[1]
    assert feed([bad], (1, "u"), AT, sighted, journal.records) == [bad]
    assert journal.visit(1, item("a")) == []


@pytest.mark.parametrize(
    ("body", "kind", "keys", "key", "quarantine"),
    [
        ('{"id": 7}', "", "id", "7", None),
        ('{"id": "x"}', "", ["id"], '"x"', None),
        ('{"id": 7, "shop": "s"}', "", ("shop", "id"), '["s",7]', None),
        ('{"id": 7}', "Book", {"Book": "id"}, "7", None),
        ('{"id": 7}', "Film", {"Book": "id"}, None, None),
        ('{"id": 7}', "", {"": "id"}, "7", None),
        ('{"id": null}', "", "id", None, "id: missing, though it is the item's key"),
        ("{}", "", ("id", "shop"), None, "id, shop: missing, though it is the item's key"),
        ('{"id": 7, "_key": 1}', "", "id", None, "_key: a name of the change feed's own"),
    ],
)
def test_keyed(body: str, kind: str, keys: Keys, key: str | None, quarantine: str | None) -> None:
    """The key is what the named fields hold, as JSON; an item without them cannot be told from others."""
    found = keyed(Item(kind, body), keys)
    assert (found.key, found.quarantine) == (key, quarantine)


@pytest.mark.parametrize(
    ("value", "fits"),
    [
        ("id", True),
        (("id", "shop"), True),
        ({"Book": "id", "": ["a", "b"]}, True),
        ((), True),
        (7, False),
        ([7], False),
        ({"Book": {"id": "x"}}, False),
    ],
)
def test_are_keys(value: object, fits: bool) -> None:
    """A spider names a field, several, or these by class."""
    assert are_keys(value) is fits
