"""Pages that are visited again: when, and what the change feed says of their items. All within a transaction.

A finished page has a `revisit_at`, and its host the earliest of them. When that has come, pages of a host with nothing
left to do become pending again; of one with pages that were never visited one after so many of those, so that neither
keep out the other.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import cast

import msgspec
from msgspec.structs import replace

from crawler import changes
from crawler.changes import Record
from crawler.frontier import queries
from crawler.frontier.writer import Writer
from crawler.models import Visit
from crawler.revisit import Revisit

AT_ONCE = 200  # pages of one host, and hosts
FIRST_VISITS = 3  # for one further visit, where there are both
MOST_HOSTS = 10_000  # whose first visits are counted
_encode = msgspec.json.encode

_KNOWN = "SELECT value FROM job WHERE key = 'revisit'"
_KNOW = "INSERT OR REPLACE INTO job VALUES ('revisit', ?)"
_FORGET = (
    "DELETE FROM job WHERE key = 'revisit'",
    "DELETE FROM records",
    "DELETE FROM sightings",
    "UPDATE hosts SET revisit_at = NULL WHERE revisit_at IS NOT NULL",
    "UPDATE pages SET revisit_at = NULL WHERE revisit_at IS NOT NULL AND state <> 0",
)
# items that were there before the feed have been told plainly, and are no part of it
_ENTRIES = """
UPDATE pages SET entries = e.n, content = NULL
FROM (SELECT page, max(n) + 1 AS n FROM items WHERE run = ? GROUP BY page) AS e WHERE pages.seq = e.page"""
_RESCHEDULE = """
UPDATE pages SET revisit_at = CASE WHEN coalesce(request->>'kind', 'page') IN ('page', 'sitemap')
  AND (coalesce(request->>'method', 'GET') IN ('GET', 'HEAD') OR request->>'retry') THEN ended_at + (
    SELECT max(value->>1, min(value->>2, coalesce(interval, value->>1))) FROM json_each(?1)
    WHERE (SELECT origin FROM hosts WHERE id = pages.host) || path GLOB value->>0 ORDER BY key LIMIT 1) END
