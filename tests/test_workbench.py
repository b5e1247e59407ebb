"""The workbench: what may be asked when, on a clock that only the test moves."""

import random
from collections.abc import Callable
from itertools import pairwise

import pytest

from crawler.lane import Lane
from crawler.models import Kind, Page, Request
from crawler.politeness import Pace, batch_at
from crawler.robots import ALLOW_ALL
from crawler.workbench import Workbench

Bench = Workbench[str]


def lane_of(
    bench: Bench, host: int, pages: int = 0, delay: float = 1.0, concurrency: int = 1, **facts: object
) -> Lane[str]:
    lane: Lane[str] = Lane(host, f"http://h{host}.test", 1, Pace(delay, concurrency), 0.0, ALLOW_ALL)
    for name, value in facts.items():
        setattr(lane, name, value)
    bench.open(lane)
    bench.put(lane, [page_of(host, n) for n in range(pages)], complete=True)
    return lane


def page_of(host: int, n: int, rank: int = 0, kind: Kind = "page") -> Page:
    return Page(host * 1_000_000 + n, host, Request(f"http://h{host}.test/{n}", kind=kind), rank=rank)


def drive(bench: Bench, until: float, took: float = 0.0) -> list[tuple[float, int]]:
    """Ask whatever is due, each request taking `took` seconds; when which host was asked."""
    asked: list[tuple[float, int]] = []
    ends: list[tuple[float, Lane[str]]] = []
    now = 0.0
    while now <= until:
        for end, lane in [entry for entry in ends if entry[0] <= now]:
            ends.remove((end, lane))
            bench.done(lane, was_sent=True)
        while taken := bench.take(now):
            lane = taken[0]
            bench.sent(lane, now)
            asked.append((now, lane.host))
            if took:
                ends.append((now + took, lane))
            else:
                bench.done(lane, was_sent=True)
        now += 0.01
    return asked


@pytest.mark.parametrize("delay", [0.05, 0.5, 2.0])
@pytest.mark.parametrize("concurrency", [1, 3])
def test_spacing(delay: float, concurrency: int) -> None:
    """No host is asked again before its delay has passed, however many requests it may have at once."""
    bench = Bench()
    for host in range(5):
        lane_of(bench, host, 20, delay, concurrency)
    asked = drive(bench, 10.0, took=0.3)
    for host in range(5):
        times = [at for at, one in asked if one == host]
        assert len(times) > 1
        assert all(later - sooner >= delay - 1e-9 for sooner, later in pairwise(times))


@pytest.mark.parametrize("concurrency", [1, 4])
def test_concurrency(concurrency: int) -> None:
    """A host never has more requests under way than it may."""
    bench = Bench()
    lane = lane_of(bench, 1, 10, 0.0, concurrency)
    for _ in range(concurrency):
        assert bench.take(0.0)
    assert bench.take(100.0) is None
    bench.done(lane, was_sent=True)
    assert bench.take(100.0)
    assert bench.take(100.0) is None


def test_the_pause_counts_from_the_sending() -> None:
    """Nothing else goes to a host while a request waits for its connection, and the pause begins when it is written."""
    bench = Bench()
    lane = lane_of(bench, 1, 10, 1.0, 4)
    assert bench.take(0.0)
    assert bench.take(5.0) is None
    bench.sent(lane, 5.0)
    assert bench.take(5.99) is None
    assert bench.take(6.0)


def test_a_request_that_left_late() -> None:
    """The pause counts from the moment in which the request left, when that is later than it was to be written."""
    bench = Bench()
    lane = lane_of(bench, 1, 10, 1.0, 4)
    assert bench.take(0.0)
    bench.sent(lane, 0.0)
    bench.left(lane, 0.2)
    assert bench.take(1.19) is None
    assert bench.take(1.2)


def test_order() -> None:
    """A host's pages go by rank, then arrival, also those that came later."""
    bench = Bench()
    lane = lane_of(bench, 1, 0, 0.0)
    bench.put(lane, [page_of(1, 3, 1), page_of(1, 2, 5)], complete=True)
    bench.put(lane, [page_of(1, 4, 0), page_of(1, 1, 1)], complete=True)
    order = []
    while taken := bench.take(0.0):
        assert isinstance(taken[1], Page)
        order.append(taken[1].seq % 100)
        bench.done(lane, was_sent=True)
    assert order == [4, 1, 3, 2]


