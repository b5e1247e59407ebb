"""Limits are exact, whichever engine spends them: never passed, and never missed for what was given back."""

from collections.abc import AsyncIterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crawler.budget import Budget, LimitReached, Limits
from crawler.frontier import Part, Want
from crawler.frontier.sqlite import SqliteFrontier
from crawler.models import Clock, Item, Page, Request, State, Visit
from tests.frontier_contract import JOB, Desk, Now


def visit(state: State = State.DONE, items: int = 0, quarantined: int = 0, reason: str = "") -> Visit:
    found = [Item("book", "{}")] * items + [Item("book", "{}", "no title")] * quarantined
    return Visit(Page(1, 1, Request("http://a.test/")), 1, state, reason, items=found)


# -- one engine


def test_no_limits() -> None:
    """Without limits everything is counted and nothing is held back."""
    budget = Budget(Limits())
    for _ in range(1000):
        budget.receive(1 << 40)
        assert budget.may_start()
        budget.start()
    assert (budget.bytes, budget.reached, budget.wanted(5)) == (1000 << 40, None, None)


def test_pages_are_started_as_far_as_they_are_reserved() -> None:
    """No more pages are under way than the journal has granted; what came to nothing may be started again."""
    budget = Budget(Limits(max_pages=9))
    assert (budget.may_start(), budget.wanted(3)) == (False, 3)
    budget.reserve(2, is_spent=False)
    budget.start()
    budget.start()
    assert not budget.may_start()
    budget.settle(was_counted=False)
    assert budget.may_start()
    budget.settle(was_counted=True)
    assert (budget.may_start(), budget.wanted(0)) == (True, 0)
    budget.reserve(0, is_spent=True)
    assert (budget.may_start(), budget.reached) == (False, "max-pages")


@pytest.mark.parametrize(
    ("ended", "is_counted"),
    [
        (visit(State.DONE), True),
        (visit(State.GONE), True),
        (visit(State.FAILED), True),
        (visit(State.SKIPPED, reason="robots"), False),
        (visit(State.PENDING, reason="ReadTimeout"), False),
        (visit(State.DONE, reason="redirected: http://a.test/b"), False),
    ],
)
def test_what_counts_as_a_page(ended: Visit, is_counted: bool) -> None:
    """A page counts when it ended; what is skipped, redirected or to be tried again does not."""
    assert ended.is_counted == is_counted


def test_bytes() -> None:
    """The limit of bytes may be used up; the first chunk beyond it is refused, and every one after it."""
    budget = Budget(Limits(max_bytes=100))
    budget.receive(60)
    budget.receive(40)
    assert (budget.bytes, budget.reached) == (100, None)
    assert budget.may_start()
    for _ in range(2):
        with pytest.raises(LimitReached, match="max-bytes"):
            budget.receive(1)
        assert budget.reached == "max-bytes"
        assert not budget.may_start()


def test_the_first_limit_is_the_reason() -> None:
    """The limit that was reached first is the one that is told."""
    budget = Budget(Limits(max_pages=1, max_items=1, max_bytes=1))
    with pytest.raises(LimitReached):
        budget.receive(2)
    budget.end_items()
    assert budget.reached == "max-bytes"


def test_a_limit_of_nothing() -> None:
    """No page may start under a limit of none, so the limit is reached from the start."""
    budget = Budget(Limits(max_pages=0))
    assert not budget.may_start()
    assert budget.reached == "max-pages"


# -- several engines on one journal


