"""Whether a journal is as it must be: its layout, SQLite's own check, its invariants, its fingerprints and checksums.

The invariants are questions that must have no answer.
"""

import zlib
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple, cast

import apsw
import msgspec

from crawler.frontier.schema import VERSION, opened
from crawler.models import Item, unpacked
from crawler.urls import Fingerprints

DAMAGE = "the damage that SQLite finds"
PENDING_COUNT = "a run whose count of pending pages is wrong"
FINISHED_EARLY = "a finished run with a pending page"
OLDER_UNFINISHED = "an older run that is not finished"
TALLIES = "a run whose tallies do not add up"
UNKNOWN_OWNER = "a host whose owner is unknown"
GROUP_ASTRAY = "a group that is not its hosts' owner's"
NO_DUE_TIME = "a free host with a pending page and no due time"
VAIN_DUE_TIME = "a free host with a due time and no pending page"
ITEM_COUNT = "a run whose count of items is wrong"
SINK_AHEAD = "a sink ahead of the items"
SINK_ASTRAY = "a sink whose place is not where its items end"
LAYOUT = "the layout of the tables"
VISIT_UNKNOWN = "a page of whose next visit its host does not know"
RECORD_PAGES = "an item that stands on other pages than it should"
# version 1 has neither groups nor further visits, and counted the bytes of quarantined items too
SINCE_2 = frozenset({ITEM_COUNT, VISIT_UNKNOWN, RECORD_PAGES, GROUP_ASTRAY})