def test_fairness() -> None:
    """Hosts without a pause take turns, whatever they have to do."""
    bench = Bench()
    for host, pages in ((1, 1000), (2, 10), (3, 10)):
        lane_of(bench, host, pages, 0.0)
    hosts = []
    for _ in range(30):
        taken = bench.take(0.0)
        assert taken
        hosts.append(taken[0].host)
        bench.done(taken[0], was_sent=True)
    assert [hosts.count(host) for host in (1, 2, 3)] == [10, 10, 10]


def test_thousands_of_hosts() -> None:
    """Of many hosts with various delays each is asked as often as it may be, and none more often."""
    bench = Bench()
    rng = random.Random(1)
    delays = {host: rng.uniform(0.5, 3.0) for host in range(3000)}
    for host, delay in delays.items():
        lane_of(bench, host, 2 * batch_at(delay), delay)
    asked = drive(bench, 4.0)
    counts = dict.fromkeys(delays, 0)
    for _, host in asked:
        counts[host] += 1
    for host, delay in delays.items():
        possible = 4.0 / (delay + 0.01) + 1
        assert possible - 1.5 <= counts[host] <= possible + 0.5


def test_a_host_told_to_wait() -> None:
    """A host that must wait is not asked, though it stood first in the queue."""
    bench = Bench()
    first = lane_of(bench, 1, 5, 0.0)
    lane_of(bench, 2, 1, 0.0)
    bench.wait(first, 50.0)
    taken = bench.take(10.0)
    assert taken
    assert taken[0].host == 2
    assert bench.take(49.9) is None
    assert bench.next_at == 50.0
    assert bench.take(50.0)


def test_without_robots_nothing_but_robots() -> None:
    """A host whose robots.txt is not known is asked for that alone."""
    bench = Bench()
    lane = lane_of(bench, 1, 3, 0.0, robots=None)
    assert bench.take(0.0) is None
    assert lane.is_stuck
    bench.put(lane, [page_of(1, 9, -(1 << 62), "robots")], complete=True)
    taken = bench.take(0.0)
    assert taken
    assert isinstance(taken[1], Page)
    assert taken[1].request.kind == "robots"
    bench.done(lane, was_sent=True)
    assert bench.take(0.0) is None
    lane.robots = ALLOW_ALL
    bench.arm(lane)
    assert bench.take(0.0)


def test_urgent_goes_first() -> None:
    """An extra fetch goes before the pages of its host, at the host's pace."""
    bench = Bench()
    lane = lane_of(bench, 1, 2, 1.0)
    bench.hurry(lane, "fetch")
    assert bench.next_at == 0.0
    assert bench.take_ticket(0.0) == (lane, "fetch", None)
    bench.sent(lane, 0.0)
    bench.done(lane, was_sent=True)
    assert bench.take(0.5) is None
    bench.hurry(lane, "next")
    assert bench.take_ticket(0.5) is None
    assert bench.take_ticket(1.0) == (lane, "next", None)


def test_one_connects_at_a_time() -> None:
    """A request that ends does not let another out while a third still waits for its connection."""
    bench = Bench()
    lane = lane_of(bench, 1, 5, 1.0, 5)
    assert bench.take(0.0)
    bench.sent(lane, 0.0)
    assert bench.take(1.0)
    bench.done(lane, was_sent=True)
    assert bench.take(5.0) is None
    bench.sent(lane, 5.0)
    assert bench.take(6.0)


def test_parting() -> None:
    """A host is given back with nothing under way, uncommitted or due soon; not before."""
    bench = Bench()
    lane = lane_of(bench, 1, 1, 30.0)
    assert not lane.may_part(0.0, 10.0)
    taken = bench.take(0.0)
    assert taken
    bench.sent(lane, 0.0)
    bench.done(lane, was_sent=True)
    assert not lane.may_part(0.0, 10.0)
    bench.stored(lane, taken[1].seq)
    assert lane.may_part(0.0, 10.0)
    bench.put(lane, [page_of(1, 5)], complete=True)
    assert lane.may_part(0.0, 10.0), "not due within the horizon"
    assert not lane.may_part(25.0, 10.0)


