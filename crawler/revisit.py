"""When a page is visited again, how a server is asked whether it has changed, and what tells that it has not.

Plain functions and data; times are epoch seconds, intervals are seconds.
"""

import math
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from hashlib import sha256

from msgspec import Struct

UNCHANGED, CHANGED = "unchanged", "changed"
SOONER, LATER = 0.5, 1.5  # what an interval is multiplied by after a change, and after none
LONGEST_VALIDATOR = 512  # characters


class Revisit(Struct, frozen=True):
    """How long after a visit a page is visited again: between the two, by how it has changed; always alike if equal."""

    shortest: float
    longest: float


class History(Struct, frozen=True):
    """What an earlier visit of the same run has left of a page.

    ``content`` is the digest of the body that was handled last, empty if there is none to compare with; ``etag`` and
    ``modified`` are what the server said of it; ``interval`` is how long it was left alone. ``entries`` counts the
    items that the journal has had of it.
    """

    content: bytes = b""
    etag: str | None = None
    modified: str | None = None
    interval: float | None = None
    entries: int = 0


def policies(value: object, duration: Callable[[str], float]) -> dict[str, Revisit]:
    """Policies by pattern for URLs, from a table, text, or a number of seconds; those of one value are for all pages.

    Text is a policy (``1d``, ``1h-7d``), or pairs of pattern and policy with commas between. `duration` reads a
    duration. Raises ValueError.
    """
    if isinstance(value, str) and "=" in value:
        value = dict(_pair(part) for part in value.split(",") if part.strip())
    if not isinstance(value, Mapping):
        value = {} if value in {"", None} else {"*": value}
    return {str(pattern): _policy(chosen, duration) for pattern, chosen in value.items()}


def _pair(text: str) -> tuple[str, str]:
    pattern, _, chosen = text.rpartition("=")
    return pattern.strip(), chosen.strip()


def _policy(value: object, duration: Callable[[str], float]) -> Revisit:
    if isinstance(value, Revisit):
        return value
    shortest, dash, longest = str(value).partition("-")
    found = Revisit(duration(shortest), duration(longest if dash else shortest))
    if not 0 < found.shortest <= found.longest:
        raise ValueError(f"{value!r} is no interval such as 1d, nor two such as 1h-7d, the shorter one first")
    return found


def policy_for(chosen: Mapping[str, Revisit], url: str) -> Revisit | None:
    """The policy of the first pattern that matches a URL; None: it is not visited again."""
    return next((policy for pattern, policy in chosen.items() if fnmatchcase(url, pattern)), None)


def next_interval(policy: Revisit, before: float | None, *, has_changed: bool | None) -> float:
    """How long to leave a page alone: half as long as `before` if it has changed, half as long again if not.

    Between the policy's bounds; at first what lies between them on a scale of ratios. `has_changed` None: who knows.
    """
    if before is None:
        return math.sqrt(policy.shortest * policy.longest)
    factor = 1.0 if has_changed is None else SOONER if has_changed else LATER
    return max(policy.shortest, min(policy.longest, before * factor))


def conditions(history: History | None) -> dict[str, str]:
    """The headers that ask for a page only if it is another than the one that is known (RFC 9110 section 13.1).

    Both validators are sent where there are both: who knows the entity tag must ignore the date (section 13.1.3).
    """
    if history is None or not history.content:
        return {}
    sent = {"If-None-Match": history.etag, "If-Modified-Since": history.modified}
    return {name: value for name, value in sent.items() if value}


def validator(value: str) -> str | None:
    """An ETag or Last-Modified as it can be sent back; None for what is no plain line of ASCII."""
    if not value:
        return None
    text = value.strip()
    return text if text and text.isascii() and text.isprintable() and len(text) <= LONGEST_VALIDATOR else None


def digest(body: bytes) -> bytes:
    """16 bytes that tell a body from others: the first of its SHA-256."""
    return sha256(body).digest()[:16]
