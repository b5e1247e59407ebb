"""The journal's statements. Each takes all its rows as one JSON array, and answers with one JSON value."""

import apsw

from crawler.frontier.membership import IS_ANOTHERS, IS_SOMEBODYS, OF_ONE_LEASE
from crawler.models import HOUSEKEEPING, Counts, Cut, Spent, State

SEED_HOSTS = "SELECT json_group_array(json_array(origin, seed, is_written)) FROM hosts WHERE seed IS NOT NULL"
HOST_IDS = "SELECT json_group_object(origin, id) FROM hosts WHERE origin IN (SELECT value FROM jsonb_each(?))"

INSERT_PAGES = """
INSERT INTO pages(host, fingerprint, path, rank, parent, request, run, known_as)
SELECT value->>0, value->>1, value->>2, value->>3, value->>4, value->>5, value->>6, value->>7 FROM jsonb_each(?)
WHERE true
ON CONFLICT(host, fingerprint) DO NOTHING"""

_ONE_KEY = "p.request->>'key' = (e.value->>5)->>'key'"  # an author's own key stands for the whole URL
_ONE_NAME = "coalesce(p.known_as, p.path) = coalesce(e.value->>7, e.value->>2)"
_ONE_HANDLER = "coalesce(p.request->>'handler', 'parse') = coalesce((e.value->>5)->>'handler', 'parse')"
# what a redirect or a canonical URL leads to, where it is known with another handler
_OTHER_HANDLER = f"""coalesce((e.value->>5)->>'hops', (e.value->>5)->>'by_canonical') IS NOT NULL
AND p.run = e.value->>6 AND NOT {_ONE_HANDLER}"""
SAME = f"p.host = e.value->>0 AND p.fingerprint = e.value->>1 AND ({_ONE_NAME} OR {_ONE_KEY})"
_AFRESH = (
    """
UPDATE pages AS p SET state = 0, run = e.value->>6, rank = e.value->>3, parent = e.value->>4, request = e.value->>5,
  path = e.value->>2, known_as = e.value->>7, canonical = NULL, leads_to = NULL, due_at = 0,
  attempts = 0, deferrals = 0, deaths = 0, reason = NULL, status = NULL, size = NULL, first_at = NULL, ended_at = NULL,
  content = NULL, etag = NULL, modified = NULL, revisit_at = NULL, interval = NULL, entries = 0
FROM jsonb_each(?) AS e WHERE """
    + SAME
)

REVIVE = _AFRESH + " AND p.run < e.value->>6"
REVIVE_NEARER = (
    _AFRESH + " AND p.run = e.value->>6 AND p.state = 3 AND p.reason = 'depth' AND p.depth > (e.value->>3 & 4294967295)"
)
NEARER = (
    """
UPDATE pages AS p SET
  rank = (min(p.rank >> 32, e.value->>3 >> 32) << 32) | min(p.depth, e.value->>3 & 4294967295)
FROM jsonb_each(?) AS e WHERE """
    + SAME
    + " AND p.state = 0 AND p.rank > e.value->>3"
)
COLLISIONS = f"""
SELECT json_group_array(e.key) FROM jsonb_each(?) AS e
JOIN pages p ON p.host = e.value->>0 AND p.fingerprint = e.value->>1
WHERE (NOT {_ONE_NAME} AND NOT coalesce({_ONE_KEY}, false)) OR ({_OTHER_HANDLER})"""  # noqa: S608  # constants
# a page that another handler has too lies behind it: see COLLISIONS
LEADS_TO = f"""
UPDATE pages SET leads_to = (
  SELECT p.seq FROM pages AS p WHERE p.host = e.value->>0 AND p.fingerprint BETWEEN e.value->>1 AND (e.value->>1) + 9
  AND ({_ONE_NAME} OR {_ONE_KEY}) AND {_ONE_HANDLER} ORDER BY p.fingerprint LIMIT 1)
FROM jsonb_each(?) AS e WHERE seq = e.value->>8"""  # noqa: S608  # constants
BREAK_CIRCLE = """
WITH RECURSIVE chain(seq, leads_to, reason, n) AS (
  SELECT seq, leads_to, reason, 1 FROM pages WHERE seq = ?1 AND state = 1
  UNION ALL
  SELECT p.seq, p.leads_to, p.reason, n + 1 FROM chain JOIN pages AS p ON p.seq = chain.leads_to
  WHERE p.state = 1 AND p.run = ?2 AND chain.leads_to <> ?1 AND n < 50)
UPDATE pages SET state = 0, due_at = 0, attempts = 0, deferrals = 0, deaths = 0, leads_to = NULL, reason = NULL,
  status = NULL, size = NULL, first_at = NULL, ended_at = NULL, content = NULL, revisit_at = NULL,
  request = json_set(coalesce(request, '{"url":""}'), '$.by_canonical', json('true'))
WHERE seq = (SELECT min(seq) FROM chain WHERE reason LIKE 'canonical: %')
AND EXISTS (SELECT 1 FROM chain WHERE leads_to = ?1)
RETURNING host, rank"""
# by the pages' numbers: without the + SQLite goes through the index of all pages, to have them grouped already
BEST_NEW = """
SELECT json_group_array(json_array(host, best)) FROM (
  SELECT host, min(rank) AS best FROM pages WHERE seq > ? GROUP BY +host)"""
