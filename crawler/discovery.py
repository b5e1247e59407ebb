"""A sitemap's turn: what it names is stored as it is read, however long it is, and before the sitemap itself.

A sitemap that is read once more, after a kill or a broken connection, adds nothing twice.
"""

import asyncio
import logging
import re
from collections.abc import Sequence
from fnmatch import translate
from functools import partial

from msgspec.structs import replace

from crawler.asking import Asker
from crawler.decoding import ACCEPT_ENCODING
from crawler.errors import BadSitemap, FetchError, HttpError, escaped
from crawler.feeder import HostLane
from crawler.fetch import Stream
from crawler.fetch.reply import Reply
from crawler.linker import GUESSED
from crawler.models import SITEMAP_PRIORITY, Cut, Link, Page, Request, State, Visit
from crawler.politeness import REDIRECTS, fate
from crawler.redirects import hop
from crawler.scope import authority
from crawler.sitemaps import Entry, Reader, since
from crawler.urls import canonical
from crawler.visits import Visitor

log = logging.getLogger(__name__)
SITEMAP = "sitemap"
LEVELS = 3  # how deep an index may lie within others
PAGE_DEPTH = 1  # as if a seed had linked to it
LISTED = "listed"  # the data of a request for a sitemap that the spider names; of others it is their level


def listed(visitor: Visitor) -> list[Link]:
    """The sitemaps that the spider names itself. Their hosts belong to the crawl, as those of seeds do."""
    named = visitor.spider.sitemaps
    urls = [] if isinstance(named, bool) else [url for url in map(canonical, named) if url is not None]
    for url in urls:
        visitor.linker.let_in(url, written=True)
    return [visitor.linker.link(_request(url, LISTED), seed=True) for url in urls]


def _request(url: str, data: str | int) -> Request:
    return Request(url, kind="sitemap", data=data, priority=SITEMAP_PRIORITY)


async def sitemap(asker: Asker, lane: HostLane, page: Page) -> Visit:
    """Read a sitemap, and have what it names stored. Raises FetchError, BadSitemap if there is nothing in it."""
    visit = Visit(page, lane.token, State.DONE, SITEMAP, ended_at=asker.engine.clock.epoch())
    if page.request.key is not None and (named := _named(lane)):
        asker.free(lane, page.request, was_sent=False)
        visit.reason = f"{SITEMAP}: robots.txt names others"
        visit.links = [asker.visitor.linker.link(_request(url, 0), parent=page.seq) for url in named]
        return visit
    own = asker.headers(page.request)
    sent: list[bool] = []
    try:
        with asker.attempt(lane, page.request):
            await asker.join_groups(lane, page.request)
            async with asker.fetcher.stream(
                page.request,
                headers={**own, "Accept-Encoding": ACCEPT_ENCODING},
                before_send=partial(asker.sending, lane, page.request, sent),
            ) as stream:
                await _answered(asker, lane, visit, stream)
    finally:
        asker.free(lane, page.request, was_sent=bool(sent))
    visit.ended_at = asker.engine.clock.epoch()
    return visit


def _named(lane: HostLane) -> list[str]:
    """The sitemaps that the host's robots.txt names."""
    named = lane.robots.sitemaps if lane.robots is not None else ()
    found = (canonical(url, lane.origin + "/robots.txt") for url in named)
    return list(dict.fromkeys(url for url in found if url is not None))


async def _answered(asker: Asker, lane: HostLane, visit: Visit, stream: Stream) -> None:
    visit.status, headers, chunks = stream
    request, visitor = visit.page.request, asker.visitor
    if visit.status in REDIRECTS:
        _moved(visitor, visit, hop(request, visit.status, headers.get("Location", ""), visitor.settings.max_redirects))
        return
    if not 200 <= visit.status < 300:
        error = HttpError(f"status {visit.status}", url=request.url, status=visit.status, hops=request.hops)
        reply = Reply(request.url, visit.status, headers)
        asker.heed(lane, reply)
        error.retry_after = visitor.retry_after(reply)
        raise error
    reader, harvest = Reader(", ".join(headers.getall("Content-Encoding", ()))), Harvest(asker, visit.page)
    async for chunk in chunks:
        visit.size += len(chunk)
        for entries in reader.feed(chunk):
            await harvest.store(entries)
        if reader.fault:
            break
    await harvest.store(reader.finish())
    if reader.fault and not harvest.found:
        raise BadSitemap(reader.fault, url=request.url, status=visit.status)
    visit.reason = f"{SITEMAP}: {harvest.found:,} URLs"
    if reader.fault:
        visit.reason, visit.trace = f"{visit.reason}, cut: {reader.fault}", reader.fault
        log.warning("%s was read only in part: %s", request.url, reader.fault)
    visit.cuts = harvest.cuts
    harvest.report(reader.refused)


