"""CSV as RFC 4180 has it, and safe to open in a spreadsheet.

Lines end in CR LF (RFC 4180 section 2.1): spreadsheets, pandas and databases all take it, and every version of the csv
module then quotes a lone CR in a cell. UTF-8 without a byte order mark, which others would read as part of the first
column's name. A missing field and null are an empty cell; numbers, booleans and nested values stand as in the item's
JSON.
"""

import csv
import io
import json
import re
from collections.abc import Sequence

import msgspec

from crawler.errors import ItemError
from crawler.models import StoredItem

LONGEST_HEADER = 1 << 17  # bytes; as long as the csv module takes one cell to be
# OWASP's list (CSV Injection), and NUL, which its ASVS 5.0 adds in 1.2.10.
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "\0")
_NUMBER = re.compile(r"[+-]?(?:[0-9]++\.?[0-9]*+|\.[0-9]++)(?:[eE][+-]?[0-9]++)?")
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")

_decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_text = msgspec.json.Decoder(str).decode


def encoded(
    items: Sequence[StoredItem], columns: list[str], first: bool, *, formulas: bool = False
) -> tuple[bytes, list[str]]:
    """The items' rows, after a header when they are the `first`, and the columns: those given and all new ones.

    Columns stand in the order in which items first show them. Text that a spreadsheet would run gets a leading ``'``
    unless `formulas`. Raises ItemError for an item that is no JSON object.
    """
    if not items:
        return b"", columns
    rows = [_fields(item) for item in items]
    wider = dict.fromkeys(columns)
    for row in rows:
        if not row.keys() <= wider.keys():
            wider.update(dict.fromkeys(row))
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    if first:
        writer.writerow([_text(name, formulas) for name in wider])
    writer.writerows([[_cell(row.get(name), formulas) for name in wider] for row in rows])
    return out.getvalue().encode(), list(wider)


def columns_of(head: bytes) -> list[str]:
    """The columns of a CSV file that begins with `head`, by the names that its items have."""
    text = head[:LONGEST_HEADER].decode("utf-8-sig", "replace")
    names = next(csv.reader(io.StringIO(text, newline="")), [])
    return [name[1:] if name == _text(name[1:], formulas=False) else name for name in names]


def _cell(value: msgspec.Raw | None, formulas: bool) -> str:
    if value is None:
        return ""
    json_text = bytes(value).decode()
    if json_text[0] == '"':
        return _text(_decode_text(value), formulas)
    return "" if json_text == "null" else json_text


def _text(text: str, formulas: bool) -> str:
    if not formulas and text.startswith(_FORMULA_STARTS) and not _NUMBER.fullmatch(text):
        return "'" + text
    return text


def _fields(item: StoredItem) -> dict[str, msgspec.Raw]:
    try:
        return _decode_object(item.body)
    except (msgspec.DecodeError, UnicodeEncodeError):
        return _mended(item)


def _mended(item: StoredItem) -> dict[str, msgspec.Raw]:
    """The fields of an item with lone surrogates, which JSON can escape and UTF-8 cannot hold: each becomes U+FFFD."""
    try:
        text = json.dumps(json.loads(item.body), ensure_ascii=False)
        return _decode_object(_LONE_SURROGATE.sub("\ufffd", text))
    except (ValueError, msgspec.DecodeError) as error:
        raise ItemError(f"item {item.id} has no columns: {error}") from error