HOSTS_DUE = "UPDATE hosts SET due_at = 0 WHERE due_at IS NOT 0 AND id IN (SELECT value FROM jsonb_each(?))"
SEED = "UPDATE hosts SET seed = '' WHERE seed IS NULL AND id IN (SELECT value FROM jsonb_each(?))"
SEED_WRITTEN = "UPDATE hosts SET is_written = 1 WHERE NOT is_written AND id IN (SELECT value FROM jsonb_each(?))"
ONE_MORE_SEED = "INSERT INTO job VALUES ('seeds', 1) ON CONFLICT DO UPDATE SET value = value + 1 RETURNING value"
SEEDS_VERSION = "SELECT value FROM job WHERE key = 'seeds'"
SEED_FOLDER = "UPDATE hosts SET seed = seed || ?2 WHERE id = ?1 AND NOT instr(seed, ?2)"

FREE_HOSTS = f"""
SELECT json_group_array(json_array(id, delay)) FROM (
  SELECT id, delay FROM hosts
  WHERE owner IS NULL AND due_at IS NOT NULL AND max(ready_at, due_at) <= ?2 + ?3 AND due_at <= ?2
  AND NOT {IS_ANOTHERS} ORDER BY max(ready_at, due_at) LIMIT ?4)"""  # noqa: S608  # constants
NAMED_HOSTS = f"""
SELECT json_group_array(json_array(id, delay)) FROM hosts
WHERE origin IN (SELECT value FROM jsonb_each(?2)) AND owner IS NULL AND ready_at <= ?3
AND NOT {IS_ANOTHERS}"""  # noqa: S608  # constants
TAKE = """
UPDATE hosts SET owner = e.value->>1, token = token + 1 FROM jsonb_each(?) AS e
WHERE hosts.id = e.value->>0 AND e.value->>1 IN (SELECT id FROM engines)"""  # one that was buried may not know it yet
# as `quotas` counts it; a page that is to be visited again has been done before
_WAS_VISITED = "(state <> 0 OR interval IS NOT NULL OR entries > 0)"
_IS_COUNTED = f"""state < 2 AND {_WAS_VISITED} AND coalesce(request->>'kind', 'page') IN ('page', 'download')
AND coalesce(reason, '') NOT LIKE 'redirected%' AND coalesce(reason, '') NOT LIKE 'canonical%'"""
_TAKEN = f"""
SELECT json_array(count(*) FILTER (WHERE {_IS_COUNTED}), coalesce(sum(size) FILTER (WHERE {_WAS_VISITED}), 0))
FROM pages WHERE host = h.id AND run = :run AND coalesce(request->>'kind', 'page') <> 'robots'"""  # noqa: S608  # constants
# CROSS JOIN: SQLite would go through all hosts of the engine, and through those asked for at each of them
LEASED = f"""
SELECT json_group_array(json_array(h.id, h.origin, h.token, h.ready_at, json((
    SELECT json_group_array(json_array(seq, path, rank, attempts, deferrals, parent, request, deaths, json(history)))
    FROM (
      SELECT seq, path, rank, attempts, deferrals, parent, request, deaths,
        CASE WHEN interval IS NOT NULL OR entries > 0
          THEN json_array(hex(content), etag, modified, interval, entries) END AS history FROM pages
      WHERE host = h.id AND state = 0 AND due_at <= :now ORDER BY rank, seq LIMIT :limit))),
  CASE WHEN a.value->>1 AND h.robots_expires_at IS NOT NULL
    THEN json_array(h.robots_status, h.robots_body, h.robots_fetched_at, h.robots_expires_at) END, h.circuit,
  CASE WHEN a.value->>1 THEN json({OF_ONE_LEASE}) ELSE json('{{}}') END,
  CASE WHEN a.value->>1 THEN json((
    SELECT json_group_array(json_array(path, content, pages, barren, reason)) FROM (
      SELECT * FROM shapes WHERE run = :run AND host = h.id ORDER BY pages DESC LIMIT 1000))) END,
  CASE WHEN a.value->>1 THEN json((
    SELECT json_group_array(json_array(page, url, signature)) FROM (
      SELECT page, h.origin || path AS url, signature FROM likenesses JOIN pages ON seq = page
      WHERE likenesses.host = h.id AND likenesses.run = :run ORDER BY page DESC LIMIT 2000))) END,
  CASE WHEN a.value->>1 AND :counts_taken THEN json(({_TAKEN})) END))
FROM jsonb_each(:asked) AS a CROSS JOIN hosts AS h ON h.id = a.value->>0 WHERE h.owner = :engine"""  # noqa: S608  # constants
TOKENS = """
SELECT json_group_array(json_array(id, token)) FROM hosts
WHERE id IN (SELECT value FROM jsonb_each(?)) AND owner = ?"""

