"""A session's life in a crawl: who logs in, who waits for it, what is done when an answer says it is over, or banned.

One engine of all logs in, by a claim in the journal; a page whose turn comes meanwhile gives its host's place back, and
is asked again once the session stands.
"""

import asyncio
import logging

from msgspec.structs import replace

from crawler.asking import Asker, changed_cookies, session_in_use
from crawler.budget import LimitReached
from crawler.cookies import SessionState
from crawler.door import Door
from crawler.errors import FetchError, LeaseLost, SpiderError, StoreUnavailable, escaped
from crawler.frontier import StoredSession
from crawler.handling import NotNow, drained
from crawler.models import Page
from crawler.politeness import back_off
from crawler.session import Session
from crawler.spider import logs_in

log = logging.getLogger(__name__)
MOST_FAILURES = 3  # of the login in a row, before the crawl is stopped, or does without the session
POLL = 0.5


class Login:
    """Keeps one session up to date. `is_only`: there is no other that could stand in for it."""

    def __init__(self, asker: Asker, name: str, *, is_only: bool) -> None:
        self._asker = asker
        self._spider = asker.visitor.spider
        self._store = asker.engine.frontier.sessions.named(name)
        self._is_only = is_only
        self._making: asyncio.Task[None] | None = None
        self._failures = self._strikes = 0
        self._signs: set[int] = set()  # pages (seq) in a row that looked like a ban
        self.name = name
        self.session: Session | None = None
        self.version = self.good = 0
        self.is_ready = self.is_proven = False
        self.retired_until = 0.0
        self.reason = ""

    @property
    def is_retired(self) -> bool:
        """Whether it is left alone for now."""
        return self.retired_until > self._asker.engine.clock.epoch()

    async def wait(self) -> None:
        """Come back when a session stands. Raises NotNow when none could be made, LimitReached when the crawl ends."""
        if self._making is None:
            self._making = asyncio.create_task(self._make(), name="login")
            self._asker.engine.expendable.add(self._making)
            self._making.add_done_callback(self._made)
        making = self._making
        try:
            with self._asker.engine.lent_place():
                await asyncio.shield(making)
        except asyncio.CancelledError:
            if making.cancelled():
                raise LimitReached("stopped during the login") from None
            raise

    def _made(self, task: "asyncio.Task[None]") -> None:
        self._asker.engine.expendable.discard(task)
        self._making = None
        if not task.cancelled():
            task.exception()  # whoever waits has it

    async def _make(self) -> None:
        """Take up the session that is stored, or make the next one, or wait for the engine that is at it."""
        while True:
            known = await self._store.look()
            if known.is_valid:
                self._take(known)
                return
            if known.retired_until > self._asker.engine.clock.epoch():
                self._retire(known)
                raise NotNow(self._asker.engine.clock.epoch(), f"session {self.name} is retired")
            if self._asker.engine.outcome:
                raise LimitReached(self._asker.engine.outcome)
            if await self._store.claim(known.version):
                await self._log_in(known)
                return
            await asyncio.sleep(POLL)

    async def _log_in(self, known: StoredSession) -> None:
        door = Door(self._asker)
        before = SessionState() if known.reason else replace(known.state, headers={})  # a ban may be upon its cookies
        session = Session(before, door.fetch, self.name)
        session_in_use.set(session)
        changed_cookies.set([])
        try:
            if logs_in(self._spider):
                limit = self._asker.engine.settings.handler_timeout
                await drained(lambda: self._spider.login(session), door, limit)
            kept = await self._store.keep(session.state())
        except (NotNow, LeaseLost, LimitReached):
            await self._store.release()
            raise
        except (StoreUnavailable, MemoryError) as error:  # the machine is short of something: the login is not at fault
            await self._store.release()
            raise self._asker.short(error) from error
        except (FetchError, SpiderError) as error:
            raise await self._failed(known, error) from error
        except asyncio.CancelledError:
            await asyncio.shield(self._store.release())
            raise
        self._failures = 0
        if logs_in(self._spider):
            log.info("%s is logged in (session %s, %d)", self._spider.name, self.name, kept.version)
        self._take(kept)

    async def _failed(self, known: StoredSession, error: FetchError | SpiderError) -> NotNow:
        """What follows from a login that failed: another try after a while, or the end, since passwords get locked."""
        self._failures += 1
        log.warning("the login failed: %s", escaped(str(error)))
        now = self._asker.engine.clock.epoch()
        if self._failures >= MOST_FAILURES and self._is_only:
            self._asker.engine.stop("login failed")
        elif self._failures >= MOST_FAILURES:
            self._failures = 0
            await self._strike(known.version, 1, f"its login failed: {escaped(str(error))}")
            await self._store.release()
            return NotNow(now, "the login failed")
        await self._store.release()
        return NotNow(now + back_off(self._failures), "the login failed")

    def _take(self, known: StoredSession) -> None:
        self.version, self.is_ready, self.is_proven = known.version, True, False
        self._signs.clear()
        self._strikes, self.retired_until, self.reason = known.strikes, known.retired_until, known.reason
        self.session = Session(known.state, name=self.name)

    async def expire(self, version: int) -> None:
        """The session of that version is over, unless that is known."""
        if version == self.version and self.is_ready:
            self.is_ready = False
            await self._store.expire(version)

    # -- its health

    async def banned(self, version: int, page: Page) -> None:
        """A page asked in it looks like one to somebody who is banned; after so many in a row it is retired."""
        if version == self.version and not self.is_retired and page.seq not in self._signs:
            self._signs.add(page.seq)
            self._strikes += 1  # at once, so that a good answer that comes meanwhile clears it
            most = self._asker.engine.settings.session_bans
            await self._strike(version, most, f"banned, as on {page.request.url}")

    async def _strike(self, version: int, most: int, reason: str) -> None:
        until = self._asker.engine.clock.epoch() + self._asker.engine.settings.session_rest
        known = await self._store.strike(version, most, until, reason)
        self._strikes = known.strikes
        self.is_ready = self.is_ready and known.is_valid and known.version == version  # or another engine made the next
        if known.retired_until > self._asker.engine.clock.epoch() and not self.is_retired:
            self._retire(known)
            log.warning("session %s of %s is retired: %s", self.name, self._spider.name, self.reason)

    def _retire(self, known: StoredSession) -> None:
        self.retired_until, self.reason, self.is_ready = known.retired_until, known.reason, False

    async def well(self) -> None:
        """A page that was asked in it was answered as it should be."""
        self.good += 1
        self.is_proven = True
        self._signs.clear()
        if self._strikes:
            self._strikes = 0
            await self._store.clear(self.version)
