"""From an answer to a Visit: what a page's reply means, what its handler makes of it, and what is to be stored.

Nothing here asks the network or the journal; a failure is a result like any other.
"""

import asyncio
import logging
import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from inspect import isawaitable
from typing import Protocol

from msgspec.structs import replace

from crawler.errors import CrawlerError, FetchError, HandlerError, HttpError, SpiderError
from crawler.fetch import Reply
from crawler.items import encode, refined
from crawler.models import ROBOTS_PRIORITY, Item, Link, Page, Request, State, Visit, packed
from crawler.politeness import REDIRECTS, UNREACHABLE, fate, retry_after
from crawler.redirects import hop
from crawler.response import Door, Requests, Response
from crawler.robots import Robots
from crawler.scope import Gate
from crawler.seen import Seen
from crawler.settings import Settings
from crawler.spider import Spider, handler
from crawler.urls import Fingerprints, split

log = logging.getLogger(__name__)
SLOW_HANDLER = 0.1
DOWNLOAD_PRIORITY = 1 << 20  # downloads yield to the pages of their host
READABLE = ("text/", "application/json", "application/xml", "application/xhtml+xml")
TEXTUAL_SUFFIXES = ("+xml", "+json")


class PageDoor(Door, Protocol):
    """A response's door, which holds the handler's deadline: it stands still during an extra fetch."""

    deadline: asyncio.Timeout | None


class NotNow(CrawlerError):
    """Something the page needs is busy for long: it goes back, to be tried again at `due_at`."""

    def __init__(self, due_at: float, why: str = "the host of an extra fetch is busy") -> None:
        super().__init__(why)
        self.due_at = due_at


