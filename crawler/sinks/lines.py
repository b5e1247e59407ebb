"""JSON lines: one item a line, byte for byte as the journal holds it (jsonlines.org, UTF-8, no byte order mark)."""

import json
from collections.abc import Sequence

import msgspec

from crawler.models import StoredItem


def encoded(items: Sequence[StoredItem], columns: list[str], _first: bool) -> tuple[bytes, list[str]]:
    """The items' lines; there are no columns to add to."""
    return _utf8("".join([f"{item.body}\n" for item in items])), columns


def with_ids(items: Sequence[StoredItem]) -> bytes:
    """The items' lines, each object beginning with its id as ``_id``, by which a reader tells a repetition.

    An item that has an ``_id`` of its own keeps it and gets none: a name that stands twice is read differently by
    different parsers (RFC 8259 section 4).
    """
    return _utf8("".join([f"{_with_id(item)}\n" for item in items]))


def _with_id(item: StoredItem) -> str:
    body = item.body
    if not body.startswith("{") or ('"_id"' in body and "_id" in json.loads(body)):
        return body
    members = body[1:].lstrip()
    return f'{{"_id":{msgspec.json.encode(item.id).decode()}{"" if members == "}" else ","}{members}'


def _utf8(text: str) -> bytes:
    # UTF-8 has no lone surrogates, and Python's escape of one is also JSON's.
    return text.encode("utf-8", "backslashreplace")