@pytest.fixture
async def desks(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[list[Desk]]:
    """Two engines of one invocation with the limits that the test names."""
    now, limits, part = Now(), request.param, None
    desks = []
    for _ in range(2):
        frontier = SqliteFrontier(tmp_path / "job.db", clock=Clock(now, now))
        run = await frontier.begin(JOB, fresh=False, limits=limits, part=part)
        part = Part(run.number, run.invocation)
        desks.append(Desk(frontier, run, now))
    await desks[0].add(*(f"http://{host}.test/{n}" for host in "ab" for n in range(20)))
    yield desks
    assert await desks[0].frontier.violations() == []
    for desk in desks:
        await desk.frontier.close()


async def reserve(desk: Desk, pages: int) -> tuple[int, bool]:
    leased = await desk.frontier.lease(Want(0, 1, 10.0, reserve=pages))
    return leased.reserved, leased.is_spent


@pytest.mark.parametrize("desks", [Limits(max_pages=10)], indirect=True)
async def test_a_reserved_page_is_nobody_elses(desks: list[Desk]) -> None:
    """What one engine has reserved another does not get, until it is given back."""
    first, second = desks
    assert await reserve(first, 7) == (7, False)
    assert await reserve(second, 7) == (3, False)
    assert await reserve(first, 2) == (2, False)
    assert await reserve(second, 100) == (8, False)
    assert await reserve(second, 0) == (0, False)
    assert await reserve(first, 100) == (10, False)


@pytest.mark.parametrize("desks", [Limits(max_pages=3)], indirect=True)
async def test_the_limit_is_spent_when_the_last_page_is_stored(desks: list[Desk]) -> None:
    """The limit is reached when as many pages are stored, and not while another engine may still store one."""
    first, second = desks
    (lease,) = await first.lease(hosts=1)
    await reserve(first, 2)
    await reserve(second, 1)
    await first.frontier.commit([first.visit(lease, page) for page in lease.pages[:2]])
    assert await reserve(first, 5) == (0, False)
    (other,) = await second.lease(hosts=1)
    await second.frontier.commit([second.visit(other)])
    assert await reserve(first, 5) == (0, True)
    assert await reserve(second, 5) == (0, True)
    assert (await first.frontier.counts()).spent.pages == 3


@pytest.mark.parametrize("desks", [Limits(max_pages=10)], indirect=True)
async def test_what_a_dead_engine_had_reserved(desks: list[Desk]) -> None:
    """Pages that a dead engine had reserved and not stored are free again."""
    first, second = desks
    await reserve(first, 3)
    await reserve(second, 7)
    second.frontier._lock.close()  # type: ignore[attr-defined]  # as the kernel does for a dead process
    await first.frontier.renew()
    assert await reserve(first, 100) == (10, False)


@pytest.mark.parametrize("desks", [Limits(max_items=10)], indirect=True)
async def test_the_visit_with_too_many_items_stays_out(desks: list[Desk]) -> None:
    """A visit that would pass the limit of items is not stored and stays pending; a smaller one may fill it."""
    first, second = desks
    (lease,), (other,) = await first.lease(hosts=1), await second.lease(hosts=1)
    items = [Item("book", "{}")]
    stored = await first.frontier.commit([first.visit(lease, lease.pages[0], items=items * 7)])
    assert (stored.excess, stored.is_spent) == (frozenset(), False)
    group = [second.visit(other, page, items=items * n) for page, n in zip(other.pages, (2, 4, 1), strict=False)]
    stored = await second.frontier.commit(group)
    assert (stored.excess, stored.is_spent) == (frozenset({1}), True)
    counts = await first.frontier.counts()
    assert (counts.items, counts.done, counts.spent.items) == (10, 3, 10)


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 12), st.lists(st.tuples(st.integers(0, 2), st.integers(0, 5), st.booleans()), max_size=60))
async def test_no_page_short_and_none_too_many(most: int, turns: list[tuple[int, int, bool]]) -> None:
    """However engines reserve, store and die, what is stored, reserved and left adds up to the limit."""
    page = Visit(Page(0, 0, Request("http://a.test/")), 0, State.DONE)
    with TemporaryDirectory() as folder:
        engines: list[SqliteFrontier] = []
        held, stored, part = [0, 0, 0], 0, None
        for _ in range(3):
            engines.append(SqliteFrontier(Path(folder) / "job.db", clock=Clock(Now(), Now())))
            run = await engines[-1].begin(JOB, fresh=False, limits=Limits(max_pages=most), part=part)
            part = Part(run.number, run.invocation)
        for engine, wanted, dies in turns:
            free = most - stored - sum(held) + held[engine]
            leased = await engines[engine].lease(Want(0, 1, 10.0, reserve=wanted))
            assert (leased.reserved, leased.is_spent) == (min(wanted, free), stored == most)
            held[engine] = leased.reserved
            if dies:
                engines[engine]._lock.close()
                await engines[(engine + 1) % 3].renew()
                await engines[engine].renew()
                held[engine] = 0
            elif held[engine]:
                held[engine], stored = held[engine] - 1, stored + 1
                engines[engine]._journal.transaction(engines[engine]._engines.spend, [page])
        for frontier in engines:
            await frontier.close()