END_PAGES = """
UPDATE pages SET state = e.value->>1, reason = e.value->>2, status = e.value->>3, size = e.value->>4,
  ended_at = e.value->>5, first_at = coalesce(first_at, e.value->>5), due_at = e.value->>6,
  attempts = attempts + e.value->>7, deferrals = deferrals + e.value->>8, deaths = 0,
  canonical = CASE e.value->>2 WHEN 'unchanged' THEN canonical ELSE e.value->>9 END,
  content = CASE WHEN e.value->>1 IN (1, 2) THEN unhex(e.value->>10) ELSE content END,
  etag = CASE WHEN e.value->>1 IN (1, 2) THEN e.value->>11 ELSE etag END,
  modified = CASE WHEN e.value->>1 IN (1, 2) THEN e.value->>12 ELSE modified END,
  revisit_at = e.value->>13, interval = coalesce(e.value->>14, interval), entries = entries + e.value->>15
FROM jsonb_each(?) AS e WHERE seq = e.value->>0 AND state = 0"""
TALLY = """
INSERT INTO tallies SELECT value->>0, value->>1, value->>2, value->>3 FROM jsonb_each(?) WHERE true
ON CONFLICT DO UPDATE SET pages = pages + excluded.pages"""
COUNT = """
UPDATE runs SET pending = pending - ?, items = items + ?, quarantined = quarantined + ?, bytes = bytes + ?,
  item_bytes = item_bytes + ? WHERE number = ? RETURNING item_bytes"""
INSERT_ITEMS = """
INSERT INTO items(run, page, n, kind, body, quarantine, crc)
SELECT value->>0, value->>1, value->>2, value->>3, value->>4, value->>5, value->>6 FROM jsonb_each(?)"""
QUARANTINE = """
UPDATE items SET quarantine = ? WHERE seq = ? AND run = ? AND quarantine IS NULL RETURNING page, n, kind, body"""
INSERT_FILES = """
INSERT OR REPLACE INTO files SELECT value->>0, value->>1, value->>2, value->>3, value->>4 FROM jsonb_each(?)"""
INSERT_EVENTS = """
INSERT INTO events(run, at, page, kind, detail)
SELECT value->>0, value->>1, value->>2, value->>3, value->>4 FROM jsonb_each(?)"""
INSERT_CUTS = """
INSERT INTO cuts SELECT value->>0, value->>1, value->>2, value->>3, value->>4 FROM jsonb_each(?) WHERE true
ON CONFLICT DO UPDATE SET links = links + excluded.links"""
SET_SHAPES = """
INSERT OR REPLACE INTO shapes
SELECT value->>0, value->>1, value->>2, value->>3, value->>4, value->>5, value->>6 FROM jsonb_each(?)"""
SET_LIKENESSES = """
INSERT OR REPLACE INTO likenesses SELECT value->>0, value->>1, value->>2, value->>3 FROM jsonb_each(?)"""
HOST_FACTS = """
UPDATE hosts SET ready_at = max(ready_at, coalesce(e.value->>1, 0)), delay = coalesce(e.value->>2, delay),
  circuit = coalesce(e.value->>3, circuit)
FROM jsonb_each(?) AS e WHERE hosts.id = e.value->>0"""
SET_ROBOTS = """
UPDATE hosts SET robots_status = ?, robots_body = ?, robots_fetched_at = ?, robots_expires_at = ?,
  delay = coalesce(?, delay),
  due_at = CASE WHEN due_at IS NULL THEN NULL ELSE 0 END WHERE origin = ?"""

