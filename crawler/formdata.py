"""The fields of a form as bytes: the three encodings that forms have (HTML Standard, section 4.10.21)."""

import re
from collections.abc import Sequence
from hashlib import blake2b
from typing import NamedTuple
from urllib.parse import quote_from_bytes

URLENCODED = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data"
PLAIN_TEXT = "text/plain"

_NEWLINE = re.compile(r"\r\n?|\n")
_IN_A_NAME = str.maketrans({"\n": "%0A", "\r": "%0D", '"': "%22"})


class Entry(NamedTuple):
    """One field as it is sent; ``is_file`` for a file that nobody chose, whose value is empty."""

    name: str
    value: str
    is_file: bool = False


def encoded(entries: Sequence[Entry], enctype: str, codec: str = "utf-8") -> tuple[bytes, str]:
    """The body and its Content-Type; the same for the same fields. What `codec` lacks becomes ``&#8364;`` and so on."""
    if enctype == MULTIPART:
        return _multipart(entries, codec)
    if enctype == PLAIN_TEXT:
        lines = (f"{_crlf(entry.name)}={_crlf(entry.value)}\r\n" for entry in entries)
        return "".join(lines).encode(codec, "xmlcharrefreplace"), PLAIN_TEXT
    return urlencoded(entries, codec), URLENCODED


def urlencoded(entries: Sequence[Entry], codec: str = "utf-8") -> bytes:
    """``name=value&…`` (URL Standard, section 5.2)."""
    return "&".join(f"{_quoted(entry.name, codec)}={_quoted(entry.value, codec)}" for entry in entries).encode()


def _quoted(text: str, codec: str) -> str:
    plain = quote_from_bytes(_crlf(text).encode(codec, "xmlcharrefreplace"), safe="*-._ ")
    return plain.replace(" ", "+").replace("~", "%7E")


def _multipart(entries: Sequence[Entry], codec: str) -> tuple[bytes, str]:
    """RFC 7578. The boundary is a digest of what it parts: a request that is made again is the same request."""
    parts = [_part(entry).encode(codec, "xmlcharrefreplace") for entry in entries]
    boundary = f"----form-{blake2b(repr(parts).encode(), digest_size=16).hexdigest()}"
    before = f"--{boundary}\r\n".encode()
    body = b"".join(before + part + b"\r\n" for part in parts) + f"--{boundary}--\r\n".encode()
    return body, f"{MULTIPART}; boundary={boundary}"


def _part(entry: Entry) -> str:
    disposition = f'Content-Disposition: form-data; name="{_crlf(entry.name).translate(_IN_A_NAME)}"'
    if entry.is_file:
        return f'{disposition}; filename=""\r\nContent-Type: application/octet-stream\r\n\r\n'
    return f"{disposition}\r\n\r\n{_crlf(entry.value)}"


def _crlf(text: str) -> str:
    return _NEWLINE.sub("\r\n", text)