def _moved(visitor: Visitor, visit: Visit, target: Request) -> None:
    is_listed = target.data == LISTED
    if is_listed:
        visitor.linker.let_in(target.url)
    visit.reason = f"{SITEMAP}: redirected to {target.url}"
    visit.links = [visitor.linker.link(replace(target, key=None), seed=is_listed)]


async def unread(asker: Asker, lane: HostLane, page: Page, error: FetchError) -> Visit:
    """The Visit of a sitemap that could not be read. That there is none where nobody named one is no failure."""
    visitor, now = asker.visitor, asker.engine.clock.epoch()
    if page.request.data != GUESSED or fate(error, page, visitor.settings, now, lane.circuit).state == State.PENDING:
        return await visitor.failed(page, lane.token, error, lane.circuit)
    return Visit(page, lane.token, State.DONE, f"{SITEMAP}: none: {error}", error.status or 0, ended_at=now)


class Harvest:
    """What comes of one sitemap's entries: pages, further sitemaps, or nothing. `found` counts all that it named."""

    def __init__(self, asker: Asker, page: Page) -> None:
        spider = asker.visitor.spider
        self.found = 0
        self.cuts: dict[str, Cut] = {}
        self._outside: list[str] = []
        self._admitted = self._too_deep = 0
        self._engine = asker.engine
        self._visitor = asker.visitor
        self._page = page
        self._level = page.request.data if isinstance(page.request.data, int) else 0
        self._oldest = since(spider.sitemap_since, self._engine.clock.epoch()) if spider.sitemap_since else None
        self._handlers = [(re.compile(translate(pattern)), name) for pattern, name in spider.sitemap_to.items()]

    async def store(self, entries: Sequence[Entry]) -> None:
        """Make pages of what a part of the sitemap names; those who wait for the loop have their turn."""
        self.found += len(entries)
        links = [link for entry in entries if self._is_new(entry) for link in self._links(entry)]
        if links:
            self._engine.expect(await self._engine.frontier.add(links))
            self._visitor.linker.remember(links)
        else:
            await asyncio.sleep(0)

    def report(self, refused: int) -> None:
        """Tell what is likely not meant to be so."""
        url = self._page.request.url
        if refused:
            log.warning("%s has %d entries without an absolute http or https URL", url, refused)
        if self._outside and not self._admitted:
            log.warning("nothing that %s names is in scope, such as %s: widen the spider's scope", url, *self._outside)
        if self._too_deep:
            log.warning("%s lies within %d indexes: the %d that it names are left", url, LEVELS, self._too_deep)

    def _is_new(self, entry: Entry) -> bool:
        return self._oldest is None or entry.modified is None or entry.modified >= self._oldest

    def _links(self, entry: Entry) -> list[Link]:
        refusal = self._visitor.gate.refusal(entry.url)
        is_near = authority(entry.url) == authority(self._page.request.url)
        if entry.is_sitemap and (is_near or refusal != "scope: host"):  # else it could have a crawl ask anybody
            refusal = None
        if refusal is not None:
            self._outside = self._outside or [escaped(entry.url)]
            self._visitor.linker.cut(entry.url, refusal, self.cuts)
            return []
        self._admitted += 1
        if not entry.is_sitemap:
            return self._of_page(entry)
        if self._level >= LEVELS:
            self._too_deep += 1
            return []
        return [self._visitor.linker.link(_request(entry.url, self._level + 1), parent=self._page.seq)]

    def _of_page(self, entry: Entry) -> list[Link]:
        hint = entry.modified if self._visitor.settings.revisit else None
        if hint is None and not self._visitor.linker.seen.unseen((entry.url,), PAGE_DEPTH):
            return []
        name = next((name for pattern, name in self._handlers if pattern.match(entry.url)), "parse")
        priority = 0 if entry.priority is None else round(10 * entry.priority) - 5
        request = Request(entry.url, name, depth=PAGE_DEPTH, priority=priority)
        return [replace(self._visitor.linker.link(request, parent=self._page.seq), modified=hint)]
