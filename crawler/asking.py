"""One page's turn: ask the network under the law of its host's lane, and have a Visit made of the answer.

The law: nothing is sent to a host without its lease, nor before its time. robots.txt, redirects, downloads and a
handler's extra fetches obey it as pages do.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from crawler.engine import Engine
from crawler.errors import (
    ConnectionReset,
    DnsError,
    FetchError,
    HandlerError,
    HttpError,
    RobotsDisallowed,
    RobotsUnreachable,
    StoreUnavailable,
)
from crawler.feeder import HostLane, Ticket
from crawler.fetch import Fetcher, Reply
from crawler.files import FileStore
from crawler.frontier import Want
from crawler.models import Link, Page, Request, RobotsRecord, State, Visit
from crawler.politeness import REDIRECTS, ROBOTS_LIFETIME, UNREACHABLE, robots_fate
from crawler.redirects import headers_for, hop
from crawler.response import File, Response
from crawler.urls import Joiner, canonical, split
from crawler.visits import NotNow, header

log = logging.getLogger(__name__)
LONGEST_QUEUE = 20.0  # an extra fetch whose host is not free within it gives its page back
MOST_FETCHES = 20
ROBOTS_HOPS = 5  # RFC 9309 section 2.3.1.2
ROBOTS = "robots.txt"
_END = object()
SEED_BATCH, SEED_PAUSE = 200, 0.05


class Asker:
    """Does what one turn of a worker is about."""

    def __init__(self, engine: Engine, fetcher: Fetcher, folder: Path, run: int) -> None:
        self.engine = engine
        self.fetcher = fetcher
        self.folder = folder
        self.files = FileStore(folder / "files")
        self.run = run
        self.visitor = engine.visitor
        self.joiner = Joiner()
        self.max_links = engine.settings.max_links
        self.downloads: dict[str, tuple[int, int | None]] = {}  # bytes so far, and in all if that is known

    async def visit(self, lane: HostLane, page: Page) -> Visit:
        """The Visit of a page whose turn has come. Raises LeaseLost or LimitReached when it stays as it was."""
        robots = lane.robots
        kind = page.request.kind
        refusal = None if robots is None else self.visitor.refusal(page, robots)
        if refusal is not None:
            self._free(lane)
            return self.visitor.skipped(page, lane.token, refusal)
        if kind == "start":
            self._free(lane)
            return await self._start(lane, page)
        if robots is UNREACHABLE and kind != "robots":
            self._free(lane)
            return await self.visitor.failed(page, lane.token, _unreachable(lane, page.request.url))
        try:
            if kind == "download":
                visit = await self._download(lane, page)
            elif kind == "robots":
                visit = self._robots(lane, page, await self.ask(lane, page.request))
            else:
                reply = await self.ask(lane, page.request)
                visit = await self.visitor.judged(page, lane.token, reply, Door(self, page))
        except NotNow as error:
            return self.visitor.put_off(page, lane.token, error)
        except FetchError as error:
            visit = await self._failed(lane, page, error)
        if visit.ready_at is not None:
            clock = self.engine.clock
            self.engine.workbench.wait(lane, clock.monotonic() + visit.ready_at - clock.epoch())
        return visit

    async def ask(self, lane: HostLane, request: Request) -> Reply:
        """Send one request to the lane's host, which is counted as asked already; its place is free when this ends."""
        try:
            return await self.fetcher.fetch(
                request,
                headers=headers_for(request, self.visitor.spider.headers),
                before_send=partial(self._sending, lane, []),
                wants=self.visitor.wants(request),
            )
        finally:
            self._free(lane)

    def _sending(self, lane: HostLane, sent: list[bool]) -> None:
        self.engine.check_lease()
        if sent and lane.pace.delay:
            raise ConnectionReset("the connection was lost before an answer came")  # its next try waits for its time
        sent.append(True)
        self.engine.workbench.sent(lane, self.engine.clock.monotonic())

    def _free(self, lane: HostLane) -> None:
        self.engine.workbench.done(lane)
        self.engine.dispatch()

    async def _failed(self, lane: HostLane, page: Page, error: FetchError) -> Visit:
        if page.request.kind == "robots":
            return self._no_robots(lane, page, error)
        return await self.visitor.failed(page, lane.token, error)

    # -- seeds

    async def _start(self, lane: HostLane, page: Page) -> Visit:
        """Run the spider's `start()`, storing its seeds as they come."""
        now = self.engine.clock.epoch
        links: list[Link] = []
        try:
            async for seed in _with_pauses(self.visitor.spider.start(), SEED_PAUSE):
                if seed is not None:
                    links.append(self._seed(seed))
                if links and (seed is None or len(links) >= SEED_BATCH):
                    await self._sow(links)
                    links = []
            await self._sow(links)
        except HandlerError as error:
            return Visit(page, lane.token, State.FAILED, f"HandlerError: {error}", ended_at=now(), trace=str(error))
        return Visit(page, lane.token, State.DONE, "start", ended_at=now())

    def _seed(self, seed: object) -> Link:
        if isinstance(seed, str) and (url := canonical(seed)) is not None:
            seed = Request(url)
        if not isinstance(seed, Request):
            raise HandlerError(f"start() yielded {seed!r}: seeds are absolute http or https URLs, or requests")
        self.visitor.let_in(seed.url)
        return self.visitor.link(seed, seed=True)

    async def _sow(self, links: Sequence[Link]) -> None:
        await self.engine.frontier.add(links)
        self.engine.stir()

    # -- robots.txt

    def _robots(self, lane: HostLane, page: Page, reply: Reply) -> Visit:
        visit = Visit(page, lane.token, State.DONE, ROBOTS, reply.status, reply.size, self.engine.clock.epoch())
        if reply.status in REDIRECTS:
            try:
                target = hop(page.request, reply.status, header(reply, "Location"), ROBOTS_HOPS)
            except FetchError:
                return self._known(visit, RobotsRecord(404, b"", visit.ended_at, visit.ended_at + ROBOTS_LIFETIME))
            visit.reason = f"{ROBOTS}: redirected to {target.url}"
            visit.links = [self.visitor.robots_hop(page, target)]
            return visit
        if reply.status == 429 or reply.status >= 500:
            error = HttpError(f"status {reply.status}", url=reply.url, status=reply.status)
            error.retry_after = self.visitor.retry_after(reply)
            return self._no_robots(lane, page, error)
        record = RobotsRecord(reply.status, reply.body, visit.ended_at, visit.ended_at + ROBOTS_LIFETIME)
        return self._known(visit, record)

    def _no_robots(self, lane: HostLane, page: Page, error: FetchError) -> Visit:
        now = self.engine.clock.epoch()
        chosen = robots_fate(error, page, now)
        visit = Visit(
            page, lane.token, chosen.state, f"{ROBOTS}: {error.code}: {error.detail}", error.status or 0, ended_at=now,
            due_at=chosen.due_at, ready_at=chosen.host_ready_at,
        )  # fmt: skip
        if chosen.state == State.PENDING:
            lane.not_before = chosen.due_at
            log.info("%s waits for its robots.txt: %s", lane.origin, error)
            return visit
        log.warning("%s has no robots.txt to be had, nothing of it is asked: %s", lane.origin, error)
        visit.state = State.SKIPPED
        return self._known(visit, RobotsRecord(0, str(error).encode(), now, now + ROBOTS_LIFETIME))

    def _known(self, visit: Visit, record: RobotsRecord) -> Visit:
        request = visit.page.request
        visit.robots = record
        visit.robots_for = request.data if isinstance(request.data, str) else split(request.url)[0]
        self.engine.feeder.learn(visit.robots_for, record)
        return visit

    # -- downloads

    async def _download(self, lane: HostLane, page: Page) -> Visit:
        """Stream a file to disk, going on where an earlier try ended; then its handler, if it has one."""
        request = page.request
        answers: list[Reply] = []
        try:
            record = await self.files.receive(
                request.hops[0] if request.hops else request.url,  # its path was promised before it was moved
                self.run,
                partial(self._stream, lane, request, answers),
                partial(self._progress, request.url),
            )
        except StoreUnavailable as error:  # another process is writing this very file
            raise NotNow(self.engine.clock.epoch() + LONGEST_QUEUE, str(error)) from error
        except _Elsewhere:
            return await self.visitor.redirected(page, lane.token, answers[-1])
        finally:
            self.downloads.pop(request.url, None)
            self._free(lane)
        visit = Visit(page, lane.token, State.DONE, "", answers[-1].status, ended_at=self.engine.clock.epoch())
        visit.size, visit.file = record.size, record
        if not request.handler:
            return visit
        file = File(self.folder / record.path, record.path, record.size, record.sha256)
        door, reply = Door(self, page), answers[-1]
        response = Response(
            request, url=reply.url, status=reply.status, headers=reply.headers, body=b"", door=door, file=file
        )
        return await self.visitor.handled(visit, response, door)

    @asynccontextmanager
    async def _stream(
        self, lane: HostLane, request: Request, answers: list[Reply], headers: Mapping[str, str]
    ) -> AsyncIterator[tuple[int, Mapping[str, str], AsyncIterator[bytes]]]:
        async with self.fetcher.stream(
            request,
            headers={**headers_for(request, self.visitor.spider.headers), **headers},
            before_send=partial(self._sending, lane, []),
        ) as (status, received, chunks):
            answers.append(Reply(request.url, status, received))
            if status in REDIRECTS:
                raise _Elsewhere
            if status not in {200, 206, 416}:
                error = HttpError(f"status {status}", url=request.url, status=status, hops=request.hops)
                error.retry_after = self.visitor.retry_after(answers[-1])
                raise error
            length = received.get("Content-Length", "")
            self.downloads[request.url] = (0, int(length) if length.isdecimal() and status == 200 else None)
            yield status, received, chunks

    def _progress(self, url: str, size: int) -> None:
        self.downloads[url] = (size, self.downloads.get(url, (0, None))[1])

    # -- extra fetches of a handler

    async def fetch(self, request: Request) -> Reply:
        """Ask for something at once, hop by hop, before the queued pages of its host."""
        with self.engine.lent_place():
            while True:
                lane = await self._lane(request)
                if lane.robots is not None and self.visitor.refusal_of_robots(request, lane.robots):
                    self._free(lane)
                    raise RobotsDisallowed("robots.txt forbids it", url=request.url)
                reply = await self.ask(lane, request)
                if reply.status not in REDIRECTS:
                    return reply
                request = hop(request, reply.status, header(reply, "Location"), self.engine.settings.max_redirects)

    async def _lane(self, request: Request) -> HostLane:
        origin = split(request.url)[0]
        workbench = self.engine.workbench
        now = self.engine.clock.epoch
        if origin not in workbench.by_origin:
            self.engine.feeder.accept(await self.engine.frontier.lease(Want(0, 0, LONGEST_QUEUE, origins=(origin,))))
        if (lane := workbench.by_origin.get(origin)) is None:
            raise NotNow(now() + LONGEST_QUEUE)
        ticket: Ticket = asyncio.get_running_loop().create_future()
        workbench.hurry(lane, ticket)
        self.engine.stir()
        self.engine.dispatch()
        try:
            async with asyncio.timeout(LONGEST_QUEUE):
                await ticket
        except TimeoutError:
            raise NotNow(now() + LONGEST_QUEUE) from None
        return lane


