"""What one host was asked, minute by minute, as the journal's events tell it; and what becomes of many such minutes."""

from collections.abc import Iterable
from itertools import pairwise

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from crawler.politeness import Pace

MINUTE = "minute"
REQUEST = "request"
CIRCUIT = "circuit"
TOLERANCE = 0.02  # of a gap (s): timers, and the way of two requests through the network, are not the same


class Minute(Struct, frozen=True):
    """Requests to one host within one minute of the calendar (epoch seconds), and what was allowed there (s).

    ``gap`` is the shortest time between two of them, and ``spare`` by how much each was longer than the delay of that
    moment, at least; both 0 for a single one. ``at_once`` is how many were under way at most.
    """

    origin: str
    first_at: float
    last_at: float
    requests: int
    gap: float
    spare: float
    at_once: int
    delay: float
    places: int


class Account(Struct, frozen=True):
    """What a host was asked in all. ``gap`` is None for a single request; ``too_fast`` counts what was beyond it."""

    origin: str
    requests: int
    gap: float | None
    delay: float
    at_once: int
    places: int
    busiest: Minute
    too_fast: int


def counted(so_far: Minute | None, origin: str, pace: Pace, at_once: int, now: float) -> Minute:
    """The minute after one more request `now`; a new one if the last is over."""
    if so_far is None or now // 60 != so_far.first_at // 60:
        return Minute(origin, now, now, 1, 0.0, 0.0, at_once, pace.delay, pace.concurrency)
    gap = now - so_far.last_at
    spare = gap - pace.delay
    if so_far.requests > 1:
        gap = min(gap, so_far.gap)
        spare = min(spare, so_far.spare)
    most = max(at_once, so_far.at_once)
    places = max(pace.concurrency, so_far.places)
    return Minute(origin, so_far.first_at, now, so_far.requests + 1, gap, spare, most, pace.delay, places)


def account(minutes: Iterable[Minute]) -> Account:
    """The sum of one host's minutes, of which there is one at least; those of several engines may be among them."""
    ordered = sorted(minutes, key=lambda one: one.first_at)
    gaps = [(one.gap, one.spare) for one in ordered if one.requests > 1]
    for before, after in pairwise(ordered):
        gap = after.first_at - before.last_at
        gaps.append((gap, gap - min(before.delay, after.delay)))  # it may have grown within the second
    return Account(
        ordered[0].origin,
        sum(one.requests for one in ordered),
        min((gap for gap, _ in gaps), default=None),
        max(one.delay for one in ordered),
        max(one.at_once for one in ordered),
        max(one.places for one in ordered),
        max(ordered, key=lambda one: one.requests),
        sum(spare < -TOLERANCE for _, spare in gaps) + sum(one.at_once > one.places for one in ordered),
    )


def packed(minute: Minute) -> str:
    """What the journal keeps of a minute."""
    facts = {name: round(getattr(minute, name), 4) for name in ("first_at", "last_at", "gap", "spare")}
    return msgspec.json.encode(replace(minute, **facts)).decode()


def unpacked(text: str) -> Minute:
    """The minute that `packed` wrote."""
    return msgspec.json.decode(text, type=Minute)
