"""Sinks follow the journal: items are safe there first, and each sink catches up with a cursor of its own.

Of several engines one writes to a sink: whichever holds the lock of its file. The others stand by, and take it over
when that one has gone.
"""

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, TypeVar

from crawler import stages
from crawler.errors import ConfigError, ItemError, StorageFull, StoreUnavailable
from crawler.frontier import Cursor, Frontier, Run
from crawler.models import StoredItem
from crawler.sinks import STDOUT, MustRebuild, Position, Sink, Taken, end_of, exists

log = logging.getLogger(__name__)
Existing = Literal["refuse", "append", "overwrite"]
BATCH = 200
LONGEST_LOOK, LOOK_FOR_LOCK = 1.0, 0.25
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
        self._news = asyncio.Event()
        self._is_over = self._stands_by = False
        self._leaves_at = math.inf
        self._patience = patience
        self._waits = False  # what is wrong from the start is better known at once
        self._batch = BATCH
        self.cursor = Cursor()

    @property
    def target(self) -> str:
        """The sink, as the user named it."""
        return self._sink.target

    async def open(self, existing: Existing) -> None:
        """Cut the sink back to where this run's cursor stands, or begin it; or stand by while another engine has it.

        Raises ConfigError for a file that is there and not this run's own, unless `existing` says what to do with it;
        Taken for one that a process of another job writes.
        """
        is_there = self.target != STDOUT and exists(self.target)  # asked first: another engine may be beginning it
        self.cursor = await self._frontier.cursor(self._key, self._run)
        position = self.cursor.position
        if position is None and is_there:
            if existing == "refuse":
                refuse_existing([self.target])
            position = end_of(self.target) if existing == "append" else None
        try:
            await self._begin(position)
        except Taken:
            if not await self._is_of_this_run():
                raise
            self._stands_by = True

    async def _is_of_this_run(self) -> bool:
        """Whether the sink has a cursor; whoever takes a new one stores that within a moment."""
        for _ in range(20):
            self.cursor = await self._frontier.cursor(self._key, self._run)
            if self.cursor.position is not None:
                return True
            await asyncio.sleep(0.05)
        return False

    @property
    def _key(self) -> str:
        return self.target if self.target == STDOUT else str(Path(self.target).absolute())

    async def _begin(self, position: Position | None) -> None:
        try:
            await asyncio.to_thread(self._sink.open, position)
        except MustRebuild as wish:
            log.warning("%s is not as this run left it: it is written again from the journal", self.target)
            await self._rebuild(wish.position)
        if self.cursor.position is None:  # before anything is written, so that a kill leaves no file that is nobody's
            await self._record(Cursor(0, 0, position or {"offset": 0}))
        position = await asyncio.to_thread(self._sink.write, [])
        await self._record(Cursor(self.cursor.seq, self.cursor.bytes, position))

    async def follow(self) -> None:
        """Write items as they come, until `finish`; then to the last, whoever writes it.

        What the sink refuses for good goes to the quarantine. Raises StorageFull and StoreUnavailable when the sink has
        not taken anything for longer than the patience.
        """
        self._waits = True
        while not self._is_over or self._stands_by:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_FOR_LOCK if self._stands_by else LONGEST_LOOK):
                    await self._news.wait()
            self._news.clear()
            if self._stands_by and not await self._take_over():
                if self._is_over and (await self._is_complete() or time.monotonic() > self._leaves_at):
                    return
                continue
            while await self._write_next():
                pass

    async def _take_over(self) -> bool:
        """Go on where the engine that held the sink has left it, if it has."""
        self.cursor = await self._frontier.cursor(self._key, self._run)
        try:
            await self._begin(self.cursor.position)
        except Taken:
            return False
        self._stands_by = False
        return True

    async def _is_complete(self) -> bool:
        return not await self._frontier.items(self._run, self.cursor.seq, 1)

    def finish(self, *, patience: float = math.inf) -> None:
        """Let `follow` end when all that is there is written. It must not be cancelled: a thread may be writing.

        Where another engine writes, it is waited for `patience` seconds.
        """
        self._is_over, self._leaves_at = True, time.monotonic() + patience
        self._news.set()

    async def _write_next(self) -> bool:
        items = await self._frontier.items(self._run, self.cursor.seq, self._batch)
        if not items:
            return False
        try:
            with stages.wait("export"):
                position = await self._patiently(self._sink.write, items)
        except ItemError as error:
            await self._refuse(items, error)
            return True
        except MustRebuild as wish:
            log.info("%s gets new columns: it is written again from the journal", self.target)
            return await self._widened(wish.position)
        self._batch = min(BATCH, 2 * self._batch)
        size = sum(len(item.body) for item in items)
        await self._record(Cursor(items[-1].seq, self.cursor.bytes + size, position))
        return True

    async def _patiently(self, call: Callable[[Given], Result], given: Given) -> Result:
        """Call the sink in a thread, again and again while it is full or away."""
        waited, pause = 0.0, SHORTEST_PAUSE
        while True:
            try:
                return await asyncio.to_thread(call, given)
            except Taken:
                raise
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
            await self._frontier.quarantine(items[0].seq, f"{self._key}: {error}")

    async def _widened(self, position: Position) -> bool:
        """Begin the sink anew, unless another engine takes it over in the moment in which it is let go of."""
        try:
            await self._rebuild(position)
        except Taken:
            self._stands_by = True
        return not self._stands_by

    async def _rebuild(self, position: Position) -> None:
        await self._record(Cursor(position=position))
        await asyncio.to_thread(self._sink.close)
        await self._patiently(self._sink.open, position)

    async def _record(self, cursor: Cursor) -> None:
        await self._frontier.follow(self._key, self._run, cursor)
        self.cursor = cursor

    async def close(self) -> None:
        """Let go of the sink."""
        await asyncio.to_thread(self._sink.close)