WHERE run = ?2 AND (state IN (1, 2, 4) OR (state = 3 AND revisit_at IS NOT NULL))"""
_HOSTS_NEXT = """
UPDATE hosts SET revisit_at = (
  SELECT min(revisit_at) FROM pages WHERE host = hosts.id AND revisit_at IS NOT NULL AND state <> 0)"""
_SOME_NEXT = f"{_HOSTS_NEXT} WHERE id IN (SELECT value FROM jsonb_each(?))"  # noqa: S608  # constants
_HOSTS_SOONER = """
UPDATE hosts SET revisit_at = min(coalesce(revisit_at, e.value->>1), e.value->>1)
FROM jsonb_each(?) AS e WHERE hosts.id = e.value->>0"""
_IDLE = """
SELECT json_group_array(id) FROM (
  SELECT id FROM hosts WHERE revisit_at <= ? AND owner IS NULL AND due_at IS NULL ORDER BY revisit_at LIMIT ?)"""
_BUSY = "SELECT json_group_array(id) FROM hosts WHERE revisit_at <= ? AND id IN (SELECT value FROM jsonb_each(?))"
_DUE = """
SELECT json_group_array(json_array(p.seq, p.host)) FROM jsonb_each(:hosts) AS h JOIN pages AS p ON p.seq IN (
  SELECT seq FROM pages WHERE host = h.value AND revisit_at <= :now AND state <> 0 ORDER BY revisit_at LIMIT :most)"""
_UNCOUNT = """
INSERT INTO tallies SELECT run, state, substr(reason, 1, instr(reason || ': ', ': ') - 1), -count(*) FROM pages
WHERE seq IN (SELECT value->>0 FROM jsonb_each(?)) GROUP BY 1, 2, 3
ON CONFLICT DO UPDATE SET pages = pages + excluded.pages"""
_WAKE = """
UPDATE pages SET state = 0, due_at = 0, attempts = 0, deferrals = 0, reason = NULL, revisit_at = NULL, leads_to = NULL
WHERE seq IN (SELECT value->>0 FROM jsonb_each(?))"""
_HASTEN = f"""
UPDATE pages AS p SET revisit_at = 0 FROM jsonb_each(?1) AS e
WHERE {queries.SAME} AND p.state <> 0 AND p.revisit_at > 0 AND p.ended_at < e.value->>8 AND e.value->>8 <= ?2
RETURNING host"""  # noqa: S608  # constants
_SIGHTED = """
SELECT json_group_array(json_array(page, place, hash)) FROM sightings WHERE page IN (SELECT value FROM jsonb_each(?))"""
_RECORDS = """
SELECT json_group_array(json_array(place, name, kind, hash, body, pages)) FROM records
WHERE place IN (SELECT value FROM jsonb_each(?))"""
_DROP_RECORDS = "DELETE FROM records WHERE place IN (SELECT value FROM jsonb_each(?))"
_PUT_RECORDS = """
INSERT OR REPLACE INTO records(place, name, kind, hash, body, pages)
SELECT value->>0, value->>1, value->>2, value->>3, value->>4, value->>5 FROM jsonb_each(?)"""
_DROP_SIGHTINGS = "DELETE FROM sightings WHERE page IN (SELECT value FROM jsonb_each(?))"
_PUT_SIGHTINGS = "INSERT OR REPLACE INTO sightings SELECT value->>0, value->>1, value->>2 FROM jsonb_each(?)"

Numbered = Sequence[tuple[int, Visit]]


class Recrawl:
    """What makes a run one that visits its pages again; nothing of it happens in others. ``is_on`` once it does."""

    def __init__(self, journal: Writer) -> None:
        self._journal = journal
        self.is_on = False
        self._sighted: dict[int, dict[str, str]] = {}
        self._records: dict[str, Record] = {}
        self._first_visits: dict[int, int] = {}  # by host, since the last further one
        self._stored: dict[str, tuple[object, ...]] = {}  # records as they are in the journal

    # -- when

    def begin(self, run: int, policies: Mapping[str, Revisit], *, is_new: bool) -> None:
        """Schedule the visits of the run's pages as these policies have it, if they are other ones than before.

        A run that has been one stays one: without policies it comes to its end.
        """
        for statement in _FORGET if is_new else ():
            self._journal.execute(statement)
        chosen = _encode(
            [(pattern.replace("[!", "[^"), one.shortest, one.longest) for pattern, one in policies.items()]
        ).decode()
        known = self._journal.value(_KNOWN)
        self.is_on = bool(policies) or known is not None
        if not self.is_on or known == chosen:
            return
        if known is None:
            self._journal.execute(_ENTRIES, (run,))
        self._journal.execute(_KNOW, (chosen,))
        self._journal.execute(_RESCHEDULE, (chosen, run))
        self._journal.execute(_HOSTS_NEXT)

    def wake(self, run: int, now: float, busy: Collection[int]) -> None:
        """Make pages pending that are due to be visited again. `busy` hosts are held, and may have other pages left."""
        if idle := self._journal.json(_IDLE, (now, AT_ONCE)):
            self._woken(run, now, idle, AT_ONCE)
        patient = [host for host in busy if self._first_visits.get(host, 0) >= FIRST_VISITS]
        if patient and (due := self._journal.json(_BUSY, (now, _encode(patient).decode()))):
            self._woken(run, now, due, 1)
            for host in patient:
                del self._first_visits[host]

    def _woken(self, run: int, now: float, hosts: Sequence[object], most: int) -> None:
        bindings = {"hosts": _encode(hosts).decode(), "now": now, "most": most}
        due = cast("list[tuple[int, int]]", self._journal.json(_DUE, bindings))
        if due:
            self._journal.rows(_UNCOUNT, due)
            self._journal.rows(_WAKE, due)
            self._journal.execute("UPDATE runs SET pending = pending + ? WHERE number = ?", (len(due), run))
            self._journal.rows(queries.HOSTS_DUE, {host for _, host in due})
        self._journal.rows(_SOME_NEXT, hosts)

    def hasten(self, named: Iterable[object], now: float) -> None:
        """Make pages due of which a sitemap says that they were changed after their last visit."""
        if listed := list(named):
            row = (_encode(listed).decode(), now)
            hosts = {host for (host,) in self._journal.db.execute(_HASTEN, row).fetchall()}
            self._journal.rows(_HOSTS_SOONER, [(host, 0.0) for host in hosts])

    # -- what

    def told(
        self, visits: Numbered, excess: Callable[[Numbered], frozenset[int]]
    ) -> tuple[list[Visit], frozenset[int]]:
        """The visits with what the feed says in place of their items, and which of them a limit has no room for.

        From the first of those on all are left out: what is told of them depends on what was told before.
        """
        told = self._fed(visits)
        over = excess(told)
        if over:
            first = min(over)
            over = frozenset(number for number, _ in visits if number >= first)
            told = self._fed([(number, visit) for number, visit in visits if number < first])
        return [visit for _, visit in told], over

    def _fed(self, visits: Numbered) -> Numbered:
        seen = {visit.page.seq for _, visit in visits if visit.tells_items}
        self._sighted = {page: {} for page in seen}
        for page, place, digest in self._journal.json(_SIGHTED, (_encode(list(seen)).decode(),)):
            self._sighted[cast("int", page)][cast("str", place)] = cast("str", digest)
        places = {place for sighted in self._sighted.values() for place in sighted}
        places |= {
            changes.place_of(item, visit.page.seq, n) for _, visit in visits for n, item in enumerate(visit.items)
        }
        found = self._journal.json(_RECORDS, (_encode(list(places)).decode(),))
        self._stored = {cast("str", place): tuple(row) for place, *row in found}
        self._records = {place: _record(row) for place, row in self._stored.items()}
        return [(number, self._with_feed(visit)) for number, visit in visits]

    def _with_feed(self, visit: Visit) -> Visit:
        if not visit.tells_items:
            return visit
        page = (visit.page.seq, visit.page.request.url)
        sighted = self._sighted[page[0]]
        is_all = not visit.is_truncated
        fed = changes.feed(visit.items, page, visit.ended_at, sighted, self._records, is_all=is_all)
        return replace(visit, items=fed)

    def store(self, visits: Sequence[Visit]) -> None:
        """Store what stands after these visits, the last that were `told`, and when their pages are visited again."""
        self._journal.rows(_DROP_SIGHTINGS, self._sighted)
        seen = [(page, *one) for page, sighted in self._sighted.items() for one in sighted.items()]
        self._journal.rows(_PUT_SIGHTINGS, seen)
        standing = {place: msgspec.structs.astuple(record) for place, record in self._records.items()}
        self._journal.rows(_DROP_RECORDS, self._stored.keys() - standing.keys())
        changed = [(place, *row) for place, row in standing.items() if row != self._stored.get(place)]
        self._journal.rows(_PUT_RECORDS, changed)
        self._sighted, self._records, self._stored = {}, {}, {}
        soonest: dict[int, float] = {}
        if len(self._first_visits) > MOST_HOSTS:
            self._first_visits.clear()
        for visit in visits:
            if visit.page.history is None:
                self._first_visits[visit.page.host] = self._first_visits.get(visit.page.host, 0) + 1
            if visit.revisit_at is not None:
                soonest[visit.page.host] = min(visit.revisit_at, soonest.get(visit.page.host, visit.revisit_at))
        self._journal.rows(_HOSTS_SOONER, list(soonest.items()))


def _record(row: Sequence[object]) -> Record:
    return msgspec.convert(dict(zip(Record.__struct_fields__, row, strict=True)), Record)
