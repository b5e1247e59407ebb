"""From an answer to a Visit: what a reply means, what its handler makes of it, what is stored. No I/O of its own."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from msgspec.structs import replace

from crawler import stages
from crawler.changes import keyed
from crawler.circuit import CLOSED, Circuit
from crawler.errors import ConfigError, FetchError, HandlerError, HttpError, SpiderError, escaped
from crawler.fetch import Reply
from crawler.frontier import Breadcrumb, Seeds
from crawler.groups import group_pace
from crawler.handling import AtWork, NotNow, PageDoor, Stepped, drained, through, timed, trace_of, warn_if_slow
from crawler.identity import Identity
from crawler.items import encode
from crawler.models import ROBOTS_PRIORITY, SITEMAP_PRIORITY, Cut, Item, Link, Page, Request, State, Visit, packed
from crawler.politeness import REDIRECTS, UNREACHABLE, fate, retry_after
from crawler.recrawl import note
from crawler.redirects import hop, in_place_of, separate
from crawler.requests import MAX_PRIORITY, Requests
from crawler.response import Response
from crawler.robots import Robots
from crawler.scope import Gate
from crawler.seen import Seen
from crawler.settings import Settings
from crawler.spider import Spider, handler, page_at_work
from crawler.traps import SETTING_OF
from crawler.urls import Fingerprints, canonical, split

log = logging.getLogger(__name__)
GUESSED = "guessed"  # the data of a request for a sitemap that nobody has named
AT_ONCE = 2_000  # links of one page that are made ready without a pause
DOWNLOAD_PRIORITY = 1 << 20  # downloads yield to the pages of their host
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
        self.seen = Seen()
        self._outside = Seen()  # URLs out of scope, so that each is judged once
        self._fingerprints = Fingerprints(key)
        self._identity = Identity(settings)
        self._clock = clock
        self.breadcrumb = breadcrumb
        self._has_feed = has_feed
        self._warned: set[str] = set()
        self._methods: set[str] = set()  # names of handlers that are there

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
        visit.canonical = self._canonical(page, response)
        if visit.canonical and self._is_elsewhere(page.request, reply.status, visit.canonical):
            visit.reason = f"canonical: {visit.canonical}"
            visit.links = [self.link(in_place_of(page.request, visit.canonical), parent=page.seq)]
            return visit
        note(visit, reply)
        return await self.handled(visit, response, door)

    def _canonical(self, page: Page, response: Response) -> str | None:
        """The URL that a page gives as its own, if that is another."""
        with AtWork(self.breadcrumb, page.seq):  # it may have to be parsed for that
            named = response.canonical
        return None if named == page.request.url else named

    def _is_elsewhere(self, request: Request, status: int, named: str) -> bool:
        """Whether a page is not to be handled, since the URL that it gives as its own is."""
        return (
            self.settings.canonical_identity
            and 200 <= status < 300
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
        return visit

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
            self.let_in(target.url, moved=True)
        refusal = None if request.kind != "page" or request.anywhere else self.gate.refusal(target.url)
        if refusal:
            visit.state, visit.reason = State.SKIPPED, f"{refusal}: redirected to {target.url}"
            return visit
        if self._leads_to_itself(target):
            target = separate(target, f"{request.identity} {request.url}")
        visit.reason = f"redirected: {target.url}"
        parent = visit.page.seq
        visit.links = self.seed_links(target, parent=parent) if is_seed else [self.link(target, parent=parent)]
        return visit

    def _leads_to_itself(self, target: Request) -> bool:
        """Whether a redirect only changed what makes no other page: gave it a session id, or took it away."""
        if target.kind != "page" or target.key is not None or target.url in target.hops:
            return False
        return any(self._identity.is_same(target.url, url) for url in target.hops)

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

    # -- seeds

    def seed_links(self, request: Request, *, parent: int | None = None) -> list[Link]:
        """A seed on its way into the journal, and with it whatever sitemaps its host has, if the spider wants them."""
        seed = self.link(request, seed=True, parent=parent)
        if self.spider.sitemaps is not True:
            return [seed]
        key, url = f"sitemaps of {seed.origin}", seed.origin + "/sitemap.xml"
        return [seed, self.link(Request(url, kind="sitemap", key=key, data=GUESSED, priority=SITEMAP_PRIORITY))]

    # -- what handlers yield

    async def _outcome(self, visit: Visit, name: str, called: Callable[[], object], door: PageDoor | None) -> None:
        """Add to a Visit what a handler yields, through the pipeline and packed; all of it or nothing."""
        at_work = AtWork(self.breadcrumb, visit.page.seq)
        token = page_at_work.set(at_work)
        try:
            drained_all = self._drained(visit.page, name, called, door)
            visit.items, visit.links, visit.cuts = await timed("handler", Stepped(drained_all, at_work))
        finally:
            page_at_work.reset(token)

    async def _drained(
        self, page: Page, name: str, called: Callable[[], object], door: PageDoor | None
    ) -> tuple[list[Item], list[Link], dict[str, Cut]]:
        limit, began = self.settings.handler_timeout, time.perf_counter()
        yielded = await drained(called, door, limit)
        if door is None or door.deadline is None:
            warn_if_slow(name, page.request.url, began)
        items: list[Item] = []
        links: list[Link] = []
        cuts: dict[str, Cut] = {}
        for one in yielded:
            if isinstance(one, Requests):
                for start in range(0, len(one) or 1, AT_ONCE):
                    if start:
                        await asyncio.sleep(0)  # what else waits for the loop has its turn
                    links += stages.each("links", self._followed(one[start : start + AT_ONCE], page, cuts))
            elif isinstance(one, Request):
                links += self._asked(one, page, cuts)
            elif (kept := await through(one, self.spider.pipeline, limit)) is not None:
                item = encode(kept)
                items.append(keyed(item, self.spider.item_key) if self._has_feed else item)
        return items, links, cuts

    def _followed(self, requests: Requests, page: Page, cuts: dict[str, Cut]) -> Iterable[Link]:
        """Links of a page in bulk: one template, many URLs, nearly all of them known."""
        template = requests.template
        if template.handler not in self._methods or template.failed or template.group:
            self.check(replace(template, url="http://any/"))
        depth = page.request.depth + 1
        plain = not template.identity
        rest = packed(template)
        urls = self.seen.unseen(requests.urls, depth) if plain else requests.urls
        for url in urls if template.anywhere else self._outside.unseen(urls, 0):
            refusal = None if template.anywhere else self.gate.refusal(url)
            if refusal is None:
                origin, path = split(url)
                known_as, fingerprint = None, 0
                if template.key is None and "?" not in path and ";" not in path:  # nearly all
                    fingerprint = self._fingerprints.of(path, template.identity)
                else:
                    known_as, fingerprint = self._named(origin, path, template)
                yield Link(
                    origin, fingerprint, path, depth, template.priority, rest, parent=page.seq, plain=plain,
                    known_as=known_as,
                )  # fmt: skip
            else:
                self._outside.add(url, 0)
                self.cut(url, refusal, cuts)

    def _named(self, origin: str, path: str, request: Request) -> tuple[str | None, int]:
        """What a request's page is known as, where that is not its path, and its fingerprint."""
        if request.key is not None:
            return None, self._fingerprints.of("", request.identity)
        known_as = self._identity.known_as(origin, path) if request.kind == "page" else None
        return known_as, self._fingerprints.of(known_as or path, request.identity)

    def cut(self, url: str, refusal: str, cuts: dict[str, Cut]) -> None:
        """Count a link that looks like a trap's, and say so once for a host."""
        if refusal not in SETTING_OF:
            return
        cuts[refusal] = Cut(cuts[refusal].links + 1 if refusal in cuts else 1, url)
        if (where := f"{refusal} on {split(url)[0]}") not in self._warned:
            self._warned.add(where)
            log.warning("links like %s are left out (%s): %s would let them in", url, refusal, SETTING_OF[refusal])

    def _asked(self, request: Request, page: Page, cuts: dict[str, Cut]) -> Iterable[Link]:
        self.check(request)
        request = replace(request, depth=page.request.depth + 1)
        refusal = None if request.anywhere or request.kind != "page" else self.gate.refusal(request.url)
        if refusal is None:
            yield self.link(request, parent=page.seq)
        elif refusal in SETTING_OF:
            self.cut(request.url, refusal, cuts)
        elif split(request.url)[0] not in self._warned:
            self._warned.add(split(request.url)[0])
            log.warning(
                "%s is out of scope (%s): widen the spider's scope, or pass anywhere=True", request.url, refusal
            )

    def let_in(self, url: str, *, moved: bool = False, written: bool = False) -> None:
        """Make a seed part of the scope; links that were refused before may come again."""
        if self.gate.let_in(url, moved=moved, written=written):
            self._outside = Seen()

    def learn_seeds(self, seeds: Seeds) -> None:
        """Seeds that other engines have found."""
        for origin in seeds.hosts:
            self.let_in(origin + "/", written=origin in seeds.written)
        for folder in seeds.folders:
            self.let_in(folder, moved=True)

    def link(self, request: Request, *, seed: bool = False, parent: int | None = None) -> Link:
        """A request on its way into the journal."""
        if request.kind == "download":
            request = replace(request, priority=request.priority - DOWNLOAD_PRIORITY)
        origin, path = split(request.url)
        known_as, fingerprint = self._named(origin, path, request)
        rest = packed(request)
        plain = not request.identity
        return Link(
            origin, fingerprint, path, request.depth, request.priority, rest, seed, parent, plain, known_as,
            written=seed and not request.hops,
        )  # fmt: skip

    def remember(self, links: Sequence[Link]) -> None:
        """Links that are in the journal now."""
        for link in links:
            if link.plain:
                self.seen.add(link.origin + link.path, link.depth)


def header(reply: Reply, name: str) -> str:
    """A header of an answer, or nothing."""
    return str(reply.headers.get(name, ""))
