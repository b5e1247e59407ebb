"""The session's life in a crawl: who logs in, who waits for it, and what is done when an answer says it is over.

One engine of all logs in, by a claim in the journal; a page whose turn comes meanwhile gives its host's place back, and
is asked again once the session stands.
"""

import asyncio
import logging

from msgspec.structs import replace

from crawler.asking import Asker, changed_cookies, logging_in
from crawler.budget import LimitReached
from crawler.door import Door
from crawler.errors import FetchError, LeaseLost, LoginFailed, SpiderError, escaped
from crawler.fetch import Reply
from crawler.frontier import SessionStore, StoredSession
from crawler.handling import NotNow, drained, failure_of
from crawler.models import Page, Request, State, Visit
from crawler.politeness import REDIRECTS, back_off
from crawler.redirects import hop
from crawler.response import Response
from crawler.session import Session
from crawler.spider import logs_in
from crawler.visits import header

log = logging.getLogger(__name__)
MOST_RETURNS = 2  # of one page that says it was logged out
MOST_FAILURES = 3  # of the login in a row, before the crawl is stopped
POLL = 0.5


class Logins:
    """Keeps `Asker.session` up to date for a spider with a ``login``; without one there is nothing to do."""

    def __init__(self, asker: Asker) -> None:
        self._asker = asker
        self._spider = asker.visitor.spider
        self._is_wanted = logs_in(self._spider)
        self._is_valid = self._is_proven = False
        self._making: asyncio.Task[None] | None = None
        self._failures = 0
        self._returns: dict[int, int] = {}  # of pages (seq) that said they were logged out
        self.version = 0

    @property
    def _sessions(self) -> SessionStore:
        return self._asker.engine.frontier.sessions

    @property
    def is_ready(self) -> bool:
        """Whether pages may be asked."""
        return self._is_valid or not self._is_wanted

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
            known = await self._sessions.look()
            if known.is_valid:
                self._take(known)
                return
            if self._asker.engine.outcome:
                raise LimitReached(self._asker.engine.outcome)
            if await self._sessions.claim(known.version):
                await self._log_in(known)
                return
            await asyncio.sleep(POLL)

    async def _log_in(self, known: StoredSession) -> None:
        door = Door(self._asker)
        session = Session(replace(known.state, headers={}), door.fetch)
        logging_in.set(session)
        changed_cookies.set([])
        try:
            limit = self._asker.engine.settings.handler_timeout
            await drained(lambda: self._spider.login(session), door, limit)
            kept = await self._sessions.keep(session.state())
        except (NotNow, LeaseLost, LimitReached):
            await self._sessions.release()
            raise
        except (FetchError, SpiderError) as error:
            await self._sessions.release()
            raise self._failed(error) from error
        except asyncio.CancelledError:
            await asyncio.shield(self._sessions.release())
            raise
        self._failures = 0
        log.info("%s is logged in (session %d)", self._spider.name, kept.version)
        self._take(kept)

    def _failed(self, error: FetchError | SpiderError) -> NotNow:
        """What follows from a login that failed: another try after a while, or the end, since passwords get locked."""
        self._failures += 1
        log.warning("the login failed: %s", escaped(str(error)))
        if self._failures >= MOST_FAILURES:
            self._asker.engine.stop("login failed")
        return NotNow(self._asker.engine.clock.epoch() + back_off(self._failures), "the login failed")

    def _take(self, known: StoredSession) -> None:
        self.version, self._is_valid, self._is_proven = known.version, True, False
        self._asker.session = Session(known.state)

    # -- answers

    def says_out(self, request: Request, reply: Reply, response: Response) -> bool:
        """Whether the spider takes an answer for that of somebody who is not logged in. Raises HandlerError."""
        if not self._is_wanted:
            return False
        try:
            if reply.status in REDIRECTS:
                most = self._asker.engine.settings.max_redirects
                response.url = hop(request, reply.status, header(reply, "Location"), most).url
            is_out = bool(self._spider.logged_out(response))
        except FetchError:  # a redirect to nowhere says nothing
            return False
        except Exception as error:  # the spider's code may raise anything
            raise failure_of(error) from error
        finally:
            response.url = reply.url
        if not is_out:
            self._is_proven = True
        return is_out

    async def returned(self, page: Page, token: int, version: int) -> Visit:
        """The page goes back at no cost, and the session it was asked in is over; twice at most, then it has failed."""
        times = self._returns.pop(page.seq, 0) + 1
        if times > MOST_RETURNS:
            error = LoginFailed(f"logged out after {MOST_RETURNS} logins", url=page.request.url)
            return await self._asker.visitor.failed(page, token, error)
        self._returns[page.seq] = times
        is_pages_own = times > 1 and self._is_proven  # others are still let in
        if version == self.version and self._is_valid and not is_pages_own:
            self._is_valid = False
            await self._sessions.expire(version)
            log.info("%s was logged out: %s", self._spider.name, page.request.url)
        now = self._asker.engine.clock.epoch()
        return Visit(page, token, State.PENDING, "logged out", ended_at=now, due_at=now)
