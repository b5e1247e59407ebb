"""Sitemaps and feeds, read while they come in: the protocol of sitemaps.org, RSS, Atom and plain text, also gzipped.

Whatever the bytes are, what stands before the first fault is found, in linear time and constant memory. A DOCTYPE is
refused, so there are no entities but XML's own five: nothing is expanded, and nothing else is ever opened.
"""

import codecs
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta, timezone
from email.utils import parsedate_to_datetime
from xml.parsers.expat import ErrorString, ExpatError, ParserCreate

from msgspec import Struct

from crawler import charset
from crawler.decoding import Decoder
from crawler.errors import FetchError, escaped
from crawler.settings import MIB, parse_duration
from crawler.urls import MAX_LENGTH, canonical

MAX_URLS, MAX_BYTES = 50_000, 50 * MIB
"""What one sitemap may hold at most, by its protocol (sitemaps.org, "Sitemap file requirements"); decoded bytes."""

_STEP = 32 << 10
_PACKED_STEP = 2 << 10  # deflate packs a thousand bytes into one
_HEAD = 1024  # in which a file says what it is
_DEEPEST = 64
_LONGEST_TOKEN = 1 * MIB  # expat before 2.6 looks at an unfinished one again from its beginning with each piece
_MOST_STRANGE_LINES = 1000
_DATE = re.compile(
    r"(\d{4})(?:-(\d\d)(?:-(\d\d)(?:[Tt ](\d\d):(\d\d)(?::(\d\d)(?:[.,]\d+)?)?\s*(?:[Zz]|([+-])(\d\d):?(\d\d))?)?)?)?",
    re.ASCII,
)
_PAGE = {"loc": "url", "lastmod": "modified", "priority": "priority"}
_FORMATS: Mapping[str, tuple[str, Mapping[str, str]]] = {  # by root: the element of an entry, and what is taken of it
    "sitemapindex": ("sitemap", _PAGE),
    "urlset": ("url", _PAGE),
    "rss": ("item", {"link": "url", "pubdate": "modified"}),
    "rdf": ("item", {"link": "url"}),
    "feed": ("entry", {"link": "url", "updated": "modified"}),
}


class Entry(Struct, frozen=True):
    """What a sitemap says of a URL, which is absolute and canonical.

    ``modified`` is the latest moment that its date can mean, in epoch seconds; ``priority`` is 0 to 1.
    """

    url: str
    is_sitemap: bool = False
    modified: float | None = None
    priority: float | None = None


class _Stop(Exception):
    """Why no more is read of a file."""


class Reader:
    """Reads one file, given piece by piece. `fault` says why it was not read to its end; it is empty if it was.

    `refused` counts the entries whose URL is relative, is none of the web, or is no URL at all.
    """

    def __init__(self, content_encoding: str = "") -> None:
        """Take the value of Content-Encoding. Raises `UnsupportedEncoding`."""
        self.fault = ""
        self.refused = 0
        self._outer = Decoder(content_encoding, cap=MAX_BYTES)
        self._outer_step = _PACKED_STEP if content_encoding else _STEP
        self._inner: Decoder | None = None  # of a file that is gzip itself, as sitemap.xml.gz is
        self._inner_step = _STEP
        self._characters: codecs.IncrementalDecoder | None = None
        self._held = b""
        self._head = b""
        self._format: _Xml | _Lines | None = None

    def feed(self, chunk: bytes) -> Iterator[list[Entry]]:
        """The entries that `chunk` completes, in steps of some milliseconds each; nothing after a fault."""
        for piece in _pieces(chunk, self._outer_step):
            yield from self._unpacked(piece)

    def finish(self) -> list[Entry]:
        """The file has ended: its last entries."""
        found = [entry for entries in self._unpacked(b"", is_last=True) for entry in entries]
        try:
            if not self.fault:
                found += self._read(b"", is_last=True)
        except _Stop as stop:
            self.fault = str(stop)
        return found + self._taken()

    def _unpacked(self, data: bytes, *, is_last: bool = False) -> Iterator[list[Entry]]:
        if self.fault:
            return
        try:
            out = self._held + self._outer.feed(data)
            self._held = b""
            if self._inner is None:
                if len(out) < 2 and not is_last:
                    self._held = out
                    return
                is_gzip = out.startswith(b"\x1f\x8b")
                self._inner = Decoder("gzip" if is_gzip else "", cap=MAX_BYTES)
                self._inner_step = _PACKED_STEP if is_gzip else _STEP
            for piece in _pieces(out, self._inner_step):
                for part in _pieces(self._inner.feed(piece), _STEP):
                    yield self._read(part)
            if is_last:
                self._outer.finish()
                self._inner.finish()
        except (FetchError, _Stop) as error:
            self.fault = error.detail if isinstance(error, FetchError) else str(error)
            yield self._taken()

    def _read(self, data: bytes, *, is_last: bool = False) -> list[Entry]:
        if self._characters is None:
            self._head += data
            if len(self._head) < _HEAD and not is_last:
                return []
            data, self._head = self._head, b""
            self._characters = codecs.getincrementaldecoder(charset.sniff(data[:_HEAD], ""))("replace")
        text = self._characters.decode(data, is_last)
        if self._format is None:
            text = text.lstrip("\ufeff \t\r\n")
            if not text and not is_last:
                return []
            self._format = _Xml() if text.startswith("<") else _Lines()
        self._format.feed(text, is_last=is_last)
        return self._taken()

    def _taken(self) -> list[Entry]:
        if self._format is None:
            return []
        found, self._format.entries = self._format.entries, []
        self.refused = self._format.refused
        return found


