"""The journal in one SQLite file: what a crawl needs on one machine, with nothing to install.

Each verb is one transaction on the writer thread, made of a few statements that each take all their rows as
one JSON array. A statement that stepped row by row would give up the interpreter lock at each row, and wait up to 5 ms
to get it back while a handler computes: measured, 600 ms instead of 18 ms for a group of 40 visits.
"""

import logging
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from hashlib import blake2b
from pathlib import Path
from typing import cast

import apsw
import msgspec

from crawler.budget import Limits
from crawler.errors import ConfigError, StorageFull, StoreUnavailable
from crawler.frontier import (
    Breadcrumb,
    Committed,
    Cursor,
    JobFacts,
    Leased,
    Part,
    Parting,
    Renewed,
    Run,
    Seeds,
    Want,
    checks,
    circles,
    membership,
    queries,
    rows,
)
from crawler.frontier.engines import Engines
from crawler.frontier.jobs import job_key
from crawler.frontier.liveness import EngineLock
from crawler.frontier.recrawl import Recrawl
from crawler.frontier.schema import OF_A_JOB, OF_A_RUN
from crawler.frontier.sessions import Sessions
from crawler.frontier.writer import Writer
from crawler.models import Clock, Counts, Item, Json, Lease, Link, State, StoredItem, Visit
from crawler.politeness import batch_at
from crawler.revisit import Revisit

log = logging.getLogger(__name__)
_encode = msgspec.json.encode
_decode = msgspec.json.decode


