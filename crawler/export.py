"""Sinks follow the journal: items are safe there first, and each sink catches up with a cursor of its own.

Of several engines one writes to a sink: whichever holds the lock of its file. The others stand by, and take it over
when that one has gone.
"""

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from crawler.errors import ConfigError
from crawler.frontier import Cursor, Frontier, Run
from crawler.sinks import STDOUT, MustRebuild, Position, Sink, Taken, end_of, exists

log = logging.getLogger(__name__)
Existing = Literal["refuse", "append", "overwrite"]
BATCH = 200
LONGEST_PAUSE, LOOK_AGAIN = 1.0, 0.25


def refuse_existing(targets: Sequence[str]) -> None:
    """Raises ConfigError for a file that is there."""
    for target in targets:
        if target != STDOUT and exists(target):
            raise ConfigError(
                f"{target} exists and is not of this run: name another file, or pass --append or --overwrite"
            )


class Exporter:
    """Keeps one sink up with the items of one run."""

    def __init__(self, frontier: Frontier, sink: Sink, run: Run) -> None:
        self._frontier = frontier
        self._sink = sink
        self._run = run.number
        self._news = asyncio.Event()
        self._is_over = self._stands_by = False
        self._leaves_at = math.inf
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
        self.cursor = await self._frontier.cursor(self._key, self._run)
        position = self.cursor.position
        if position is None and self.target != STDOUT and exists(self.target):
            if existing == "refuse":
                refuse_existing([self.target])
            position = end_of(self.target) if existing == "append" else None
        try:
            await self._begin(position)
        except Taken:
            if self.cursor.position is None:
                raise
            self._stands_by = True

    @property
    def _key(self) -> str:
        return self.target if self.target == STDOUT else str(Path(self.target).absolute())

    async def _begin(self, position: Position | None) -> None:
        try:
            await asyncio.to_thread(self._sink.open, position)
        except MustRebuild as wish:
            log.warning("%s is not as this run left it: it is written again from the journal", self.target)
            await self._rebuild(wish.position)
        await self._write_next(at_least_once=True)

    async def follow(self) -> None:
        """Write items as they come, until `finish`; then to the last, whoever writes it."""
        while not self._is_over or self._stands_by:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_AGAIN if self._stands_by else LONGEST_PAUSE):
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

    async def _write_next(self, *, at_least_once: bool = False) -> bool:
        items = await self._frontier.items(self._run, self.cursor.seq, BATCH)
        if not items and not at_least_once:
            return False
        try:
            position = await asyncio.to_thread(self._sink.write, items)
        except MustRebuild as wish:
            log.info("%s gets new columns: it is written again from the journal", self.target)
            await self._rebuild(wish.position)
            return True
        seq = items[-1].seq if items else self.cursor.seq
        await self._record(Cursor(seq, self.cursor.bytes + sum(len(item.body) for item in items), position))
        return bool(items)

    async def _rebuild(self, position: Position) -> None:
        await self._record(Cursor(position=position))
        await asyncio.to_thread(self._sink.close)
        await asyncio.to_thread(self._sink.open, position)

    async def _record(self, cursor: Cursor) -> None:
        await self._frontier.follow(self._key, self._run, cursor)
        self.cursor = cursor

    async def close(self) -> None:
        """Let go of the sink."""
        await asyncio.to_thread(self._sink.close)