class _Elsewhere(Exception):
    """A download was answered with a redirect."""


class Door:
    """What a response may ask of the crawl: its extra fetches and the paths of its downloads."""

    __slots__ = ("_asker", "_fetches", "_page", "deadline")

    def __init__(self, asker: Asker, page: Page) -> None:
        self._asker = asker
        self._page = page
        self._fetches = 0
        self.deadline: asyncio.Timeout | None = None

    @property
    def joiner(self) -> Joiner:
        """Where the page's links are resolved."""
        return self._asker.joiner

    @property
    def max_links(self) -> int:
        """How many links of a page count."""
        return self._asker.max_links

    @property
    def obeys_nofollow(self) -> bool:
        """Whether a page may forbid that its links are followed."""
        return self._asker.engine.settings.obey_robots

    def file_path(self, url: str) -> str:
        """Where a download of `url` will lie, below the job's folder."""
        return self._asker.files.path_for(self._asker.run, url)

    async def fetch(self, request: Request, parent: Response) -> Response:
        """The response to an extra request of a handler, which has its time prolonged by the wait."""
        self._fetches += 1
        if self._fetches > MOST_FETCHES:
            raise HandlerError(f"more than {MOST_FETCHES} fetches for one page: yield requests instead")
        loop = asyncio.get_running_loop()
        left = 0.0
        if self.deadline is not None and (when := self.deadline.when()) is not None:
            left = when - loop.time()
            self.deadline.reschedule(None)
        try:
            reply = await self._asker.fetch(request)
        finally:
            if self.deadline is not None:
                self.deadline.reschedule(loop.time() + left)
        if not (200 <= reply.status < 300 or reply.status in request.statuses):
            raise HttpError(f"status {reply.status}", url=reply.url, status=reply.status)
        return Response(request, url=reply.url, status=reply.status, headers=reply.headers, body=reply.body, door=self)


def _unreachable(lane: HostLane, url: str) -> FetchError:
    """Why a page of a host without a robots.txt fails: a name that does not exist is no matter of robots."""
    if lane.robots_why.startswith(DnsError.__name__):
        return DnsError(lane.robots_why.partition(": ")[2], url=url, permanent=True)
    return RobotsUnreachable(f"its robots.txt could not be had: {lane.robots_why}", url=url)


async def _with_pauses(seeds: AsyncIterator[object], pause: float) -> AsyncIterator[object]:
    """The seeds as they come, and None whenever the next is not there within `pause` seconds."""
    while True:
        coming = asyncio.ensure_future(anext(seeds, _END))
        try:
            done, _ = await asyncio.wait({coming}, timeout=pause)
            if not done:
                yield None
            seed = await coming
        finally:
            coming.cancel()
        if seed is _END:
            return
        yield seed
