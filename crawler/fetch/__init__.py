"""One request in, what the wire gave out, or one of our errors: the only place that knows aiohttp's client.

Nothing is judged here, retried or followed: a redirect is a `Reply` like any other.
"""

from crawler.fetch import trust  # noqa: F401  # before anything imports aiohttp

# isort: split
import asyncio
import errno
import logging
import math
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Container, Coroutine, Mapping
from contextlib import asynccontextmanager
from contextvars import ContextVar
from types import TracebackType
from typing import Any, Self, TypeAlias

import aiohttp
from aiohttp.connector import Connection
from aiohttp.helpers import is_ip_address
from multidict import CIMultiDictProxy

from crawler import stages
from crawler.addresses import AddressPolicy
from crawler.decoding import Decoder
from crawler.errors import (
    BlockedAddress,
    ConnectionReset,
    ConnectTimeout,
    DnsError,
    FetchError,
    ProxyError,
    ResponseTooLarge,
    TruncatedBody,
)
from crawler.fetch.body import AT_ONCE, Body, Chunks, check_declared, check_framing
from crawler.fetch.deadlines import Deadlines, Flight, kept_for, limits_of
from crawler.fetch.dns import Resolver
from crawler.fetch.identity import default_headers
from crawler.fetch.memory import Memory
from crawler.fetch.reply import Reply
from crawler.fetch.routes import Routes, as_yarl
from crawler.fetch.timing import TimedDecoder
from crawler.models import Request
from crawler.proxies import Proxy
from crawler.settings import MIB, Settings
from crawler.stages import Stages
from crawler.urls import hostname, port_of

CHUNK_SIZE = 256 << 10  # of a download: each of 64 KiB would cost more than the network does
RESERVE_OVER = 1 * MIB  # a body longer than this takes its memory from what all share
_SLACK = 32  # connections beyond `concurrency`, and beyond `concurrency_per_host`, that the pool allows
log = logging.getLogger(__name__)
_SAFE_METHODS = {"GET", "HEAD"}

_flight: ContextVar[Flight] = ContextVar("_flight")


Stream: TypeAlias = tuple[int, CIMultiDictProxy[str], AsyncIterator[bytes]]


class _FromPool(Exception):
    """The connection has been used before, where a new one is needed: between two functions here, never an outcome."""


class _Request(aiohttp.ClientRequest):
    """Asks its flight before it writes anything; what came unasked bars a connection (RFC 9112 section 6.3)."""

    def send(self, conn: Connection) -> Coroutine[Any, Any, aiohttp.ClientResponse]:
        flight = _flight.get()
        if not flight.is_new and (flight.must_be_new or conn.protocol is None or conn.protocol.should_close):
            raise _FromPool
        flight.depart()  # aiohttp closes the connection if this raises
        return super().send(conn)


