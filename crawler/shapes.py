"""Shapes of URLs: what is left of them without their numbers, and which of them lead nowhere any more.

A machine that makes pages without end makes them of few shapes: ``/day/2024/05/17`` is ``/day/#/#/#``.
"""

import re
from collections.abc import Iterable
from functools import lru_cache

from msgspec import Struct

from crawler.traps import BARREN, SAME
from crawler.urls import split

STEP = 50  # pages that bring nothing, after which the journal is told again
LONGEST = 20_000  # shapes, and bodies, that are remembered; twice as many at most
_HEX_DIGITS = b"0123456789abcdefABCDEF"
_UUID = r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}"
_HEX = r"(?=[a-fA-F]*+[0-9])[0-9a-fA-F]{6,}+"  # with a digit in it: "facade" is a word
_NUMBER = re.compile(
    rf"(?<![0-9A-Za-z%])(?<!%[0-9A-Fa-f])(?:{_UUID}|{_HEX})(?![0-9A-Za-z])|(?<!%)(?<!%[0-9A-Fa-f])[0-9]++"
)


class Shape(Struct, frozen=True, array_like=True):
    """What the journal keeps of a shape of one host: how many pages there were, the last ``barren`` of them in vain.

    With the digest of a body as ``content``, in hex, it is about the pages that have this one. ``reason`` is why links
    are left out; empty as long as none are.
    """

    path: str
    content: str
    pages: int
    barren: int
    reason: str


class Ended(Struct, frozen=True):
    """Why links of a page are left out: all that are followed, or those to pages of its own shape."""

    reason: str
    origin: str
    path: str

    def holds(self, url: str, *, is_followed: bool) -> bool:
        """Whether a link to a canonical URL is left out; what the spider's author asked for may be no link at all."""
        return is_followed if self.reason == SAME else not _is_elsewhere(url, self.origin, self.path)


class _Known(Struct):
    pages: int = 0
    barren: int = 0
    blind: int = 0  # as many pages may be like some that this process has not met


@lru_cache(maxsize=1024)
def shape_of(path: str) -> str:
    """A path with query without its numbers, hexadecimal ones and UUIDs too."""
    return _NUMBER.sub("#", path)


class Shapes:
    """Counts pages by the shapes of their URLs. Bounded: what was not met for long is counted anew.

    After `most_same` pages of a shape with one and the same body further ones with it lead nowhere. A shape with more
    than `most_barren` pages, of which the last ones, half as many, brought nothing, leads to no more of its own. 0:
    there is no limit.
    """

    def __init__(self, most_same: int, most_barren: int) -> None:
        self._most_same = most_same
        self._most_barren = most_barren
        self._shapes = _Recent()
        self._contents = _Recent()  # of shapes

    def ended(self, url: str, content: bytes) -> Ended | None:
        """Which links of a page with a body of this digest are left out; None if all are followed, as they should."""
        origin, path = split(url)
        if (shape := shape_of(path)) == path:  # of one URL alone
            return None
        same = self._contents.find((origin, shape, content))
        if same is not None and self._most_same and same.pages >= self._most_same:
            return Ended(SAME, origin, shape)
        known = self._shapes.find((origin, shape))
        return Ended(BARREN, origin, shape) if known is not None and self._is_barren(known) else None

    def note(self, url: str, content: bytes, *, body: bytes, has_items: bool, leads: Iterable[str]) -> Shape | None:
        """Count a page; what the journal should know of its shape now, if anything.

        `content` is the digest of its `body`, `leads` are the URLs it leads to that were unknown. A page is in vain
        that has no items, leads to no other shape, and is like one before it but for its numbers.
        """
        origin, path = split(url)
        if (shape := shape_of(path)) == path:
            return None
        known, same = self._shapes.get((origin, shape)), self._contents.get((origin, shape, content))
        known.pages, same.pages = known.pages + 1, same.pages + 1
        known.barren = 0 if has_items or self._is_of_use(known, (origin, shape), body, leads) else known.barren + 1
        if self._most_same and same.pages == self._most_same:
            return Shape(shape, content.hex(), same.pages, 0, SAME)
        if known.barren and not known.barren % STEP:
            return Shape(shape, "", known.pages, known.barren, BARREN if self._is_barren(known) else "")
        return None

    def _is_of_use(self, known: "_Known", key: tuple[str, str], body: bytes, leads: Iterable[str]) -> bool:
        if known.pages <= self._most_barren - max(1, self._most_barren // 2):  # nor would the last ones count yet
            return True
        plain = self._contents.get((*key, "plain", hash(body.translate(None, _HEX_DIGITS))))
        plain.pages += 1
        known.blind, is_news = max(0, known.blind - 1), plain.pages == 1 and not known.blind
        return is_news or any(_is_elsewhere(lead, *key) for lead in leads)

    def learn(self, origin: str, shapes: Iterable[Shape]) -> None:
        """Take up what the journal has of a host; what follows from it is for the settings of today."""
        for one in shapes:
            content = bytes.fromhex(one.content)
            known = self._contents.get((origin, one.path, content)) if content else self._shapes.get((origin, one.path))
            if one.pages > known.pages:
                known.pages, known.barren, known.blind = one.pages, one.barren, one.barren

    def _is_barren(self, known: _Known) -> bool:
        most = self._most_barren
        return bool(most) and known.pages > most and known.barren >= max(1, most // 2)


class _Recent:
    """What is known by its key, as long as it is met now and then."""

    def __init__(self) -> None:
        self._young: dict[int, _Known] = {}
        self._old: dict[int, _Known] = {}

    def find(self, key: tuple[object, ...]) -> _Known | None:
        name = hash(key)
        return self._young.get(name) or self._old.get(name)

    def get(self, key: tuple[object, ...]) -> _Known:
        name = hash(key)
        known = self._young.get(name)
        if known is None:
            if len(self._young) >= LONGEST:
                self._old, self._young = self._young, {}
            known = self._young[name] = self._old.get(name) or _Known()
        return known


def _is_elsewhere(url: str, origin: str, shape: str) -> bool:
    own, path = split(url)
    return own != origin or shape_of(path) != shape