class Visitor:
    """Makes Visits for one spider in one run."""

    def __init__(self, spider: Spider, settings: Settings, gate: Gate, key: bytes, clock: Callable[[], float]) -> None:
        self.spider = spider
        self.settings = settings
        self.gate = gate
        self.seen = Seen()
        self._outside = Seen()  # URLs out of scope, so that each is judged once
        self._fingerprints = Fingerprints(key)
        self._clock = clock
        self._warned: set[str] = set()

    # -- before the fetch

    def refusal(self, page: Page, robots: Robots) -> str | None:
        """Why a page is not to be asked at all; None when it is."""
        request = page.request
        if request.kind in {"robots", "start"}:
            return None
        if reason := self.gate.admit(request):
            return reason
        return "robots" if self.refusal_of_robots(request, robots) else None

    def refusal_of_robots(self, request: Request, robots: Robots) -> bool:
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

    # -- after the fetch

    def skipped(self, page: Page, token: int, reason: str) -> Visit:
        """A page that is not asked."""
        return Visit(page, token, State.SKIPPED, reason, ended_at=self._clock())

    def put_off(self, page: Page, token: int, error: NotNow) -> Visit:
        """A page that is tried again later, at no cost."""
        return Visit(page, token, State.PENDING, str(error), ended_at=self._clock(), due_at=error.due_at)

    async def judged(self, page: Page, token: int, reply: Reply, door: PageDoor) -> Visit:
        """The Visit of a page that was answered."""
        request = page.request
        visit = Visit(page, token, State.DONE, "", reply.status, reply.size, self._clock())
        if reply.status in REDIRECTS and reply.status not in request.statuses:
            return await self.redirected(page, token, reply)
        if not (200 <= reply.status < 300 or reply.status in request.statuses):
            error = HttpError(f"status {reply.status}", url=reply.url, status=reply.status, hops=request.hops)
            error.retry_after = self.retry_after(reply)
            return await self.failed(page, token, error)
        if reply.cut:
            visit.state, visit.reason = State.SKIPPED, f"content type: {header(reply, 'Content-Type')}"
            return visit
        response = Response(
            request, url=reply.url, status=reply.status, headers=reply.headers, body=reply.body, door=door
        )
        return await self.handled(visit, response, door)

    async def handled(self, visit: Visit, response: Response, door: PageDoor) -> Visit:
        """Run the page's handler, and add to the Visit all that it yields; or nothing of it, if it fails."""
        try:
            function = handler(self.spider, response.requested.handler)
            items, links = await self._outcome(visit.page, partial(function, response), door)
        except NotNow as error:
            return self.put_off(visit.page, visit.token, error)
        except FetchError as error:  # of an extra fetch that the handler left alone
            return await self.failed(visit.page, visit.token, error)
        except SpiderError as error:
            visit.state, visit.reason, visit.trace = State.FAILED, f"HandlerError: {error}", _trace(error)
            log.warning("%s failed on %s: %s", response.requested.handler, response.url, error)
            return visit
        visit.items, visit.links = items, links
        return visit

    async def failed(self, page: Page, token: int, error: FetchError) -> Visit:
        """The Visit of a page whose fetch failed: to be tried again, or ended, with a word to the spider."""
        now = self._clock()
        chosen = fate(error, page, self.settings, now)
        visit = Visit(
            page, token, chosen.state, f"{error.code}: {error.detail}", error.status or 0, ended_at=now,
            due_at=chosen.due_at, charged=chosen.charged, ready_at=chosen.host_ready_at,
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
            told = partial(handler(self.spider, name), page.request, error)
            visit.items, visit.links = await self._outcome(page, told, None)
        except SpiderError as raised:
            visit.trace = _trace(raised)
            log.warning("%s failed on %s: %s", name, page.request.url, raised)
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
            self.let_in(target.url, moved=True)
        refusal = None if request.kind != "page" or request.anywhere else self.gate.refusal(target.url)
        if refusal:
            visit.state, visit.reason = State.SKIPPED, f"{refusal}: redirected to {target.url}"
            return visit
        visit.reason = f"redirected: {target.url}"
        visit.links = [self.link(target, seed=is_seed, parent=visit.page.seq)]
        return visit

    def retry_after(self, reply: Reply) -> float | None:
        """The seconds that an answer asks to wait."""
        return retry_after(header(reply, "Retry-After"), self._clock())

    # -- robots.txt

    def robots_link(self, origin: str, known_at: float) -> Link:
        """The page that must be fetched before any other of a host; once for each time that the last one ran out."""
        url, key = origin + "/robots.txt", f"robots {known_at:.0f}"
        return self.link(Request(url, kind="robots", key=key, priority=ROBOTS_PRIORITY))

    def robots_hop(self, page: Page, target: Request) -> Link:
        """Where a robots.txt was moved to; its verdict is for the host that was asked first."""
        asked = page.request.data if isinstance(page.request.data, str) else split(page.request.url)[0]
        return self.link(replace(target, data=asked, key=f"{page.request.key} of {asked}", priority=ROBOTS_PRIORITY))

    # -- what handlers yield

    async def _outcome(
        self, page: Page, called: Callable[[], object], door: PageDoor | None
    ) -> tuple[list[Item], list[Link]]:
        """What a handler yields, refined and packed. What it raises becomes a HandlerError, or passes as our own."""
        try:
            yielded = await self._drained(page, called, door)
            return await self._packed(page, yielded)
        except (SpiderError, FetchError, NotNow):
            raise
        except Exception as error:
            raise HandlerError(f"{type(error).__name__}: {error}") from error

    async def _drained(self, page: Page, called: Callable[[], object], door: PageDoor | None) -> list[object]:
        yielded: list[object] = []
        began = time.perf_counter()
        outcome = called()
        if isinstance(outcome, AsyncIterator) or isawaitable(outcome):
            await self._awaited(outcome, yielded, door)
            return yielded
        _collect(outcome, yielded)
        if (took := time.perf_counter() - began) > SLOW_HANDLER:
            name, url = page.request.handler, page.request.url
            log.warning("%s blocked the crawl for %.0f ms on %s", name, took * 1e3, url)
        return yielded

    async def _awaited(
        self, outcome: AsyncIterator[object] | Awaitable[object], yielded: list[object], door: PageDoor | None
    ) -> None:
        limit = self.settings.handler_timeout
        try:
            async with asyncio.timeout(limit) as deadline:
                if door is not None:
                    door.deadline = deadline
                if isinstance(outcome, AsyncIterator):
                    async for one in outcome:
                        _collect([one], yielded)
                else:
                    _collect(await outcome, yielded)
        except TimeoutError as error:
            if deadline.expired():
                raise HandlerError(f"no end after {limit:g} s") from error
            raise

    async def _packed(self, page: Page, yielded: list[object]) -> tuple[list[Item], list[Link]]:
        items: list[Item] = []
        links: list[Link] = []
        for one in yielded:
            if isinstance(one, Requests):
                links += self._followed(one, page)
            elif isinstance(one, Request):
                links += self._asked(one, page)
            elif (kept := await refined(one, self.spider.pipeline)) is not None:
                items.append(encode(kept))
        return items, links

    def _followed(self, requests: Requests, page: Page) -> Iterable[Link]:
        """Links of a page in bulk: one template, many URLs, nearly all of them known."""
        template = requests.template
        depth = page.request.depth + 1
        plain = not template.identity
        rest = packed(template)
        urls = self.seen.unseen(requests.urls, depth) if plain else requests.urls
        for url in urls if template.anywhere else self._outside.unseen(urls, 0):
            if template.anywhere or self.gate.refusal(url) is None:
                origin, path = split(url)
                fingerprint = self._fingerprints.of(path if template.key is None else "", template.identity)
                yield Link(origin, fingerprint, path, depth, template.priority, rest, parent=page.seq, plain=plain)
            else:
                self._outside.add(url, 0)

    def _asked(self, request: Request, page: Page) -> Iterable[Link]:
        request = replace(request, depth=page.request.depth + 1)
        refusal = None if request.anywhere or request.kind != "page" else self.gate.refusal(request.url)
        if refusal is None:
            yield self.link(request, parent=page.seq)
        elif split(request.url)[0] not in self._warned:
            self._warned.add(split(request.url)[0])
            log.warning(
                "%s is out of scope (%s): widen the spider's scope, or pass anywhere=True", request.url, refusal
            )

    def let_in(self, url: str, *, moved: bool = False) -> None:
        """Make a seed part of the scope; links that were refused before may come again."""
        if self.gate.let_in(url, moved=moved):
            self._outside = Seen()

    def link(self, request: Request, *, seed: bool = False, parent: int | None = None) -> Link:
        """A request on its way into the journal."""
        if request.kind == "download":
            request = replace(request, priority=request.priority - DOWNLOAD_PRIORITY)
        origin, path = split(request.url)
        fingerprint = self._fingerprints.of(path if request.key is None else "", request.identity)
        rest = packed(request)
        plain = not request.identity
        return Link(origin, fingerprint, path, request.depth, request.priority, rest, seed, parent, plain)

    def remember(self, links: Sequence[Link]) -> None:
        """Links that are in the journal now."""
        for link in links:
            if link.plain:
                self.seen.add(link.origin + link.path, link.depth)


def _collect(outcome: object, into: list[object]) -> None:
    """Lay flat what a handler returns: one thing, or an iterable of things and lists of them."""
    if isinstance(outcome, Mapping | Request | Requests | str | bytes) or not isinstance(outcome, Iterable):
        outcome = (outcome,)
    for one in outcome:
        if isinstance(one, list | tuple) and not hasattr(one, "_fields"):
            into.extend(one)
        elif one is not None:
            into.append(one)


def header(reply: Reply, name: str) -> str:
    """A header of an answer, or nothing."""
    return str(reply.headers.get(name, ""))


def _trace(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))
