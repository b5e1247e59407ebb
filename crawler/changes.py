"""The change feed of a job that visits its pages again: what of its items is new, other than before, or gone.

An item is told from others by its key: the fields that the spider names, or else its page and its place there. What is
told of it, in its line of the feed, stands before its own fields, under the names of `FIELDS`.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from typing import TypeAlias, cast

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from crawler.models import Item, Json

FIELDS = ("_change", "_key", "_hash", "_previous_hash", "_at")
Keys: TypeAlias = str | Sequence[str] | Mapping[str, str | Sequence[str]]
_decode = msgspec.json.decode
_encode = msgspec.json.encode


class Record(Struct):
    """An item as it stands: as the feed has told it last. ``name`` is its key as JSON; so many ``pages`` have it."""

    name: str
    kind: str
    hash: str
    body: str
    pages: int


def keyed(item: Item, keys: Keys) -> Item:
    """An item with its key, if there are fields that make it; in quarantine if it lacks them, or has a feed's field.

    `keys`: a field, several, or these by the item's class (an empty name for dicts).
    """
    names = _names(item.kind, keys)
    fields = cast("dict[str, Json]", _decode(item.body)) if item.body.startswith("{") else {}
    if taken := [name for name in FIELDS if name in fields]:
        return replace(item, quarantine=item.quarantine or f"{', '.join(taken)}: a name of the change feed's own")
    if not names:
        return item
    if missing := [name for name in names if fields.get(name) is None]:
        reason = f"{', '.join(missing)}: missing, though it is the item's key"
        return replace(item, quarantine=item.quarantine or reason)
    found = [fields[name] for name in names]
    return replace(item, key=_encode(found[0] if len(found) == 1 else found).decode())


def _names(kind: str, keys: Keys) -> Sequence[str]:
    if isinstance(keys, Mapping):
        keys = keys.get(kind, ())
    return (keys,) if isinstance(keys, str) else keys


def are_keys(value: object) -> bool:
    """Whether it names fields, as `keyed` wants them."""
    if isinstance(value, Mapping):
        return not any(isinstance(one, Mapping) for one in value.values()) and all(map(are_keys, value.values()))
    if isinstance(value, str):
        return True
    return isinstance(value, list | tuple) and all(isinstance(name, str) and name for name in value)


def hash_of(body: str) -> str:
    """What tells an item's content from others, whatever the order of its fields: 32 hexadecimal digits."""
    return sha256(_encode(_decode(body), order="sorted")).hexdigest()[:32]


def place_of(item: Item, page: int, n: int) -> str:
    """What an item is known by in the journal."""
    return f"{page}#{n}" if item.key is None else f"{item.kind} {item.key}"


def feed(
    items: Sequence[Item], page: tuple[int, str], at: float, sighted: dict[str, str], records: dict[str, Record],
    *, is_all: bool = True,
) -> list[Item]:  # fmt: skip
    """What the feed says after a visit that has found `items` on a `page` (its number and URL), quarantined ones too.

    `sighted` is what the page had before, hash by place, and `records` all items concerned: both are brought up to
    date. An item that several pages have is gone when the last of them has it no more; and one that a page has as
    before is as before, whatever another says of it. None is gone of a page of which there is more (not `is_all`).
    """
    told = [item for item in items if item.quarantine is not None]
    found = {place_of(item, page[0], n): (item, n) for n, item in enumerate(items)}  # of two with one key, the last
    for place, (item, n) in found.items():
        if item.quarantine is not None:  # it is there, though nobody knows what it is
            continue
        new, before = hash_of(item.body), sighted.get(place)
        sighted[place] = new
        record = records.get(place)
        if record is None:
            name = item.key if item.key is not None else _encode(f"{page[1]}#{n}").decode()
            records[place] = Record(name, item.kind, new, item.body, 1)
            told.append(_line("added", records[place], at, new, None))
            continue
        record.pages += before is None
        if new not in {before, record.hash}:
            previous, record.hash, record.body = record.hash, new, item.body
            told.append(_line("changed", record, at, new, previous))
    for place in [place for place in sighted if is_all and place not in found]:
        del sighted[place]
        record = records[place]
        record.pages -= 1
        if not record.pages:
            told.append(_line("removed", records.pop(place), at, None, record.hash))
    return told


def _line(change: str, record: Record, at: float, new: str | None, previous: str | None) -> Item:
    when = datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    values = (change, msgspec.Raw(record.name.encode()), new, previous, when)
    head = _encode(dict(zip(FIELDS, values, strict=True))).decode()
    members = record.body[1:].lstrip()
    return Item(record.kind, f"{head[:-1]}{'' if members == '}' else ','}{members}")
