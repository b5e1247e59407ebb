"""The engines of a journal: who lives, who takes over from the dead, and how they share an invocation's limits."""

import logging
import os
from collections.abc import Iterable, Sequence
from typing import cast

import msgspec

from crawler.budget import Limits
from crawler.frontier import Renewed, queries
from crawler.frontier.liveness import EngineLock, boot_id, is_running, process_name
from crawler.frontier.writer import Writer
from crawler.models import DEATH, DEATH_WITH_ALL, LAST_DEATH, Clock, State, Visit

log = logging.getLogger(__name__)
LEASE_TIME = 30.0
LONGEST_DRIFT = 1.0  # between the system's clock and the machine's own; more is a step
KILLED = "killed the process"
_encode = msgspec.json.encode


class Engines:
    """One engine's place among the others. All its methods run within a transaction."""

    def __init__(
        self, journal: Writer, lock: EngineLock, clock: Clock, default_delay: float, supervisor: int | None
    ) -> None:
        self.id = 0
        self._journal = journal
        self._lock = lock
        self._clock = clock
        self._delay = default_delay
        self._boot = boot_id()
        self._supervisor = None if supervisor is None else process_name(supervisor)
        self.invocation: int | None = None
        self._limits = Limits()
        self._renewed_at = 0.0

    def enrol(self) -> None:
        """Become one of the engines."""
        self._renewed_at = self._clock.monotonic()
        alive_until = self._renewed_at + LEASE_TIME
        self._journal.execute(queries.ENROL, (os.getpid(), self._boot, alive_until, self.invocation, self._supervisor))
        self.id = self._journal.db.last_insert_rowid()
        self._lock.take(self.id)

    @property
    def others(self) -> int:
        """How many other engines there are."""
        return cast("int", self._journal.value("SELECT count(*) FROM engines WHERE id <> ?", (self.id,)))

    def join(self, run: int, invocation: int | None, limits: Limits) -> None:
        """Take part in an invocation of a run; None begins one."""
        if invocation is None:
            row = (run, self._clock.epoch(), limits.max_pages, limits.max_items)
            self._journal.execute(queries.BEGIN_INVOCATION, row)
            invocation = self._journal.db.last_insert_rowid()
        self.invocation, self._limits = invocation, limits
        self._journal.execute("UPDATE engines SET invocation = ? WHERE id = ?", (invocation, self.id))

    def renew(self) -> Renewed:
        """Say that this engine lives, bury those that do not, and follow the system's clock where it was set."""
        step = self._step()
        now = self._clock.monotonic()
        was_buried = not self._journal.change(queries.RENEW, (now + LEASE_TIME, self.id))
        if was_buried:
            self._lock.close()
            self.enrol()
        stood_still, self._renewed_at = now - self._renewed_at > LEASE_TIME / 2, now
        freed = 0
        for row in self._journal.json(queries.OTHERS, (self.id,)):
            engine, boot, alive_until, supervisor = cast("tuple[int, str, float, str | None]", tuple(row))
            # when all were stopped, as by Ctrl-Z, the others are about to say that they live
            is_late = not stood_still and boot == self._boot and alive_until < now
            if is_late or self._lock.is_free(engine):
                died_alone = supervisor is None or (boot == self._boot and is_running(supervisor))
                freed += self.bury(engine, self._lock.remove(engine), DEATH if died_alone else DEATH_WITH_ALL)
        return Renewed(freed, was_buried, step)

    def bury(self, engine: int, marks: Sequence[int] = (), death: int = 0) -> int:
        """Free what an engine held, and put its `death` down to the pages it was inside. How many hosts were freed."""
        if marks:
            self._charge(marks, death)
        freed = self._journal.rows(queries.BURY, [(engine, self._clock.epoch(), self._delay)])
        self._journal.rows(queries.BURY_GROUPS, [(engine, self._clock.epoch())])
        self._journal.execute(queries.GIVE_BACK_RESERVED, (engine,))
        self._journal.execute("DELETE FROM engines WHERE id = ?", (engine,))
        return freed

    def _charge(self, marks: Sequence[int], death: int) -> None:
        listed, run = _encode(marks).decode(), self._journal.value("SELECT max(number) FROM runs")
        self._journal.execute(queries.DEATHS, (listed, death))
        now = self._clock.epoch()
        row = (listed, KILLED, now, LAST_DEATH)
        ended = [cast("int", page) for (page,) in self._journal.db.execute(queries.KILLED, row).fetchall()]
        self._journal.rows(queries.TALLY, [(run, State.FAILED, KILLED, len(ended))] if ended else [])
        self._journal.execute("UPDATE runs SET pending = pending - ? WHERE number = ?", (len(ended), cast("int", run)))
        told = "its code was at work each time when a process ended, at last with nothing beside it"

        self._journal.rows(queries.INSERT_EVENTS, [(run, now, page, KILLED, told) for page in ended])
        for page in ended:
            url = self._journal.value("SELECT url FROM urls WHERE seq = ?", (page,))
            log.warning("%s failed: it %s again and again", url, KILLED)

    def _step(self) -> float:
        """How far the system's clock was set since an engine looked last; the journal's times go along with it."""
        found = self._journal.value("SELECT value FROM job WHERE key = 'clock'")
        now = self._clock.epoch() - self._clock.monotonic()
        boot, known = msgspec.json.decode(cast("str", found), type=tuple[str, float]) if found else ("", 0.0)
        step = now - known if boot == self._boot and boot else 0.0
        if not found or boot != self._boot or abs(step) > LONGEST_DRIFT:
            value = _encode((self._boot, now)).decode()
            self._journal.execute("INSERT OR REPLACE INTO job VALUES ('clock', ?)", (value,))
        if abs(step) <= LONGEST_DRIFT:
            return 0.0
        for statement in queries.MOVE_TIMES:
            self._journal.execute(statement, (step,))
        return step

    # -- limits

    def reserve(self, wanted: int) -> tuple[int, bool]:
        """Hold so many pages of the limit, if they are there: how many, and whether nobody holds or finds any more."""
        left, held = self._journal.db.execute(queries.RESERVED, (self.invocation, self.id)).fetchone() or (0, 0)
        granted = min(wanted, cast("int", left) + cast("int", held))
        left = cast("int", left) + cast("int", held) - granted
        self._journal.execute("UPDATE invocations SET pages_left = ? WHERE id = ?", (left, self.invocation))
        self._journal.execute("UPDATE engines SET reserved = ? WHERE id = ?", (granted, self.id))
        return granted, not left and not self._journal.value(queries.STILL_RESERVED, (self.invocation,))

    def excess(self, visits: Iterable[tuple[int, Visit]]) -> frozenset[int]:
        """The visits, each with its index, that bring more items than the limit has room for."""
        if self._limits.max_items is None:
            return frozenset()
        left = cast("int", self._journal.value("SELECT items_left FROM invocations WHERE id = ?", (self.invocation,)))
        over = set()
        for index, visit in visits:
            if visit.good_items > left:
                over.add(index)
            else:
                left -= visit.good_items
        return frozenset(over)

    def spend(self, visits: Sequence[Visit]) -> bool:
        """Count what is stored; whether no item more may be."""
        pages, items = sum(visit.is_counted for visit in visits), sum(visit.good_items for visit in visits)
        if self._limits.max_pages is not None:
            self._journal.execute("UPDATE engines SET reserved = reserved - ? WHERE id = ?", (pages, self.id))
        return self._journal.value(queries.SPEND, (self.invocation, pages, items)) == 0

    # -- hosts

    def share(self, horizon: float) -> tuple[int, int, int]:
        """How many hosts with work are this engine's part, how many it holds, and how many nobody holds."""
        if not self.others:
            return 1 << 30, 0, 0
        held = dict(cast("list[tuple[int, int]]", self._journal.json(queries.HELD_HOSTS)))
        free = cast("int", self._journal.value(queries.WAITING_HOSTS, (self._clock.epoch() + horizon,)))
        return -(-(sum(held.values()) + free) // len(held)), held.get(self.id, 0), free
