"""The journal in memory that outlives the processes of a simulation, its writers, and who is known to be dead."""

import random
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any, Literal, TypeVar, cast

from crawler.frontier.liveness import EngineLock
from crawler.frontier.schema import opened
from crawler.simulation.virtual import Process, VirtualLoop

T = TypeVar("T")
Moment = Literal["before", "within", "after"]

_WATCH = """
CREATE TEMP TABLE endings(page INTEGER, run INTEGER);
CREATE TEMP TRIGGER ended AFTER UPDATE OF state ON main.pages WHEN NEW.state <> 0
BEGIN INSERT INTO endings VALUES (NEW.seq, NEW.run); END;
"""
_ENDED_TWICE = """
SELECT origin || path FROM endings JOIN pages ON seq = page JOIN hosts ON hosts.id = host
GROUP BY page, endings.run HAVING count(*) > 1"""
_PAGES = """
SELECT origin || path, state, coalesce(reason, '') FROM pages JOIN hosts ON hosts.id = host
WHERE coalesce(request->>'kind', 'page') = 'page'"""
_ITEMS = "SELECT body, quarantine FROM items ORDER BY seq"
_GROUP = "SELECT owner FROM groups WHERE name = ?"
_HOST = "SELECT owner, ready_at FROM hosts WHERE origin = ?"


class Killed(BaseException):
    """The process dies within a transaction; nobody may catch it."""


class Journal:
    """One journal for all processes of a simulation, and what its tables say."""

    def __init__(self, seed: int) -> None:
        self.connection = opened(":memory:")
        key = random.Random(seed).randbytes(16)  # noqa: S311  # the same in each replay is what it is for
        self.connection.execute("INSERT INTO job VALUES ('key', ?)", (key,)).fetchall()
        self.connection.execute(_WATCH).fetchall()
        self.engines: dict[int, Process] = {}

    def close(self) -> None:
        """Forget it."""
        self.connection.close()

    def host(self, origin: str) -> tuple[int | None, float]:
        """Who owns a host (the engine's number in the journal), and from when on it may be asked (epoch seconds)."""
        return cast("tuple[int | None, float]", self.connection.execute(_HOST, (origin,)).fetchone())

    def group_owner(self, name: str) -> int | None:
        """Who owns a group."""
        return cast("int | None", self.connection.execute(_GROUP, (name,)).get)

    def number_of(self, process: Process) -> int:
        """By which number the journal knows a process; 0 if it is thought dead."""
        return next((number for number, one in self.engines.items() if one is process), 0)

    def is_over(self) -> bool:
        """Whether the run has ended."""
        return self.connection.execute("SELECT 1 FROM runs WHERE finished_at IS NOT NULL").fetchone() is not None

    def ended_twice(self) -> list[str]:
        """URLs of pages that were ended more than once."""
        return [cast("str", row[0]) for row in self.connection.execute(_ENDED_TWICE)]

    def pages(self) -> list[tuple[str, int, str]]:
        """URL, state and reason of each page; robots.txt and the like are none."""
        return cast("list[tuple[str, int, str]]", self.connection.execute(_PAGES).fetchall())

    def items(self) -> list[str]:
        """All items in commit order, as JSON, without those in quarantine."""
        return [cast("str", body) for body, quarantine in self.connection.execute(_ITEMS) if quarantine is None]


class SharedLock(EngineLock):
    """One process's lock, which is free once it is dead."""

    def __init__(self, journal: Journal, process: Process) -> None:
        super().__init__(None)
        self.number = 0
        self._journal = journal
        self._process = process

    def take(self, engine: int) -> None:
        """Be known as `engine`."""
        self.number = engine
        self._journal.engines[engine] = self._process

    def is_free(self, engine: int) -> bool:
        """Whether that engine is dead."""
        process = self._journal.engines.get(engine)
        return process is None or process.is_dead

    def remove(self, engine: int) -> list[int]:
        """Forget a dead engine; the pages that were inside a handler when it died."""
        self._journal.engines.pop(engine, None)
        return []

    def close(self) -> None:
        """Nobody asks for this one any more: its row in the journal is gone."""


class Writer(Executor):
    """One process's writer thread: transactions one after another, each after a seeded time.

    At transaction number `last`, counted from 1, the process dies: `before` it, `within` it, or `after` it.
    """

    def __init__(
        self, loop: VirtualLoop, process: Process, journal: Journal, chance: random.Random, *, slow: float
    ) -> None:
        self._loop = loop
        self._process = process
        self._connection = journal.connection
        self._chance = chance
        self._slow = slow
        self._waiting: deque[tuple[Callable[[], object], Future[Any]]] = deque()
        self._is_busy = False
        self._count = 0
        self.last: int | None = None
        self.moment: Moment = "before"

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Queue a transaction."""
        future: Future[T] = Future()
        self._waiting.append((lambda: fn(*args, **kwargs), future))
        if not self._is_busy:
            self._begin()
        return future

    def _begin(self) -> None:
        """Take up the next that was not cancelled; from now on it cannot be."""
        self._is_busy = False
        while self._waiting and not self._is_busy:
            transaction, future = self._waiting.popleft()
            if future.set_running_or_notify_cancel():
                self._is_busy = True
                self._loop.call_later(self._latency(), self._run, transaction, future)

    def _latency(self) -> float:
        if self._chance.random() < self._slow:
            return self._chance.uniform(0.1, 4.0)
        return self._chance.choice((0.0, 0.001, 0.01))

    def _run(self, transaction: Callable[[], object], future: Future[Any]) -> None:
        self._count += 1
        is_last = self._count == self.last
        if is_last and self.moment != "after":
            if self.moment == "within":
                self._cut(transaction)
            self._process.kill()
            return
        try:
            future.set_result(transaction())
        except Exception as error:  # noqa: BLE001  # it is raised where the future is awaited
            future.set_exception(error)
        if is_last:
            self._process.kill()
        self._begin()

    def _cut(self, transaction: Callable[[], object]) -> None:
        statements = self._chance.randint(1, 6)

        def trace(*_statement: object) -> bool:
            nonlocal statements
            statements -= 1
            if not statements:
                self._connection.exec_trace = None  # the rollback goes on, as that of the next process would
                raise Killed
            return True

        self._connection.exec_trace = trace
        try:
            transaction()
        except Killed:
            pass
        finally:
            self._connection.exec_trace = None