class SqliteFrontier:
    """A `Frontier` on one SQLite file, shared by the engines of one machine; ``:memory:`` for one engine alone.

    `default_delay` (s) is what a dead engine's hosts wait when it had not said otherwise. `keep_runs`: of how many runs
    the items stay. `writer` runs the transactions, one at a time; by default a thread of its own. A store that is full
    or locked is waited for, `patience` (s) at most, before it is a StoreError; what was to be stored stays in memory.
    `path` may be an open connection, which stays its owner's; engines that share one know by `lock` who lives.
    `supervisor` is the process that replaces this one should it die.
    """

    def __init__(
        self,
        path: Path | str | apsw.Connection,
        *,
        default_delay: float = 1.0,
        keep_runs: int = 2,
        power_safe: bool = False,
        patience: float = 600.0,
        clock: Clock | None = None,
        writer: Executor | None = None,
        lock: EngineLock | None = None,
        supervisor: int | None = None,
    ) -> None:
        clock = clock or Clock()
        self._clock = clock.epoch
        self._keep_runs = keep_runs
        self._patience = patience
        self._hosts: dict[str, int] = {}
        self._journal = Writer(path, power_safe=power_safe, executor=writer)
        self._journal.on_rollback = self._hosts.clear  # some of them may never have been
        self._lock = lock or EngineLock.of(":memory:" if isinstance(path, apsw.Connection) else path)
        self._engines = Engines(self._journal, self._lock, clock, default_delay, supervisor)
        self.sessions = Sessions(self._journal, self._engines, clock.epoch)
        self._recrawl = Recrawl(self._journal)
        self._journal.transaction(self._engines.enrol)
        self._run = 0
        self._seeds_version: object = None
        self._key = b""

    @property
    def breadcrumb(self) -> Breadcrumb:
        return self._lock

    async def begin(
        self, job: JobFacts, *, fresh: bool, limits: Limits | None = None, part: Part | None = None,
        revisit: Mapping[str, Revisit] | None = None,
    ) -> Run:  # fmt: skip
        run = await self._journal.do(self._begin, job, fresh, limits or Limits(), part, revisit or {})
        self._journal.patience = self._patience
        return run

    async def add(self, links: Sequence[Link]) -> Mapping[int, int]:
        return await self._journal.do(self._add, links)

    async def lease(self, want: Want) -> Leased:
        return await self._journal.do(self._lease, want)

    async def join(self, host: int, token: int, groups: Mapping[str, float]) -> Mapping[str, float] | None:
        return await self._journal.do(membership.join, self._journal, self._engines.id, host, token, groups)

    async def commit(self, visits: Sequence[Visit]) -> Committed:
        return await self._journal.do(self._commit, visits)

    async def release(self, partings: Sequence[Parting]) -> None:
        await self._journal.do(self._release, partings)

    async def items(self, run: int, after: int, limit: int) -> list[StoredItem]:
        return await self._journal.do(self._items, run, after, limit)

    async def counts(self) -> Counts:
        return await self._journal.do(self._counts)

    async def handlers(self) -> frozenset[str]:
        return frozenset(await self._journal.do(lambda: cast("list[str]", self._journal.json(queries.HANDLERS))))

    async def renew(self) -> Renewed:
        return await self._journal.do(self._engines.renew)

    async def cursor(self, sink: str, run: int) -> Cursor:
        return await self._journal.do(self._cursor, sink, run)

    async def follow(self, sink: str, run: int, cursor: Cursor) -> None:
        row = (sink, run, cursor.seq, _encode(cursor.position or {}).decode(), cursor.bytes)
        await self._journal.do(self._journal.execute, queries.FOLLOW, row)

    async def quarantine(self, item: int, reason: str) -> None:
        await self._journal.do(self._set_aside, item, reason)

    async def finish(self, outcome: str) -> None:
        await self._journal.do(self._finish, outcome)

    async def withdraw(self) -> None:
        await self._journal.do(self._journal.execute, queries.WITHDRAW, (self._run,))

    async def violations(self) -> list[str]:
        return await self._journal.do(lambda: checks.violations(self._journal.db))

    async def close(self) -> None:
        self._journal.patience = 0.0
        try:
            await self._journal.do(self._engines.bury, self._engines.id)
        except (StorageFull, StoreUnavailable) as error:  # whoever comes next finds that nobody holds this one's lock
            log.debug("the journal was left without a word: %s", error)
        finally:
            self._journal.close()
            self._lock.close()

    # -- runs

    def _begin(
        self, job: JobFacts, fresh: bool, limits: Limits, part: Part | None, revisit: Mapping[str, Revisit]
    ) -> Run:
        self._engines.renew()
        if fresh:
            self._forget()
        self._key = job_key(self._journal, job)
        last = self._journal.db.execute("SELECT number, finished_at FROM runs ORDER BY number DESC LIMIT 1").fetchone()
        resumed = last is not None and (last[1] is None or part is not None)
        self._run = part.run if part else (last[0] if resumed else last[0] + 1) if last else 1
        if not resumed:
            self._journal.execute("INSERT INTO runs(number, started_at) VALUES (?, ?)", (self._run, self._clock()))
            self._journal.execute("UPDATE hosts SET circuit = '' WHERE circuit <> ''")
            self._journal.execute("DELETE FROM members")  # addresses change, and so does what requests name
        self._recrawl.begin(self._run, revisit, is_new=not resumed)
        self._engines.join(self._run, part.invocation if part else None, limits)
        self._journal.execute(queries.LOOK_AGAIN, (self._clock(),))
        seeds, invocation = self._seeds(), self._engines.invocation or 0
        return Run(self._run, resumed, self._key, seeds, invocation, self._engines.others, self._recrawl.is_on)

    def _seeds(self) -> Seeds:
        found = cast("list[tuple[str, str, int]]", self._journal.json(queries.SEED_HOSTS))
        folders = tuple(origin + folder for origin, listed, _ in found for folder in listed.split("\n") if folder)
        self._seeds_version = self._journal.value(queries.SEEDS_VERSION)
        written = frozenset(origin for origin, _, is_written in found if is_written)
        return Seeds(tuple(origin for origin, _, _ in found), folders, written)

    def _finish(self, outcome: str) -> None:
        ended = self._journal.change(queries.FINISH, (self._clock(), outcome, self._run))
        for table in OF_A_RUN if ended else ():
            forget = f"DELETE FROM {table} WHERE run <= ?"  # noqa: S608  # the names are our own
            self._journal.execute(forget, (self._run - self._keep_runs,))

    def _is_over(self) -> bool:
        return self._journal.value("SELECT finished_at FROM runs WHERE number = ?", (self._run,)) is not None

    def _forget(self) -> None:
        if self._engines.others:
            raise ConfigError("the job is running: stop it before you start it over with --fresh")
        for table in OF_A_JOB:
            self._journal.execute(f"DELETE FROM {table}")  # noqa: S608  # the names are our own

    # -- pages

    def _host_ids(self, origins: Collection[str]) -> dict[str, int]:
        unknown = [origin for origin in origins if origin not in self._hosts]
        if unknown:
            if len(self._hosts) > 100_000:
                self._hosts.clear()
                unknown = list(origins)
            self._journal.rows("INSERT OR IGNORE INTO hosts(origin) SELECT value FROM jsonb_each(?)", unknown)
            listed = (_encode(unknown).decode(),)
            self._hosts.update(_decode(cast("str", self._journal.value(queries.HOST_IDS, listed)), type=dict[str, int]))
        return self._hosts

    def _add(self, links: Sequence[Link]) -> dict[int, int]:
        if not links or self._is_over():
            return {}
        ids = self._host_ids(dict.fromkeys(link.origin for link in links))
        found = [rows.of_link(link, ids[link.origin], self._run) for link in links]
        if seeds := [link for link in links if link.seed]:
            self._sow(seeds, ids)
        last = cast("int", self._journal.value("SELECT coalesce(max(seq), 0) FROM pages"))
        added = self._journal.rows(queries.INSERT_PAGES, found)
        best = {}
        if added < len(found):
            added += (known := self._meet(found))
            best = {cast("int", row[0]): cast("int", row[3]) for row in found} if known else {}
            dated = [[*row, link.modified] for row, link in zip(found, links, strict=True) if link.modified]
            self._recrawl.hasten(dated, self._clock())
        if added:
            best |= dict(cast("list[tuple[int, int]]", self._journal.json(queries.BEST_NEW, (last,))))
            self._journal.rows(queries.HOSTS_DUE, best)
            self._journal.execute("UPDATE runs SET pending = pending + ? WHERE number = ?", (added, self._run))
        return best

    def _sow(self, links: Sequence[Link], ids: Mapping[str, int]) -> None:
        changed = self._journal.rows(queries.SEED, {ids[link.origin] for link in links})
        changed += self._journal.rows(queries.SEED_WRITTEN, {ids[link.origin] for link in links if link.written})
        for link in links:
            if link.moved_to:
                changed += self._journal.change(queries.SEED_FOLDER, (ids[link.origin], link.moved_to + "\n"))
        if changed:
            knew_all = self._seeds_version == self._journal.value(queries.SEEDS_VERSION)
            version = self._journal.value(queries.ONE_MORE_SEED)
            self._seeds_version = version if knew_all else self._seeds_version

    def _meet(self, found: list[list[object]]) -> int:
        """Deal with fingerprints that were there before: pages of older runs, pages found nearer, true collisions."""
        listed = (_encode(found).decode(),)
        revived = self._journal.change(queries.REVIVE, listed)
        if nearer := self._journal.change(queries.REVIVE_NEARER, listed):
            self._journal.rows(queries.TALLY, [(self._run, State.SKIPPED, "depth", -nearer)])
        self._journal.execute(queries.NEARER, listed)
        for index in cast("list[int]", self._journal.json(queries.COLLISIONS, listed)):
            moved = [[found[index][0], cast("int", found[index][1]) + 1, *found[index][2:]]]
            revived += self._journal.rows(queries.INSERT_PAGES, moved) or self._meet(moved)
        return revived + nearer

    def _lease(self, want: Want) -> Leased:
        if self._is_over():
            return Leased()
        seeds = self._seeds() if self._journal.value(queries.SEEDS_VERSION) != self._seeds_version else None
        if self._recrawl.is_on:
            self._recrawl.wake(self._run, self._clock(), want.held)
        share, held, free = self._engines.share(want.horizon)
        leases = self._taken(want, min(want.hosts, max(0, share - held)))
        reserved, is_spent = (0, False) if want.reserve is None else self._engines.reserve(want.reserve)
        return Leased(leases, seeds, reserved, is_spent, None if free else share)

    def _taken(self, want: Want, hosts: int) -> list[Lease]:
        now, engine = self._clock(), self._engines.id
        taken = membership.mates(self._journal, engine, now, want.horizon, want.hosts) if want.hosts else {}
        if (more := hosts - len(taken)) > 0:
            free = self._journal.json(queries.FREE_HOSTS, (engine, now, want.horizon, more))
            taken |= dict(cast("list[tuple[int, float | None]]", free))
        if want.origins:
            self._host_ids(want.origins)
            origins = _encode(want.origins).decode()
            named = self._journal.json(queries.NAMED_HOSTS, (engine, origins, now + want.horizon))
            taken |= dict(cast("list[tuple[int, float | None]]", named))
        self._journal.rows(queries.TAKE, [(host, engine) for host in taken])
        membership.take(self._journal, engine, taken)
        asked: dict[int, list[tuple[int, int]]] = {}
        for host, delay in taken.items():  # a slow one is asked for few pages at a time
            asked.setdefault(max(1, min(want.batch, batch_at(delay or 0.0))), []).append((host, 1))
        for host, (held, more) in want.held.items():
            # one statement for each power of two, since SQLite wants one limit for all hosts of a statement
            asked.setdefault(1 << (len(held) + more).bit_length(), []).append((host, 0))
        return [lease for limit, hosts in asked.items() for lease in self._leases(hosts, limit, now, want)]

    def _leases(self, hosts: list[tuple[int, int]], limit: int, now: float, want: Want) -> Iterator[Lease]:
        engine, listed = self._engines.id, _encode(hosts).decode()
        bindings = {"asked": listed, "limit": limit, "engine": engine, "now": now, "run": self._run}
        bindings["counts_taken"] = want.counts_taken
        for row in cast("list[rows.LeasedRow]", self._journal.json(queries.LEASED, bindings) if hosts else []):
            host, origin, token, ready_at, found, robots, circuit, groups, *_ = row
            in_hand, more = want.held.get(host, ((), limit))
            known = set(in_hand)
            wanted = [page for page in found if page[0] not in known]
            pages = [rows.page(host, origin, page) for page in wanted[:more]]
            complete = len(found) < limit and len(wanted) <= more
            facts = (rows.robots(robots), circuit, groups, *rows.contents(row))
            yield Lease(host, origin, token, ready_at, pages, complete, *facts)

    def _commit(self, visits: Sequence[Visit]) -> Committed:
        hosts = _encode(list({visit.page.host for visit in visits})).decode()
        tokens = {
            cast("int", host): token for host, token in self._journal.json(queries.TOKENS, (hosts, self._engines.id))
        }
        refused = frozenset(i for i, visit in enumerate(visits) if tokens.get(visit.page.host) != visit.token)
        numbered = [(i, visit) for i, visit in enumerate(visits) if i not in refused]
        if self._recrawl.is_on:
            accepted, excess = self._recrawl.told(numbered, self._engines.excess)
        else:
            excess = self._engines.excess(numbered)
            accepted = [visit for i, visit in numbered if i not in excess]
        item_bytes = self._end(accepted)
        self._store(accepted)
        if self._recrawl.is_on:
            self._recrawl.store(accepted)
        self.sessions.change(accepted, self._clock())
        best = self._add([link for visit in accepted for link in visit.links])
        if any(map(circles.is_elsewhere, accepted)) and not self._is_over():
            best |= circles.broken(self._journal, self._run, accepted, self._hosts)
        return Committed(refused, excess, best, self._engines.spend(accepted) or bool(excess), item_bytes)

    def _end(self, visits: Sequence[Visit]) -> int:
        ended = [rows.of_ending(visit) for visit in visits]
        changed = self._journal.rows(queries.END_PAGES, ended)
        assert changed == len(ended), f"{len(ended) - changed} of {len(ended)} pages were not pending"
        finished = [visit for visit in visits if visit.state != State.PENDING]
        tallies = Counter((visit.state, visit.reason.partition(": ")[0]) for visit in finished)
        self._journal.rows(queries.TALLY, [(self._run, *key, pages) for key, pages in tallies.items()])
        items = [item for visit in visits for item in visit.items]
        bad = sum(item.quarantine is not None for item in items)
        item_size = sum(len(item.body) for item in items if item.quarantine is None)
        row = (len(finished), len(items) - bad, bad, sum(visit.size for visit in visits), item_size, self._run)
        return cast("int", self._journal.value(queries.COUNT, row))

    def _store(self, visits: Sequence[Visit]) -> None:
        run = self._run
        items = [
            (run, v.page.seq, n, i.kind, i.body, i.quarantine, checks.crc(run, v.page.seq, n, i))
            for v in visits
            for n, i in enumerate(v.items, v.page.history.entries if v.page.history else 0)
        ]
        self._journal.rows(queries.INSERT_ITEMS, items)
        files = [(v.page.seq, run, v.file.path, v.file.size, v.file.sha256) for v in visits if v.file]
        self._journal.rows(queries.INSERT_FILES, files)
        self._journal.rows(queries.INSERT_EVENTS, list(rows.of_events(run, visits)))
        cuts = [(run, v.page.host, why, cut.links, cut.example) for v in visits for why, cut in v.cuts.items()]
        self._journal.rows(queries.INSERT_CUTS, cuts)
        self._journal.rows(queries.SET_SHAPES, list(rows.of_shapes(run, visits)))
        self._journal.rows(queries.SET_LIKENESSES, list(rows.of_likenesses(run, visits)))
        self._journal.rows(queries.HOST_FACTS, list(rows.of_hosts(visits)))
        for visit in visits:
            if (found := visit.robots) is not None:
                body = found.body.decode("latin-1")
                row = (found.status, body, found.fetched_at, found.expires_at, visit.robots_delay, visit.robots_for)
                self._journal.execute(queries.SET_ROBOTS, row)

    def _set_aside(self, item: int, reason: str) -> None:
        for page, n, kind, body in self._journal.db.execute(queries.QUARANTINE, (reason, item, self._run)).fetchall():
            found = Item(cast("str", kind), cast("str", body), reason)
            crc = checks.crc(self._run, cast("int", page), cast("int", n), found)
            self._journal.execute("UPDATE items SET crc = ? WHERE seq = ?", (crc, item))
            self._journal.execute(queries.COUNT, (0, -1, 1, 0, -len(found.body), self._run))

    def _release(self, partings: Sequence[Parting]) -> None:
        self._journal.rows(queries.INSERT_EVENTS, list(rows.of_partings(self._run, partings)))
        now, engine = self._clock(), self._engines.id
        membership.part(self._journal, engine, partings)
        self._journal.rows(
            queries.RELEASE, [(p.host, now, p.ready_at, p.not_before, p.token, engine, p.circuit) for p in partings]
        )
        membership.free(self._journal, engine, [p.host for p in partings])

    # -- what followers read

    def _items(self, run: int, after: int, limit: int) -> list[StoredItem]:
        found = self._journal.json(queries.NEXT_ITEMS, (run, after, limit))
        return [
            StoredItem(cast("int", seq), self._item_id(run, page, n), cast("str", kind), cast("str", body))
            for seq, page, n, kind, body in found
        ]

    def _item_id(self, run: int, page: Json, n: Json) -> str:
        return blake2b(f"{run}/{page}/{n}".encode(), digest_size=12, key=self._key).hexdigest()

    def _cursor(self, sink: str, run: int) -> Cursor:
        row = self._journal.db.execute(queries.CURSOR, (sink, run)).fetchone()
        return Cursor(cast("int", row[0]), cast("int", row[1]), _decode(cast("str", row[2]))) if row else Cursor()

    def _counts(self) -> Counts:
        return queries.counts(self._journal.db, self._run, self._engines.invocation or 0)
