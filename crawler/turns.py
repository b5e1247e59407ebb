"""What a worker does when a page's turn has come: ask for it, and have a Visit made of the answer."""

import asyncio
import logging
from contextlib import suppress

from msgspec.structs import replace

from crawler.asking import Asker, changed_cookies, session_in_use
from crawler.budget import LimitReached
from crawler.cookies import Cookie
from crawler.discovery import listed, sitemap, unread
from crawler.door import Door
from crawler.downloads import download
from crawler.errors import (
    FetchError,
    HandlerError,
    HttpError,
    ResponseTooLarge,
    SpiderError,
    StoreError,
    StoreUnavailable,
    escaped,
)
from crawler.feeder import HostLane
from crawler.fetch.reply import Reply
from crawler.handling import AtWork, NotNow, failure_of, trace_of
from crawler.hops import unreachable
from crawler.logins import Login
from crawler.models import Link, Page, Request, RobotsRecord, State, Visit
from crawler.parsing import is_large
from crawler.politeness import REDIRECTS, ROBOTS_LIFETIME, UNREACHABLE, fate, robots_fate, robots_lifetime
from crawler.recrawl import schedule, unchanged
from crawler.redirects import hop
from crawler.response import Response
from crawler.robots import ALLOW_ALL, Robots
from crawler.rotation import Rotation
from crawler.urls import canonical, split
from crawler.visits import header
from crawler.wrapping import asked

log = logging.getLogger(__name__)
ROBOTS_HOPS = 5  # RFC 9309 section 2.3.1.2
ROBOTS = "robots.txt"
SEED_BATCH, SEED_PAUSE = 200, 0.05


