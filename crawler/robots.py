"""What a site's robots.txt lets one crawler fetch: RFC 9309, read the way Google's open-source parser reads files.

A pattern is split at its stars into segments, and escapes in patterns and paths are decoded: "%41" and "A" are the same
octet (RFC 9309 section 2.2.2), "%2A" is a star that stands for itself (section 2.2.3). A segment is sought at its first
place behind the segment before it, and the search never goes back: no pattern is slow.
"""

import math
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes

MAX_BYTES = 512_000
"""What is read of a robots.txt, in bytes; the rest is ignored (RFC 9309 section 2.5 asks for at least 500 KiB)."""

_Field = tuple[str, bytes]
_Segments = tuple[str, ...]

_MAX_LINE = 8 * 2083 - 1  # Google's: eight times the longest URL of old browsers, and a final NUL
_BOM = b"\xef\xbb\xbf"
_SPELLINGS = {
    "user-agent": (b"user-agent", b"useragent", b"user agent"),
    "allow": (b"allow",),
    "disallow": (b"disallow", b"dissallow", b"dissalow", b"disalow", b"diasllow", b"disallaw"),
    "sitemap": (b"sitemap", b"site-map"),
    "crawl-delay": (b"crawl-delay", b"crawldelay", b"crawl delay"),
    "request-rate": (b"request-rate",),
}
_RULES = ("allow", "disallow")
_TOKEN_OCTETS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_-"
_DELAY = re.compile(rb"\d+(?:\.\d*)?|\.\d+")
_RATE = re.compile(rb"(\d+)\s*/\s*(\d+)\s*([smh]?)")
_UNITS = {b"": 1, b"s": 1, b"m": 60, b"h": 3600}

_ESCAPE = re.compile("%([0-9A-Fa-f]{2})")
_END = "\u0100"  # stands behind every path; being no octet, only a pattern's last "$" is equal to it
_NO_RULE = 1  # the rank that is left when no rule matches: it allows


@dataclass(frozen=True, slots=True)
class Robots:
    """The verdict of one robots.txt for one product token.

    `crawl_delay` is what our group asks for, in seconds; `sitemaps` are the `Sitemap:` values of the whole file.
    """

    crawl_delay: float | None = None
    sitemaps: tuple[str, ...] = ()
    # A rank is twice the octets of a pattern, plus one if it allows: the highest that matches decides, by its last bit.
    _prefixes: Mapping[str, int] = field(default_factory=dict, repr=False, hash=False)
    _prefix_lengths: tuple[int, ...] = field(default=(), repr=False)
    _wildcards: tuple[tuple[int, _Segments], ...] = field(default=(), repr=False)

    def allows(self, path: str) -> bool:
        """Say whether a URL may be fetched: its longest matching rule decides, "allow" wins a tie, no match allows.

        `path` is the path and query of a canonical URL: ASCII, from the first "/" on, without a fragment. "/robots.txt"
        is always allowed (RFC 9309 section 2.2.2).
        """
        text = (unquote_to_bytes(path).decode("latin-1") if "%" in path else path) + _END
        ranks = [self._prefixes.get(text[:length], _NO_RULE) for length in self._prefix_lengths]
        best = max(ranks, default=_NO_RULE)
        if self._wildcards and self._wildcards[0][0] > best:
            best = self._best_wildcard(path, text, best)
        return best & 1 == 1 or path == "/robots.txt"

    def _best_wildcard(self, path: str, text: str, floor: int) -> int:
        places = _Places.of(path) if "%" in path or "*" in path or "$" in path else None
        for rank, segments in self._wildcards:
            if rank <= floor:
                break
            if places.match(segments) if places else _match(segments, text):
                return rank
        return floor


def parse(body: bytes, token: str) -> Robots:
    """Read a robots.txt as the crawler with this product token must; never raises, whatever the bytes.

    The token is letters, "_" and "-"; case is ignored. All groups that name it are one group; without any, the groups
    of "*" are ours (RFC 9309 section 2.2.1). The delay is our first Crawl-delay, in seconds, or what our first
    Request-rate "requests/period" means (the period in seconds, minutes "m" or hours "h"), whichever is longer.
    """
    fields = list(_fields(body))
    sitemaps = dict.fromkeys(value.decode(errors="replace") for name, value in fields if name == "sitemap" and value)
    group = _group(fields, token.encode().lower())
    ranks = _ranks(group)
    prefixes = {segments[0]: rank for segments, rank in ranks.items() if len(segments) == 1}
    return Robots(
        crawl_delay=_crawl_delay(group),
        sitemaps=tuple(sitemaps),
        _prefixes=prefixes,
        _prefix_lengths=tuple(sorted({len(prefix) for prefix in prefixes})),
        _wildcards=tuple(sorted(((rank, parts) for parts, rank in ranks.items() if len(parts) > 1), reverse=True)),
    )


def _fields(body: bytes) -> Iterator[_Field]:
    for line in _lines(body):
        key, value = _key_and_value(line[:_MAX_LINE].partition(b"#")[0].strip())
        for name, spellings in _SPELLINGS.items():
            if key.startswith(spellings):
                yield name, value
                break


