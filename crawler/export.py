"""Sinks follow the journal: items are safe there first, and each sink catches up with a cursor of its own."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, TypeVar

from crawler.errors import ConfigError, ItemError, StorageFull, StoreUnavailable
from crawler.frontier import Frontier, Run
from crawler.models import StoredItem
from crawler.sinks import STDOUT, MustRebuild, Position, Sink, end_of, exists

log = logging.getLogger(__name__)
Existing = Literal["refuse", "append", "overwrite"]
BATCH = 200
LONGEST_LOOK = 1.0
SHORTEST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
Given = TypeVar("Given")
Result = TypeVar("Result")


def refuse_existing(targets: Sequence[str]) -> None:
    """Raises ConfigError for a file that is there."""
    for target in targets:
        if target != STDOUT and exists(target):
            raise ConfigError(
                f"{target} exists and is not of this run: name another file, or pass --append or --overwrite"
            )


class Exporter:
    """Keeps one sink up with the items of one run. `patience` (s): how long one that is full or away is waited for."""

    def __init__(self, frontier: Frontier, sink: Sink, run: Run, patience: float) -> None:
        self._frontier = frontier
        self._sink = sink
        self._run = run.number
        self._last_item = run.last_item
        self._seq = 0
        self._news = asyncio.Event()
        self._is_over = False
        self._patience = patience
        self._waits = False  # what is wrong from the start is better known at once
        self._batch = BATCH
        self.written_bytes = 0  # of items that were stored since this engine began
        self.refused_bytes = 0  # of those, what this sink cannot take

    @property
    def target(self) -> str:
        """The sink, as the user named it."""
        return self._sink.target

    async def open(self, existing: Existing) -> None:
        """Cut the sink back to where this run's cursor stands, or begin it.

        Raises ConfigError for a file that is there and not this run's own, unless `existing` says what to do with it.
        """
        self._seq, position = await self._frontier.cursor(self._key, self._run)
        if position is None and self.target != STDOUT and exists(self.target):
            if existing == "refuse":
                refuse_existing([self.target])
            position = end_of(self.target) if existing == "append" else None
        try:
            await asyncio.to_thread(self._sink.open, position)
        except MustRebuild as wish:
            log.warning("%s is not as this run left it: it is written again from the journal", self.target)
            await self._rebuild(wish.position)
        await self._record(await asyncio.to_thread(self._sink.write, []))

    @property
    def _key(self) -> str:
        return self.target if self.target == STDOUT else str(Path(self.target).absolute())

    async def follow(self) -> None:
        """Write items as they come, until `finish`. What the sink refuses for good goes to the quarantine.

        Raises StorageFull and StoreUnavailable when the sink has not taken anything for longer than the patience.
        """
        self._waits = True
        while not self._is_over:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LONGEST_LOOK):
                    await self._news.wait()
            self._news.clear()
            while await self._write_next():
                pass

    def finish(self) -> None:
        """Let `follow` end when all that is there is written. It must not be cancelled: a thread may be writing."""
        self._is_over = True
        self._news.set()

    async def _write_next(self) -> bool:
        items = await self._frontier.items(self._run, self._seq, self._batch)
        if not items:
            return False
        try:
            position = await self._patiently(self._sink.write, items)
        except ItemError as error:
            await self._refuse(items, error)
            return True
        except MustRebuild as wish:
            log.info("%s gets new columns: it is written again from the journal", self.target)
            await self._rebuild(wish.position)
            return True
        self._batch = min(BATCH, 2 * self._batch)
        self._seq = items[-1].seq
        await self._record(position)
        self.written_bytes += sum(len(item.body) for item in items if item.seq > self._last_item)
        return True

    async def _record(self, position: Position) -> None:
        await self._frontier.follow(self._key, self._run, self._seq, position)

    async def _patiently(self, call: Callable[[Given], Result], given: Given) -> Result:
        """Call the sink in a thread, again and again while it is full or away."""
        waited, pause = 0.0, SHORTEST_PAUSE
        while True:
            try:
                return await asyncio.to_thread(call, given)
            except (StorageFull, StoreUnavailable) as error:
                if waited >= self._patience or not self._waits:
                    raise
                if not waited:
                    log.warning("items wait in the journal: %s", error)
            await asyncio.sleep(pause)
            waited, pause = waited + pause, min(2 * pause, LONGEST_PAUSE)

    async def _refuse(self, items: Sequence[StoredItem], error: ItemError) -> None:
        """Set the item aside that the sink cannot take, once it is found: of several the first half is tried next."""
        self._batch = max(1, len(items) // 2)
        if len(items) == 1:
            log.warning("an item goes to the quarantine: %s", error)
            await self._frontier.quarantine(items[0].seq, f"{self.target}: {error}")
            self.refused_bytes += sum(len(item.body) for item in items if item.seq > self._last_item)

    async def _rebuild(self, position: Position) -> None:
        self._seq = self.written_bytes = 0
        await self._record(position)
        await asyncio.to_thread(self._sink.close)
        await self._patiently(self._sink.open, position)

    async def close(self) -> None:
        """Let go of the sink."""
        await asyncio.to_thread(self._sink.close)