class Turns:
    """One turn for each kind of page: `start()`, robots.txt, a download, a page."""

    def __init__(self, asker: Asker) -> None:
        self._asker = asker
        self._engine = asker.engine
        self._visitor = asker.visitor
        self._rotation = Rotation(asker)

    async def visit(self, lane: HostLane, page: Page) -> Visit:
        """The Visit of a page whose turn has come. Raises LeaseLost or LimitReached when it stays as it was."""
        if not self._rotation.is_used:
            visit = await self._visit(lane, page, None)
            schedule(visit, self._engine.settings.revisit)
            return visit
        changed: list[Cookie] = []
        changed_cookies.set(changed)
        try:
            login = self._rotation.choose(page)
        except NotNow as error:
            self._asker.free(lane, page.request, was_sent=False)
            return self._visitor.put_off(page, lane.token, error)
        except LimitReached:
            self._asker.free(lane, page.request, was_sent=False)
            raise
        session_in_use.set(None if login is None else login.session)
        if login is None:
            visit = await self._visit(lane, page, None)
        else:
            version = login.version
            if self._rotation.is_named and page.request.is_counted:
                page = replace(page, request=replace(page.request, session=login.name))  # where it leads to goes along
            must_wait = page.request.is_counted and not login.is_ready
            visit = await (self._logged_in(lane, page, login) if must_wait else self._visit(lane, page, login))
            visit.cookies, visit.session = changed, (login.name, version)
        schedule(visit, self._engine.settings.revisit)
        return visit

    async def _visit(self, lane: HostLane, page: Page, login: Login | None) -> Visit:
        robots = lane.robots
        kind = page.request.kind
        refusal = None if robots is None else self._visitor.refusal(page, robots)
        if refusal is None and lane.quota is not None:
            refusal = lane.quota.refusal(page)
        if refusal is not None:
            self._asker.free(lane, page.request, was_sent=False)
            return self._visitor.skipped(page, lane.token, refusal)
        if kind == "start":
            self._asker.free(lane, page.request, was_sent=False)
            return await self._start(lane, page)
        if robots is UNREACHABLE and kind != "robots":
            self._asker.free(lane, page.request, was_sent=False)
            return await self._failed(lane, page, unreachable(lane, page.request.url))
        try:
            if kind == "download":
                visit = await download(self._asker, lane, page)
            elif kind == "sitemap":
                visit = await sitemap(self._asker, lane, page)
            elif kind == "robots":
                visit = await self._robots(lane, page, await self._asker.ask(lane, page.request))
            else:
                visit = await self._page(lane, page, login)
        except NotNow as error:
            return self._visitor.put_off(page, lane.token, error)
        except (StoreUnavailable, MemoryError) as error:
            return await self._short(lane, page, error)
        except FetchError as error:
            visit = await self._failed(lane, page, error)
        self._asker.settle(lane, visit)
        return visit

    async def _page(self, lane: HostLane, page: Page, login: Login | None) -> Visit:
        version, request, door = 0 if login is None else login.version, page.request, Door(self._asker)
        try:
            reply = await asked(self._asker, lane, page, door)
        except SpiderError as error:
            visit = Visit(page, lane.token, State.FAILED, "", 0, 0, self._engine.clock.epoch())
            return self._visitor.broken(visit, "wrap", error)
        if (lacks := reply.incomplete) is not None:
            chosen = fate(lacks, page, self._engine.settings, self._engine.clock.epoch(), lane.circuit)
            if chosen.state == State.PENDING:  # with luck there is more of it next time
                raise lacks
        if (as_before := unchanged(page, lane.token, reply, self._engine.clock.epoch())) is not None:
            if login is not None:
                await login.well()
            return as_before
        response = Response(
            request, url=reply.url, status=reply.status, headers=reply.headers, body=reply.body, door=door,
            truncated=reply.incomplete is not None,
        )  # fmt: skip
        if is_large(response):
            with AtWork(self._visitor.breadcrumb, page.seq):
                await self._asker.parser.parsed(response)
        if login is not None:
            try:
                why = await self._rotation.judged(login, version, page, reply, response)
            except HandlerError as error:
                visit = Visit(page, lane.token, State.FAILED, "", reply.status, reply.size, self._engine.clock.epoch())
                return self._visitor.broken(visit, "banned or logged_out", error)
            if why:
                return await self._rotation.returned(login, version, page, lane.token, why)
        return await self._visitor.judged(page, lane.token, reply, response, door, lane.circuit)

    async def _logged_in(self, lane: HostLane, page: Page, login: Login) -> Visit:
        """A page goes back, to be asked when the session stands for which it has waited here."""
        self._asker.free(lane, page.request, was_sent=False)
        try:
            await login.wait()
        except NotNow as error:
            return self._visitor.put_off(page, lane.token, error)
        return self._visitor.put_off(page, lane.token, NotNow(self._engine.clock.epoch(), "logged in"))

    async def _failed(self, lane: HostLane, page: Page, error: FetchError) -> Visit:
        if page.request.kind == "robots":
            return self._no_robots(lane, page, error)
        if page.request.kind == "sitemap":
            return await unread(self._asker, lane, page, error)
        return await self._visitor.failed(page, lane.token, error, lane.circuit)

    async def _short(self, lane: HostLane, page: Page, error: StoreUnavailable | MemoryError) -> Visit:
        """A page for which no file descriptor or no memory was left. No fault of its own, unless it had all memory."""
        under_way = len(self._engine.in_flight)
        wait = self._asker.short(error)
        if isinstance(error, MemoryError) and under_way == 1:
            return await self._failed(
                lane, page, ResponseTooLarge("more than the memory there is", url=page.request.url)
            )
        return self._visitor.put_off(page, lane.token, wait)

    # -- seeds

    async def _start(self, lane: HostLane, page: Page) -> Visit:
        """Run the spider's `start()`, storing its seeds as they come; it takes no worker's place, and may last."""
        now = self._engine.clock.epoch
        links = listed(self._visitor)
        visit = Visit(page, lane.token, State.DONE, "start")
        task = asyncio.current_task()
        assert task is not None
        self._engine.expendable.add(task)
        is_over = asyncio.Event()
        sowing = self._engine.crew.create_task(self._sow_now_and_then(links, is_over))
        try:
            with self._engine.lent_place():
                async for seed in self._visitor.spider.start():
                    links += self._seed(seed)
                    if len(links) >= SEED_BATCH:
                        await self._sow(links)
        except StoreError:
            raise
        except (Exception, SystemExit) as error:  # noqa: BLE001  # the spider's code may raise anything
            failure = failure_of(error)
            visit.state, visit.reason, visit.trace = (
                State.FAILED,
                f"HandlerError: {escaped(str(failure))}",
                trace_of(failure),
            )
            log.warning("start() failed: %s", escaped(str(failure)))
        finally:
            self._engine.expendable.discard(task)
            is_over.set()
        await sowing  # `start()` is done when all that it gave is stored, not before
        await self._sow(links)
        visit.ended_at = now()
        return visit

    def _seed(self, seed: object) -> list[Link]:
        url = canonical(seed.url if isinstance(seed, Request) else seed) if isinstance(seed, Request | str) else None
        if url is None:
            raise HandlerError(f"start() yielded {seed!r}: seeds are absolute http or https URLs, or requests")
        request = replace(seed, url=url, depth=0) if isinstance(seed, Request) else Request(url)
        self._visitor.check(request)
        self._visitor.linker.let_in(url, written=True)
        return self._visitor.linker.seed_links(request)

    async def _sow_now_and_then(self, links: list[Link], is_over: asyncio.Event) -> None:
        """Store what there is while `start()` waits for more: a task for each seed would cost more than the seed."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(SEED_PAUSE):
                    await is_over.wait()
                    return
            if links:
                await self._sow(links)

    async def _sow(self, links: list[Link]) -> None:
        """Store the links, and empty their list."""
        taken = list(dict.fromkeys(links))  # hosts in common
        links.clear()
        self._engine.expect(await self._engine.frontier.add(taken))

    # -- robots.txt

    async def _robots(self, lane: HostLane, page: Page, reply: Reply) -> Visit:
        visit = Visit(page, lane.token, State.DONE, ROBOTS, reply.status, reply.size, self._engine.clock.epoch())
        if reply.status in REDIRECTS:
            try:
                target = hop(page.request, reply.status, header(reply, "Location"), ROBOTS_HOPS)
            except FetchError:
                return self._known(
                    visit, RobotsRecord(404, b"", visit.ended_at, visit.ended_at + ROBOTS_LIFETIME), ALLOW_ALL
                )
            visit.reason = f"{ROBOTS}: redirected to {target.url}"
            visit.links = [self._visitor.linker.robots_hop(page, target)]
            return visit
        if reply.status == 429 or reply.status >= 500:
            error = HttpError(f"status {reply.status}", url=reply.url, status=reply.status)
            error.retry_after = self._visitor.retry_after(reply)
            return self._no_robots(lane, page, error)
        lifetime = robots_lifetime(", ".join(reply.headers.getall("Cache-Control", ())))
        record = RobotsRecord(reply.status, reply.body, visit.ended_at, visit.ended_at + lifetime)
        return self._known(visit, record, await self._engine.feeder.read(record))

    def _no_robots(self, lane: HostLane, page: Page, error: FetchError) -> Visit:
        now = self._engine.clock.epoch()
        chosen = robots_fate(error, page, now)
        visit = Visit(
            page, lane.token, chosen.state, f"{ROBOTS}: {error.code}: {error.detail}", error.status or 0, ended_at=now,
            due_at=chosen.due_at, charged=chosen.charged, deferred=not chosen.charged, ready_at=chosen.host_ready_at,
        )  # fmt: skip
        if chosen.state == State.PENDING:
            lane.not_before = chosen.due_at
            for ticket in self._engine.workbench.calm(lane):
                if not ticket.done():
                    ticket.set_exception(NotNow(chosen.due_at))
            log.info("%s waits for its robots.txt: %s", lane.origin, error)
            return visit
        log.warning("%s has no robots.txt to be had, nothing of it is asked: %s", lane.origin, error)
        visit.state = State.SKIPPED
        return self._known(visit, RobotsRecord(0, str(error).encode(), now, now + ROBOTS_LIFETIME), UNREACHABLE)

    def _known(self, visit: Visit, record: RobotsRecord, robots: Robots | None) -> Visit:
        request = visit.page.request
        visit.robots = record
        visit.robots_for = request.data if isinstance(request.data, str) else split(request.url)[0]
        visit.robots_delay = self._engine.feeder.learn(visit.robots_for, record, robots)
        self._engine.dispatch()
        return visit
