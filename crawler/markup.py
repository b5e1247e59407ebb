"""How long the parser may take for a page at the worst, told from its bytes alone and in far less time.

An HTML parser has three steps that cost more than a page is long: looking through the open elements at each tag,
copying all open formatting elements into each new block (HTML Standard, section 13.2.4.3), and comparing each attribute
of a tag with those before it. How many tags, different formatting tags and attributes a page has bounds all three, in
whatever order they stand: nothing need be understood of how they are nested.
"""

import re
import secrets
from collections import Counter
from itertools import cycle
from random import Random

SMALL = 1 << 16  # bytes; of shorter pages only a sample is counted: all of it would cost an eighth of the parse
QUICK = 0.04  # seconds; what takes longer is not for the event loop, whose turns are others' too
LONGEST = 1.0  # seconds, and 300 MiB of copies

# Seconds on a core of 2020, measured at the worst of 1,600 ways to mix two kinds of tags.
_SEARCH, _COPY, _COMPARE = 3e-9, 1e-6, 2e-9

_CROWDED = 2000  # tags: they cannot make more than a million copies
_PRIMES = (53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 101, 103, 107, 109, 113, 127, 131, 137, 139, 149, 151, 157, 163, 167)
# Which bytes are looked at nobody knows who writes a page, and primes find tags that keep to any other rhythm.
_RANDOM = Random(secrets.randbits(256))  # noqa: S311  # what it gives is seen by nobody
_SAMPLES = cycle([(_RANDOM.randrange(prime), prime) for prime in _RANDOM.choices(_PRIMES, k=1009)])

_STRETCH = 8192  # without an end of a tag: there may be an attribute for every three bytes
_SEPARATORS = b" \t\n\f\r/\"'"
# The elements that are copied, but for `a`, of which one is open at a time; and the two that get the attributes of all
# their tags (section 13.2.6.4.7). Without attributes three of a kind are copied at most: too few to count. It is
# written by letters since this takes half the time of a list of names: it comes upon every tag of the page.
_COUNTED = re.compile(
    rb"<[bisutefcnhBISUTEFCNH](?:[tTmM]?|[iI][gG]|[oO][dD][eEyY]|[oO][nN][tT]|[oO][bB][rR]|[mM][aA][lL]{2}"
    rb"|[tT][rR](?:[iI][kK][eE]|[oO][nN][gG])|[tT][mM][lL])[\t\n\f\r /][^>]*+"
)
_WHOLE = re.compile(rb"""(?:[^"'=]|=[\t\n\f\r ]*+(?:"[^"]*+"|'[^']*+'|[^\t\n\f\r "'=]++))*+""")
_ALIKE = 3  # of formatting elements that are all the same so many are copied (section 13.2.4.3)


def worst(source: bytes) -> float:
    """The seconds that the structure of a page, in UTF-8, may cost at most beyond what its length costs; 0.0 if little.

    It is a bound, not a forecast: most pages take a hundredth of it.
    """
    has_stretch = _has_stretch(source)
    tags = _sampled(source)
    if len(source) < SMALL and not has_stretch and tags < _CROWDED:
        return 0.0
    counted = Counter(_COUNTED.findall(source))
    copied = min(sum(times if times <= _ALIKE else _different(tag, times) for tag, times in counted.items()), tags // 2)
    attributes = _attributes(b" ".join(counted)) if len(counted) > _ALIKE else 0
    if has_stretch:
        attributes += sum(_attributes(part) for part in source.split(b">") if len(part) >= _STRETCH)
    return max(_SEARCH * tags**2, _COPY * copied * (tags - copied), _COMPARE * attributes**2)


def _sampled(source: bytes) -> int:
    """How many tags a page has, about: each half is sampled by a rhythm of its own."""
    half = len(source) >> 1
    (first, step), (second, other) = next(_SAMPLES), next(_SAMPLES)
    return source[first:half:step].count(b"<") * step + source[half + second :: other].count(b"<") * other


def _has_stretch(source: bytes) -> bool:
    at, last = 0, len(source) - _STRETCH
    while at <= last:
        end = source.rfind(b">", at, at + _STRETCH)
        if end < 0:
            return True
        at = end + 1
    return False


def _attributes(part: bytes) -> int:
    """How many attributes may stand in what lies before an end of a tag."""
    begin = part.find(b"<")
    return sum(part.count(separator, begin) for separator in _SEPARATORS) if begin >= 0 else 0


def _different(tag: bytes, times: int) -> int:
    """How many of so many equal tags are copied; if this one goes on, since its ``>`` is in quotes, they may differ."""
    return _ALIKE if _WHOLE.fullmatch(tag) else times