class Fetcher:
    """Sends requests over one pool of connections: an async context manager, for one event loop.

    `on_bytes` is told the bytes of every piece of a body as it comes off the wire, and may raise to stop there.
    `seeds` are the hosts, as in `AddressPolicy`, that may have a private address; they may become more meanwhile.
    Raises `ConfigError` if a setting cannot be sent or used.
    """

    _session: aiohttp.ClientSession

    def __init__(
        self, settings: Settings, *, on_bytes: Callable[[int], None] | None = None, seeds: Container[str] = ()
    ) -> None:
        self._settings = settings
        self._seeds = seeds
        self._on_bytes = on_bytes or _nothing
        self._headers = default_headers(settings)
        self._memory = Memory(settings.body_memory)
        self._routes = Routes(settings, time.monotonic)
        self._stages = stages.current()
        self._unpacking = asyncio.Lock()
        self._small = min(settings.max_body_bytes, AT_ONCE)
        self._decoder = Decoder if self._stages is None else TimedDecoder

    async def __aenter__(self) -> Self:
        settings = self._settings
        per_host = [chosen.concurrency_per_host or 0 for chosen in settings.hosts.values()]
        self._resolver = Resolver(settings.resolve)
        self._addresses = AddressPolicy(settings.private_hosts, settings.resolve, self._seeds)
        self._deadlines = Deadlines(limits_of(settings))
        if any(settings.proxies.values()):
            log.warning("where the names of proxied hosts lead is not seen here: private addresses are up to the proxy")
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=settings.concurrency + _SLACK,
                limit_per_host=max(settings.concurrency_per_host, *per_host, 0) + _SLACK,
                keepalive_timeout=kept_for(settings),
                use_dns_cache=False,
                resolver=self._resolver,
                family=self._routes.family,
                local_addr=self._routes.local_address,
                socket_factory=self._opened_socket,
            ),
            headers=self._headers,
            request_class=_Request,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
            auto_decompress=False,
            trust_env=False,
        )
        # aiohttp would ask again on any connection, and for methods that change things: `_ask` does it with more care.
        self._session._retry_connection = False  # noqa: SLF001  # there is no public switch; a test counts the requests
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._deadlines.close()
        await self._session.close()
        await self._resolver.close()

    async def addresses(self, url: str) -> tuple[str, ...]:
        """The IP addresses by which a URL's host is reached; none by way of a proxy. Raises `DnsError`."""
        host = hostname(url)
        if self._routes.has_proxy(url):
            return ()
        if is_ip_address(host):
            return (host,)
        began_at = time.perf_counter()
        found = await self._resolver.resolve(host, family=self._routes.family)
        if self._stages is not None:  # else the connection would have waited for its name
            self._stages.seconds["connect"] += time.perf_counter() - began_at
        return tuple(dict.fromkeys(one["host"] for one in found))

    async def fetch(
        self,
        request: Request,
        *,
        headers: Mapping[str, str] | None = None,
        before_send: Callable[[], None],
        wants: Callable[[int, str], bool],
        enough: int | None = None,
    ) -> Reply:
        """Ask for one page. `headers` go beside those of the request and come before the defaults.

        `before_send` is called once the connection stands, right before the request is written (a second time if the
        pool's connection turns out to be dead); what it raises ends the fetch, and nothing is sent. `wants` is given
        status and media type (``text/html``, or nothing) and says whether to read the body; of that the first `enough`
        bytes are read, if given, whatever its length.

        If the request says ``truncate``, a body over its cap, or cut off, is an ``incomplete`` reply and no error.
        Raises `FetchError`, and `StoreUnavailable` if this process is out of file descriptors. A body over 1 MiB holds
        its share of ``body_memory`` until this returns; how many finished bodies may wait is for the caller to bound.
        """
        flight = Flight(self._deadlines, request.url, before_send, self._settings.total_timeout)
        response = await self._ask(flight, request, headers)
        waited = self._deadlines.loop.time() - flight.departed_at
        try:
            reply = await self._reply(flight, response, wants, enough, truncate=request.truncate)
        except FetchError as error:
            error.url, error.status = request.url, response.status
            raise
        else:
            reply.waited = waited
            if self._stages is not None:
                self._take_time(self._stages, flight, waited)
            return reply
        finally:
            if not response.closed:
                response.close()

    def _take_time(self, into: Stages, flight: Flight, waited: float) -> None:
        if flight.is_new:
            into.add("connect", flight.departed_at - flight.began_at)
        into.add("first byte", waited)
        into.add("body", self._deadlines.loop.time() - flight.departed_at - waited)

    @asynccontextmanager
    async def stream(
        self,
        request: Request,
        *,
        headers: Mapping[str, str] | None = None,
        before_send: Callable[[], None],
        chunk_size: int = CHUNK_SIZE,
    ) -> AsyncIterator[Stream]:
        """Ask for a download: status, headers, and the body in chunks of at most `chunk_size` bytes, as it is sent.

        There is no limit to the time in all, and the others stand still while the caller is busy with a chunk. Raises
        as `fetch` does, from the chunks too; `ResponseTooLarge` over ``max_file_bytes``.
        """
        flight = Flight(self._deadlines, request.url, before_send, math.inf)
        response = await self._ask(flight, request, {"Accept-Encoding": "identity", **(headers or {})})
        try:
            check_framing(response)
            check_declared(response, self._settings.max_file_bytes)
            source = response.content.iter_chunked(chunk_size)
            chunks = Chunks(flight, response, source, self._on_bytes, self._settings.max_file_bytes)
            yield response.status, response.headers, chunks
        except FetchError as error:
            error.url, error.status = error.url or request.url, error.status or response.status
            raise
        finally:
            if not response.closed:
                response.close()

    async def _ask(self, flight: Flight, request: Request, headers: Mapping[str, str] | None) -> aiohttp.ClientResponse:
        """Send the request and wait for the headers; once more, on a new connection, if the pool's was dead."""
        more = {**request.headers, **headers} if headers else request.headers
        tried: set[Proxy] = set()
        _flight.set(flight)
        while True:
            proxy = self._routes.proxy(request.url, tried)
            flight.set_out(by_proxy=proxy is not None)
            if proxy is not None and (why := self._addresses.refusal_unresolved(request.url, port_of(request.url))):
                raise BlockedAddress(why, url=request.url)
            try:
                with flight:
                    flight.allow(self._deadlines.limits.connect)
                    return self._answered(proxy, await self._send(request, more, proxy))
            except _FromPool:
                continue  # aiohttp has closed it, so the pool runs dry
            except (ConnectionReset, ConnectTimeout, DnsError, ProxyError) as error:
                if flight.blocked and not flight.is_new:
                    raise BlockedAddress(flight.blocked, url=request.url) from None
                if proxy is not None and not flight.has_departed and (error.status or 0) < 500:
                    self._routes.failed(proxy)
                    tried.add(proxy)
                    continue
                safe = request.method in _SAFE_METHODS and request.body is None
                is_stale = isinstance(error, ConnectionReset) and not (flight.is_new or flight.must_be_new)
                if not (is_stale and safe):
                    raise
                flight.must_be_new = True

    def _opened_socket(self, address: tuple[Any, ...]) -> socket.socket:
        """A socket for an address that is now about to be connected to: no name is looked up after this."""
        family, kind, protocol, _, (host, port, *_) = address
        flight = _flight.get()
        if not flight.by_proxy and (why := self._addresses.refusal(flight.url, host, port)):
            flight.blocked = why
            raise OSError(errno.EACCES, why)  # the name may have another address that is allowed
        flight.is_new = True
        return socket.socket(family, kind, protocol)

    def _send(
        self, request: Request, headers: Mapping[str, str], proxy: Proxy | None
    ) -> Awaitable[aiohttp.ClientResponse]:
        return self._session.request(
            request.method,
            as_yarl(request.url),
            headers=headers,
            data=request.body,
            allow_redirects=False,
            ssl=self._routes.tls(request.url),
            proxy=None if proxy is None else proxy.url,
        )

    def _answered(self, proxy: Proxy | None, response: aiohttp.ClientResponse) -> aiohttp.ClientResponse:
        if proxy is not None and response.status == 407:  # RFC 9110 section 15.5.8: it is the proxy that says so
            response.close()
            self._routes.failed(proxy)
            error = ProxyError(f"{proxy.name} wants other credentials")
            error.retry_after = 1.0
            raise error
        if proxy is not None:
            self._routes.worked(proxy)
        return response

    async def _reply(
        self,
        flight: Flight,
        response: aiohttp.ClientResponse,
        wants: Callable[[int, str], bool],
        enough: int | None,
        *,
        truncate: bool,
    ) -> Reply:
        check_framing(response)
        status, headers, content = response.status, response.headers, response.content
        media_type = headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if 300 <= status < 400 or not wants(status, media_type):
            # If the rest is here already the connection is back in the pool, else it is closed: cheaper than reading.
            arrived = content.total_bytes
            self._on_bytes(arrived)
            return Reply(flight.url, status, headers, size=arrived, cut=not content.at_eof())
        if content.at_eof():
            return Reply(flight.url, status, headers)
        encoding = ", ".join(headers.getall("Content-Encoding")) if "Content-Encoding" in headers else ""
        cap, incomplete = self._settings.max_body_bytes, None
        decoder = self._decoder(encoding, cap=cap, enough=enough) if encoding else None
        if enough is None:
            if not truncate:
                check_declared(response, cap)
            if decoder is None and content.is_eof() and content.total_bytes <= self._small:  # nearly all pages
                self._on_bytes(size := content.total_bytes)
                return Reply(flight.url, status, headers, content.read_nowait(), size)
        body = Body()
        try:
            try:
                await self._fill(flight, response, decoder, body, enough)
            except (ResponseTooLarge, TruncatedBody) as error:
                if not truncate:
                    raise
                incomplete = type(error)(error.detail, url=flight.url, status=status)  # without what a traceback holds
            whole = body.parts[0] if len(body.parts) == 1 else b"".join(body.parts)
            most = cap if enough is None else enough
            return Reply(flight.url, status, headers, whole[:most], body.came, incomplete=incomplete)
        finally:
            self._memory.release(body.reserved)

    async def _fill(
        self, flight: Flight, response: aiohttp.ClientResponse, decoder: Decoder | None, body: Body,
        enough: int | None,
    ) -> None:  # fmt: skip
        content = response.content
        if content.is_eof():  # it came along with the headers
            body.came = len(raw := content.read_nowait())
            self._on_bytes(body.came)
            await self._take(flight, body, raw, decoder)
        else:
            await self._read(flight, response, decoder, body, enough)
        if decoder is not None and (enough is None or body.size < enough):
            body.parts.append(decoder.finish())

    async def _read(
        self, flight: Flight, response: aiohttp.ClientResponse, decoder: Decoder | None, body: Body,
        enough: int | None,
    ) -> None:  # fmt: skip
        expected = response.content_length if decoder is None else None
        chunks = Chunks(flight, response, response.content.iter_any(), self._on_bytes)
        async for chunk in chunks:
            body.came = chunks.size
            await self._take(flight, body, chunk, decoder, expected)
            if enough is not None and body.size >= enough:
                return
        body.came = chunks.size

    async def _take(
        self, flight: Flight, body: Body, chunk: bytes, decoder: Decoder | None, expected: int | None = None
    ) -> None:
        """Add what a chunk brings to a body. Of long ones one is unpacked at a time, since each may be a bomb."""
        cap, is_heavy = self._settings.max_body_bytes, decoder is not None and decoder.is_heavy(chunk)
        rest = iter((chunk,) if decoder is None else decoder.parts(chunk))
        await body.take(rest, cap, RESERVE_OVER, is_heavy=is_heavy)
        if body.size > RESERVE_OVER:
            body.reserved = body.reserved or await self._reserve(flight, min(expected or cap, cap))
            async with self._unpacking:
                await body.take(rest, cap, math.inf, is_heavy=is_heavy)

    async def _reserve(self, flight: Flight, size: int) -> int:
        """Wait for memory. All of it at once: if bodies grew bit by bit, two could wait for each other for ever."""
        began = self._deadlines.loop.time()
        reserved = await self._memory.reserve(size)
        flight.extend(self._deadlines.loop.time() - began)
        return reserved


def _nothing(size: int) -> None:
    """Nobody counts."""
