"""What the product must not do: each is done in a life on purpose, to show that the examination notices."""

from collections.abc import Callable, Sequence
from typing import Any

from crawler.frontier import queries
from crawler.frontier.sqlite import SqliteFrontier
from crawler.models import StoredItem


def cursor_before_write() -> None:
    """The cursor is stored when items are read for a sink, before it has written them."""
    original = SqliteFrontier._items

    def _items(self: SqliteFrontier, run: int, after: int, limit: int) -> list[StoredItem]:
        items = original(self, run, after, limit)
        if items:
            self._journal.execute("UPDATE sinks SET seq = max(seq, ?) WHERE run = ?", (items[-1].seq, run))
        return items

    SqliteFrontier._items = _items  # type: ignore[method-assign]


def commit_in_two() -> None:
    """Pages are ended in one transaction, and what they led to is stored in another."""
    original = SqliteFrontier._end

    def _end(self: SqliteFrontier, visits: Sequence[Any]) -> int:
        item_bytes = original(self, visits)
        self._journal.execute("COMMIT")
        self._journal.execute("BEGIN IMMEDIATE")
        return item_bytes

    SqliteFrontier._end = _end  # type: ignore[method-assign]


def no_pause_at_takeover() -> None:
    """A dead engine's hosts may be asked at once."""
    hasty = queries.BURY.replace("e.value->>1 + coalesce(delay, e.value->>2)", "0")
    assert hasty != queries.BURY
    queries.BURY = hasty


FAULTS: dict[str, Callable[[], None]] = {
    "the cursor before the write": cursor_before_write,
    "a commit in two transactions": commit_in_two,
    "no pause at takeover": no_pause_at_takeover,
}
