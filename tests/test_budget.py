"""Limits are exact: never passed, and never missed for what was given back."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from crawler.budget import Budget, LimitReached, Limits
from crawler.models import Item, Page, Request, State, Visit

ENDED = (State.DONE, State.GONE, State.FAILED)


def visit(state: State = State.DONE, items: int = 0, quarantined: int = 0, reason: str = "") -> Visit:
    found = [Item("book", "{}")] * items + [Item("book", "{}", "no title")] * quarantined
    return Visit(Page(1, 1, Request("http://a.test/")), 1, state, reason, items=found)


def spend(budget: Budget, visit: Visit | None) -> bool:
    """Ask for one page as the engine does, and whether it may be stored."""
    assert budget.may_start()
    budget.start()
    return budget.admit(visit)


def test_no_limits() -> None:
    """Without limits everything is counted and nothing is held back."""
    budget = Budget(Limits())
    for _ in range(1000):
        budget.receive(1 << 40)
        assert spend(budget, visit(items=1000))
    assert (budget.pages, budget.items, budget.bytes) == (1000, 1_000_000, 1000 << 40)
    assert budget.reached is None
    assert budget.may_start()


def test_pages_are_reserved_when_they_start() -> None:
    """As many pages are under way as the limit still has room for; the last one to end reaches it."""
    budget = Budget(Limits(max_pages=3))
    for _ in range(3):
        assert budget.may_start()
        budget.start()
    assert not budget.may_start()
    assert budget.admit(visit())
    assert not budget.may_start()
    assert not budget.reached
    assert budget.admit(visit())
    assert budget.admit(visit(State.FAILED))
    assert (budget.pages, budget.reached) == (3, "max-pages")
    assert not budget.may_start()


@pytest.mark.parametrize(
    ("ended", "pages"),
    [
        (visit(State.DONE), 1),
        (visit(State.GONE), 1),
        (visit(State.FAILED), 1),
        (visit(State.SKIPPED, reason="robots"), 0),
        (visit(State.PENDING, reason="ReadTimeout"), 0),
        (visit(State.DONE, reason="redirected: http://a.test/b"), 0),
        (None, 0),
    ],
)
def test_what_counts_as_a_page(ended: Visit | None, pages: int) -> None:
    """A page counts when it ended; what is skipped, redirected, lost or to be tried again gives its place back."""
    budget = Budget(Limits(max_pages=1))
    assert spend(budget, ended) == (ended is not None)
    assert budget.pages == pages
    assert budget.reached == ("max-pages" if pages else None)
    assert budget.may_start() == (not pages)


def test_the_visit_with_too_many_items_stays_out() -> None:
    """A visit that would pass the limit of items is not stored, counts nothing, and is the last."""
    budget = Budget(Limits(max_items=10))
    assert spend(budget, visit(items=9, quarantined=5))
    assert not spend(budget, visit(items=2))
    assert (budget.pages, budget.items, budget.reached) == (1, 9, "max-items")
    assert not budget.may_start()


def test_just_enough_items() -> None:
    """The limit is reached by the item that fills it; what is under way then may still end without items."""
    budget = Budget(Limits(max_items=10))
    budget.start()
    assert spend(budget, visit(items=10))
    assert (budget.items, budget.reached) == (10, "max-items")
    assert not budget.may_start()
    assert budget.admit(visit(quarantined=3))
    assert (budget.pages, budget.items) == (2, 10)


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
    budget.start()
    assert budget.admit(visit(items=1))
    assert budget.reached == "max-bytes"


class Crawling(RuleBasedStateMachine):
    """An engine that does as it is told, with many pages under way at once."""

    limits = Limits(max_pages=7, max_items=12, max_bytes=10_000)

    def __init__(self) -> None:
        super().__init__()
        self.budget = Budget(self.limits)
        self.under_way = 0
        self.stored: list[Visit] = []
        self.received = 0

    @precondition(lambda self: self.budget.may_start())
    @rule()
    def start(self) -> None:
        self.budget.start()
        self.under_way += 1

    @precondition(lambda self: self.under_way)
    @rule(state=st.sampled_from(State), items=st.integers(0, 5), quarantined=st.integers(0, 2))
    def end(self, state: State, items: int, quarantined: int) -> None:
        ended = visit(state, items, quarantined, "redirected: elsewhere" if state == State.DONE and items == 5 else "")
        self.under_way -= 1
        is_room = sum(map(good, self.stored)) + items <= 12
        assert self.budget.admit(ended) == is_room
        if is_room:
            self.stored.append(ended)
        else:
            assert self.budget.reached

    @precondition(lambda self: self.under_way)
    @rule()
    def lose(self) -> None:
        self.under_way -= 1
        assert not self.budget.admit(None)

    @rule(size=st.integers(0, 4_000))
    def receive(self, size: int) -> None:
        self.received += size
        if self.received <= 10_000:
            self.budget.receive(size)
        else:
            with pytest.raises(LimitReached):
                self.budget.receive(size)

    @invariant()
    def limits_hold(self) -> None:
        budget = self.budget
        pages = sum(one.state in ENDED and not one.reason for one in self.stored)
        assert (budget.pages, budget.items, budget.bytes) == (pages, sum(map(good, self.stored)), self.received)
        assert budget.pages + self.under_way <= 7
        assert budget.items <= 12
        is_full = budget.pages == 7 or budget.items == 12 or budget.bytes > 10_000
        assert budget.reached or not is_full
        assert budget.may_start() == (budget.reached is None and budget.pages + self.under_way < 7)


def good(one: Visit) -> int:
    return sum(item.quarantine is None for item in one.items)


TestCrawling = Crawling.TestCase
TestCrawling.settings = settings(deadline=None, max_examples=60, stateful_step_count=40)


@settings(deadline=None)
@given(st.integers(1, 20), st.lists(st.sampled_from(State), min_size=60, max_size=60), st.integers(1, 30))
def test_no_page_short(most: int, ends: list[State], abreast: int) -> None:
    """A limit of pages is used up whole, however many give their place back and however many are under way at once."""
    budget = Budget(Limits(max_pages=most))
    left, under_way = [*ends, *[State.DONE] * most], 0
    while budget.reached is None:
        while under_way < abreast and budget.may_start():
            budget.start()
            under_way += 1
        assert budget.admit(visit(left.pop(0)))
        under_way -= 1
    assert (budget.pages, budget.reached, under_way) == (most, "max-pages", 0)


def test_a_limit_of_nothing() -> None:
    """No page may start under a limit of none, so the limit is reached from the start."""
    budget = Budget(Limits(max_pages=0))
    assert not budget.may_start()
    assert budget.reached == "max-pages"
