"""What must hold for every crawl, whatever goes wrong: asked of the log and of the journal when it has ended."""

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from heapq import heappop, heappush
from itertools import pairwise

from crawler.circuit import FIRST_REST, LEAST_ATTEMPTS
from crawler.groups import group_pace
from crawler.models import State
from crawler.politeness import OVERLOADED, SHORTEST_REST, UNREACHABLE, Pace, is_of_host, is_trouble, pace
from crawler.robots import Robots, parse
from crawler.settings import Settings
from crawler.simulation.crawls import EPOCH, SimulatedCrawl
from crawler.simulation.journal import Journal
from crawler.simulation.web import Asked
from crawler.urls import split
from crawler.windows import next_open

TOLERANCE = 1e-3  # seconds; times of the calendar are not exact to the last bit


def breaches(crawl: SimulatedCrawl, settings: Settings) -> list[str]:
    """Each law that was broken, in words."""
    found = list(_of_the_journal(crawl.journal)) + crawl.violations
    by_host: dict[str, list[Asked]] = defaultdict(list)
    for asked in crawl.web.log:
        by_host[asked.origin].append(asked)
    for origin, log in by_host.items():
        text = crawl.web.robots_text(origin)
        robots = UNREACHABLE if text is None else parse(text, settings.product_token)
        found += _of_pace(log, settings, robots)
        found += _of_robots(log, robots) if settings.obey_robots else ()
        found += _of_leases(log)
        found += _of_circuits(log)
        found += _of_rates(log, pace(settings, origin, None))
    by_group: dict[str, list[Asked]] = defaultdict(list)
    for asked in crawl.web.log:
        for name in asked.groups:
            by_group[name].append(asked)
    for name, log in by_group.items():
        found += _of_group(name, log, settings)
    return found


def _of_group(name: str, log: Sequence[Asked], settings: Settings) -> Iterator[str]:
    """The limits of a group hold over all its hosts, and one engine at a time asks them."""
    own = group_pace(settings, name)
    assert own is not None
    for before, after in pairwise(log):
        if after.at - before.at < own.delay - TOLERANCE:
            yield f"{name}: {after.url} was asked {after.at - before.at:.3f} s after {before.url}, at {after.at:.3f} s"
    for asked in log:
        if asked.groups[name] != asked.engine:
            yield f"{name} is {asked.groups[name]}'s: {asked.url} was asked by {asked.engine} at {asked.at:.3f} s"
    yield from (f"{name}: {text}" for text in (*_of_places(log, own.concurrency), *_of_rates(log, own)))


def _of_the_journal(journal: Journal) -> Iterator[str]:
    yield from (f"{url} is pending" for url, state, _ in journal.pages() if state == State.PENDING)
    yield from (f"{url} was ended twice" for url in journal.ended_twice())


def _of_pace(log: Sequence[Asked], settings: Settings, robots: Robots) -> Iterator[str]:
    own, asked_for = pace(settings, log[0].origin, None), pace(settings, log[0].origin, robots)
    for before, after in pairwise(log):
        was_told = before.status in OVERLOADED and before.kind != "robots" and before.read_at < after.at
        if was_told and before.engine == after.engine and after.at - before.at < 2 * own.pause - TOLERANCE:
            yield f"{after.url} was asked as soon as usual after {before.url}, which said that it is too much"
        # before a robots.txt was read nobody knows what it asks for
        delay = own.delay if after.kind == "robots" else asked_for.delay
        if after.at - before.at < delay - TOLERANCE:
            yield f"{after.url} was asked {after.at - before.at:.3f} s after {before.url}, at {after.at:.3f} s"
    yield from _of_places(log, own.concurrency)


def _of_places(log: Sequence[Asked], places: int) -> Iterator[str]:
    ends: list[float] = []
    for asked in log:
        while ends and ends[0] <= asked.at + TOLERANCE:
            heappop(ends)
        heappush(ends, asked.ended_at)
        if len(ends) > places:
            yield f"{len(ends)} requests at once to {asked.origin}, at {asked.at:.3f} s"


def _of_robots(log: Sequence[Asked], robots: Robots) -> Iterator[str]:
    known_at = min((one.ended_at for one in log if one.kind == "robots" and one.is_final), default=math.inf)
    for asked in log:
        if asked.kind == "robots":
            continue
        if asked.at < known_at - TOLERANCE:
            yield f"{asked.url} was asked before robots.txt was read, at {asked.at:.3f} s"
        if not robots.allows(split(asked.url)[1]):
            yield f"{asked.url} was asked against robots.txt"


def _of_rates(log: Sequence[Asked], own: Pace) -> Iterator[str]:
    """No more than a burst beyond what the rate has room for, and nothing out of hours."""
    for asked in log:
        if next_open(own.windows, EPOCH + asked.at) > EPOCH + asked.at:
            yield f"{asked.url} was asked out of hours, at {asked.at:.3f} s"
    for n, first in enumerate(log):
        for more, last in enumerate(log[n + own.burst :]):
            if last.at - first.at < (more + 1) * own.interval - TOLERANCE:
                yield f"{own.burst + more + 1} requests within {last.at - first.at:.3f} s to {last.origin}"


def _of_circuits(log: Sequence[Asked]) -> Iterator[str]:
    """After ten failures in a row, seen by one engine that has held the host all the time, it is left alone."""
    pages = [one for one in log if one.kind != "robots"]
    for n, asked in enumerate(pages[LEAST_ATTEMPTS:]):
        row = [one for one in pages[n : n + LEAST_ATTEMPTS] if one.read_at < asked.at and _has_failed(one)]
        if len(row) < LEAST_ATTEMPTS or len({(one.process, one.engine) for one in (*row, asked)}) > 1:
            continue
        if asked.at < max(one.read_at for one in row) + FIRST_REST - TOLERANCE:
            yield f"{asked.url} was asked at {asked.at:.3f} s, though its host had failed {LEAST_ATTEMPTS} times"


def _has_failed(asked: Asked) -> bool:
    return is_of_host(asked.error("")) if asked.error is not None else is_trouble(asked.status)


def _of_leases(log: Sequence[Asked]) -> Iterator[str]:
    rests: dict[int, float] = defaultdict(float)
    answered: list[Asked] = []
    for asked in log:
        for one in [one for one in answered if one.read_at < asked.at]:
            answered.remove(one)
            rests[one.process] = max(rests[one.process], one.read_at + (one.retry_after or SHORTEST_REST))
        if asked.owner != asked.engine:
            yield f"{asked.url} was asked by engine {asked.engine}, its host is {asked.owner}'s, at {asked.at:.3f} s"
        if asked.at < max(asked.ready_at, rests[asked.process]) - TOLERANCE:
            yield f"{asked.url} was asked at {asked.at:.3f} s, though its host was to be left alone"
        if asked.status in OVERLOADED:
            answered.append(asked)