class _Entries:
    """What was found so far."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.refused = 0
        self._count = 0

    def _add(self, url: str, *, is_sitemap: bool = False, modified: str = "", priority: str = "") -> None:
        self._count += 1
        if self._count > MAX_URLS:
            raise _Stop(f"it has more than {MAX_URLS:,} entries")
        absolute = None if "\ufffd" in url else canonical(url)  # a URL with a character that could not be read is none
        if absolute is None:
            self.refused += 1
        else:
            span = moments(modified) if modified else None
            self.entries.append(Entry(absolute, is_sitemap, span and span[1], _fraction(priority)))


class _Lines(_Entries):
    """Plain text, a URL in each line."""

    def __init__(self) -> None:
        super().__init__()
        self._rest = ""

    def feed(self, text: str, *, is_last: bool) -> None:
        *lines, self._rest = re.split(r"[\r\n]+", self._rest + text)
        for line in [*lines, self._rest] if is_last else lines:
            if line := line.strip():
                self._add(line)
        self._rest = self._rest[: 4 * MAX_LENGTH]  # with no end in sight it is no URL
        is_strange = self.refused == self._count
        if is_strange and (is_last or self.refused > _MOST_STRANGE_LINES):
            raise _Stop("it is no sitemap: none of its lines is a URL" if self._count else "it is empty")


class _Xml(_Entries):
    """A sitemap, an index of sitemaps, or a feed. Names count without their prefix, and in any case."""

    def __init__(self) -> None:
        super().__init__()
        self._parser = parser = ParserCreate("utf-8")
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._characters
        parser.StartDoctypeDeclHandler = _refuse
        self._fed = 0
        self._depth = 0
        self._entry = ""
        self._wanted: Mapping[str, str] = _PAGE
        self._prefix = ""
        self._entry_depth = 0  # of the entry that is open; 0: none is
        self._field = ""
        self._text = ""
        self._fields: dict[str, str] = {}

    def feed(self, text: str, *, is_last: bool) -> None:
        data = text.encode("utf-8", "replace")
        self._fed += len(data)
        try:
            self._parser.Parse(data, is_last)
        except ExpatError as error:
            raise _Stop(f"its XML is broken at line {error.lineno}: {ErrorString(error.code)}") from None
        if self._fed - self._parser.CurrentByteIndex > _LONGEST_TOKEN:
            raise _Stop(f"its XML has a tag or comment of over {_LONGEST_TOKEN:,} bytes")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise _Stop(f"its XML is nested deeper than {_DEEPEST} elements")
        prefix, _, local = name.rpartition(":")
        local = local.lower()
        if self._depth == 1:
            if local not in _FORMATS:
                raise _Stop(f"it is no sitemap: its root is <{escaped(name, 50)}>")
            self._entry, self._wanted = _FORMATS[local]
        elif not self._entry_depth:
            if local == self._entry:
                self._entry_depth, self._prefix, self._fields = self._depth, prefix, {}
        elif self._depth == self._entry_depth + 1 and prefix == self._prefix:  # image:loc is not the page's
            self._field, self._text = self._wanted.get(local, ""), ""
            rel = attributes.get("rel", "alternate")  # RFC 4287 section 4.2.7.2
            if self._field == "url" and rel == "alternate" and "href" in attributes:
                self._fields.setdefault("url", attributes["href"])

    def _characters(self, text: str) -> None:
        is_own = self._depth == self._entry_depth + 1
        if self._field and is_own and len(self._text) <= 2 * MAX_LENGTH:
            self._text += text[: 2 * MAX_LENGTH]

    def _end(self, _name: str) -> None:
        if self._field and self._depth == self._entry_depth + 1:
            if text := self._text.strip():
                self._fields[self._field] = self._fields.get(self._field) or text
            self._field = ""
        elif self._depth == self._entry_depth:
            self._entry_depth = 0
            self._add(self._fields.pop("url", ""), is_sitemap=self._entry == "sitemap", **self._fields)
        self._depth -= 1


def _refuse(*_doctype: object) -> None:
    raise _Stop("it has a DOCTYPE, as HTML has, and no sitemap")


def _pieces(data: bytes, size: int) -> Iterator[bytes]:
    return (data[start : start + size] for start in range(0, len(data), size)) if data else iter((b"",))


def _fraction(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if 0.0 <= number <= 1.0 else None


def moments(text: str) -> tuple[float, float] | None:
    """The first and the last moment that a date can mean, in epoch seconds; None if it is none.

    Dates are those of sitemaps and Atom (W3C "Date and Time Formats": ``2024``, ``2024-05-17``,
    ``2024-05-17T08:30:00+02:00``) or those of RSS (RFC 5322 section 3.3). Without a zone they are UTC.
    """
    found = _DATE.fullmatch(text.strip())
    try:
        if found is None:
            at = parsedate_to_datetime(text)
            return (exact := (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()), exact
        year, month, day, hour, minute, second = (int(part) if part else None for part in found.groups()[:6])
        assert year is not None
        first = datetime(year, month or 1, day or 1, hour or 0, minute or 0, min(second or 0, 59), tzinfo=_zone(found))
        if hour is not None:
            return first.timestamp(), first.timestamp()
        last = first + timedelta(days=1) if day else (first + timedelta(days=31 if month else 366)).replace(day=1)
        return first.timestamp(), last.timestamp()
    except (ValueError, OverflowError):
        return None


def _zone(found: re.Match[str]) -> timezone:
    sign, hours, minutes = found.groups()[6:]
    ahead = timedelta(hours=int(hours or 0), minutes=int(minutes or 0))
    return timezone(-ahead if sign == "-" else ahead)


def since(text: str, now: float) -> float:
    """The epoch seconds that ``7d`` or ``2024-05-17`` mean as the beginning of what is new. Raises ValueError."""
    if (span := moments(text)) is not None:
        return span[0]
    return now - parse_duration(text)
