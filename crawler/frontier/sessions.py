"""Sessions in the journal: shared by all engines, each made by one of them at a time."""

from collections.abc import Callable, Sequence
from typing import cast

import msgspec

from crawler.cookies import Jar, SessionState
from crawler.frontier import ONLY_SESSION, StoredSession
from crawler.frontier.engines import Engines
from crawler.frontier.writer import Writer
from crawler.models import Visit

_LOOK = "SELECT version, is_valid, state, strikes, retired_until, reason FROM sessions WHERE name = ?"
_CLAIM = """
INSERT INTO sessions(name, owner) VALUES (:name, :engine) ON CONFLICT(name) DO UPDATE SET owner = :engine
WHERE version = :version AND NOT is_valid AND (owner IS NULL OR owner NOT IN (SELECT id FROM engines))
"""
_KEEP = """
UPDATE sessions SET version = version + 1, is_valid = 1, owner = NULL, state = ?, strikes = 0, retired_until = 0,
  reason = '' WHERE owner = ? AND name = ?"""
_RELEASE = "UPDATE sessions SET owner = NULL WHERE owner = ? AND name = ?"
_EXPIRE = "UPDATE sessions SET is_valid = 0 WHERE version = ? AND name = ?"
_CHANGE = "UPDATE sessions SET state = ? WHERE version = ? AND name = ?"
_STRIKE = "UPDATE sessions SET strikes = strikes + 1 WHERE name = ? AND version = ? AND retired_until <= ?"
_RETIRE = """
UPDATE sessions SET strikes = 0, is_valid = 0, retired_until = ?, reason = ?
WHERE name = ? AND version = ? AND strikes >= ?"""
_CLEAR = "UPDATE sessions SET strikes = 0 WHERE version = ? AND name = ?"


class Sessions:
    """See `crawler.frontier.SessionStore`. `clock` tells epoch seconds."""

    def __init__(self, journal: Writer, engines: Engines, clock: Callable[[], float], name: str = ONLY_SESSION) -> None:
        self._journal = journal
        self._engines = engines
        self._clock = clock
        self._name = name

    def named(self, name: str) -> "Sessions":
        """What keeps the session of another name."""
        return Sessions(self._journal, self._engines, self._clock, name)

    async def look(self) -> StoredSession:
        """The session as it stands."""
        return await self._journal.do(self._look, self._name)

    async def claim(self, version: int) -> bool:
        """Whether this engine is the one to log in now."""
        return await self._journal.do(self._claim, version)

    async def keep(self, state: SessionState) -> StoredSession:
        """Store the session that this engine has made; the one that stands then."""
        text = msgspec.json.encode(state).decode()
        await self._journal.do(self._journal.execute, _KEEP, (text, self._engines.id, self._name))
        return await self.look()

    async def release(self) -> None:
        """Let another engine log in."""
        await self._journal.do(self._journal.execute, _RELEASE, (self._engines.id, self._name))

    async def expire(self, version: int) -> None:
        """Have the next one made, unless that is done."""
        await self._journal.do(self._journal.execute, _EXPIRE, (version, self._name))

    async def strike(self, version: int, most: int, until: float, reason: str) -> StoredSession:
        """Count a sign of a ban, and retire the session if it is one too many; the one that stands then."""
        return await self._journal.do(self._strike, version, most, until, reason)

    async def clear(self, version: int) -> None:
        """Forget the signs of a ban."""
        await self._journal.do(self._journal.execute, _CLEAR, (version, self._name))

    def _look(self, name: str) -> StoredSession:
        row = self._journal.db.execute(_LOOK, (name,)).fetchone()
        if row is None:
            return StoredSession()
        version, is_valid, state, strikes, until, why = cast("tuple[int, int, str, int, float, str]", row)
        known = msgspec.json.decode(state, type=SessionState)
        return StoredSession(version, bool(is_valid), known, strikes, until, why)

    def _claim(self, version: int) -> bool:
        return bool(self._journal.change(_CLAIM, {"name": self._name, "engine": self._engines.id, "version": version}))

    def _strike(self, version: int, most: int, until: float, reason: str) -> StoredSession:
        self._journal.execute(_STRIKE, (self._name, version, self._clock()))
        self._journal.execute(_RETIRE, (until, reason, self._name, version, most))
        return self._look(self._name)

    def change(self, visits: Sequence[Visit], now: float) -> None:
        """Within a commit: the cookies that pages changed, if they are of sessions that stand."""
        changed = [visit for visit in visits if visit.cookies]
        for name in {visit.session[0] for visit in changed}:
            known = self._look(name)
            jar = Jar(known.state.cookies)
            for visit in changed:
                if visit.session == (name, known.version):
                    jar.take(visit.cookies, now)
            state = msgspec.json.encode(SessionState(jar.all(), known.state.headers)).decode()
            self._journal.execute(_CHANGE, (state, known.version, name))
