"""What a handler may ask of the crawl through its response: extra fetches, under the law of all others."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from crawler.asking import Asker
from crawler.budget import LimitReached
from crawler.circuit import is_hopeless
from crawler.errors import (
    BlockedAddress,
    CrawlerError,
    DnsError,
    FetchError,
    HandlerError,
    HttpError,
    LeaseLost,
    RobotsDisallowed,
    RobotsUnreachable,
    StoreError,
    TlsError,
)  # fmt: skip
from crawler.feeder import HostLane, Ticket
from crawler.fetch import Reply
from crawler.frontier import Want
from crawler.handling import NotNow, NotYet
from crawler.models import Request
from crawler.politeness import OVERLOADED, REDIRECTS, SHORTEST_REST, UNREACHABLE
from crawler.redirects import hop
from crawler.response import Response
from crawler.urls import Joiner, split
from crawler.visits import header

LONGEST_QUEUE = 20.0  # an extra fetch whose host is not free within it gives its page back
MOST_FETCHES = 20
_FINAL = {kind.__name__: kind for kind in (BlockedAddress, TlsError)}


class Door:
    """What a response may ask of the crawl: its extra fetches and the paths of its downloads."""

    __slots__ = ("_asker", "_fetches", "_left", "_waiting", "deadline", "interrupt", "visitor")

    def __init__(self, asker: Asker) -> None:
        self._asker = asker
        self._fetches = self._waiting = 0
        self._left = 0.0
        self.visitor = asker.visitor
        self.deadline: asyncio.Timeout | None = None
        self.interrupt: CrawlerError | None = None

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

    @property
    def product_token(self) -> str:
        """The name by which a page may speak to this crawler."""
        return self._asker.engine.settings.product_token

    @property
    def obeys_rel_nofollow(self) -> bool:
        """Whether a single link may forbid that it is followed."""
        return self._asker.engine.settings.obey_rel_nofollow

    def file_path(self, url: str) -> str:
        """Where a download of `url` will lie, below the job's folder."""
        return self._asker.files.path_for(self._asker.run, url)

    async def fetch(self, request: Request, parent: Response | None = None) -> Response:  # noqa: ARG002  # the protocol's
        """The response to an extra request of a handler or a login, whose own time stands still meanwhile."""
        self._fetches += 1
        if self._fetches > MOST_FETCHES:
            raise HandlerError(f"more than {MOST_FETCHES} fetches for one page: yield requests instead")
        self.visitor.check(request)
        with self._time_standing_still():
            try:
                reply = await _fetched(self._asker, request)
            except (NotNow, LeaseLost, LimitReached, StoreError) as error:
                self.interrupt = error  # a handler that catches everything must not keep it
                raise
        if not (200 <= reply.status < 300 or reply.status in request.statuses):
            raise HttpError(f"status {reply.status}", url=reply.url, status=reply.status)
        response = Response(
            request, url=reply.url, status=reply.status, headers=reply.headers, body=reply.body, door=self
        )
        await self._asker.parser.parsed(response)
        return response

    @contextmanager
    def _time_standing_still(self) -> Iterator[None]:
        loop, deadline = asyncio.get_running_loop(), self.deadline
        self._waiting += 1
        if self._waiting == 1 and deadline is not None and (when := deadline.when()) is not None:
            self._left = when - loop.time()
            deadline.reschedule(None)
        try:
            yield
        finally:
            self._waiting -= 1
            if not self._waiting and deadline is not None and not deadline.expired():
                deadline.reschedule(loop.time() + self._left)


async def _fetched(asker: Asker, request: Request) -> Reply:
    """Ask for something at once, hop by hop, before the queued pages of its host."""
    while True:
        with asker.engine.lent_place():
            lane = await _lane(asker, request)
        robots = lane.robots
        if robots is not None and (robots is UNREACHABLE or asker.visitor.is_forbidden(request, robots)):
            asker.free(lane, request, was_sent=False)
            if robots is UNREACHABLE:
                raise unreachable(lane, request.url)
            raise RobotsDisallowed("robots.txt forbids it", url=request.url)
        try:
            reply = await asker.ask(lane, request)
        except NotYet:
            continue
        if reply.status in OVERLOADED:
            now = asker.engine.clock.epoch()
            if is_hopeless(lane.circuit, asker.engine.settings.circuit_patience, now):
                raise HttpError(f"its host has answered with {reply.status} for long", url=request.url)
            wait = asker.visitor.retry_after(reply) or SHORTEST_REST
            raise NotNow(max(now + wait, lane.circuit.until), f"{request.url} was answered with {reply.status}")
        if reply.status not in REDIRECTS:
            return reply
        request = hop(request, reply.status, header(reply, "Location"), asker.engine.settings.max_redirects)


async def _lane(asker: Asker, request: Request) -> HostLane:
    """The host's lane, when it is this request's turn there."""
    origin = split(request.url)[0]
    workbench = asker.engine.workbench
    due_at = asker.engine.clock.epoch() + LONGEST_QUEUE
    if origin not in workbench.by_origin:
        await asker.engine.feeder.lease(Want(0, 0, LONGEST_QUEUE, origins=(origin,)))
    if (lane := workbench.by_origin.get(origin)) is None:
        raise NotNow(due_at)
    ticket: Ticket = asyncio.get_running_loop().create_future()
    workbench.hurry(lane, ticket, request.group)
    asker.engine.stir()
    asker.engine.dispatch()
    try:
        async with asyncio.timeout(LONGEST_QUEUE):
            await ticket
    except BaseException as error:
        if ticket.done() and not ticket.cancelled() and ticket.exception() is None:
            asker.free(lane, request, was_sent=False)  # its turn came in the very moment in which it gave up
        elif (ticket, request.group) in lane.urgent:
            lane.urgent.remove((ticket, request.group))
        if isinstance(error, TimeoutError):
            raise NotNow(due_at) from None
        raise
    return lane


def unreachable(lane: HostLane, url: str) -> FetchError:
    """Why a page of a host without a robots.txt fails: where no connection can be made, that is no matter of robots."""
    code, _, detail = lane.robots_why.partition(": ")
    if code == DnsError.__name__:
        return DnsError(detail, url=url, permanent=True)
    if code in _FINAL:
        return _FINAL[code](detail, url=url)
    return RobotsUnreachable(f"its robots.txt could not be had: {lane.robots_why}", url=url)