TALLIED = """
SELECT run, state, substr(reason, 1, instr(reason || ': ', ': ') - 1), count(*) FROM pages
WHERE run = (SELECT max(number) FROM runs) AND state <> 0 GROUP BY 1, 2, 3"""
_NOT_EARLIER = "AND items.n >= pages.entries"  # those before are of earlier visits
QUESTIONS = {
    DAMAGE: "SELECT integrity_check FROM pragma_integrity_check WHERE integrity_check <> 'ok'",
    "a number that a page or an item lacks": """
        SELECT 'pages' FROM (SELECT count(*) AS n, max(seq) AS last FROM pages) WHERE n <> last
        UNION ALL SELECT 'items' FROM (SELECT count(*) AS n, min(seq) AS first, max(seq) AS last FROM items)
          WHERE n <> last - first + 1 OR last <> (SELECT seq FROM sqlite_sequence WHERE name = 'items')""",
    "a page of no host, no run or no state": """
        SELECT seq FROM pages WHERE host NOT IN (SELECT id FROM hosts) OR state NOT IN (0, 1, 2, 3, 4)
          OR run NOT BETWEEN 1 AND (SELECT max(number) FROM runs)""",
    PENDING_COUNT: """
        SELECT number, pending FROM runs
        WHERE pending <> (SELECT count(*) FROM pages WHERE state = 0 AND pages.run = runs.number)""",
    FINISHED_EARLY: """
        SELECT number FROM runs WHERE finished_at IS NOT NULL
        AND EXISTS (SELECT 1 FROM pages WHERE state = 0 AND pages.run = runs.number)""",
    OLDER_UNFINISHED: """
        SELECT number FROM runs WHERE finished_at IS NULL AND number < (SELECT max(number) FROM runs)""",
    TALLIES: f"""
        SELECT DISTINCT run FROM (
          SELECT * FROM (SELECT * FROM tallies WHERE pages <> 0 EXCEPT {TALLIED})
          UNION ALL SELECT * FROM ({TALLIED} EXCEPT SELECT * FROM tallies))
        WHERE run = (SELECT max(number) FROM runs)""",  # noqa: S608  # constants
    UNKNOWN_OWNER: """
        SELECT origin FROM hosts WHERE owner IS NOT NULL AND owner NOT IN (SELECT id FROM engines)""",
    GROUP_ASTRAY: """
        SELECT name FROM groups JOIN members ON group_id = groups.id JOIN hosts ON hosts.id = host
        WHERE hosts.owner IS NOT NULL AND groups.owner IS NOT hosts.owner
        UNION SELECT name FROM groups WHERE owner IS NOT NULL AND NOT EXISTS (
          SELECT 1 FROM members JOIN hosts ON hosts.id = host
          WHERE group_id = groups.id AND hosts.owner = groups.owner)""",
    NO_DUE_TIME: """
        SELECT origin FROM hosts WHERE owner IS NULL AND due_at IS NULL
        AND EXISTS (SELECT 1 FROM pages WHERE pages.host = hosts.id AND state = 0)""",
    VAIN_DUE_TIME: """
        SELECT origin FROM hosts WHERE owner IS NULL AND due_at IS NOT NULL
        AND NOT EXISTS (SELECT 1 FROM pages WHERE pages.host = hosts.id AND state = 0)""",
    "an item of a page that has not ended": f"""
        SELECT items.seq FROM items JOIN pages ON pages.seq = items.page AND pages.run = items.run
        WHERE pages.state = 0 {_NOT_EARLIER}""",  # noqa: S608  # a constant
    "an item of no page": "SELECT seq FROM items WHERE page NOT IN (SELECT seq FROM pages)",
    "an item that stands twice": "SELECT page, n FROM items GROUP BY run, page, n HAVING count(*) > 1",
    ITEM_COUNT: """
        SELECT number FROM runs LEFT JOIN (
          SELECT run, count(*) AS n, count(quarantine) AS bad,
            sum(length(body)) FILTER (WHERE quarantine IS NULL) AS size FROM items GROUP BY run)
        ON run = number
        WHERE (items, quarantined, item_bytes) <> (coalesce(n - bad, 0), coalesce(bad, 0), coalesce(size, 0))
        AND (number = (SELECT max(number) FROM runs) OR n > 0)""",
    VISIT_UNKNOWN: """
        SELECT pages.seq FROM pages JOIN hosts ON hosts.id = pages.host
        WHERE pages.revisit_at IS NOT NULL AND state <> 0 AND coalesce(hosts.revisit_at > pages.revisit_at, 1)""",
    RECORD_PAGES: """
        SELECT place FROM records FULL JOIN (SELECT place, count(*) AS n FROM sightings GROUP BY place) USING (place)
        WHERE pages IS NOT n""",
    SINK_AHEAD: """
        SELECT target FROM sinks
        WHERE seq > (SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'items')""",
    SINK_ASTRAY: """
        SELECT target FROM sinks WHERE run = (SELECT max(number) FROM runs) AND position ->> 'start' IS NOT NULL
        AND (target LIKE '%.jsonl' OR target LIKE '%.ndjson') AND position ->> 'offset' - position ->> 'start' <> (
          SELECT coalesce(sum(octet_length(body) + 1), 0) FROM items
          WHERE items.run = sinks.run AND items.seq <= sinks.seq AND quarantine IS NULL)
        AND NOT EXISTS (  -- what another sink has refused may stand in this one
          SELECT 1 FROM items JOIN sinks AS s ON s.run = items.run AND instr(quarantine, s.target || ': ') = 1
          WHERE items.run = sinks.run AND items.seq <= sinks.seq)""",
}
_LAYOUT = """
SELECT m.name, l.strict, l.wr, x.name, x.type, x."notnull", x.dflt_value, x.pk, x.hidden
FROM sqlite_schema AS m JOIN pragma_table_list(m.name) AS l JOIN pragma_table_xinfo(m.name) AS x WHERE m.type = 'table'
UNION ALL SELECT type, name, tbl_name, sql, NULL, NULL, NULL, NULL, NULL FROM sqlite_schema WHERE type <> 'table'"""
# cast, since a damaged row may hold anything
_PAGES = """
SELECT seq, host, CAST(coalesce(fingerprint, 0) AS INTEGER), CAST(coalesce({}path, '') AS BLOB), CAST(request AS BLOB)
FROM pages"""
_ITEMS = """
SELECT seq, json_valid(body), CAST(coalesce(run, 0) AS INTEGER), CAST(coalesce(page, 0) AS INTEGER),
  CAST(coalesce(n, 0) AS INTEGER), CAST(coalesce(kind, '') AS BLOB), CAST(coalesce(body, '') AS BLOB),
  CAST(quarantine AS BLOB) {} FROM items"""
_CHAIN = "SELECT count(*) FROM pages WHERE host = ? AND fingerprint >= ? AND fingerprint < ?"
_MANY = 10


class Finding(NamedTuple):
    """Something that must not be: what, and where (rows, at most ten of a kind)."""

    what: str
    where: str


def violations(db: apsw.Connection) -> list[str]:
    """Each contradiction of the invariants, in words; the first ten of a kind."""
    return [f"{what}: {where}" for what, where in _answers(db)]


