"""What a handler may ask of the crawl through its response: extra fetches, under the law of all others."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from crawler.asking import Asker, session_in_use
from crawler.budget import LimitReached
from crawler.errors import CrawlerError, HandlerError, HttpError, LeaseLost, StoreError
from crawler.fetch.reply import Reply
from crawler.handling import NotNow
from crawler.hops import refuse_overload
from crawler.models import Request
from crawler.politeness import REDIRECTS
from crawler.redirects import hop
from crawler.response import Response
from crawler.urls import Joiner
from crawler.visits import header
from crawler.wrapping import answered

MOST_FETCHES = 20


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
        self.count()
        self.visitor.check(request)
        in_use = session_in_use.get()
        if request.session is not None and (in_use is None or request.session != in_use.name):
            raise HandlerError(
                f"what is fetched at once is of the page's session: yield a request for {request.session!r}"
            )
        try:
            return await self._response(request, await _fetched(self._asker, request, self))
        except (NotNow, LeaseLost, LimitReached, StoreError) as error:
            self.interrupt = error  # a handler that catches everything must not keep it
            raise

    async def _response(self, request: Request, reply: Reply) -> Response:
        if not (200 <= reply.status < 300 or reply.status in request.statuses):
            raise HttpError(f"status {reply.status}", url=reply.url, status=reply.status)
        response = Response(
            request, url=reply.url, status=reply.status, headers=reply.headers, body=reply.body, door=self,
            truncated=reply.incomplete is not None,
        )  # fmt: skip
        await self._asker.parser.parsed(response)
        return response

    def count(self) -> None:
        """Count one more fetch on the page's account. Raises HandlerError when there are too many."""
        self._fetches += 1
        if self._fetches > MOST_FETCHES:
            raise HandlerError(f"more than {MOST_FETCHES} fetches for one page: yield requests instead")

    @contextmanager
    def standing_still(self) -> Iterator[None]:
        """Within it the time that the author's code has does not pass."""
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


async def _fetched(asker: Asker, request: Request, door: Door) -> Reply:
    """Ask for something at once, hop by hop, before the queued pages of its host."""
    while True:
        reply = await answered(asker, request, door)
        refuse_overload(asker, request, reply)
        if reply.status not in REDIRECTS:
            return reply
        request = hop(request, reply.status, header(reply, "Location"), asker.engine.settings.max_redirects)
