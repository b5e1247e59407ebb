"""Which hosts share a group, and whose the group is: the groups of an engine's hosts are that engine's.

All functions run within a transaction. A group goes to the engine that takes the first of its hosts, and is free when
the last of them is; so no two engines ever ask one group at once.
"""

from collections.abc import Collection, Mapping
from typing import cast

import msgspec

from crawler.frontier import Parting
from crawler.frontier.writer import Writer

# what cannot be taken, since one of its groups is another engine's; and what nobody but the group's owner can take
_MEMBERSHIP = "SELECT 1 FROM members AS m JOIN groups AS g ON g.id = m.group_id WHERE m.host = hosts.id AND g.owner"
IS_ANOTHERS = f"EXISTS ({_MEMBERSHIP} <> ?1)"  # constants
IS_SOMEBODYS = f"EXISTS ({_MEMBERSHIP} IS NOT NULL)"  # constants

OF_ONE_LEASE = """(SELECT json_group_object(name, json_array(g.ready_at, coalesce(g.delay, 0)))
  FROM members AS m JOIN groups AS g ON g.id = m.group_id WHERE m.host = h.id)"""
_MATES = f"""
SELECT json_group_array(json_array(id, delay)) FROM (
  SELECT DISTINCT hosts.id, hosts.delay FROM groups AS own JOIN members AS mine ON mine.group_id = own.id
  JOIN hosts ON hosts.id = mine.host WHERE own.owner = ?1
  AND hosts.owner IS NULL AND hosts.due_at <= ?2 AND hosts.ready_at <= ?2 + ?3 AND NOT {IS_ANOTHERS} LIMIT ?4)"""  # noqa: S608  # constants
_TAKE = """
UPDATE groups SET owner = ?1 WHERE owner IS NULL AND id IN (
  SELECT group_id FROM members JOIN hosts ON hosts.id = host
  WHERE host IN (SELECT value FROM jsonb_each(?2)) AND hosts.owner = ?1)"""
_IS_MINE = "SELECT 1 FROM hosts WHERE id = ? AND token = ? AND owner = ?"
_KNOW = "INSERT OR IGNORE INTO groups(name) SELECT key FROM jsonb_each(?)"
_ARE_ANOTHERS = "SELECT 1 FROM groups WHERE name IN (SELECT key FROM jsonb_each(?)) AND owner <> ?"
_JOIN = """
UPDATE groups SET owner = ?, delay = e.value FROM jsonb_each(?) AS e WHERE name = e.key
RETURNING name, ready_at"""
_ENTER = """
INSERT OR IGNORE INTO members SELECT ?, id FROM groups WHERE name IN (SELECT key FROM jsonb_each(?))"""
_REST = "UPDATE groups SET ready_at = max(ready_at, e.value) FROM jsonb_each(?) AS e WHERE name = e.key"
_PART = """
INSERT OR IGNORE INTO members
SELECT hosts.id, g.id FROM hosts JOIN groups AS g ON g.name IN (SELECT key FROM jsonb_each(?))
WHERE hosts.id = ? AND token = ? AND hosts.owner = ?"""
_FREE = """
UPDATE groups SET owner = NULL WHERE owner = ?1
AND id IN (SELECT group_id FROM members WHERE host IN (SELECT value FROM jsonb_each(?2)))
AND NOT EXISTS (
  SELECT 1 FROM members AS m JOIN hosts ON hosts.id = m.host WHERE m.group_id = groups.id AND hosts.owner = ?1)"""

_encode = msgspec.json.encode


def mates(journal: Writer, engine: int, now: float, horizon: float, most: int) -> dict[int, float | None]:
    """Free hosts of groups that are an engine's already, each with its delay: nobody else can ask them."""
    return dict(cast("list[tuple[int, float | None]]", journal.json(_MATES, (engine, now, horizon, most))))


def take(journal: Writer, engine: int, hosts: Collection[int]) -> None:
    """The groups of hosts that an engine has just taken are its own."""
    if hosts:
        journal.execute(_TAKE, (engine, _encode(list(hosts)).decode()))


def join(
    journal: Writer, engine: int, host: int, token: int, groups: Mapping[str, float]
) -> Mapping[str, float] | None:
    """Put an engine's host into groups, each with its pause (s), and make them the engine's.

    From when on each may be asked (epoch seconds); None, and nothing is changed, if the host is not the engine's or a
    group is another's.
    """
    named = _encode(groups).decode()
    if not journal.value(_IS_MINE, (host, token, engine)) or journal.value(_ARE_ANOTHERS, (named, engine)):
        return None
    journal.execute(_KNOW, (named,))
    ready = dict(cast("list[tuple[str, float]]", journal.db.execute(_JOIN, (engine, named)).fetchall()))
    journal.execute(_ENTER, (host, named))
    return ready


def part(journal: Writer, engine: int, partings: Collection[Parting]) -> None:
    """Remember the groups of hosts that are about to be given back, those included that could not be joined."""
    for parting in partings:
        if parting.groups:
            named = _encode(parting.groups).decode()
            journal.execute(_KNOW, (named,))
            journal.execute(_REST, (named,))
            journal.execute(_PART, (named, parting.host, parting.token, engine))


def free(journal: Writer, engine: int, hosts: Collection[int]) -> None:
    """Of the groups of hosts that were given back, let go of those of which the engine has no other host."""
    if hosts:
        journal.execute(_FREE, (engine, _encode(list(hosts)).decode()))
