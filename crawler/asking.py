"""How anything is asked of a host: under its lane's law, whoever asks.

Nothing is sent to a host without its lease, nor before its time. Pages, robots.txt, redirects, downloads and a
handler's extra fetches all come through here.
"""

from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from functools import partial
from pathlib import Path

from crawler.cookies import Cookie
from crawler.credentials import authorization
from crawler.engine import Engine
from crawler.errors import ConnectionReset, LeaseLost
from crawler.feeder import HostLane
from crawler.fetch import Fetcher, Reply
from crawler.files import FileStore
from crawler.handling import NotNow
from crawler.models import Request
from crawler.politeness import OVERLOADED, SHORTEST_REST
from crawler.pressure import Pressure
from crawler.redirects import headers_for
from crawler.robots import MAX_BYTES as ROBOTS_BYTES
from crawler.session import Session
from crawler.urls import Joiner

logging_in: ContextVar[Session | None] = ContextVar("logging_in", default=None)
changed_cookies: ContextVar[list[Cookie]] = ContextVar("changed_cookies")


class Asker:
    """Asks, and keeps what turns share: the fetcher, the files, the resolver of links, the downloads under way."""

    def __init__(self, engine: Engine, fetcher: Fetcher, folder: Path, run: int, pressure: Pressure) -> None:
        self.engine = engine
        self.fetcher = fetcher
        self.folder = folder
        self.files = FileStore(folder / "files")
        self.run = run
        self.pressure = pressure
        self.visitor = engine.visitor
        self.joiner = Joiner()
        self.session: Session | None = None
        self.max_links = engine.settings.max_links
        self.downloads: dict[str, tuple[int, int | None]] = {}  # bytes so far, and in all if that is known

    def hold_back(self, lane: HostLane, until: float) -> None:
        """Nobody asks the lane's host before `until`, in epoch seconds."""
        clock = self.engine.clock
        self.engine.workbench.wait(lane, clock.monotonic() + until - clock.epoch())

    def headers(self, request: Request) -> Mapping[str, str]:
        """What is sent with a request: its own headers, the session's, its origin's credentials, the spider's."""
        bound = authorization(request, self.engine.settings.credentials)
        session = logging_in.get() or self.session
        if session is not None and request.kind != "robots":
            bound = {**bound, **session.headers_for(request, self.engine.clock.epoch())}
        return headers_for(request, self.visitor.spider.headers, bound)

    def learn(self, request: Request, lines: Sequence[str]) -> None:
        """Keep what the Set-Cookie lines of an answer say, if there is a session; those that changed are the page's."""
        session = logging_in.get() or self.session
        if session is not None and request.kind != "robots":
            changed_cookies.get([]).extend(session.jar.learn(request.url, lines, self.engine.clock.epoch()))

    def heed(self, lane: HostLane, reply: Reply) -> None:
        """Let the host rest at once if it is overloaded; called before the next request to it can go out."""
        if reply.status in OVERLOADED:
            self.hold_back(lane, self.engine.clock.epoch() + (self.visitor.retry_after(reply) or SHORTEST_REST))

    async def ask(self, lane: HostLane, request: Request) -> Reply:
        """Send one request to the lane's host, which is counted as asked already; its place is free when this ends."""
        sent: list[bool] = []
        try:
            reply = await self.fetcher.fetch(
                request,
                headers=self.headers(request),
                before_send=partial(self.sending, lane, sent),
                wants=self.visitor.wants(request),
                enough=ROBOTS_BYTES + 1 if request.kind == "robots" else None,
            )
            self.learn(request, reply.headers.getall("Set-Cookie", ()))
            self.heed(lane, reply)
            return reply
        finally:
            self.free(lane, was_sent=bool(sent))

    def sending(self, lane: HostLane, sent: list[bool]) -> None:
        """Called when the connection stands, before anything is written; raises when nothing may be."""
        self.engine.check_lease()
        if self.engine.workbench.lanes.get(lane.host) is not lane:
            raise LeaseLost("its host was taken over while the connection was made")
        wait = lane.ready_at - self.engine.clock.monotonic()
        if wait > 0:
            raise NotNow(self.engine.clock.epoch() + wait, "its host said to wait while the connection was made")
        if sent and lane.pace.delay:
            raise ConnectionReset("the connection was lost before an answer came")  # its next try waits for its time
        sent.append(True)
        self.engine.workbench.sent(lane, self.engine.clock.monotonic())
        self.engine.dispatch()

    def free(self, lane: HostLane, *, was_sent: bool) -> None:
        """Give the host's place back."""
        self.engine.workbench.done(lane, was_sent=was_sent)
        self.engine.dispatch()
