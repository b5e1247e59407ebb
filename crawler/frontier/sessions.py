"""The session in the journal: one that all engines share, made by one of them at a time."""

from collections.abc import Sequence
from typing import cast

import msgspec

from crawler.cookies import Jar, SessionState
from crawler.frontier import StoredSession
from crawler.frontier.engines import Engines
from crawler.frontier.writer import Writer
from crawler.models import Visit

_LOOK = "SELECT version, is_valid, state FROM sessions WHERE name = 'login'"
_CLAIM = """
INSERT INTO sessions(name, owner) VALUES ('login', :engine) ON CONFLICT(name) DO UPDATE SET owner = :engine
WHERE version = :version AND NOT is_valid AND (owner IS NULL OR owner NOT IN (SELECT id FROM engines))
"""
_KEEP = "UPDATE sessions SET version = version + 1, is_valid = 1, owner = NULL, state = ? WHERE owner = ?"
_RELEASE = "UPDATE sessions SET owner = NULL WHERE owner = ?"
_EXPIRE = "UPDATE sessions SET is_valid = 0 WHERE version = ?"
_CHANGE = "UPDATE sessions SET state = ? WHERE version = ?"


class Sessions:
    """See `crawler.frontier.SessionStore`."""

    def __init__(self, journal: Writer, engines: Engines) -> None:
        self._journal = journal
        self._engines = engines

    async def look(self) -> StoredSession:
        """The session as it stands."""
        return await self._journal.do(self._look)

    async def claim(self, version: int) -> bool:
        """Whether this engine is the one to log in now."""
        return await self._journal.do(self._claim, version)

    async def keep(self, state: SessionState) -> StoredSession:
        """Store the session that this engine has made; the one that stands then."""
        text = msgspec.json.encode(state).decode()
        await self._journal.do(self._journal.execute, _KEEP, (text, self._engines.id))
        return await self.look()

    async def release(self) -> None:
        """Let another engine log in."""
        await self._journal.do(self._journal.execute, _RELEASE, (self._engines.id,))

    async def expire(self, version: int) -> None:
        """Have the next one made, unless that is done."""
        await self._journal.do(self._journal.execute, _EXPIRE, (version,))

    def _look(self) -> StoredSession:
        row = self._journal.db.execute(_LOOK).fetchone()
        if row is None:
            return StoredSession()
        version, is_valid, state = cast("tuple[int, int, str]", row)
        return StoredSession(version, bool(is_valid), msgspec.json.decode(state, type=SessionState))

    def _claim(self, version: int) -> bool:
        return bool(self._journal.change(_CLAIM, {"engine": self._engines.id, "version": version}))

    def change(self, visits: Sequence[Visit], now: float) -> None:
        """Within a commit: the cookies that pages changed, if they are of the session that stands."""
        changed = [visit for visit in visits if visit.cookies]
        if not changed:
            return
        known = self._look()
        jar = Jar(known.state.cookies)
        for visit in changed:
            if visit.session == known.version:
                jar.take(visit.cookies, now)
        state = msgspec.json.encode(SessionState(jar.all(), known.state.headers)).decode()
        self._journal.execute(_CHANGE, (state, known.version))
