"""Which session a page is asked in: each in its turn, but those that are retired; and what answers tell of it."""

import logging
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime

from crawler.asking import Asker
from crawler.budget import LimitReached
from crawler.errors import FetchError, LoginFailed
from crawler.fetch.reply import Reply
from crawler.frontier import ONLY_SESSION
from crawler.handling import NotNow, failure_of
from crawler.logins import Login
from crawler.models import Page, Request, State, Visit
from crawler.politeness import OVERLOADED, REDIRECTS, back_off
from crawler.redirects import hop
from crawler.response import Response
from crawler.spider import logs_in
from crawler.visits import header

log = logging.getLogger(__name__)
MOST_RETURNS = 2  # of one page that says it was logged out, or that its session is banned
BANNED, LOGGED_OUT = "banned", "logged out"


class Rotation:
    """The sessions of a spider: those that it names, the one of its ``login``, or none."""

    def __init__(self, asker: Asker) -> None:
        self._asker = asker
        self._spider = asker.visitor.spider
        self._names = deque(self._spider.sessions or ([ONLY_SESSION] if logs_in(self._spider) else []))
        is_only = len(self._names) == 1
        self._logins = {name: Login(asker, name, is_only=is_only) for name in self._names}
        self._returns: dict[int, int] = {}  # of pages (seq) that said they were logged out
        self._refusals: dict[int, list[tuple[str, int]]] = {}  # of pages: the session, and how it had fared till then

    @property
    def is_used(self) -> bool:
        """Whether there is any session."""
        return bool(self._logins)

    @property
    def is_named(self) -> bool:
        """Whether the spider has sessions of its own, so that they can be banned, and pages be bound to them."""
        return bool(self._spider.sessions)

    def choose(self, page: Page) -> Login | None:
        """The session for a page, made yet or not; None when it needs none.

        Raises NotNow when it is bound to one that is retired, LimitReached when all are.
        """
        alive = [name for name in self._names if not self._logins[name].is_retired]
        if not page.request.is_counted:  # a sitemap, which goes along with whatever there is
            return next((self._logins[name] for name in alive if self._logins[name].is_ready), None)
        if not self._logins:
            return None
        if not alive:
            raise LimitReached(self._park())
        name = self._bound(page.request) or self._untried(page, alive) or alive[0]
        if name not in alive:
            raise NotNow(self._logins[name].retired_until, f"session {name} is retired")
        self._names.remove(name)
        self._names.append(name)
        return self._logins[name]

    def _bound(self, request: Request) -> str | None:
        return request.session if request.session in self._logins else None  # it may have been taken from the spider

    def _untried(self, page: Page, alive: list[str]) -> str | None:
        """The next session that has not been refused the page."""
        refused = {name for name, _ in self._refusals.get(page.seq, ())}
        return next((name for name in alive if name not in refused), None)

    def _park(self) -> str:
        first = min(login.retired_until for login in self._logins.values())
        until = datetime.fromtimestamp(first, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")
        why = "; ".join(f"{login.name} ({login.reason})" for login in self._logins.values())
        reason = f"all sessions are retired, the first until {until}: {why}"
        if not self._asker.engine.outcome:
            log.warning("%s is parked: %s", self._spider.name, reason)
        self._asker.engine.stop(reason, "parked")
        return reason

    # -- answers

    async def judged(self, login: Login, version: int, page: Page, reply: Reply, response: Response) -> str:
        """What an answer says of its session: BANNED, LOGGED_OUT, or nothing. Raises HandlerError of the spider's."""
        if self.is_named and self._says(self._spider.banned, page.request, reply, response):
            if not self._is_pages_own(login, page):
                self._refusals.setdefault(page.seq, []).append((login.name, login.good))
                await login.banned(version, page)
                return BANNED
        elif logs_in(self._spider) and self._says(self._spider.logged_out, page.request, reply, response):
            return LOGGED_OUT
        elif reply.status < 500 and reply.status not in OVERLOADED:
            await login.well()
        self._refusals.pop(page.seq, None)
        return ""

    def _is_pages_own(self, login: Login, page: Page) -> bool:
        """Whether nobody is let in to a page: a session was refused it again that is let in to others, or still stands.

        A session that is banned is refused other pages too, and retired before it comes to the same one so often.
        """
        before = [good for name, good in self._refusals.get(page.seq, ()) if name == login.name]
        return bool(before) and (login.good > before[0] or len(before) >= MOST_RETURNS)

    def _says(self, predicate: Callable[[Response], bool], request: Request, reply: Reply, response: Response) -> bool:
        try:
            if reply.status in REDIRECTS:
                most = self._asker.engine.settings.max_redirects
                response.url = hop(request, reply.status, header(reply, "Location"), most).url
            return bool(predicate(response))
        except FetchError:  # a redirect to nowhere says nothing
            return False
        except Exception as error:  # the spider's code may raise anything
            raise failure_of(error) from error
        finally:
            response.url = reply.url

    async def returned(self, login: Login, version: int, page: Page, token: int, why: str) -> Visit:
        """A page goes back at no cost: to another session, or to the next of one that is over; then twice at most."""
        now = self._asker.engine.clock.epoch()
        due_at = now
        if why == BANNED:
            alive = [name for name in self._names if not self._logins[name].is_retired]
            if self._bound(page.request) or self._untried(page, alive) is None:
                due_at += back_off(1)  # other pages go first, which tells whether it is this one alone
        else:
            times = self._returns.pop(page.seq, 0) + 1
            if times > MOST_RETURNS:
                error = LoginFailed(f"logged out after {MOST_RETURNS} logins", url=page.request.url)
                return await self._asker.visitor.failed(page, token, error)
            self._returns[page.seq] = times
            is_pages_own = times > 1 and login.is_proven  # others are still let in
            if login.is_ready and version == login.version and not is_pages_own:
                await login.expire(version)
                log.info("%s was logged out: %s", self._spider.name, page.request.url)
        return Visit(page, token, State.PENDING, why, ended_at=now, due_at=due_at)