_NEXT_DUE = """CASE WHEN EXISTS (SELECT 1 FROM pages WHERE host = h.id AND state = 0 AND due_at <= e.value->>1) THEN 0
  ELSE (SELECT min(due_at) FROM pages WHERE host = h.id AND state = 0 AND due_at > 0) END"""
RELEASE = f"""
UPDATE hosts AS h SET owner = NULL, ready_at = max(ready_at, e.value->>2),
  due_at = max({_NEXT_DUE}, e.value->>3), circuit = e.value->>6
FROM jsonb_each(?) AS e WHERE h.id = e.value->>0 AND h.token = e.value->>4 AND h.owner = e.value->>5"""  # noqa: S608  # constants
BURY = f"""
UPDATE hosts AS h SET owner = NULL, ready_at = max(ready_at, e.value->>1 + coalesce(delay, e.value->>2)),
  due_at = {_NEXT_DUE}
FROM jsonb_each(?) AS e WHERE h.owner = e.value->>0"""  # noqa: S608  # constants
BURY_GROUPS = """
UPDATE groups SET owner = NULL, ready_at = max(ready_at, e.value->>1 + coalesce(delay, 0))
FROM jsonb_each(?) AS e WHERE owner = e.value->>0"""

ENROL = "INSERT INTO engines(pid, boot, alive_until, invocation, supervisor) VALUES (?, ?, ?, ?, ?)"
RENEW = "UPDATE engines SET alive_until = ? WHERE id = ?"
OTHERS = "SELECT json_group_array(json_array(id, boot, alive_until, supervisor)) FROM engines WHERE id <> ?"
GIVE_BACK_RESERVED = """
UPDATE invocations SET pages_left = pages_left + e.reserved
FROM engines AS e WHERE e.invocation = invocations.id AND e.id = ?"""
DEATHS = """
UPDATE pages SET deaths = deaths + ?2 WHERE seq IN (SELECT value FROM jsonb_each(?1)) AND state = 0"""
KILLED = """
UPDATE pages SET state = 4, reason = ?2, first_at = coalesce(first_at, ?3), ended_at = ?3
WHERE seq IN (SELECT value FROM jsonb_each(?1)) AND state = 0 AND deaths >= ?4 RETURNING seq"""
MOVE_TIMES = (
    "UPDATE hosts SET ready_at = ready_at + ?1 WHERE ready_at > 0",
    "UPDATE hosts SET due_at = due_at + ?1 WHERE due_at > 0",
    "UPDATE groups SET ready_at = ready_at + ?1 WHERE ready_at > 0",
    "UPDATE hosts SET robots_fetched_at = robots_fetched_at + ?1, robots_expires_at = robots_expires_at + ?1",
    "UPDATE sessions SET retired_until = retired_until + ?1 WHERE retired_until > 0",
    "UPDATE pages SET due_at = due_at + ?1 WHERE state = 0 AND due_at > 0",
    "UPDATE pages SET revisit_at = revisit_at + ?1 WHERE revisit_at > 0 AND state <> 0",
    "UPDATE hosts SET revisit_at = revisit_at + ?1 WHERE revisit_at > 0",
    """UPDATE hosts SET circuit = json_set(
      circuit, '$.opened_at', circuit->>'opened_at' + ?1, '$.until', circuit->>'until' + ?1)
    WHERE circuit LIKE '%opened_at%'""",
)
BEGIN_INVOCATION = "INSERT INTO invocations(run, began_at, pages_left, items_left) VALUES (?, ?, ?, ?)"
RESERVED = """
SELECT coalesce(pages_left, 0), coalesce((SELECT reserved FROM engines WHERE id = ?2), 0) FROM invocations WHERE id = ?1
"""
STILL_RESERVED = "SELECT coalesce(sum(reserved), 0) FROM engines WHERE invocation = ?"
SPEND = """
UPDATE invocations SET pages = pages + ?2, items = items + ?3, items_left = items_left - ?3 WHERE id = ?1
RETURNING items_left"""
HELD_HOSTS = (
    "SELECT json_group_array(json_array(id, (SELECT count(*) FROM hosts WHERE owner = engines.id))) FROM engines"
)
WAITING_HOSTS = f"""
SELECT count(*) FROM (
  SELECT 1 FROM hosts WHERE owner IS NULL AND due_at IS NOT NULL AND max(ready_at, due_at) <= ?
  AND NOT {IS_SOMEBODYS} LIMIT 1000)"""  # noqa: S608  # constants

