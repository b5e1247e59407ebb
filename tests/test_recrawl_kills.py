"""Killed at any moment while it visits its pages again, it tells the feed of an undisturbed crawl, each line once."""

import asyncio
import json
import math
import random
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self, cast

import pytest

from crawler import Crawl
from crawler.frontier.checks import violations
from crawler.frontier.schema import readable
from crawler.testing import Site
from tests.kills.lives import KILLED, Life, Lives, lives
from tests.kills.market import DAYS, Market, Shopper
from tests.kills.points import COMMIT, HANDLERS, LEASES, SINKS

SETTINGS = {"revisit": "0.1", "concurrency_per_host": 2, "commit_window": 0.01}
AT_FAULT = "in a commit, after its items"
POINTS = [*LEASES, *COMMIT, "inside a handler", "when a handler has ended, before the commit", *SINKS]
PATIENCE = 40.0
KILLS_A_DAY = 2

pytestmark = pytest.mark.timeout(100)
assert "when a handler has ended, before the commit" in HANDLERS


@pytest.fixture(scope="module")
def market() -> Iterator[Market]:
    with Site.in_thread() as site:
        yield Market(site)


@pytest.fixture(scope="module")
def server() -> Iterator[Lives]:
    with lives() as server:
        yield server


@pytest.fixture(scope="module")
def undisturbed(market: Market, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[tuple[object, ...]]]:
    folder = tmp_path_factory.mktemp("undisturbed")
    with in_thread(market, folder):
        days_pass(market, folder / "job" / "job.db")
    return told(folder / "items.jsonl")


@contextmanager
def in_thread(market: Market, folder: Path) -> Iterator[None]:
    """A crawl in a thread, which is stopped at the end."""
    settings = {**market.site.settings, **SETTINGS}
    crawl = Crawl(
        Shopper(market.seeds), output=str(folder / "items.jsonl"), folder=folder, job="job", settings=settings
    )
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_until_complete, args=(crawl.run(),))
    thread.start()
    try:
        yield
    finally:
        loop.call_soon_threadsafe(crawl.stop)
        thread.join()
        loop.close()


def days_pass(market: Market, journal: Path, kills: Callable[[], float] = lambda: math.inf) -> None:
    """Let day follow day: each when all pages were visited on it, that is stored, and there were some kills."""
    market.served.clear()
    for market.day in range(DAYS):
        deadline, enough = time.monotonic() + PATIENCE, kills() + KILLS_A_DAY
        while (missing := unvisited(market, journal)) or kills() < enough < math.inf:
            assert time.monotonic() < deadline, f"on day {market.day} nobody comes to {missing}"
            time.sleep(0.02)


def unvisited(market: Market, journal: Path) -> set[str]:
    """The pages that nobody has both asked for on this day and stored since then."""
    ended = visits(journal)
    return {url for url in market.pages() if ended.get(url, 0) <= market.served.get((market.day, url), math.inf)}


def visits(journal: Path) -> dict[str, float]:
    """When the last visits of pages have ended."""
    if not journal.exists() or journal.with_name("job.db-journal").exists():
        return {}
    db = readable(journal)
    try:
        if not db.pragma("user_version"):
            return {}
        rows = db.execute("SELECT url, ended_at FROM urls WHERE state IN ('done', 'gone')").fetchall()
        return dict(cast("list[tuple[str, float]]", rows))
    finally:
        db.close()


def told(output: Path) -> dict[str, list[tuple[object, ...]]]:
    """What the feed says of each item, in order; of two items of different pages the order is not determined."""
    found = defaultdict(list)
    for line in map(json.loads, output.read_text().splitlines()):
        change = (line["_change"], line["_previous_hash"], line["_hash"], line["name"], line["price"])
        found[line["_key"]].append(change)
    return dict(found)


def test_undisturbed(undisturbed: dict[str, list[tuple[object, ...]]]) -> None:
    """What the others are compared with has every kind of change, and hashes that follow one another."""
    assert {change for told_of_one in undisturbed.values() for change, *_ in told_of_one} == {
        "added",
        "changed",
        "removed",
    }
    for told_of_one in undisturbed.values():
        now = None
        for _, previous, new, *_ in told_of_one:
            assert previous == now != new
            now = new
    assert [change for change, *_ in undisturbed["bread"]] == ["added", "removed", "added"]


class Job:
    """Lives of one job, each killed by chance, until the days are over; the last one ends in peace."""

    def __init__(
        self, market: Market, server: Lives, folder: Path, chance: random.Random, fault: str | None = None
    ) -> None:
        self.folder = folder
        self.kills = 0
        self.faults: list[str] = []
        self._market = market
        self._server = server
        self._chance = chance
        self._fault = fault
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._lived)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_raised: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _lived(self) -> None:
        settings = {**self._market.site.settings, **SETTINGS}
        life = {"folder": str(self.folder), "seeds": self._market.seeds, "settings": settings}
        outputs = [str(self.folder / "items.jsonl"), str(self.folder / "items.csv")]
        while not self._is_over.is_set():
            if self._fault is not None:
                chosen: dict[str, object] = {"point": AT_FAULT, "passage": self._chance.randint(1, 3), "max_time": 0.4}
            elif self._chance.random() < 0.5:
                chosen = {"kill_after": self._chance.uniform(0.05, 0.4)}
            else:
                chosen = {"point": self._chance.choice(POINTS), "passage": self._chance.randint(1, 5), "max_time": 0.4}
            code = self._server.live(Life(**life, outputs=outputs, fault=self._fault, **chosen))  # type: ignore[arg-type]  # as chosen
            self.kills += code == KILLED
            self._examine(code)
        self._examine(self._server.live(Life(**life, outputs=outputs, max_time=0.3)))  # type: ignore[arg-type]  # as above

    def _examine(self, code: int) -> None:
        if code not in {0, KILLED}:
            self.faults.append((self.folder / "log").read_text()[-3000:])
            self._is_over.set()
        journal = self.folder / "job" / "job.db"
        if visits(journal):
            db = readable(journal)
            self.faults += violations(db)
            db.close()


@pytest.mark.parametrize("seed", range(3))
def test_any_moment(
    market: Market, server: Lives, undisturbed: dict[str, list[tuple[object, ...]]], tmp_path: Path, seed: int
) -> None:
    """Killed at steps and moments that chance chooses, on any day, it tells what an undisturbed crawl tells."""
    with Job(market, server, tmp_path, random.Random(seed)) as job:
        days_pass(market, tmp_path / "job" / "job.db", lambda: job.kills)
    assert job.faults == []
    assert job.kills >= DAYS * KILLS_A_DAY
    assert told(tmp_path / "items.jsonl") == undisturbed
    rows = (tmp_path / "items.csv").read_text().splitlines()
    assert len(rows) == 1 + sum(map(len, undisturbed.values()))


def test_a_fault_is_noticed(
    market: Market, server: Lives, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    undisturbed: dict[str, list[tuple[object, ...]]],
) -> None:  # fmt: skip
    """If a page ended in one transaction, and what it led to were stored in another, the examination would fail."""
    monkeypatch.setattr("tests.test_recrawl_kills.PATIENCE", 4.0)

    def examine() -> None:
        with Job(market, server, tmp_path, random.Random(0), "a commit in two transactions") as job:
            days_pass(market, tmp_path / "job" / "job.db")
        assert not job.faults
        assert told(tmp_path / "items.jsonl") == undisturbed

    with pytest.raises(AssertionError):
        examine()