def findings(db: apsw.Connection) -> Iterator[Finding]:
    """All that can be known to be wrong with a journal; it takes seconds for a million pages. Raises nothing.

    The layout comes first, and nothing after it if it is wrong. Pages are checked against their fingerprints, items
    against their checksums, where they have them.
    """
    try:
        yield from (flaws := list(layout(db)))
        if flaws:
            return
        yield from _answers(db)
        yield from _misnamed(db)
        yield from _altered(db)
    except (apsw.Error, UnicodeDecodeError) as error:
        yield Finding("what cannot be read", str(error))


def item_crc(run: int, page: int, n: int, kind: bytes, body: bytes, quarantine: bytes | None) -> int:
    """The checksum that an item is stored with: CRC-32 of all that it is."""
    return zlib.crc32(body, zlib.crc32(b"%d %d %d %b %b" % (run, page, n, kind, quarantine or b"")))


def crc(run: int, page: int, n: int, item: Item) -> int:
    """The checksum of an item that is to be stored as the n-th of its page."""
    return item_crc(
        run, page, n, item.kind.encode(), item.body.encode(), item.quarantine.encode() if item.quarantine else None
    )


def _answers(db: apsw.Connection) -> Iterator[Finding]:
    is_older = db.pragma("user_version") < VERSION
    for what, select in QUESTIONS.items():
        if is_older and what in SINCE_2:
            continue
        for row in db.execute(select.replace(_NOT_EARLIER, "") if is_older else select).fetchall()[:_MANY]:
            yield Finding(what, ", ".join(map(str, row)))


def layout(db: apsw.Connection) -> Iterator[Finding]:
    """What is wrong with the tables themselves, if they are of the present version."""
    if db.pragma("user_version") == VERSION:
        fresh = opened(":memory:")
        wanted, found = (set(one.execute(_LAYOUT)) for one in (fresh, db))
        fresh.close()
        names = sorted({str(row[0]) for row in wanted - found})
        if names:
            yield Finding(LAYOUT, ", ".join(names))


def _misnamed(db: apsw.Connection) -> Iterator[Finding]:
    """Pages whose fingerprint is not that of their URL, nor one further because that was taken."""
    key = db.execute("SELECT CAST(value AS BLOB) FROM job WHERE key = 'key'").get
    if key is None:
        if db.execute("SELECT 1 FROM pages LIMIT 1").get:
            yield Finding("the key of the fingerprints", "gone")
        return
    fingerprints = Fingerprints(cast("bytes", key))
    wrong = 0
    for seq, host, fingerprint, path, rest in db.execute(_PAGES.format("known_as, " * _has(db, "pages", "known_as"))):
        wanted = _fingerprint(fingerprints, cast("bytes", path), cast("bytes | None", rest))
        beyond = None if wanted is None else cast("int", fingerprint) - wanted
        if beyond and 0 < beyond < 100:
            beyond -= cast("int", db.execute(_CHAIN, (host, wanted, fingerprint)).get)
        wrong += bool(beyond != 0)
        if beyond != 0 and wrong <= _MANY:
            yield Finding("a page whose URL is not what it was", str(seq))


def _fingerprint(fingerprints: Fingerprints, path: bytes, rest: bytes | None) -> int | None:
    """The fingerprint of what is stored; None for what cannot be."""
    try:
        text = path.decode()
        identity, is_keyed, is_robots = _identity(rest)
    except (UnicodeDecodeError, msgspec.MsgspecError):
        return None
    if not text.startswith("/") or (is_robots and text != "/robots.txt"):
        return None
    return fingerprints.of("" if is_keyed else text, identity)


@lru_cache(maxsize=1024)
def _identity(rest: bytes | None) -> tuple[str, bool, bool]:
    request = unpacked("", 0, 0, None if rest is None else rest.decode())
    return request.identity, request.key is not None, request.kind == "robots" and not request.hops


def _has(db: apsw.Connection, table: str, column: str) -> bool:
    """Whether a table has a column that it had not in older versions."""
    return db.execute("SELECT 1 FROM pragma_table_xinfo(?) WHERE name = ?", (table, column)).get is not None


def _altered(db: apsw.Connection) -> Iterator[Finding]:
    """Items that are not what was stored."""
    has_crc = _has(db, "items", "crc")
    wrong = 0
    for seq, valid, *facts in db.execute(_ITEMS.format(", crc" if has_crc else "")):
        crc = facts.pop() if has_crc else None
        sound = valid if crc is None else crc == item_crc(*facts)
        wrong += not sound
        if not sound and wrong <= _MANY:
            yield Finding("an item that is not what it was", str(seq))
