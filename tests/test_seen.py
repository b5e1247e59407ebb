"""What is remembered of committed links: never too much, never what was not there."""

import tracemalloc

from hypothesis import given, settings
from hypothesis import strategies as st

from crawler.seen import Seen

added = st.lists(st.tuples(st.sampled_from("abcdefgh"), st.integers(0, 5)), max_size=60)


@settings(deadline=None)
@given(added, st.integers(0, 10))
def test_never_claims_what_was_not_added(links: list[tuple[str, int]], limit: int) -> None:
    """Whatever was forgotten: a URL counts as known at a depth only if it was added at that depth or nearer."""
    seen = Seen(limit)
    nearest: dict[str, int] = {}
    for url, depth in links:
        seen.add(url, depth)
        nearest[url] = min(depth, nearest.get(url, depth))
        for asked in range(7):
            claimed = set("abcdefghi") - set(seen.unseen("abcdefghi", asked))
            assert claimed <= {url for url, known in nearest.items() if known <= asked}


@settings(deadline=None)
@given(added)
def test_remembers_all_within_its_limit(links: list[tuple[str, int]]) -> None:
    """Below its limit nothing is forgotten: a URL is known at the smallest depth it was added at and deeper."""
    seen = Seen(limit=60)
    nearest: dict[str, int] = {}
    for url, depth in links:
        seen.add(url, depth)
        nearest[url] = min(depth, nearest.get(url, depth))
    for asked in range(7):
        assert seen.unseen("abcdefghi", asked) == [url for url in "abcdefghi" if nearest.get(url, 9) > asked]


def test_the_smaller_depth_wins() -> None:
    """A link found again nearer is known nearer; found again further, it stays as near as it was."""
    seen = Seen()
    seen.add("a", 3)
    assert seen.unseen(["a"], 2) == ["a"]
    assert seen.unseen(["a"], 3) == []
    seen.add("a", 1)
    seen.add("a", 4)
    assert seen.unseen(["a"], 0) == ["a"]
    assert seen.unseen(["a"], 1) == []


def test_asking_changes_nothing() -> None:
    """A link becomes known by its commit and not by being looked at; the order and the repeats asked for stay."""
    seen = Seen()
    assert seen.unseen(["b", "a", "b"], 1) == ["b", "a", "b"]
    assert seen.unseen(iter(["b", "a", "b"]), 1) == ["b", "a", "b"]
    seen.add("b", 1)
    assert seen.unseen(["b", "a", "b"], 1) == ["a"]


def test_the_latest_are_known() -> None:
    """At any moment at least the latest links up to the limit are known."""
    seen = Seen(limit=100)
    for n in range(1000):
        seen.add(str(n), n % 3)
        latest = [str(m) for m in range(max(0, n - 99), n + 1)]
        assert seen.unseen(latest, 2) == []


def test_the_smaller_depth_wins_across_generations() -> None:
    """A link that is about to be forgotten keeps its depth when it is seen again further away."""
    seen = Seen(limit=10)
    seen.add("a", 1)
    for n in range(10):
        seen.add(str(n), 5)
    seen.add("a", 4)
    assert seen.unseen(["a"], 1) == []


def test_memory_is_bounded() -> None:
    """However many links a crawl has, at most twice the limit are remembered."""
    seen = Seen(limit=1000)
    tracemalloc.start()
    try:
        for n in range(50_000):
            seen.add(f"http://a.test/{n}", 0)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert 1000 <= 50_000 - len(seen.unseen([f"http://a.test/{n}" for n in range(50_000)], 0)) <= 2002
    assert most < 1_000_000, most  # 50,000 links would be eight times that