LOOK_AGAIN = f"""
UPDATE hosts AS h SET due_at = {_NEXT_DUE.replace("e.value->>1", "?1")}
WHERE owner IS NULL AND due_at > ?1"""  # noqa: S608  # constants

NEXT_ITEMS = """
SELECT json_group_array(json_array(seq, page, n, kind, body)) FROM (
  SELECT seq, page, n, kind, body FROM items WHERE run = ? AND seq > ? AND quarantine IS NULL ORDER BY seq LIMIT ?)"""
CURSOR = "SELECT seq, bytes, position FROM sinks WHERE target = ? AND run = ?"
FOLLOW = "INSERT OR REPLACE INTO sinks(target, run, seq, position, bytes) VALUES (?, ?, ?, ?, ?)"

FINISH = """
UPDATE runs SET finished_at = ?, outcome = ? WHERE number = ? AND pending = 0 AND finished_at IS NULL
AND NOT EXISTS (SELECT 1 FROM hosts WHERE revisit_at IS NOT NULL)"""
WITHDRAW = "DELETE FROM runs WHERE number = ?1 AND NOT EXISTS (SELECT 1 FROM pages WHERE run = ?1)"
HANDLERS = """
SELECT json_group_array(DISTINCT name.value) FROM (
  SELECT DISTINCT request->>'handler' AS handler, request->>'failed' AS failed FROM pages NOT INDEXED
  WHERE state = 0 AND request IS NOT NULL), json_each(json_array(handler, failed)) AS name WHERE name.value <> ''"""
_RUN = "SELECT pending, items, quarantined, bytes, item_bytes FROM runs WHERE number = ?"
_SPENT = "SELECT pages, items FROM invocations WHERE id = ?"
_TALLIES = "SELECT state, reason, pages FROM tallies WHERE run = ? AND pages <> 0"
_CUTS = "SELECT reason, sum(links), min(example) FROM cuts WHERE run = ? GROUP BY reason"
_NEXT = """
SELECT (SELECT count(*) FROM hosts WHERE due_at IS NOT NULL),
  (SELECT max(ready_at, due_at) FROM hosts WHERE owner IS NULL AND due_at IS NOT NULL {}
   ORDER BY max(ready_at, due_at) LIMIT 1),
  (SELECT count(*) FROM hosts WHERE owner IS NOT NULL)"""
_NEXT_VISIT = "SELECT min(revisit_at) FROM hosts WHERE revisit_at IS NOT NULL"


def counts(db: apsw.Connection, run: int, invocation: int = 0) -> Counts:
    """How far a run is, and an invocation."""
    row = db.execute(_RUN, (run,)).fetchone() or (0, 0, 0, 0, 0)
    is_old = int(db.pragma("user_version")) < 2  # one that is read only, and has neither limits nor cuts yet
    spent = Spent() if is_old else Spent(*(db.execute(_SPENT, (invocation,)).fetchone() or ()))
    ended = dict.fromkeys(State, 0)
    reasons: dict[str, int] = {}
    for state, reason, pages in db.execute(_TALLIES, (run,)):
        if reason in HOUSEKEEPING:
            continue
        ended[State(state)] += pages
        name = State(state).name.lower() + (f": {reason}" if reason else "")
        reasons[name] = reasons.get(name, 0) + pages
    found = () if is_old else db.execute(_CUTS, (run,))
    cuts = {reason: Cut(links, example) for reason, links, example in found}
    takeable = "" if is_old else f"AND NOT {IS_SOMEBODYS}"
    hosts, next_due_at, held = db.execute(_NEXT.format(takeable)).fetchone() or (0, None, 0)
    revisit_at = None if is_old else db.execute(_NEXT_VISIT).get
    return Counts(
        pending=row[0], done=ended[State.DONE], gone=ended[State.GONE], skipped=ended[State.SKIPPED],
        failed=ended[State.FAILED], items=row[1], quarantined=row[2], bytes=row[3], hosts=hosts, held=held,
        item_bytes=row[4], next_due_at=next_due_at, revisit_at=revisit_at, reasons=reasons, spent=spent,
        cuts=cuts,
    )  # fmt: skip
