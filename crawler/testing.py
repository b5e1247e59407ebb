"""A real web site on loopback, with as many host names as a test needs and a log of who asked for what, and when.

    async with Site() as site:
        site.page("/", '<a href="/novel">A novel</a>')
        site.page("/novel", "<h1>Winter Pears</h1>")
        novels = Novels()
        novels.seeds = [site.url("/")]
        assert await run(novels, site) == [{"title": "Winter Pears"}]
        assert site.paths() == ["/robots.txt", "/", "/novel"]

Where the crawl has no event loop to share, in a plain function or against another process, the same site is
``with Site.in_thread() as site:``. A path that nobody put up is a 404. What is put up may change at any time.

`simulate` crawls a web that is a table instead, in virtual time, with failing servers and kills: see `simulation`.
"""

import asyncio
import heapq
import inspect
import math
import string
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    AsyncExitStack,
    asynccontextmanager,
    contextmanager,
    suppress,
)
from dataclasses import dataclass
from functools import partial
from hashlib import shake_128
from itertools import chain, islice, pairwise
from typing import Self, TypeAlias, TypeVar
from urllib.parse import quote

from aiohttp import web

from crawler.job import Crawl
from crawler.models import Json
from crawler.simulation import Simulated, simulate
from crawler.spider import Spider

__all__ = ["Seen", "Simulated", "Site", "filler", "in_thread", "listening", "run", "simulate"]