def test_hungry() -> None:
    """A host that runs low asks for more as long as the journal has more, once at a time."""
    bench = Bench()
    lane = lane_of(bench, 1, batch_at(0.1), 0.1)
    lane.complete = False
    assert not lane.is_hungry
    del lane.pages[batch_at(0.1) // 2 :]
    assert lane.is_hungry
    lane.refilling = True
    assert not lane.is_hungry


EVENTS: dict[str, Callable[[Bench, Lane[str]], object]] = {
    "it is opened": lambda bench, lane: bench.open(lane),
    "it has pages": lambda bench, lane: bench.put(lane, [page_of(1, 9)], complete=True),
    "the journal has more": lambda bench, lane: bench.has_more(1, 0),
    "a page is taken": lambda bench, lane: bench.take(0.0),
    "an answer is there": lambda bench, lane: bench.done(lane, was_sent=True),
    "a page is stored": lambda bench, lane: bench.stored(lane, 1_000_000),
    "it has to wait": lambda bench, lane: bench.wait(lane, 60.0),
    "its pace is another": lambda bench, lane: bench.slow_down(lane, Pace(60.0, 1)),
    "nobody hurries any more": lambda bench, lane: bench.calm(lane),
    "somebody gave up": lambda bench, lane: bench.withdraw(lane, "fetch"),
}


@pytest.mark.parametrize("event", EVENTS.values(), ids=EVENTS)
def test_what_the_feeder_hears_of(event: Callable[[Bench, Lane[str]], object]) -> None:
    """Whatever may make a host run low, or leave nothing to do for it, is noted down; it may be closed meanwhile."""
    bench = Bench()
    lane, other = lane_of(bench, 1, 3), lane_of(bench, 2, 3, not_before=9.0)
    bench.changed = {}
    event(bench, lane)
    assert list(bench.changed) == [lane]
    assert bench.holds(lane)
    bench.close(other)
    assert not bench.holds(other)


def test_a_batch_is_bounded() -> None:
    """However often better pages turn up, a host holds no more than two batches; the rest waits in the journal."""
    bench = Bench()
    lane = lane_of(bench, 1, 0, 0.0)
    for wave in range(10):
        bench.put(lane, [page_of(1, wave * 1000 + n, -wave) for n in range(250)], complete=True)
        assert len(lane.pages) <= 400
        assert lane.complete == (wave == 0), "what was put back is in the journal still"
    assert min(lane.pages)[0] == -9


@pytest.mark.parametrize(("delay", "batch"), [(0.0, 200), (0.01, 200), (0.5, 10), (1.0, 5), (60.0, 1)])
def test_batches(delay: float, batch: int) -> None:
    """A host's batch is what it may be asked in five seconds."""
    assert batch_at(delay) == batch


def test_hosts_that_another_engine_is_to_have() -> None:
    """Idle hosts beyond the share are given up at once; a busy one is asked nothing more, until it can be."""
    bench = Bench()
    lanes = [lane_of(bench, host, 5) for host in range(3)]
    for lane in lanes:
        assert bench.take(0.0)
        bench.sent(lane, 0.0)
    bench.done(lanes[1], was_sent=True)
    lanes[1].open_visits.clear()
    assert bench.surplus(3) == []
    assert bench.surplus(2) == [lanes[1]]
    bench.close(lanes[1])
    assert bench.surplus(1) == bench.surplus(1) == []
    (leaving,) = [lane for lane in lanes if lane.is_leaving and lane is not lanes[1]]
    assert not leaving.may_part(0.0, 10.0)
    leaving.open_visits.clear()
    bench.done(leaving, was_sent=True)
    assert leaving.may_part(0.0, 10.0)
    assert {host for _, host in drive(bench, 3.0)} <= {lane.host for lane in lanes if not lane.is_leaving}