def _lines(body: bytes) -> list[bytes]:
    bom_length = next(length for length in (3, 2, 1, 0) if body.startswith(_BOM[:length]))
    lines = re.split(rb"[\r\n]+", body[bom_length:MAX_BYTES])
    if len(body) > MAX_BYTES and not {*b"\r\n"} & {*body[MAX_BYTES - 1 : MAX_BYTES + 1]}:
        lines.pop()  # the front half of "Allow: /public" would allow everything
    return lines


def _key_and_value(line: bytes) -> tuple[bytes, bytes]:
    key, colon, value = line.partition(b":")
    if not colon:  # often forgotten; then the line must be two words
        key, _, value = line.replace(b"\t", b" ").partition(b" ")
        if not value or b" " in value.strip():
            return b"", b""
    return key.strip().lower(), value.strip()


def _group(fields: Sequence[_Field], token: bytes) -> list[_Field]:
    named: list[_Field] | None = None
    everyone: list[_Field] = []
    current: list[_Field] | None = None
    has_rules = False
    for name, value in fields:
        if name == "user-agent":
            if has_rules:
                current, has_rules = None, False
            agent = _agent(value)
            if agent == token:
                current = named = [] if named is None else named
            elif agent == b"*" and current is None:
                current = everyone
        elif current is not None:
            current.append((name, value))
            has_rules = has_rules or name in _RULES  # no other field ends the list of a group's user agents
    return everyone if named is None else named


def _agent(value: bytes) -> bytes:
    if value.startswith(b"*") and not value[1:2].strip():
        return b"*"
    return value[: len(value) - len(value.lstrip(_TOKEN_OCTETS))].lower()


def _crawl_delay(group: Sequence[_Field]) -> float | None:
    delays: dict[str, float] = {}
    for name, value in group:
        seconds = _seconds(name, value)
        if math.isfinite(seconds):
            # A delay ends no list of user agents, so that of the next agent may stand in our group, too.
            delays.setdefault(name, seconds)
    return max(delays.values(), default=None)


def _seconds(name: str, value: bytes) -> float:
    if name == "crawl-delay" and _DELAY.fullmatch(value):
        return float(value)
    if name == "request-rate" and (rate := _RATE.fullmatch(value.lower())) and float(rate[1]):
        return float(rate[2]) * _UNITS[rate[3]] / float(rate[1])
    return math.nan


def _ranks(group: Sequence[_Field]) -> dict[_Segments, int]:
    ranks: dict[_Segments, int] = {}
    for name, pattern in _rules(group):
        octets = len(pattern) + 2 * sum(octet > 127 for octet in pattern)  # as if escaped: "é" counts as "%C3%A9"
        segments = _segments(pattern)
        ranks[segments] = max(ranks.get(segments, 0), 2 * octets + (name == "allow"))
    return ranks


def _rules(group: Sequence[_Field]) -> Iterator[_Field]:
    for name, pattern in group:
        if name in _RULES and pattern:
            yield name, pattern
        folder, slash, page = pattern.rpartition(b"/")
        if name == "allow" and slash and page.startswith(b"index.htm"):
            yield name, folder + b"/$"  # Google's: who allows the index page allows its folder's URL


def _segments(pattern: bytes) -> _Segments:
    end = _END if pattern.endswith(b"$") else ""
    body = pattern[:-1] if end else pattern.rstrip(b"*")
    *inner, last = (unquote_to_bytes(part).decode("latin-1") for part in re.split(rb"\*+", body))
    return (*inner, last + end)


def _match(segments: _Segments, text: str) -> bool:
    at = len(segments[0])
    if not text.startswith(segments[0]):
        return False
    for segment in segments[1:]:
        found = text.find(segment, at)
        if found < 0:
            return False
        at = found + len(segment)
    return True


@dataclass(frozen=True, slots=True)
class _Places:
    """The places of a path that has escapes, as the bits of integers, since a star may end inside an escape.

    To Google's parser "/*F" matches "/%2F", which decoded text cannot show. All places that the front of a pattern
    reaches are moved on at once: a few integer operations for each octet of the pattern.
    """

    of_octets: Mapping[str, int]  # where an octet stands as itself
    of_escapes: Mapping[str, int]  # where it stands as an escape
    everywhere: int

    @classmethod
    def of(cls, path: str) -> "_Places":
        raw = path.replace("*", "%2A").replace("$", "%24") + _END
        octets, escapes = defaultdict[str, int](int), defaultdict[str, int](int)
        for at, char in enumerate(raw):
            if escape := _ESCAPE.match(raw, at):
                escapes[chr(int(escape[1], 16))] |= 1 << at
            else:
                octets[char] |= 1 << at
        return cls(octets, escapes, (1 << len(raw)) - 1)

    def match(self, segments: _Segments) -> bool:
        reached = 1
        for number, segment in enumerate(segments):
            if number:  # a star: every place from the first one on
                reached = self.everywhere & -(reached & -reached)
            for char in segment:
                reached = (reached & self.of_octets.get(char, 0)) << 1 | (reached & self.of_escapes.get(char, 0)) << 3
                if not reached:
                    return False
        return True


ALLOW_ALL = Robots()
DISALLOW_ALL = parse(b"User-agent: *\nDisallow: /", "")
