"""Rows as the journal's statements take and give them, and the plain data that they are."""

from collections.abc import Iterator, Sequence
from typing import TypeAlias

from msgspec.structs import astuple

from crawler.frontier import Parting
from crawler.likeness import Likeness
from crawler.models import Link, Page, RobotsRecord, State, Visit, rank, unpacked
from crawler.revisit import History
from crawler.shapes import Shape

HistoryRow: TypeAlias = tuple[str, str | None, str | None, float | None, int]
PageRow: TypeAlias = tuple[int, str, int, int, int, int | None, str | None, int, HistoryRow | None]
RobotsRow: TypeAlias = tuple[int, str, float, float]
ShapeRow: TypeAlias = tuple[str, str, int, int, str]
LikenessRow: TypeAlias = tuple[int, str, str]
GroupRows: TypeAlias = dict[str, tuple[float, float]]
LeasedRow: TypeAlias = tuple[
    int, str, int, float, list[PageRow], RobotsRow | None, str, GroupRows, list[ShapeRow] | None,
    list[LikenessRow] | None, tuple[int, int] | None,
]  # fmt: skip


def of_link(link: Link, host: int, run: int) -> list[object]:
    """A new page."""
    place = rank(link.priority, link.depth)
    return [host, link.fingerprint, link.path, place, link.parent, link.rest, run, link.known_as]


def of_ending(visit: Visit) -> tuple[object, ...]:
    """What a visit changes in its page."""
    facts = (visit.page.seq, visit.state, visit.reason, visit.status, visit.size, visit.ended_at, visit.due_at)
    validators = (visit.content.hex() or None, visit.etag, visit.modified)
    again = (visit.revisit_at, visit.interval, len(visit.items))
    return (*facts, int(visit.charged), int(visit.deferred), visit.canonical, *validators, *again)


def page(host: int, origin: str, row: PageRow) -> Page:
    """A page for an engine."""
    seq, path, place, attempts, deferrals, parent, rest, deaths, past = row
    request = unpacked(origin + path, place & 0xFFFF_FFFF, -(place >> 32), rest)
    history = None if past is None else History(bytes.fromhex(past[0]), *past[1:])
    return Page(seq, host, request, attempts, deferrals, place, parent, deaths, history)


def robots(row: RobotsRow | None) -> RobotsRecord | None:
    """A host's robots.txt, if it has been asked for."""
    if row is None:
        return None
    status, body, fetched_at, expires_at = row
    return RobotsRecord(status, body.encode("latin-1"), fetched_at, expires_at)


def contents(row: LeasedRow) -> tuple[list[Shape], list[Likeness], tuple[int, int]]:
    """What is known of a host's pages by their contents, and how many of them and of their bytes were taken."""
    *_, shapes, likenesses, taken = row
    pages, size = taken or (0, 0)
    return [Shape(*shape) for shape in shapes or ()], [Likeness(*one) for one in likenesses or ()], (pages, size)


def of_events(run: int, visits: Sequence[Visit]) -> Iterator[tuple[object, ...]]:
    """Failures of pages, and what happened to their hosts."""
    for visit in visits:
        if visit.trace:
            yield run, visit.ended_at, visit.page.seq, visit.reason.partition(": ")[0], visit.trace
        yield from ((run, event.at, None, event.kind, event.detail) for event in visit.events)


def of_partings(run: int, partings: Sequence[Parting]) -> Iterator[tuple[object, ...]]:
    """What happened to hosts that are given back."""
    for parting in partings:
        yield from ((run, event.at, None, event.kind, event.detail) for event in parting.events)


def of_shapes(run: int, visits: Sequence[Visit]) -> Iterator[tuple[object, ...]]:
    """Shapes of URLs that may be a trap's."""
    for visit in visits:
        if visit.shape is not None:
            yield run, visit.page.host, *astuple(visit.shape)


def of_likenesses(run: int, visits: Sequence[Visit]) -> Iterator[tuple[object, ...]]:
    """What the words of pages come to that were handled, and may be like further ones."""
    for visit in visits:
        if visit.likeness is not None and visit.state == State.DONE:
            yield visit.page.host, visit.page.seq, run, visit.likeness.signature


def of_hosts(visits: Sequence[Visit]) -> Iterator[tuple[object, ...]]:
    """What visits tell of their hosts."""
    for visit in visits:
        facts = (visit.ready_at, visit.delay, visit.circuit)
        if facts != (None, None, None):
            yield (visit.page.host, *facts)
