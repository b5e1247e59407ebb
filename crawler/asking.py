"""How anything is asked of a host: under its lane's law, whoever asks.

Nothing is sent to a host without its lease, nor before its time. Pages, robots.txt, redirects, downloads and a
handler's extra fetches all come through here.
"""

import asyncio
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from pathlib import Path

from crawler.asked import CIRCUIT, REQUEST
from crawler.circuit import is_hopeless, noted, packed, retried
from crawler.cookies import Cookie
from crawler.credentials import authorization
from crawler.engine import Engine
from crawler.errors import ConnectionReset, ContentDecodingError, FetchError, LeaseLost, StoreUnavailable
from crawler.feeder import HostLane
from crawler.fetch import Fetcher
from crawler.fetch.reply import Reply
from crawler.files import FileStore
from crawler.handling import NotNow, NotYet
from crawler.models import Event, Request, State, Visit
from crawler.parsing import Parser
from crawler.politeness import OVERLOADED, PARKED_FOR, SHORTEST_REST, is_of_host, is_trouble
from crawler.pressure import Pressure
from crawler.redirects import headers_for
from crawler.robots import MAX_BYTES as ROBOTS_BYTES
from crawler.session import Session
from crawler.urls import Joiner
from crawler.windows import next_open

log = logging.getLogger(__name__)
MOST_DAMAGED = 10_000
SHORT_FOR = 1.0  # seconds: by then some of what is in flight has ended