HOST = "site.test"
LOOPBACK = "127.0.0.1"
HTML = "text/html; charset=utf-8"
PATTERN_LENGTH = 65_521  # a prime: filler read from a wrong offset differs, whatever power of two it is wrong by
PIECE_LENGTH = 1 << 18
_PATTERN = memoryview(shake_128(b"filler").digest(PATTERN_LENGTH) * (PIECE_LENGTH // PATTERN_LENGTH + 2))

Entered = TypeVar("Entered")
Answer: TypeAlias = "str | bytes | Mapping[str, object] | web.StreamResponse"
Handler: TypeAlias = "Callable[[web.Request], Answer | Awaitable[Answer]]"


@dataclass
class Seen:
    """One request in the server's log. Times are seconds of `time.monotonic`; ``ended_at`` is infinite until answered.

    ``host`` is the bare name, ``path_qs`` path and query as they were sent, ``headers`` is looked up in any case.
    ``status`` is 0 until answered, and 500 if the test's own handler raised.
    """

    at: float
    host: str
    method: str
    path_qs: str
    headers: Mapping[str, str]
    status: int = 0
    ended_at: float = math.inf


_Responder: TypeAlias = Callable[[web.Request, Seen], Awaitable[web.StreamResponse]]


class Site:
    """A web site for tests: an async context manager that serves HTTP on a free loopback port.

    ``times=n`` makes an answer hold for the first n requests of its path only; after them stands the answer given
    without ``times``, in whichever order the two were put up, or a 404. A path with a query is looked up whole first,
    then without its query.
    """

    def __init__(self) -> None:
        self.port = 0
        self.seen: list[Seen] = []
        self._turns: dict[tuple[str, str], deque[_Responder]] = {}
        self._standing: dict[tuple[str, str], _Responder] = {}
        self._open = AsyncExitStack()

    async def __aenter__(self) -> Self:
        self.port = await self._open.enter_async_context(listening(self._respond))
        return self

    async def __aexit__(self, *raised: object) -> None:
        await self._open.aclose()

    @staticmethod
    def in_thread() -> AbstractContextManager["Site"]:
        """Serve a new site by a thread with an event loop of its own."""
        return in_thread(Site())

    @property
    def settings(self) -> dict[str, object]:
        """The settings with which a crawl reaches this site, and waits neither for it nor for room on the disk."""
        return {"resolve": {"*.test": LOOPBACK}, "delay": 0.0, "min_free_space": 0}

    def url(self, path: str, *, host: str = HOST) -> str:
        """The absolute URL of a path; the site must be open."""
        assert self.port, "the site is not open yet"
        return f"http://{host}:{self.port}{_as_sent(path)}"

    def page(
        self,
        path: str,
        body: str | bytes,
        *,
        host: str = HOST,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        content_type: str = HTML,
        after: float = 0.0,
        times: int | None = None,
    ) -> None:
        """Put up a page. Text is sent as UTF-8; the answer waits ``after`` seconds, nothing of it is sent before."""
        content = body.encode() if isinstance(body, str) else body

        async def respond(_request: web.Request, _seen: Seen) -> web.Response:
            await asyncio.sleep(after)
            response = web.Response(body=content, status=status, headers=headers)
            response.headers.setdefault("Content-Type", content_type)
            return response

        self._put(path, respond, host, times)

    def redirect(
        self, path: str, target: str, *, status: int = 301, host: str = HOST, times: int | None = None
    ) -> None:
        """Send whoever asks for the path to ``target``, which stands in Location as it is given here."""
        self.page(path, "", host=host, status=status, headers={"Location": target}, times=times)

    def file(
        self,
        path: str,
        content: bytes | int,
        *,
        host: str = HOST,
        etag: str | None = None,
        headers: Mapping[str, str] | None = None,
        content_type: str = "application/octet-stream",
        bytes_per_second: float = math.inf,
        cut_after: int | None = None,
        times: int | None = None,
    ) -> None:
        """Put up a file, or as many bytes of `filler`, with Range and If-Range (RFC 9110 sections 14.2 and 13.1.5).

        ``etag`` is given without its quotes. ``cut_after`` hangs up after so many bytes of the body.
        """
        tag = None if etag is None else f'"{etag}"'
        own = {"Content-Type": content_type, "Accept-Ranges": "bytes"} | ({"ETag": tag} if tag else {})
        offered = _File(content, tag, {**own, **(headers or {})}, bytes_per_second, cut_after)
        self._put(path, offered.respond, host, times)

    def answer(self, path: str, handler: Handler, *, host: str = HOST, times: int | None = None) -> None:
        """Let a function answer: text is HTML, bytes are a file, a mapping is JSON, a response is itself."""

        async def respond(request: web.Request, _seen: Seen) -> web.StreamResponse:
            result = handler(request)
            return _response(await result if inspect.isawaitable(result) else result)

        self._put(path, respond, host, times)

    def robots(self, text: str, *, host: str = HOST) -> None:
        """Put up the host's robots.txt; it is a 404 otherwise, which forbids nothing (RFC 9309 section 2.3.1.3)."""
        self.page("/robots.txt", text, host=host, content_type="text/plain; charset=utf-8")

    def tree(self, pages: int, links: int, *, host: str = HOST) -> list[str]:
        """Put up so many pages, each with so many links to others, and return their paths; ``/`` leads to them all.

        The same numbers give the same graph: links lead to a page's children, then to the pages that follow it.
        """
        paths = ["/", *(f"/{number}" for number in range(1, pages))]
        for number, path in enumerate(paths):
            rows = (f'<li><a href="{paths[other]}">Page {other}</a>' for other in _linked(number, pages, links))
            body = f"<!DOCTYPE html><title>Page {number}</title><h1>Page {number}</h1><ul>{''.join(rows)}</ul>"
            self.page(path, body, host=host)
        return paths

    def paths(self, host: str | None = None) -> list[str]:
        """What was asked for, path and query, in order of arrival; of one host or of all."""
        return [seen.path_qs for seen in self.seen if host in {None, seen.host}]

    def gaps(self, host: str = HOST) -> list[float]:
        """The seconds between each two requests to a host that followed one another; one fewer than its requests."""
        return [after.at - before.at for before, after in pairwise(self._log(host))]

    def peak(self, host: str = HOST) -> int:
        """The most requests that were in flight to a host at once."""
        most, ends = 0, list[float]()
        for seen in self._log(host):
            while ends and ends[0] <= seen.at:
                heapq.heappop(ends)
            heapq.heappush(ends, seen.ended_at)
            most = max(most, len(ends))
        return most

    def _log(self, host: str) -> list[Seen]:
        return [seen for seen in self.seen if seen.host == host]

    def _put(self, path: str, responder: _Responder, host: str, times: int | None) -> None:
        key = (host, _as_sent(path))
        if times is None:
            self._standing[key] = responder
        else:
            self._turns.setdefault(key, deque()).extend([responder] * times)

    async def _respond(self, request: web.Request) -> web.StreamResponse:
        host = request.host.partition(":")[0].lower()
        seen = Seen(time.monotonic(), host, request.method, request.path_qs, request.headers)
        self.seen.append(seen)
        status = 500
        try:
            response = await self._next_responder(host, request.path_qs)(request, seen)
            status = response.status
        except web.HTTPException as answer:
            status = answer.status
            raise
        finally:
            seen.status = seen.status or status
            seen.ended_at = time.monotonic()
        return response

    def _next_responder(self, host: str, path_qs: str) -> _Responder:
        for key in ((host, path_qs), (host, path_qs.partition("?")[0])):
            if turns := self._turns.get(key):
                return turns.popleft()
            if key in self._standing:
                return self._standing[key]
        return _not_found


@dataclass(frozen=True)
class _File:
    content: bytes | int
    tag: str | None
    headers: dict[str, str]
    bytes_per_second: float
    cut_after: int | None

    async def respond(self, request: web.Request, seen: Seen) -> web.StreamResponse:
        size = self.content if isinstance(self.content, int) else len(self.content)
        part = self._asked_part(request, size)
        if part is None:
            part = range(size)
            response = web.StreamResponse(headers=self.headers)
        elif part:
            within = {"Content-Range": f"bytes {part.start}-{part.stop - 1}/{size}"}
            response = web.StreamResponse(status=206, headers=self.headers | within)
        else:
            return web.Response(status=416, headers={"Content-Range": f"bytes */{size}"})
        response.content_length = len(part)
        seen.status = response.status  # now, since a client in another thread may have the whole body before we return
        await response.prepare(request)
        if request.method != "HEAD":
            with suppress(ConnectionResetError):  # a client may hang up, and this is where clients are made to
                await self._send(part, response, request)
        return response

    def _asked_part(self, request: web.Request, size: int) -> range | None:
        """The bytes asked for; empty if there are none such, None for the whole file."""
        if "Range" not in request.headers or request.headers.get("If-Range", self.tag) != self.tag:
            return None
        try:
            return range(size)[request.http_range]
        except ValueError:  # several ranges, or none that is understood: both may be ignored
            return None

    async def _send(self, part: range, response: web.StreamResponse, request: web.Request) -> None:
        sent = part[: self.cut_after]
        step = max(1, int(min(PIECE_LENGTH, self.bytes_per_second / 20)))
        began = time.monotonic()
        for piece in (sent[at : at + step] for at in range(0, len(sent), step)):
            await asyncio.sleep(began + (piece.stop - sent.start) / self.bytes_per_second - time.monotonic())
            await response.write(self._bytes(piece))
        if len(sent) < len(part) and request.transport is not None:
            request.transport.close()

    def _bytes(self, piece: range) -> memoryview:
        if isinstance(self.content, bytes):
            return memoryview(self.content)[piece.start : piece.stop]
        offset = piece.start % PATTERN_LENGTH
        return _PATTERN[offset : offset + len(piece)]


async def run(spider: Spider, site: Site, **settings: object) -> list[dict[str, Json]]:
    """Crawl `site` with `spider` in memory; the items in commit order."""
    async with Crawl(spider, folder=None, settings={**site.settings, **settings}) as crawl:
        return [item async for item in crawl]


def filler(size: int, offset: int = 0) -> bytes:
    """What a file put up by its size alone holds from ``offset`` on: ``size`` bytes, always the same."""
    offset %= PATTERN_LENGTH
    whole = _PATTERN[:PATTERN_LENGTH].tobytes() * ((offset + size) // PATTERN_LENGTH + 1)
    return whole[offset : offset + size]


@asynccontextmanager
async def listening(
    handler: Callable[[web.Request], Awaitable[web.StreamResponse]], host: str = LOOPBACK, port: int = 0
) -> AsyncIterator[int]:
    """Let one function answer every request to a port, 0 for a free one; gives the port. Raises OSError if it is taken.

    On leaving, open connections are closed at once.
    """
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.02)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


@contextmanager
def in_thread(server: AbstractAsyncContextManager[Entered]) -> Iterator[Entered]:
    """Hold an async context manager open in a thread with an event loop of its own; gives what the manager gives."""
    entered: Future[tuple[Entered, Callable[[], object]]] = Future()

    async def hold_open() -> None:
        leave = asyncio.Event()
        loop = asyncio.get_running_loop()
        async with server as value:
            entered.set_result((value, partial(loop.call_soon_threadsafe, leave.set)))
            await leave.wait()

    def pass_on(ended: Future[None]) -> None:
        if not entered.done():
            entered.set_exception(ended.exception())

    with ThreadPoolExecutor(1) as thread:
        held = thread.submit(asyncio.run, hold_open())
        held.add_done_callback(pass_on)
        value, leave = entered.result()
        try:
            yield value
        finally:
            leave()
            held.result()


def _as_sent(path: str) -> str:
    return quote(path, safe=string.punctuation)


def _linked(number: int, pages: int, links: int) -> list[int]:
    children = range(number * links + 1, min(number * links + links + 1, pages))
    following = ((number + step) % pages for step in range(1, pages))
    return list(dict.fromkeys(islice(chain(children, following), links)))


def _response(answer: Answer) -> web.StreamResponse:
    if isinstance(answer, web.StreamResponse):
        return answer
    if isinstance(answer, str):
        return web.Response(text=answer, content_type="text/html")
    if isinstance(answer, bytes):
        return web.Response(body=answer)
    return web.json_response(dict(answer))


async def _not_found(_request: web.Request, _seen: Seen) -> web.Response:
    return web.Response(status=404, text="404: Not Found")
