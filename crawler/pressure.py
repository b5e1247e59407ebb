"""How much a crawl may do at once on the machine that it has: decisions on memory, disk and open files.

What there is of them is for `machine` to find out.
"""

import gc
import logging
from pathlib import Path

from msgspec.structs import replace

from crawler import machine
from crawler.errors import StorageFull, StoreUnavailable
from crawler.fetch import RESERVE_OVER
from crawler.settings import GIB, MIB, Settings

log = logging.getLogger(__name__)

JOURNAL_MEMORY = 64 * MIB  # the journal's cache, and what is known of pages and hosts
PARSED = (
    16  # a parsed page takes as many times the memory of its body; measured: 2 for text, 15 for prose, 33 for links
)
COPIES = 2  # of a body at one time: as it came and decoded, or decoded and as text
SPARE_FILES = 64  # journal, sinks, DNS, logs, and what the spider itself opens
FILES_EACH = 2  # a connection, and the file of a download
SOFT = 0.8  # of a hard limit: from there on less is done at once
TRY_AGAIN = 5.0  # seconds until a download for which there was no room


def fitted(settings: Settings, memory: float, files: float) -> Settings:
    """The settings, with fewer requests in flight and less `body_memory` where so much would not fit.

    `memory`: bytes that the crawl may still take; `files`: descriptors that the process may have. At least one request
    is left, and enough for one small body: a crawl that is too large for its machine is slow, not refused.
    """
    each = COPIES * min(RESERVE_OVER, settings.max_body_bytes)
    # Of a small machine only a part: pages of `max_body_bytes` are rare, and shall not make all go one at a time.
    left = memory - min(JOURNAL_MEMORY, memory / 4) - min(PARSED * settings.max_body_bytes, memory / 4)
    bodies, most = settings.body_memory, settings.concurrency
    if COPIES * bodies + most * each > left:
        bodies = min(bodies, max(RESERVE_OVER, int(left / 2 / COPIES)))
        most = min(most, max(1, int((left - COPIES * bodies) / each)))
    most = int(min(most, max(1.0, (files - SPARE_FILES) / FILES_EACH)))
    return replace(settings, concurrency=most, body_memory=bodies)


def eased(most: int, full: int, used: int, limit: float) -> int:
    """How many requests may be in flight from now on: half over the `limit` of memory, twice as many well below it.

    Between 70 % and the limit nothing changes, so that it does not swing.
    """
    if used > limit:
        return max(1, most // 2)
    return min(full, 2 * most) if used < 0.7 * limit else most


def wanted_free(setting: int | None, size: int) -> int:
    """How many bytes must be free on a disk of `size`.

    1 GiB is time for somebody to notice, and room for what other programs write; but a small disk (a tmpfs of 20 MB)
    may never have so much, and 5 % alone would stop at 100 GB on a large one. So the smaller of the two.
    """
    return min(GIB, size // 20) if setting is None else setting


class Pressure:
    """How many requests may be in flight, looked at once a second. `folder` is where the job lies; None has no disk.

    `engines` share what memory there is.
    """

    def __init__(self, folder: Path | None, settings: Settings, engines: int = 1) -> None:
        self._folder = folder
        self._settings = settings
        self._limit = settings.memory_limit or SOFT * machine.memory_limit() / engines
        self._most = settings.concurrency
        self._lacking: tuple[float, str] | None = None  # since when too little is free, in words
        self._refused: tuple[float, str] | None = None  # since when downloads find no room
        self._told: set[str] = set()

    def look(self, now: float) -> int:
        """The most requests that may be in flight; none while too little is free. `now` is monotonic seconds.

        Raises StorageFull when there has been no room for longer than ``store_patience``.
        """
        self._heed_memory(machine.memory_used())
        self._heed_disk(now)
        for since, why in filter(None, (self._lacking, self._refused)):
            if now - since > self._settings.store_patience:
                raise StorageFull(f"{why}; free some space and run the same command again")
        return 0 if self._lacking else self._most

    def no_room(self, error: StorageFull, now: float) -> float:
        """A download found no room: in how many seconds it may try again."""
        if self._refused is None:
            self._refused = now, str(error)
            log.warning("a download waits: %s", error)
        return TRY_AGAIN

    def room(self) -> None:
        """A download found room."""
        self._refused = None

    def short(self, error: StoreUnavailable | MemoryError, in_flight: int) -> int:
        """No file, process or memory was to be had: how many requests may be in flight now. More come with time."""
        gc.collect()
        why = "out of memory" if isinstance(error, MemoryError) else str(error)
        self._tell_once(why, f"fewer requests at once for a while: {why}")
        self._most = max(1, min(self._most, in_flight // 2))
        return self._most

    def _heed_memory(self, used: int) -> None:
        most = eased(self._most, self._settings.concurrency, used, self._limit)
        if most < self._most:
            gc.collect()
            much = f"{used / MIB:.0f} MiB of memory in use, more than {self._limit / MIB:.0f} (memory_limit)"
            self._tell_once("memory", f"{much}: fewer requests at once until it is less")
        self._most = most

    def _heed_disk(self, now: float) -> None:
        if self._folder is None:
            return
        size, free = machine.disk(self._folder)
        wanted = wanted_free(self._settings.min_free_space, size)
        if free >= wanted and self._lacking is not None:
            self._lacking = None
            log.info("%s has %.1f MiB free again: the crawl goes on", self._folder, free / MIB)
        elif free < wanted and self._lacking is None:
            much = f"{self._folder} has {free / MIB:.1f} MiB free, less than {wanted / MIB:.1f} (min_free_space)"
            self._lacking = now, much
            log.warning("nothing is fetched until there is more room: %s", much)

    def _tell_once(self, what: str, text: str) -> None:
        if what not in self._told:
            self._told.add(what)
            log.warning(text)
