"""Sinks follow the journal: items are safe there first, and each sink catches up with a cursor of its own."""

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from crawler.errors import ConfigError
from crawler.frontier import Frontier, Run
from crawler.sinks import STDOUT, MustRebuild, Position, Sink, end_of, exists

log = logging.getLogger(__name__)
Existing = Literal["refuse", "append", "overwrite"]
BATCH = 200
LONGEST_PAUSE = 1.0


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
        self._last_item = run.last_item
        self._seq = 0
        self._news = asyncio.Event()
        self._is_over = False
        self.written_bytes = 0  # of items that were stored since this engine began

    @property
    def target(self) -> str:
        """The sink, as the user named it."""
        return self._sink.target

    async def open(self, existing: Existing) -> None:
        """Cut the sink back to where this run's cursor stands, or begin it.

        Raises ConfigError for a file that is there and not this run's own, unless `existing` says what to do with it.
        """
        self._seq, position = await self._frontier.cursor(self._key, self._run)
        is_new = position is None
        if is_new and self.target != STDOUT and exists(self.target):
            if existing == "refuse":
                refuse_existing([self.target])
            position = end_of(self.target) if existing == "append" else None
        try:
            await asyncio.to_thread(self._sink.open, position)
        except MustRebuild as wish:
            log.warning("%s is not as this run left it: it is written again from the journal", self.target)
            await self._rebuild(wish.position)
        if is_new:  # known before anything is written, so that a kill leaves no file that is nobody's
            await self._frontier.follow(self._key, self._run, 0, position or {"offset": 0})
        await self._write_next(at_least_once=True)

    @property
    def _key(self) -> str:
        return self.target if self.target == STDOUT else str(Path(self.target).absolute())

    async def follow(self) -> None:
        """Write items as they come, until `finish`."""
        while not self._is_over:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LONGEST_PAUSE):
                    await self._news.wait()
            self._news.clear()
            while await self._write_next():
                pass

    def finish(self) -> None:
        """Let `follow` end when all that is there is written. It must not be cancelled: a thread may be writing."""
        self._is_over = True
        self._news.set()

    async def _write_next(self, *, at_least_once: bool = False) -> bool:
        items = await self._frontier.items(self._run, self._seq, BATCH)
        if not items and not at_least_once:
            return False
        try:
            position = await asyncio.to_thread(self._sink.write, items)
        except MustRebuild as wish:
            log.info("%s gets new columns: it is written again from the journal", self.target)
            await self._rebuild(wish.position)
            return True
        self._seq = items[-1].seq if items else self._seq
        await self._frontier.follow(self._key, self._run, self._seq, position)
        self.written_bytes += sum(len(item.body) for item in items if item.seq > self._last_item)
        return bool(items)

    async def _rebuild(self, position: Position) -> None:
        self._seq = self.written_bytes = 0
        await self._frontier.follow(self._key, self._run, 0, position)
        await asyncio.to_thread(self._sink.close)
        await asyncio.to_thread(self._sink.open, position)

    async def close(self) -> None:
        """Let go of the sink."""
        await asyncio.to_thread(self._sink.close)
