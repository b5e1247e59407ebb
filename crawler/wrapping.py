"""A spider's wraps at work. Whatever they do, each fetch of theirs keeps the laws that all requests are under."""

from functools import partial

from msgspec.structs import replace

from crawler.asking import Asker
from crawler.budget import LimitReached
from crawler.errors import HandlerError, LeaseLost, StoreError
from crawler.feeder import HostLane
from crawler.fetch.reply import Reply, made
from crawler.handling import NotNow, PageDoor, Stepped, drained
from crawler.hops import sent, sent_by
from crawler.models import Page, Request
from crawler.politeness import REDIRECTS
from crawler.recrawl import conditional
from crawler.response import Response
from crawler.urls import canonical, split
from crawler.visits import header
from crawler.wraps import chained, checked


async def asked(asker: Asker, lane: HostLane, page: Page, door: PageDoor) -> Reply:
    """The answer to a page whose turn has come. Raises FetchError, and HandlerError for what is a wrap's fault."""
    wraps, request = asker.visitor.spider.wrap, conditional(page)
    if not wraps:
        return await asker.ask(lane, request)
    wire = _Wire(asker, door, request, lane)
    ask = partial(chained(wraps, wire.fetch, door), request)
    try:
        draining = drained(ask, door, asker.engine.settings.handler_timeout)
        (response,) = await Stepped(draining, asker.visitor.at_work(page))
    finally:
        wire.free()
        door.deadline = None
    assert isinstance(response, Response)
    return wire.reply(response)


async def answered(asker: Asker, request: Request, door: PageDoor) -> Reply:
    """The answer to something that is asked at once, on a page's account. Raises as `asked` does."""
    wraps = asker.visitor.spider.wrap
    if not wraps:
        with door.standing_still():
            return await sent(asker, request)
    wire = _Wire(asker, door, request, None)
    return wire.reply(await chained(wraps, wire.fetch, door)(request))


class _Wire:
    """What the last wrap fetches by, for one request; `lane` is that of which a place is held for it."""

    def __init__(self, asker: Asker, door: PageDoor, request: Request, lane: HostLane | None) -> None:
        self._asker = asker
        self._door = door
        self._request = request
        self._lane = lane
        self._was_asked = False
        self._replies: list[tuple[Response, Reply]] = []

    def free(self) -> None:
        """Give the place back, if it was not used."""
        lane, self._lane = self._lane, None
        if lane is not None:
            self._asker.free(lane, self._request, was_sent=False)

    async def fetch(self, asked: Request) -> Response:
        request = self._admitted(asked)
        try:
            with self._door.standing_still():
                reply = await self._sent(request)
            response = Response(
                request, url=reply.url, status=reply.status, headers=reply.headers, body=reply.body, door=self._door,
                truncated=reply.incomplete is not None,
            )  # fmt: skip
            await self._asker.parser.parsed(response)
        except (NotNow, LeaseLost, LimitReached, StoreError) as error:
            self._door.interrupt = error  # a wrap that catches everything must not keep it
            raise
        self._replies.append((response, reply))
        return response

    def _admitted(self, asked: Request) -> Request:
        request = replace(checked(asked), group=self._request.group)  # whose place it has
        self._asker.visitor.check(request)
        if self._was_asked:
            self._door.count()
        self._was_asked = True
        refusal = None if request.url == self._request.url else self._asker.visitor.gate.refusal(request.url)
        if refusal is not None and not request.anywhere:
            raise HandlerError(f"a wrap asked for {request.url}, which is out of scope ({refusal})")
        return request

    async def _sent(self, request: Request) -> Reply:
        if self._lane is not None and self._lane.origin == split(request.url)[0]:
            lane, self._lane = self._lane, None
            return await sent_by(self._asker, lane, request)
        self.free()
        return await sent(self._asker, request)

    def reply(self, response: Response) -> Reply:
        """What came of it: a reply that was fetched, or one made of a response of a wrap's own."""
        found = next((reply for known, reply in self._replies if known is response), None)
        if found is None:
            size = sum(reply.size for _, reply in self._replies)
            found = made(response.url, response.status, response.headers, response.body, size)
        is_moved = found.status in REDIRECTS and found.url != self._request.url
        if is_moved and (target := canonical(header(found, "Location"), found.url)):
            return made(self._request.url, found.status, {**found.headers, "Location": target}, b"", found.size)
        return found
