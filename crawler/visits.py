"""From an answer to a Visit: what a reply means, what its handler makes of it, what is stored. No I/O of its own."""

import asyncio
import logging
import time
from collections.abc import Callable
from functools import partial

from msgspec.structs import replace

from crawler import stages
from crawler.changes import keyed
from crawler.circuit import CLOSED, Circuit
from crawler.errors import ConfigError, FetchError, HandlerError, HttpError, SpiderError, escaped
from crawler.fetch.reply import Reply
from crawler.frontier import Breadcrumb
from crawler.groups import group_pace
from crawler.handling import AtWork, NotNow, PageDoor, Stepped, drained, through, timed, trace_of, warn_if_slow
from crawler.identity import Identity
from crawler.items import encode
from crawler.likeness import NEAR_DUPLICATE, Likenesses
from crawler.linker import Linker
from crawler.models import Cut, Item, Lease, Link, Page, Request, State, Visit
from crawler.politeness import REDIRECTS, UNREACHABLE, fate, retry_after
from crawler.recrawl import note
from crawler.redirects import hop, in_place_of, separate
from crawler.requests import MAX_PRIORITY, Requests
from crawler.response import Response
from crawler.robots import Robots
from crawler.scope import Gate
from crawler.settings import Settings
from crawler.spider import Spider, handler, page_at_work
from crawler.urls import canonical, split

log = logging.getLogger(__name__)
AT_ONCE = 2_000  # links of one page that are made ready without a pause
READABLE = ("text/", "application/json", "application/xml", "application/xhtml+xml")
TEXTUAL_SUFFIXES = ("+xml", "+json")


