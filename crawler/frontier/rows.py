"""Between the journal's rows and the nouns that travel."""

from collections.abc import Iterator, Sequence
from typing import TypeAlias

from crawler.models import Page, RobotsRecord, Visit, unpacked

PageRow: TypeAlias = tuple[int, str, int, int, int, int | None, str | None, int]
RobotsRow: TypeAlias = tuple[int, str, float, float]
LeasedRow: TypeAlias = tuple[int, str, int, float, list[PageRow], RobotsRow | None, str]


def page_of(host: int, origin: str, row: PageRow) -> Page:
    """The pending page that a row is."""
    seq, path, place, attempts, deferrals, parent, rest, deaths = row
    request = unpacked(origin + path, place & 0xFFFF_FFFF, -(place >> 32), rest)
    return Page(seq, host, request, attempts, deferrals, place, parent, deaths)


def robots_of(row: RobotsRow | None) -> RobotsRecord | None:
    """The robots.txt that a row is."""
    if row is None:
        return None
    status, body, fetched_at, expires_at = row
    return RobotsRecord(status, body.encode("latin-1"), fetched_at, expires_at)


def ending(visit: Visit) -> tuple[object, ...]:
    """How a page ends, or when it is due again."""
    facts = (visit.page.seq, visit.state, visit.reason, visit.status, visit.size, visit.ended_at, visit.due_at)
    return (*facts, int(visit.charged), int(visit.deferred))


def events(run: int, visits: Sequence[Visit]) -> Iterator[tuple[object, ...]]:
    """Failures of pages, and what happened to their hosts."""
    for visit in visits:
        if visit.trace:
            yield run, visit.ended_at, visit.page.seq, visit.reason.partition(": ")[0], visit.trace
        yield from ((run, event.at, None, event.kind, event.detail) for event in visit.events)


def host_facts(visits: Sequence[Visit]) -> Iterator[tuple[object, ...]]:
    """What visits tell of their hosts."""
    for visit in visits:
        facts = (visit.ready_at, visit.delay, visit.circuit)
        if facts != (None, None, None):
            yield (visit.page.host, *facts)
