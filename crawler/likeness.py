"""Which pages say the same in nearly the same words: MinHash over runs of three words, looked up by bands.

A. Z. Broder, "On the resemblance and containment of documents" (1997). A signature is 128 hashes of 16 bits each.
"""

import re
from collections.abc import Iterable
from itertools import islice

from msgspec import Struct

from crawler.errors import ConfigError

NEAR_DUPLICATE = "near-duplicate"
HASHES, ROWS, SEED = 128, 8, 1
LEAST_WORDS = 50  # pages with fewer are like each other by chance
MOST_WORDS = 50_000
LONGEST = 10_000  # pages that are remembered; twice as many at most
_WORD = re.compile(r"\w+")


class Likeness(Struct, frozen=True, array_like=True):
    """What is kept of a page: its number in the journal, its URL, its signature in hex."""

    page: int
    url: str
    signature: str


class Likenesses:
    """The pages that were handled, as long as they are not too many. `least` is how much alike two pages must be.

    That is the part of all their runs of three words that both have, as estimated: exact to 0.03 or so. Raises
    ConfigError when the package for it is not installed.
    """

    def __init__(self, least: float) -> None:
        try:
            from rensa import RMinHash  # noqa: PLC0415  # of an extra
        except ImportError:
            raise ConfigError("near_duplicates needs a package: pip install 'durable-crawler[dedupe]'") from None
        self._new_hash = RMinHash
        self._least = round(least * HASHES)
        self._young: dict[tuple[int, str], Likeness] = {}  # by bands
        self._old: dict[tuple[int, str], Likeness] = {}

    def of(self, page: int, url: str, text: str) -> Likeness | None:
        """What is to be kept of a page with this text; None if it is too short to be like another."""
        words = [found[0] for found in islice(_WORD.finditer(text.lower()), MOST_WORDS)]
        if len(words) < LEAST_WORDS:
            return None
        hashed = self._new_hash(HASHES, SEED)
        hashed.update([" ".join(run) for run in zip(words, words[1:], words[2:], strict=False)])
        return Likeness(page, url, "".join(f"{value & 0xFFFF:04x}" for value in hashed.digest()))

    def find(self, wanted: Likeness) -> str | None:
        """The URL of the page that is most like it, if one is enough."""
        met = (self._young.get(band) or self._old.get(band) for band in _bands(wanted))
        others = {one.page: one for one in met if one is not None and one.page != wanted.page}
        alike = [(_in_common(wanted, other), -other.page) for other in others.values()]
        most, page = max(alike, default=(0, 0))
        return others[-page].url if most >= self._least else None

    def learn(self, handled: Iterable[Likeness]) -> None:
        """Remember pages that were handled."""
        for one in handled:
            if len(self._young) >= LONGEST * HASHES // ROWS:
                self._old, self._young = self._young, {}
            for band in _bands(one):
                self._young.setdefault(band, one)


def _bands(one: Likeness) -> list[tuple[int, str]]:
    width = 4 * ROWS
    return [(at, one.signature[at : at + width]) for at in range(0, 4 * HASHES, width)]


def _in_common(one: Likeness, other: Likeness) -> int:
    own, others = one.signature, other.signature
    return sum(own[at : at + 4] == others[at : at + 4] for at in range(0, 4 * HASHES, 4))