class Visitor:
    """Makes Visits for one spider in one run."""

    def __init__(
        self, spider: Spider, settings: Settings, gate: Gate, key: bytes, clock: Callable[[], float],
        breadcrumb: Breadcrumb, *, has_feed: bool = False,
    ) -> None:  # fmt: skip
        self.spider = spider
        self.settings = settings
        self.gate = gate
        self.linker = Linker(settings, gate, key, finds_sitemaps=spider.sitemaps is True)
        self._identity = Identity(settings)
        self._likenesses = Likenesses(settings.near_duplicates) if settings.near_duplicates else None
        self._clock = clock
        self.breadcrumb = breadcrumb
        self._has_feed = has_feed
        self._methods: set[str] = set()  # names of handlers that are there

    def learn(self, lease: Lease) -> None:
        """Take up what the journal has of a host's pages."""
        self.linker.shapes.learn(lease.origin, lease.shapes)
        if self._likenesses is not None:
            self._likenesses.learn(lease.likenesses)

    # -- before the fetch

    def refusal(self, page: Page, robots: Robots) -> str | None:
        """Why a page is not to be asked at all; None when it is."""
        request = page.request
        if request.kind in {"robots", "start"}:
            return None
        if reason := self.gate.admit(request):
            return reason
        return "robots" if self.is_forbidden(request, robots) else None

    def is_forbidden(self, request: Request, robots: Robots) -> bool:
        """Whether robots.txt forbids a request."""
        if not self.settings.obey_robots or robots is UNREACHABLE:
            return False
        return not robots.allows(split(request.url)[1])

    def wants(self, request: Request) -> Callable[[int, str], bool]:
        """Whether the body of an answer is worth reading, by status and content type."""

        def wanted(status: int, content_type: str) -> bool:
            if request.kind == "robots":
                return status < 300
            if status in request.statuses:
                return True
            if not 200 <= status < 300:
                return False
            kind = content_type.partition(";")[0].strip().lower()
            return not kind or kind.startswith((*READABLE, *request.accept)) or kind.endswith(TEXTUAL_SUFFIXES)

        return wanted

    def at_work(self, page: Page) -> AtWork:
        """Within it the code that runs is known to be a page's, should the process die of it."""
        return AtWork(self.breadcrumb, page.seq)

    # -- after the fetch

    def skipped(self, page: Page, token: int, reason: str) -> Visit:
        """A page that is not asked."""
        return Visit(page, token, State.SKIPPED, reason, ended_at=self._clock())

    def _method(self, name: str) -> Callable[..., object]:
        try:
            return handler(self.spider, name)
        except ConfigError as error:  # the code changed under a running crawl
            raise HandlerError(str(error)) from error

    def check(self, request: Request) -> None:
        """Raises HandlerError for a request that cannot be: a wrong URL, priority, group or handler."""
        if canonical(request.url) != request.url:
            raise HandlerError(f"{request.url!r} is not a canonical URL: make requests with response.request(…)")
        if abs(request.priority) > MAX_PRIORITY:
            raise HandlerError(f"priority {request.priority} is beyond {MAX_PRIORITY:,} either way")
        if request.group and group_pace(self.settings, request.group) is None:
            raise HandlerError(f"group {request.group!r} has no limits: give it some in the setting groups")
        if request.session is not None and request.session not in self.spider.sessions:
            raise HandlerError(f"{request.session!r} is none of the spider's sessions")
        for name in (request.handler, request.failed):
            if name and name not in self._methods:
                self._method(name)
                self._methods.add(name)

    def put_off(self, page: Page, token: int, error: NotNow) -> Visit:
        """A page that is tried again later, at no cost."""
        return Visit(page, token, State.PENDING, str(error), ended_at=self._clock(), due_at=error.due_at)

    async def judged(
        self, page: Page, token: int, reply: Reply, response: Response, door: PageDoor, circuit: Circuit = CLOSED
    ) -> Visit:
        """The Visit of a page that was answered; the `response` is the reply's."""
        request = page.request
        visit = Visit(page, token, State.DONE, "", reply.status, reply.size, self._clock())
        if reply.status in REDIRECTS and reply.status not in request.statuses:
            return await self.redirected(page, token, reply)
        if not (200 <= reply.status < 300 or reply.status in request.statuses):
            error = HttpError(f"status {reply.status}", url=reply.url, status=reply.status, hops=request.hops)
            error.retry_after = self.retry_after(reply)
            return await self.failed(page, token, error, circuit)
        if reply.cut:
            visit.state, visit.reason = State.SKIPPED, f"content type: {escaped(header(reply, 'Content-Type'))}"
            return visit
        if self.settings.canonical_identity:
            visit.canonical = self._canonical(page, response)
            if visit.canonical and self._is_elsewhere(page.request, reply.status, visit.canonical):
                visit.reason = f"canonical: {visit.canonical}"
                visit.links = [self.linker.link(in_place_of(page.request, visit.canonical), parent=page.seq)]
                return visit
        note(visit, reply)
        if self._likenesses is not None and self._is_plain(visit) and self._is_like_another(visit, response):
            return visit
        ended = await self.handled(visit, response, door)
        if ended is visit and not self.settings.canonical_identity:  # by now the page is parsed as a rule
            visit.canonical = self._canonical(page, response)
        return ended

    def _is_like_another(self, visit: Visit, response: Response) -> bool:
        """Whether a page is told as another in nearly the same words, so that it is not handled."""
        assert self._likenesses is not None
        if not response.is_html:
            return False
        with self.at_work(visit.page):
            text = response.text("body", default="")
        visit.likeness = self._likenesses.of(visit.page.seq, visit.page.request.url, text)
        other = None if visit.likeness is None else self._likenesses.find(visit.likeness)
        if other is not None:
            visit.reason, visit.likeness = f"{NEAR_DUPLICATE}: {other}", None
        return other is not None

    def _canonical(self, page: Page, response: Response) -> str | None:
        """The URL that a page gives as its own, if that is another."""
        if not response.names_canonical:
            return None
        with self.at_work(page):  # it may have to be parsed for that
            named = response.canonical
        return None if named == page.request.url else named

    def _is_elsewhere(self, request: Request, status: int, named: str) -> bool:
        """Whether a page is not to be handled, since the URL that it gives as its own is."""
        return (
            200 <= status < 300
            and not request.identity
            and not request.by_canonical
            and not self._identity.is_same(named, request.url)
            and self.gate.refusal(named) is None
        )

    async def handled(self, visit: Visit, response: Response, door: PageDoor) -> Visit:
        """Run the page's handler, and add to the Visit all that it yields; or nothing of it, if it fails."""
        try:
            name = response.requested.handler
            await self._outcome(visit, name, partial(self._method(name), response), door)
        except NotNow as error:
            return self.put_off(visit.page, visit.token, error)
        except FetchError as error:  # of an extra fetch that the handler left alone
            return replace(await self.failed(visit.page, visit.token, error), ready_at=None)
        except SpiderError as error:
            return self.broken(visit, response.requested.handler, error)
        if self._likenesses is not None and visit.likeness is not None:
            self._likenesses.learn([visit.likeness])
        if self._is_plain(visit) and visit.page.history is None:  # each page counts once
            leads, has_items = self.linker.unknown(visit.links), bool(visit.items)
            visit.shape = self.linker.shapes.note(
                visit.page.request.url, visit.content, body=response.body, has_items=has_items, leads=leads
            )
        return visit

    def _is_plain(self, visit: Visit) -> bool:
        """Whether nothing but its URL tells a page from others."""
        request = visit.page.request
        return bool(visit.content) and visit.status < 300 and not request.identity and request.data is None

    def broken(self, visit: Visit, name: str, error: SpiderError) -> Visit:
        """The Visit of a page at which the spider's method of that name failed."""
        visit.state, visit.reason, visit.trace = State.FAILED, f"HandlerError: {escaped(str(error))}", trace_of(error)
        log.warning("%s failed on %s: %s", name, visit.page.request.url, escaped(str(error)))
        return visit

    async def failed(self, page: Page, token: int, error: FetchError, circuit: Circuit = CLOSED) -> Visit:
        """The Visit of a page whose fetch failed: to be tried again, or ended, with a word to the spider."""
        now = self._clock()
        chosen = fate(error, page, self.settings, now, circuit)
        visit = Visit(
            page, token, chosen.state, f"{error.code}: {error.detail}", error.status or 0, ended_at=now,
            due_at=chosen.due_at, charged=chosen.charged, deferred=not chosen.charged, ready_at=chosen.host_ready_at,
        )  # fmt: skip
        if chosen.state == State.PENDING:
            log.debug("%s will be tried again: %s", page.request.url, error)
            return visit
        if chosen.state == State.FAILED:
            visit.trace = str(error)
            log.warning("%s failed: %s", page.request.url, error)
        name = page.request.failed or ("failed" if hasattr(self.spider, "failed") else None)
        if name is None:
            return visit
        try:
            told = partial(self._method(name), page.request, error)
            await self._outcome(visit, name, told, None)
        except SpiderError as raised:
            visit.trace = trace_of(raised)
            log.warning("%s failed on %s: %s", name, page.request.url, escaped(str(raised)))
        return visit

    async def redirected(self, page: Page, token: int, reply: Reply) -> Visit:
        """The Visit of a page that lies elsewhere: its target is a link, one hop further."""
        request = page.request
        visit = Visit(page, token, State.DONE, "", reply.status, reply.size, self._clock())
        try:
            target = hop(request, reply.status, header(reply, "Location"), self.settings.max_redirects)
        except FetchError as error:
            return await self.failed(page, token, error)
        is_seed = request.depth == 0 and request.kind == "page"
        if is_seed:
            self.linker.let_in(target.url, moved=True)
        refusal = None if request.kind != "page" or request.anywhere else self.gate.refusal(target.url)
        if refusal:
            visit.state, visit.reason = State.SKIPPED, f"{refusal}: redirected to {target.url}"
            return visit
        if self._leads_to_itself(target):
            target = separate(target, f"{request.identity} {request.url}")
        visit.reason = f"redirected: {target.url}"
        parent = visit.page.seq
        visit.links = (
            self.linker.seed_links(target, parent=parent) if is_seed else [self.linker.link(target, parent=parent)]
        )
        return visit

    def _leads_to_itself(self, target: Request) -> bool:
        """Whether a redirect only changed what makes no other page: gave it a session id, or took it away."""
        if target.kind != "page" or target.key is not None or target.url in target.hops:
            return False
        return any(self._identity.is_same(target.url, url) for url in target.hops)

    def retry_after(self, reply: Reply) -> float | None:
        """The seconds that an answer asks to wait."""
        return retry_after(header(reply, "Retry-After"), self._clock())

    # -- what handlers yield

    async def _outcome(self, visit: Visit, name: str, called: Callable[[], object], door: PageDoor | None) -> None:
        """Add to a Visit what a handler yields, through the pipeline and packed; all of it or nothing."""
        at_work = self.at_work(visit.page)
        token = page_at_work.set(at_work)
        try:
            drained_all = self._drained(visit, name, called, door)
            visit.items, visit.links, visit.cuts = await timed("handler", Stepped(drained_all, at_work))
        finally:
            page_at_work.reset(token)

    async def _drained(
        self, visit: Visit, name: str, called: Callable[[], object], door: PageDoor | None
    ) -> tuple[list[Item], list[Link], dict[str, Cut]]:
        page, limit, began = visit.page, self.settings.handler_timeout, time.perf_counter()
        ended = self.linker.shapes.ended(page.request.url, visit.content) if self._is_plain(visit) else None
        yielded = await drained(called, door, limit)
        if door is None or door.deadline is None:
            warn_if_slow(name, page.request.url, began)
        items: list[Item] = []
        links: list[Link] = []
        cuts: dict[str, Cut] = {}
        for one in yielded:
            if isinstance(one, Requests):
                asked = one.template
                if asked.handler not in self._methods or asked.failed or asked.session or asked.group:
                    self.check(replace(asked, url="http://any/"))
                followed = one if ended is None else self.linker.kept(one, page, ended, cuts)
                for start in range(0, len(followed), AT_ONCE):
                    if start:
                        await asyncio.sleep(0)  # what else waits for the loop has its turn
                    links += stages.each("links", self.linker.followed(followed[start : start + AT_ONCE], page, cuts))
            elif isinstance(one, Request):
                self.check(one)
                if ended is None or not self.linker.is_left_out(one, page, ended, cuts):
                    links += self.linker.asked(one, page, cuts)
            elif (kept := await through(one, self.spider.pipeline, limit)) is not None:
                item = encode(kept)
                items.append(keyed(item, self.spider.item_key) if self._has_feed else item)
        return items, links, cuts


def header(reply: Reply, name: str) -> str:
    """A header of an answer, or nothing."""
    return str(reply.headers.get(name, ""))
