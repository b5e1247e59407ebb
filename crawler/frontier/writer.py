"""One connection on one writer thread: transactions, and statements that take all their rows at once."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import TypeAlias, TypeVar, cast

import apsw
import msgspec

from crawler.errors import JournalVersionError, StorageFull, StoreUnavailable
from crawler.frontier.schema import opened, translated
from crawler.models import Json

log = logging.getLogger(__name__)
T = TypeVar("T")
Bindings: TypeAlias = "Sequence[apsw.SQLiteValue] | dict[str, apsw.SQLiteValue]"  # the name is in apsw's stubs only
_encode, _decode = msgspec.json.encode, msgspec.json.decode


class Writer:
    """The journal's only connection in this process. ``patience`` (s): how long a store that is away is waited for."""

    def __init__(self, path: Path | str | apsw.Connection, *, power_safe: bool, executor: Executor | None) -> None:
        self._writer = executor or ThreadPoolExecutor(1, thread_name_prefix="journal")
        self._is_lent = isinstance(path, apsw.Connection)
        self.db = path if isinstance(path, apsw.Connection) else opened(path, power_safe=power_safe)
        self.patience = 0.0
        self.on_rollback: Callable[[], None] = lambda: None

    async def do(self, function: Callable[..., T], *arguments: object) -> T:
        """Run a function in a transaction of its own, on the writer thread; wait for a store that is full or locked."""
        loop, waited, pause = asyncio.get_running_loop(), 0.0, 0.1
        while True:
            try:
                return await loop.run_in_executor(self._writer, self.transaction, function, *arguments)
            except (StorageFull, StoreUnavailable) as error:
                if waited >= self.patience:
                    raise
                if not waited:
                    log.warning("the crawl waits: %s", error)
            await asyncio.sleep(pause)
            waited, pause = waited + pause, min(2 * pause, 5.0)

    def transaction(self, function: Callable[..., T], *arguments: object) -> T:
        """Run a function in a transaction, in this thread."""
        try:
            # not `with self.db`: that begins and commits with the interpreter lock held, the waits for a lock included
            self.execute("BEGIN IMMEDIATE")
            try:
                result = function(*arguments)
                self.execute("COMMIT")
            except BaseException:
                if self.db.in_transaction:  # on a full disk SQLite may have rolled back by itself
                    self.execute("ROLLBACK")
                self.on_rollback()
                raise
        except apsw.Error as error:
            raise translated(error) from error
        except (UnicodeDecodeError, msgspec.DecodeError) as error:
            raise JournalVersionError(f"the journal is damaged: {error}; 'crawler doctor' tells more") from error
        return result

    def execute(self, statement: str, bindings: Bindings = ()) -> None:
        """Run a statement, its rows unseen."""
        self.db.execute(statement, bindings).fetchall()

    def rows(self, statement: str, rows: Iterable[object]) -> int:
        """Run a statement over all rows at once; how many it changed."""
        if not (listed := list(rows)):
            return 0
        return self.change(statement, (_encode(listed).decode(),))

    def change(self, statement: str, bindings: Bindings) -> int:
        """Run a statement; how many rows it changed."""
        self.execute(statement, bindings)
        return self.db.changes()

    def value(self, statement: str, bindings: Bindings = ()) -> object:
        """The first row's only value; None without a row."""
        return self.db.execute(statement, bindings).get

    def json(self, statement: str, bindings: Bindings = ()) -> list[list[Json]]:
        """The one value of a statement that answers in JSON."""
        found = self.value(statement, bindings)
        return cast("list[list[Json]]", _decode(cast("str", found)))

    def close(self) -> None:
        """Let go of the file."""
        if not self._is_lent:
            self.db.close()
        self._writer.shutdown()