session_in_use: ContextVar[Session | None] = ContextVar("session_in_use", default=None)
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
        self.parser = Parser()
        self.max_links = engine.settings.max_links
        self.downloads: dict[str, tuple[int, int | None]] = {}  # bytes so far, and in all if that is known
        self._damaged: dict[str, None] = {}  # URLs of what could not be decoded

    def short(self, error: StoreUnavailable | MemoryError) -> NotNow:
        """The machine lacks something: less is done at once, and what met with it waits, as is said by the result."""
        self.engine.most = self.pressure.short(error, len(self.engine.in_flight))
        return NotNow(self.engine.clock.epoch() + SHORT_FOR, str(error))

    def hold_back(self, lane: HostLane, until: float) -> None:
        """Nobody asks the lane's host before `until`, in epoch seconds."""
        clock = self.engine.clock
        self.engine.workbench.wait(lane, clock.monotonic() + until - clock.epoch())

    def headers(self, request: Request) -> Mapping[str, str]:
        """What is sent with a request: its own headers, the session's, its origin's credentials, the spider's."""
        bound = authorization(request, self.engine.settings.credentials)
        session = session_in_use.get()
        if session is not None and request.kind != "robots":
            bound = {**bound, **session.headers_for(request, self.engine.clock.epoch())}
        found = headers_for(request, self.visitor.spider.headers, bound)
        if request.url in self._damaged and not any(name.lower() == "accept-encoding" for name in found):
            return {**found, "Accept-Encoding": "identity"}
        return found

    def learn(self, request: Request, lines: Sequence[str]) -> None:
        """Keep what the Set-Cookie lines of an answer say, if there is a session; those that changed are the page's."""
        session = session_in_use.get()
        if session is not None and request.kind != "robots":
            changed_cookies.get([]).extend(session.jar.learn(request.url, lines, self.engine.clock.epoch()))

    def heed(self, lane: HostLane, reply: Reply) -> None:
        """Let the host rest at once if it is overloaded; called before the next request to it can go out."""
        if reply.status in OVERLOADED:
            self.hold_back(lane, self.engine.clock.epoch() + (self.visitor.retry_after(reply) or SHORTEST_REST))
            if self.engine.settings.adaptive:
                self.engine.workbench.heard(lane, reply.status, 0.0)

    async def join_groups(self, lane: HostLane, request: Request) -> None:
        """Have all groups of a request be this engine's, as its host is; called before anything is sent.

        Raises NotYet if it has to wait for its turn anew, LeaseLost if a group is another engine's, DnsError.
        """
        feeder = self.engine.feeder
        if not feeder.has_groups:
            return
        addresses = await self.fetcher.addresses(request.url) if feeder.by_address else ()
        if await feeder.join(lane, request.group, addresses):
            return
        self.engine.stir()
        if lane.is_leaving:
            raise LeaseLost("one of its groups is another engine's")
        raise NotYet("its groups have to be waited for")

    async def ask(self, lane: HostLane, request: Request) -> Reply:
        """Send one request to the lane's host, which is counted as asked already; its place is free when this ends."""
        began_at = self.engine.clock.epoch()
        try:
            reply = await self._answer(lane, request)
        except FetchError as error:
            self.note(lane, request, began_at, failed=is_of_host(error))
            if isinstance(error, ContentDecodingError):
                self._doubt(request.url)
            raise
        self.note(lane, request, began_at, failed=is_trouble(reply.status))
        return reply

    async def _answer(self, lane: HostLane, request: Request) -> Reply:
        sent: list[bool] = []
        try:
            await self.join_groups(lane, request)
            reply = await self.fetcher.fetch(
                request,
                headers=self.headers(request),
                before_send=partial(self.sending, lane, request, sent),
                wants=self.visitor.wants(request),
                enough=ROBOTS_BYTES + 1 if request.kind == "robots" else None,
            )
            if "Set-Cookie" in reply.headers:
                self.learn(request, reply.headers.getall("Set-Cookie"))
            self.heed(lane, reply)
            if self.engine.settings.adaptive and request.kind != "robots" and reply.status not in OVERLOADED:
                self.engine.workbench.heard(lane, reply.status, reply.waited)  # robots.txt is quicker than pages are
            return reply
        finally:
            self.free(lane, request, was_sent=bool(sent))

    def _doubt(self, url: str) -> None:
        """Ask for a page without any content coding when it is tried again."""
        if len(self._damaged) >= MOST_DAMAGED:
            del self._damaged[next(iter(self._damaged))]
        self._damaged[url] = None

    @contextmanager
    def attempt(self, lane: HostLane, request: Request) -> Iterator[None]:
        """Note how what is done within ends: with an answer, or with the FetchError that it raises."""
        began_at = self.engine.clock.epoch()
        try:
            yield
        except FetchError as error:
            self.note(lane, request, began_at, failed=is_of_host(error))
            raise
        self.note(lane, request, began_at, failed=False)

    def note(self, lane: HostLane, request: Request, began_at: float, *, failed: bool) -> None:
        """Have the host's circuit know how a request ended, and the host left alone if it is open now."""
        if request.kind == "robots":  # its host waits for it with a patience of its own
            return
        now = self.engine.clock.epoch()
        before, lane.circuit = lane.circuit, noted(lane.circuit, failed=failed, began_at=began_at, now=now)
        if lane.circuit.until > before.until:
            self.hold_back(lane, lane.circuit.until)
            rest = lane.circuit.until - now
            lane.events.append(Event(now, CIRCUIT, f"{lane.origin} is left alone until {lane.circuit.until:.0f}"))
            log.warning("%s fails: it is left alone for %g s, then asked for one page", lane.origin, rest)
            if is_hopeless(lane.circuit, self.engine.settings.circuit_patience, now):
                lane.is_parked, lane.not_before = True, now + PARKED_FOR
                log.warning("%s has failed for %.0f s: parked", lane.origin, now - lane.circuit.opened_at)
        elif before.is_open and not lane.circuit.is_open:
            lane.events.append(Event(now, CIRCUIT, f"{lane.origin} answers again"))
            log.info("%s answers again", lane.origin)

    def settle(self, lane: HostLane, visit: Visit) -> None:
        """Make what is known of the host part of a visit, and have the host wait as long as the visit says."""
        if visit.state == State.PENDING and visit.charged:
            lane.circuit = retried(lane.circuit, visit.ended_at)
        if lane.circuit.is_open:
            visit.ready_at = max(visit.ready_at or 0.0, lane.circuit.until)
            if visit.state == State.PENDING:  # the next probe is another page, if there is one
                visit.due_at = max(visit.due_at, lane.circuit.until + 1.0)
        visit.events = lane.told()
        if lane.circuit.is_open or lane.is_circuit_stored:
            visit.circuit, lane.is_circuit_stored = packed(lane.circuit), lane.circuit.is_open
        if visit.ready_at is not None:
            self.hold_back(lane, visit.ready_at)

    def sending(self, lane: HostLane, request: Request, sent: list[bool]) -> None:
        """Called when the connection stands, before anything is written; raises when nothing may be."""
        self.engine.check_lease()
        if not self.engine.workbench.holds(lane):
            raise LeaseLost("its host was taken over while the connection was made")
        self.keep_hours(lane)
        wait = lane.rests_until(request.group) - self.engine.clock.monotonic()
        if wait > 0:
            raise NotNow(self.engine.clock.epoch() + wait, "its host said to wait while the connection was made")
        if sent and (lane.pace.pause or any(group.pace.pause for group in lane.groups_of(request.group))):
            raise ConnectionReset("the connection was lost before an answer came")  # its next try waits for its time
        sent.append(True)
        self.engine.workbench.sent(lane, self.engine.clock.monotonic(), request.group)
        now = self.engine.clock.epoch()
        lane.count(now, request.group)
        if self.engine.settings.events == "all":
            lane.events.append(Event(now, REQUEST, f"{request.method} {request.url}"))
        self.keep_hours(lane)
        if lane.pace.pause or lane.groups or lane.named:  # else nothing has to wait
            # the loop may write when all have computed that are ready: a tenth of a second later, if they are many
            asyncio.get_running_loop().call_soon(self._left, lane, request.group)
            self.engine.dispatch()

    def _left(self, lane: HostLane, group: str | None) -> None:
        self.engine.workbench.left(lane, self.engine.clock.monotonic(), group)

    def keep_hours(self, lane: HostLane) -> None:
        """Have the host wait for its hours, if it will be out of them when its time has come."""
        if lane.pace.windows:
            clock = self.engine.clock
            due_at = max(clock.epoch(), clock.epoch() + lane.ready_at - clock.monotonic())
            self.hold_back(lane, next_open(lane.pace.windows, due_at))

    def free(self, lane: HostLane, request: Request, *, was_sent: bool) -> None:
        """Give the request's place back, at its host and in its groups."""
        self.engine.workbench.done(lane, request.group, was_sent=was_sent)
        self.engine.dispatch()
