"""The fetcher against real sockets that misbehave in exactly one way each."""

import asyncio
import contextlib
import errno
import gzip
import importlib
import os
import resource
import socket
import ssl
import struct
import sys
import tempfile
import threading
import zlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any
from unittest import mock

import aiohttp
import pytest
from aiohttp import web
from aioresponses import aioresponses

from crawler import errors
from crawler.decoding import Decoder
from crawler.fetch import Fetcher, deadlines, dns
from crawler.fetch.body import AT_ONCE
from crawler.fetch.failures import translated
from crawler.fetch.memory import Memory
from crawler.fetch.reply import Reply
from crawler.models import Request
from crawler.settings import MIB, HostSettings, Settings

brotli: Any = importlib.import_module("brotli")
zstd: Any = importlib.import_module("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")

OK = b"HTTP/1.1 200 OK\r\n"
HELLO = OK + b"Content-Type: text/html\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
SHORT = {"connect_timeout": 0.2, "header_timeout": 0.2, "read_timeout": 0.2, "total_timeout": 5.0}

# A certificate for localhost and 127.0.0.1 that nobody trusts, and its worthless key.
CERTIFICATE = """-----BEGIN CERTIFICATE-----
MIIBmzCCAUGgAwIBAgIUdOGG4Ly8rdfCAo2Bpt7NFnZQAeswCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyMTA2NDcxNFoYDzIxMjYxMDI4
MDY0NzE0WjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAAQGjn8170eLXiV6Z4RNr2izMZB2nj1ZKDJpsaNsjRbpljrDCvV1Vkut
sRISQ2yhpCxDXpUUr07aI8x5IeCbhfbKo28wbTAdBgNVHQ4EFgQU0dWRLeGpO8GK
GH8L0OpFBFcSr+QwHwYDVR0jBBgwFoAU0dWRLeGpO8GKGH8L0OpFBFcSr+QwDwYD
VR0TAQH/BAUwAwEB/zAaBgNVHREEEzARgglsb2NhbGhvc3SHBH8AAAEwCgYIKoZI
zj0EAwIDSAAwRQIhAIcY6YTWhvqs/D2wIDPXVbxqlPr5Oja++f6rcvI4aKxCAiB1
y4LnVtdfM9jRJxfNYZVoIX9T5BUxsvXRiI8lJX6GwQ==
-----END CERTIFICATE-----
"""
KEY = """-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg1XIZbhNoQryMQTpH
IG6duu9l5PbNyFbS/ekkdpgPhBWhRANCAAQGjn8170eLXiV6Z4RNr2izMZB2nj1Z
KDJpsaNsjRbpljrDCvV1VkutsRISQ2yhpCxDXpUUr07aI8x5IeCbhfbK
-----END PRIVATE KEY-----
"""


class Wire:
    """A server that says what the test has it say: `answer(head, number)` gives the pieces of the number-th answer.

    A number among the pieces is a pause in seconds; None keeps the connection for the next request, RESET resets it.
    """

    RESET = object()

    def __init__(self, answer: Callable[[bytes, int], list[object]]) -> None:
        self.answer = answer
        self.heads: list[bytes] = []
        self.connections = 0
        self.received = 0
        self.left = asyncio.Event()  # a client has closed its connection
        self._tasks: set[asyncio.Task[None]] = set()

    def url(self, path: str = "/", host: str = "127.0.0.1", scheme: str = "http") -> str:
        return f"{scheme}://{host}:{self.port}{path}"

    async def start(self, context: ssl.SSLContext | None) -> None:
        self.server = await asyncio.start_server(self._connected, "127.0.0.1", 0, ssl=context)
        self.port = self.server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        self.server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._tasks.add(task)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await self._head(reader):
                self.heads.append(head)
                if not await self._say(writer, self.answer(head, len(self.heads))):
                    break
        except ConnectionError:
            pass  # the client has had enough, as some tests want it to
        finally:
            writer.close()
            self.left.set()

    async def _head(self, reader: asyncio.StreamReader) -> bytes:
        head = b""
        while b"\r\n\r\n" not in head:
            piece = await reader.read(65536)
            self.received += len(piece)
            if not piece:
                return b""
            head += piece
        return head

    async def _say(self, writer: asyncio.StreamWriter, pieces: list[object]) -> bool:
        for piece in pieces:
            if piece is None:
                return True
            if piece is self.RESET:
                linger = struct.pack("ii", 1, 0)
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            elif isinstance(piece, bytes):
                writer.write(piece)
                await writer.drain()
            else:
                await asyncio.sleep(float(str(piece)))
        return False


@asynccontextmanager
async def wire(*pieces: object, tls: bool = False) -> AsyncIterator[Wire]:
    """A `Wire` that gives every request the same answer."""
    async with scripted(lambda head, number: list(pieces), tls=tls) as server:
        yield server


@asynccontextmanager
async def scripted(answer: Callable[[bytes, int], list[object]], *, tls: bool = False) -> AsyncIterator[Wire]:
    server = Wire(answer)
    context = None
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        _load_key(context)
    await server.start(context)
    try:
        yield server
    finally:
        await server.stop()


def _load_key(context: ssl.SSLContext) -> None:
    """`ssl` takes certificates from files only."""
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
        file.write(KEY + CERTIFICATE)
        file.flush()
        context.load_cert_chain(file.name)


@asynccontextmanager
async def fetcher(**settings: Any) -> AsyncIterator[Fetcher]:
    on_bytes = settings.pop("on_bytes", None)
    async with Fetcher(Settings(**{"private_hosts": ["*"], **settings}), on_bytes=on_bytes) as opened:
        yield opened


async def get(opened: Fetcher, url: str, **more: Any) -> Reply:
    request = more.pop("request", None) or Request(url)
    options: dict[str, Any] = {"before_send": lambda: None, "wants": lambda status, media: True, **more}
    return await opened.fetch(request, **options)


async def failure(opened: Fetcher, url: str, **more: Any) -> errors.FetchError:
    with pytest.raises(errors.FetchError) as caught:
        await get(opened, url, **more)
    assert caught.value.url == url
    assert caught.value.detail
    return caught.value


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Callable[[Coroutine[None, None, None]], None]:
    """Runs a scenario on the event loop of either kind: they report the same failures in different words."""
    factory = asyncio.new_event_loop if request.param == "asyncio" else pytest.importorskip("uvloop").new_event_loop

    def run_it(scenario: Coroutine[None, None, None]) -> None:
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(scenario)

    return run_it


MISBEHAVIOUR: dict[str, tuple[list[object], type[errors.FetchError]]] = {
    "garbage": ([b"\x00\x01garbage\r\n\r\n"], errors.ProtocolError),
    "http/0.9": ([b"<html>hello</html>"], errors.ProtocolError),
    "TLS on a plain port": ([b"\x15\x03\x01\x00\x02\x02\x28"], errors.ProtocolError),
    "length and chunks": (
        [OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"],
        errors.ProtocolError,
    ),
    "two lengths": ([OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!"], errors.ProtocolError),
    "negative length": ([OK + b"Content-Length: -5\r\n\r\nhello"], errors.ProtocolError),
    "NUL in a header": ([OK + b"X: a\x00b\r\nContent-Length: 0\r\n\r\n"], errors.ProtocolError),
    "bad chunk at once": ([CHUNKED + b"5\r\nhello\r\nZZ\r\nxx"], errors.ProtocolError),
    "bad chunk later": ([CHUNKED + b"5\r\nhello\r\n", 0.05, b"ZZ\r\nxx", 1], errors.ProtocolError),
    "switching protocols": (
        [b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nabc", 1],
        errors.ProtocolError,
    ),
    "end within the headers": ([OK + b"X-"], errors.ProtocolError),
    "long header": ([OK + b"X: " + b"a" * 9000 + b"\r\n\r\n"], errors.HeadersTooLarge),
    "long reason": ([b"HTTP/1.1 200 " + b"a" * 9000 + b"\r\n\r\n"], errors.HeadersTooLarge),
    "many headers": ([OK + b"".join(b"X%d: 1\r\n" % i for i in range(200)) + b"\r\n"], errors.HeadersTooLarge),
    "short body": ([OK + b"Content-Length: 10\r\n\r\nhel"], errors.TruncatedBody),
    "short body later": ([OK + b"Content-Length: 10\r\n\r\nhel", 0.05, b"lo"], errors.TruncatedBody),
    "reset within the body": ([OK + b"Content-Length: 10\r\n\r\nhel", 0.05, Wire.RESET], errors.TruncatedBody),
    "reset at an open end": ([OK + b"\r\nhel", 0.05, Wire.RESET], errors.TruncatedBody),
    "short chunk": ([CHUNKED + b"5\r\nhel"], errors.TruncatedBody),
    "no last chunk": ([CHUNKED + b"5\r\nhello\r\n", 0.05], errors.TruncatedBody),
    "no answer": ([], errors.ConnectionReset),
    "reset": ([Wire.RESET], errors.ConnectionReset),
    "declared too large": ([OK + b"Content-Length: 99999999999\r\n\r\n"], errors.ResponseTooLarge),
    "too large at once": ([CHUNKED + b"3e9\r\n" + b"x" * 1001 + b"\r\n0\r\n\r\n"], errors.ResponseTooLarge),
    "too large later": ([CHUNKED, 0.05, b"3e9\r\n" + b"x" * 1001 + b"\r\n"], errors.ResponseTooLarge),
    "unknown encoding": (
        [OK + b"Content-Encoding: rot13\r\nContent-Length: 5\r\n\r\nhello"],
        errors.UnsupportedEncoding,
    ),
    "two encodings": (
        [OK + b"Content-Encoding: gzip\r\nContent-Encoding: br\r\nContent-Length: 5\r\n\r\nhello"],
        errors.UnsupportedEncoding,
    ),
    "not gzip": ([OK + b"Content-Encoding: gzip\r\nContent-Length: 5\r\n\r\nhello"], errors.ContentDecodingError),
}


@pytest.mark.parametrize("name", MISBEHAVIOUR)
def test_misbehaviour_is_an_error_of_ours(name: str, run: Callable[..., None]) -> None:
    """Whatever a server does wrong ends in the error that names it, after one request on one connection."""
    pieces, expected = MISBEHAVIOUR[name]

    async def scenario() -> None:
        async with wire(*pieces) as server, fetcher(max_body_bytes=1000) as opened:
            error = await failure(opened, server.url())
            assert type(error) is expected
            assert len(server.heads) == server.connections == 1

    run(scenario())


async def test_status_of_a_failed_body_is_kept() -> None:
    """An error that came after the headers knows the status."""
    async with wire(b"HTTP/1.1 503 No\r\nContent-Length: 10\r\n\r\nhel") as server, fetcher() as opened:
        assert (await failure(opened, server.url())).status == 503


async def test_refused_connection() -> None:
    """Nobody listening is a ConnectionReset."""
    async with wire() as server:
        url = server.url()
    async with fetcher() as opened:
        assert type(await failure(opened, url)) is errors.ConnectionReset


TIMEOUTS: dict[str, tuple[list[object], dict[str, Any], str]] = {
    "headers": ([1], {}, "header block within 0.2 s"),
    "headers, after a longer limit": ([1], {"connect_timeout": 5.0}, "header block within 0.2 s"),
    "half a header": ([OK + b"X-", 1], {}, "header block within 0.2 s"),
    "endless 1xx": ([b"HTTP/1.1 100 Continue\r\n\r\n", 0.1] * 9, {}, "header block within 0.2 s"),
    "gap": ([OK + b"Content-Length: 10\r\n\r\nhel", 1], {}, "nothing more of the body for 0.2 s"),
    "gap in an encoded body": ([OK + b"Content-Encoding: gzip\r\n\r\n", 1], {}, "nothing more of the body for 0.2 s"),
    "total": ([OK + b"\r\n", *([b"x" * 600, 0.05] * 20)], {"total_timeout": 0.3}, "whole answer took over 0.3 s"),
    "rate": ([OK + b"\r\n", *([b"x", 0.05] * 20)], {"min_rate": 500}, "under 500 bytes/s over 0.3 s"),
    "rate, before the gap": (
        [OK + b"\r\nx", 1],
        {"min_rate": 500, "read_timeout": 5.0},
        "under 500 bytes/s over 0.3 s",
    ),
    "rate after a burst": (
        [OK + b"\r\n" + b"x" * 1000, *([b"x", 0.05] * 30)],
        {"min_rate": 500},
        "under 500 bytes/s over 0.3 s",
    ),
}


@pytest.mark.parametrize("name", TIMEOUTS)
def test_slowness_is_a_read_timeout(name: str, run: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each time limit ends the fetch when it is reached, and says which it was."""
    pieces, settings, detail = TIMEOUTS[name]
    monkeypatch.setattr(deadlines, "RATE_WINDOW", 0.3)

    async def scenario() -> None:
        async with wire(*pieces) as server, fetcher(**{**SHORT, "min_rate": 0, **settings}) as opened:
            began = asyncio.get_running_loop().time()
            error = await failure(opened, server.url())
            assert type(error) is errors.ReadTimeout
            assert detail in error.detail
            assert asyncio.get_running_loop().time() - began < 0.95
            assert len(server.heads) == 1

    run(scenario())


def test_connect_timeout(run: Callable[..., None]) -> None:
    """A TLS handshake that does not come is a ConnectTimeout, at its limit."""

    async def scenario() -> None:
        async with wire() as server, fetcher(**SHORT) as opened:
            error = await failure(opened, server.url(scheme="https"))
            assert type(error) is errors.ConnectTimeout
            assert "no connection within 0.2 s" in error.detail

    run(scenario())


async def test_steady_body_may_take_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A body over the least rate and without gaps is read to its end, whatever the other limits are."""
    monkeypatch.setattr(deadlines, "RATE_WINDOW", 0.1)
    pieces = [OK + b"\r\n", *([b"x" * 100, 0.02] * 30)]
    async with wire(*pieces) as server, fetcher(**SHORT, min_rate=500) as opened:
        assert len((await get(opened, server.url())).body) == 3000


async def test_many_flights_share_one_timer() -> None:
    """Of fetches that run together each ends at its own limit."""
    paths = ["/0", "/0.6", "/0.05", "/0.7", "/0.1"]

    def answer(head: bytes, number: int) -> list[object]:
        return [float(head.split(b" ")[1][1:]), HELLO]

    async with scripted(answer) as server, fetcher(**SHORT) as opened:
        found = await asyncio.gather(*[get(opened, server.url(path)) for path in paths], return_exceptions=True)
    assert [type(one) for one in found] == [Reply, errors.ReadTimeout, Reply, errors.ReadTimeout, Reply]


async def test_cancellation_passes_through() -> None:
    """A caller that cancels gets its cancellation, not an error of ours, and leaves nothing running."""
    async with wire(OK + b"Content-Length: 10\r\n\r\nhel", 5) as server, fetcher() as opened:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await get(opened, server.url())
        assert not opened._deadlines.flights


async def test_cancellation_wins_over_a_deadline() -> None:
    """Who is cancelled in the very moment that a limit is reached is cancelled."""
    asked = asyncio.Event()

    def answer(head: bytes, number: int) -> list[object]:
        asked.set()
        return [5]

    async with scripted(answer) as server, fetcher(**SHORT) as opened:
        task = asyncio.ensure_future(get(opened, server.url()))
        await asked.wait()
        next(iter(opened._deadlines.flights)).expire()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


# What is sent


async def test_headers_are_those_of_a_polite_crawler() -> None:
    """A request says who asks and what is taken; the author's headers go beside, the session's before them."""
    async with wire(HELLO) as server, fetcher(contact="ann@example.com") as opened:
        request = Request(server.url("/a?b=%7E"), headers={"X-Author": "1", "X-Both": "author"})
        more = {"X-Both": "session", "X-Session": "2"}
        await opened.fetch(request, headers=more, before_send=lambda: None, wants=lambda status, media: True)
    lines = server.heads[0].decode().split("\r\n")
    sent = dict(line.split(": ", 1) for line in lines[1:] if line)
    assert lines[0] == "GET /a?b=%7E HTTP/1.1"
    assert sent.pop("User-Agent").startswith("crawler/")
    assert sent.pop("Accept").startswith("text/html")
    assert "gzip" in sent.pop("Accept-Encoding")
    assert sent == {
        "Host": f"127.0.0.1:{server.port}",
        "From": "ann@example.com",
        "X-Author": "1",
        "X-Both": "session",
        "X-Session": "2",
    }


@pytest.mark.parametrize(
    ("settings", "agent"),
    [
        ({"user_agent": "Ours/2"}, b"User-Agent: Ours/2\r\n"),
        ({"user_agent": "Ours/2", "contact": "https://a.example"}, b"User-Agent: Ours/2 (+https://a.example)\r\n"),
    ],
)
async def test_user_agent(settings: dict[str, str], agent: bytes) -> None:
    """The operator's name and address are sent as they were set."""
    async with wire(HELLO) as server, fetcher(**settings) as opened:
        await get(opened, server.url())
    assert agent in server.heads[0]
    assert b"From:" not in server.heads[0]


def test_user_agent_must_be_sendable() -> None:
    """A User-Agent that would break the header is refused at the start."""
    with pytest.raises(errors.ConfigError, match="user_agent"):
        Fetcher(Settings(user_agent="a\r\nX-Evil: 1"))


async def test_body_and_method_are_sent() -> None:
    """A POST carries its body and the type that its author gave."""
    seen: list[tuple[str, bytes, str]] = []

    async def take(request: web.BaseRequest) -> web.Response:
        seen.append((request.method, await request.read(), request.headers["Content-Type"]))
        return web.Response(text="taken", status=201)

    async with site(take) as url, fetcher() as opened:
        request = Request(url, method="POST", body=b'{"a": 1}', headers={"Content-Type": "application/json"})
        reply = await opened.fetch(request, before_send=lambda: None, wants=lambda status, media: True)
    assert (reply.status, reply.body) == (201, b"taken")
    assert seen == [("POST", b'{"a": 1}', "application/json")]


@asynccontextmanager
async def site(answer: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]) -> AsyncIterator[str]:
    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    listener = web.TCPSite(runner, "127.0.0.1", 0)
    await listener.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()


async def test_no_cookies_are_kept() -> None:
    """What one answer sets is not sent with the next request."""
    cookies = OK + b"Set-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: 0\r\n\r\n"
    async with wire(cookies, None) as server, fetcher() as opened:
        reply = await get(opened, server.url())
        await get(opened, server.url())
    assert reply.headers.getall("set-cookie") == ["a=1", "b=2"]
    assert not any(b"Cookie" in head for head in server.heads)


# The moment before sending


async def test_before_send_comes_between_connection_and_request() -> None:
    """The moment that is reported is once the connection stands, and before the first byte of the request."""
    async with wire(HELLO) as server, fetcher(**SHORT) as opened:
        moments: list[int] = []
        await get(opened, server.url(), before_send=lambda: moments.append(server.received))
        error = await failure(opened, server.url(scheme="https"), before_send=lambda: moments.append(-1))
        assert isinstance(error, errors.FetchError)
    assert moments == [0]


@pytest.mark.parametrize("warm", [False, True])
def test_lost_lease_sends_nothing(run: Callable[..., None], *, warm: bool) -> None:
    """When the lease is found lost at the last moment not one byte is sent, on a new connection or a used one."""

    def lose() -> None:
        raise errors.LeaseLost("gone")

    async def scenario() -> None:
        async with wire(HELLO, None) as server:
            async with fetcher() as opened:
                if warm:
                    await get(opened, server.url())
                before = server.received
                with pytest.raises(errors.LeaseLost, match="gone"):
                    await get(opened, server.url(), before_send=lose)
                assert (await get(opened, server.url())).body == b"hello"
                assert len(server.heads) == 1 + warm
            assert server.received == before + len(server.heads[-1])

    run(scenario())


# Connections


def alive_once(head: bytes, number: int) -> list[object]:
    """An answer to the first request of each connection; the second is reset without one."""
    del number
    return [HELLO, None] if head.startswith(b"GET /warm") else []


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("dead", [1, 3])
def test_dead_pooled_connection_costs_one_silent_retry(run: Callable[..., None], method: str, dead: int) -> None:
    """A used connection that turns out dead is replaced once, by a new one; the second sending is reported too."""
    served: set[int] = set()

    def answer(head: bytes, number: int) -> list[object]:
        if head.startswith(b"GET /warm"):
            return [0.05, HELLO, None]
        served.add(number)
        return [] if len(served) == 1 else [HELLO if method == "GET" else OK + b"Content-Length: 5\r\n\r\n"]

    async def scenario() -> None:
        sendings: list[int] = []
        async with scripted(answer) as server, fetcher(concurrency_per_host=8) as opened:
            await asyncio.gather(*[get(opened, server.url("/warm")) for _ in range(dead)])
            assert server.connections == dead
            request = Request(server.url("/page"), method=method)
            note = lambda: sendings.append(server.connections)  # noqa: E731
            reply = await opened.fetch(request, before_send=note, wants=lambda status, media: True)
            assert reply.status == 200
            assert len(sendings) == 2
            assert server.connections == dead + 1
            assert len(server.heads) == dead + 2

    run(scenario())


def test_retry_is_not_repeated(run: Callable[..., None]) -> None:
    """A server that resets the new connection as well has failed: two requests, no more."""

    async def scenario() -> None:
        sendings: list[None] = []
        async with scripted(alive_once) as server, fetcher() as opened:
            await get(opened, server.url("/warm"))
            error = await failure(opened, server.url("/page"), before_send=lambda: sendings.append(None))
            assert type(error) is errors.ConnectionReset
            assert len(sendings) == 2

    run(scenario())


def test_unsafe_request_is_not_sent_twice(run: Callable[..., None]) -> None:
    """A POST on a connection that turns out dead may have had its effect, so it fails."""

    async def scenario() -> None:
        async with scripted(alive_once) as server, fetcher() as opened:
            await get(opened, server.url("/warm"))
            request = Request(server.url("/page"), method="POST", body=b"x")
            with pytest.raises(errors.ConnectionReset):
                await opened.fetch(request, before_send=lambda: None, wants=lambda status, media: True)
            assert len([head for head in server.heads if head.startswith(b"POST")]) == 1

    run(scenario())


async def test_connections_are_kept_alive() -> None:
    """Pages of one host follow each other on one connection."""
    async with wire(HELLO, None) as server, fetcher() as opened:
        for _ in range(5):
            assert (await get(opened, server.url())).body == b"hello"
        assert server.connections == 1


async def test_host_settings_raise_the_pools_limit() -> None:
    """The pool never holds up what the settings allow for one host."""
    async with wire(0.1, HELLO, None) as server:
        async with fetcher(hosts={"127.*": HostSettings(concurrency_per_host=60)}) as opened:
            await asyncio.gather(*[get(opened, server.url()) for _ in range(60)])
        assert server.connections == 60


async def test_out_of_file_descriptors_is_told_apart() -> None:
    """Without a file descriptor left it is this machine that fails, not the page."""
    async with wire(HELLO) as server, fetcher() as opened:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        spare = os.open(os.devnull, os.O_RDONLY)
        resource.setrlimit(resource.RLIMIT_NOFILE, (spare + 32, hard))
        taken = [spare]
        try:
            with contextlib.suppress(OSError):
                while True:
                    taken.append(os.dup(spare))
            with pytest.raises(errors.StoreUnavailable, match="out of file descriptors"):
                await get(opened, server.url())
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            for number in taken:
                os.close(number)
        assert (await get(opened, server.url())).body == b"hello"


# TLS


async def test_untrusted_certificate() -> None:
    """A certificate that nobody vouches for is a TlsError, and no request is sent."""
    async with wire(HELLO, tls=True) as server, fetcher() as opened:
        error = await failure(opened, server.url(scheme="https"))
        assert type(error) is errors.TlsError
        assert "certificate verify failed" in error.detail
        assert not server.heads


async def test_trusted_certificate(monkeypatch: pytest.MonkeyPatch) -> None:
    """A certificate of a trusted authority for the right name is accepted."""
    context = ssl.create_default_context(cadata=CERTIFICATE)
    monkeypatch.setattr("aiohttp.connector._SSL_CONTEXT_VERIFIED", context)
    async with wire(HELLO, tls=True) as server, fetcher(resolve={"*.example": "127.0.0.1"}) as opened:
        assert (await get(opened, server.url(scheme="https"))).body == b"hello"
        error = await failure(opened, server.url(scheme="https", host="wrong.example"))
        assert type(error) is errors.TlsError


async def test_insecure_hosts_are_not_verified() -> None:
    """A host that the operator exempts is talked to whatever its certificate; others are not."""
    async with wire(HELLO, tls=True) as server:
        async with fetcher(insecure_hosts=["*.1"]) as opened:
            assert (await get(opened, server.url(scheme="https"))).body == b"hello"
        async with fetcher(insecure_hosts=["10.*"]) as opened:
            assert type(await failure(opened, server.url(scheme="https"))) is errors.TlsError


async def test_plain_server_on_a_secure_port() -> None:
    """A server that does not speak TLS where it should is a TlsError."""

    def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server, fetcher() as opened:
        port = server.sockets[0].getsockname()[1]
        assert type(await failure(opened, f"https://127.0.0.1:{port}/")) is errors.TlsError


# Names


async def test_resolve_patterns_come_before_dns() -> None:
    """A host that matches a pattern is found at the address given, under its own name."""
    async with wire(HELLO) as server, fetcher(resolve={"*.test": "127.0.0.1"}) as opened:
        assert (await get(opened, server.url(host="www.a.test"))).body == b"hello"
    assert f"Host: www.a.test:{server.port}".encode() in server.heads[0]


async def test_resolve_wants_an_address() -> None:
    """A pattern that leads to anything but an IP address is refused at the start, by name."""
    with pytest.raises(errors.ConfigError, match=r"\*\.test=there"):
        async with fetcher(resolve={"*.test": "there"}):
            pass


async def test_name_that_does_not_exist() -> None:
    """A name under .invalid, which never exists (RFC 6761 section 6.4), is a DnsError."""
    async with fetcher() as opened:
        assert type(await failure(opened, "http://no-such-host.invalid/")) is errors.DnsError


class Names:
    """Stands in for the system's resolver and counts its calls."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, answer: Callable[[str], object]) -> None:
        self.asked: list[str] = []
        self._answer = answer
        monkeypatch.setattr(dns, "socket", SimpleNamespace(**{**vars(socket), "getaddrinfo": self._getaddrinfo}))

    def _getaddrinfo(self, host: str, port: None, **hints: int) -> object:
        self.asked.append(host)
        return self._answer(host)


def _raise(error: Exception) -> object:
    raise error


@pytest.mark.parametrize(
    ("error", "permanent", "asked"),
    [
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), True, 1),
        (socket.gaierror(socket.EAI_NODATA, "No address associated with hostname"), True, 1),
        (UnicodeError("label empty or too long"), True, 1),
        (socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"), False, 2),
        (socket.gaierror(socket.EAI_FAIL, "Non-recoverable failure in name resolution"), False, 2),
    ],
)
async def test_dns_failures(error: Exception, asked: int, monkeypatch: pytest.MonkeyPatch, *, permanent: bool) -> None:
    """A name that does not exist is permanent and remembered; a name server that fails is neither."""
    names = Names(monkeypatch, lambda host: _raise(error))
    async with fetcher() as opened:
        for _ in range(2):
            found = await failure(opened, "http://a.example/")
            assert isinstance(found, errors.DnsError)
            assert found.permanent is permanent
            assert "a.example" in found.detail
    assert len(names.asked) == asked


async def test_name_is_asked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests that wait for one name share one lookup, and later ones what it found."""
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0))]
    names = Names(monkeypatch, lambda host: found)
    async with wire(HELLO) as server, fetcher() as opened:
        await asyncio.gather(*[get(opened, server.url(host="a.example")) for _ in range(8)])
        await get(opened, server.url(host="a.example"))
    assert names.asked == ["a.example"]


async def test_lookup_outlives_who_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """When one of those who wait for a name is cancelled, the others still get it."""
    may_answer = threading.Event()
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0))]
    Names(monkeypatch, lambda host: may_answer.wait(10) and found)
    resolver = dns.Resolver({})
    first, second = (asyncio.ensure_future(resolver.resolve("a.example")) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    may_answer.set()
    assert [one["host"] for one in await second] == ["127.0.0.1"]
    await resolver.close()


async def test_mute_name_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name server that does not answer is a DnsError in time, and worth another try."""
    monkeypatch.setattr(dns, "TIMEOUT", 0.1)
    answered = threading.Event()
    Names(monkeypatch, lambda host: answered.wait(10) and [])
    try:
        async with fetcher() as opened:
            error = await failure(opened, "http://a.example/")
            assert isinstance(error, errors.DnsError)
            assert not error.permanent
            assert "within 0.1 s" in error.detail
    finally:
        answered.set()


async def test_names_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cache keeps to its size, oldest use out first, and to its time."""
    monkeypatch.setattr(dns, "CACHE_SIZE", 2)
    names = Names(monkeypatch, lambda host: [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0))])
    resolver = dns.Resolver({})
    for host in ["a", "b", "a", "c", "a", "b"]:
        await resolver.resolve(host)
    assert names.asked == ["a", "b", "c", "b"]
    monkeypatch.setattr(dns, "REMEMBERED_FOR", -1.0)
    for _ in range(2):
        await resolver.resolve("d")
    assert names.asked[4:] == ["d", "d"]
    await resolver.close()


@pytest.mark.parametrize(
    ("settings", "seconds"),
    [
        (Settings(), 15.0),
        (Settings(delay=14.9), 15.0),
        (Settings(delay=15.0), 1.0),
        (Settings(delay=40.0, hosts={"*.test": HostSettings(delay=0.5)}), 15.0),
        (Settings(delay=0.0, hosts={"*.test": HostSettings(delay=40.0)}), 15.0),
        (Settings(delay=40.0, hosts={"*.test": HostSettings(concurrency_per_host=2)}), 1.0),
    ],
)
def test_how_long_connections_are_kept(settings: Settings, seconds: float) -> None:
    """A connection is kept for the next request, unless no host is asked again that soon."""
    assert deadlines.kept_for(settings) == seconds


async def test_a_connection_that_would_be_of_no_use(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where all hosts pause for long a connection is closed soon after its answer."""
    monkeypatch.setattr(deadlines, "HARDLY_KEPT_FOR", 0.05)
    async with wire(HELLO, None) as server, fetcher(delay=40.0) as opened:
        await get(opened, server.url())
        async with asyncio.timeout(5.0):
            assert await server.left.wait()


# Bodies


PAGE = b"<p>Winter pears and more of them</p>" * 200
ENCODINGS = {"gzip": gzip.compress, "deflate": zlib.compress, "br": brotli.compress, "zstd": zstd.compress}


@pytest.mark.parametrize("later", [False, True])
@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("encoding", [None, *ENCODINGS])
async def test_bodies_arrive_decoded(encoding: str | None, *, chunked: bool, later: bool) -> None:
    """A page comes out as it was before encoding and framing, however its pieces arrive; its bytes are counted."""
    coded = ENCODINGS[encoding](PAGE) if encoding else PAGE
    head = OK + (f"Content-Encoding: {encoding}\r\n".encode() if encoding else b"")
    framed = b"%x\r\n%b\r\n0\r\n\r\n" % (len(coded), coded) if chunked else coded
    head += b"Transfer-Encoding: chunked\r\n\r\n" if chunked else b"Content-Length: %d\r\n\r\n" % len(coded)
    pieces = [head + framed[:20], 0.05, framed[20:40], 0.05, framed[40:], None] if later else [head + framed, None]
    counted: list[int] = []
    async with wire(*pieces) as server, fetcher(on_bytes=counted.append) as opened:
        reply = await get(opened, server.url())
        again = await get(opened, server.url())
        assert server.connections == 1
    assert reply.body == again.body == PAGE
    assert reply.size == len(coded)
    assert sum(counted) == 2 * len(coded)
    assert not reply.cut


async def test_body_until_the_connection_ends() -> None:
    """A body without a length goes on until the server closes."""
    async with wire(OK + b"\r\nhel", 0.05, b"lo") as server, fetcher() as opened:
        assert (await get(opened, server.url())).body == b"hello"


async def test_truncated_gzip() -> None:
    """An encoded body that stops early is truncated, though its length is right."""
    coded = gzip.compress(PAGE)[:-10]
    head = OK + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(coded)
    async with wire(head + coded) as server, fetcher() as opened:
        assert type(await failure(opened, server.url())) is errors.TruncatedBody


async def test_bomb() -> None:
    """A body that decodes to far more than it is ends at the cap."""
    coded = gzip.compress(bytes(3 * MIB), 9)
    head = OK + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(coded)
    async with wire(head + coded) as server, fetcher(max_body_bytes=MIB) as opened:
        assert type(await failure(opened, server.url())) is errors.DecompressionBomb


@pytest.mark.parametrize("pause", [0.0, 0.05])
@pytest.mark.parametrize("encoding", ENCODINGS)
async def test_a_long_body_is_unpacked_in_turns(encoding: str, pause: float) -> None:
    """However little comes of a body that is long when it is unpacked, others have their turn while it is."""
    turn, unpacked = 0, Counter[int]()  # bytes by turn of the event loop

    class Watched(Decoder):
        def parts(self, chunk: bytes) -> Iterator[bytes]:
            for part in super().parts(chunk):
                unpacked[turn] += len(part)
                yield part

    async def count() -> None:
        nonlocal turn
        while True:
            turn += 1
            await asyncio.sleep(0)

    body = b"<p>pears</p>" * 400_000
    coded = ENCODINGS[encoding](body)
    head = OK + f"Content-Encoding: {encoding}\r\nContent-Length: {len(coded)}\r\n\r\n".encode()
    pieces = [head, pause, coded] if pause else [head + coded]
    async with wire(*pieces) as server, fetcher() as opened:
        opened._decoder = Watched
        counting = asyncio.create_task(count())
        assert (await get(opened, server.url())).body == body
        counting.cancel()
    assert unpacked.total() == len(body)
    assert max(unpacked.values()) < 2 * AT_ONCE


@pytest.mark.parametrize(
    ("encoding", "coded", "is_beside"),
    [
        ("br", brotli.compress(PAGE, lgwin=24), True),
        ("br", brotli.compress(PAGE, lgwin=23), True),
        ("br", brotli.compress(PAGE, lgwin=22), False),
        ("gzip", gzip.compress(PAGE), False),
    ],
    ids=["16 MiB", "8 MiB", "4 MiB", "gzip"],
)
async def test_a_large_window_is_filled_beside_the_loop(encoding: str, coded: bytes, *, is_beside: bool) -> None:
    """Brotli fills its window before it gives a byte of it: if that takes long, it does so in a thread."""
    threads = set[int]()

    class Watched(Decoder):
        def parts(self, chunk: bytes) -> Iterator[bytes]:
            for part in super().parts(chunk):
                threads.add(threading.get_ident())
                yield part

    head = OK + f"Content-Encoding: {encoding}\r\nContent-Length: {len(coded)}\r\n\r\n".encode()
    async with wire(head, coded[:1], 0.01, coded[1:]) as server, fetcher() as opened:
        opened._decoder = Watched
        assert (await get(opened, server.url())).body == PAGE
    assert threads
    assert (threading.get_ident() not in threads) is is_beside


@pytest.mark.parametrize(("status", "method"), [(204, "GET"), (304, "GET"), (200, "HEAD")])
async def test_no_body_at_all(status: int, method: str) -> None:
    """Where there is no body its headers bind nobody: neither length nor encoding is looked at."""
    head = f"HTTP/1.1 {status} X\r\nContent-Encoding: rot13\r\n".encode()
    head += b"Content-Length: 99999999999\r\n\r\n" if method == "HEAD" else b"\r\n"
    async with wire(head, None) as server, fetcher() as opened:
        reply = await opened.fetch(
            Request(server.url(), method=method), before_send=lambda: None, wants=lambda status, media: True
        )
    assert (reply.status, reply.body, reply.size, reply.cut) == (status, b"", 0, False)


async def test_unusual_status_is_not_judged() -> None:
    """Status 999, as some sites send it, is a reply like others."""
    async with wire(b"HTTP/1.1 999 No\r\nContent-Length: 2\r\n\r\nhi") as server, fetcher() as opened:
        reply = await get(opened, server.url())
    assert (reply.status, reply.body) == (999, b"hi")


async def test_unwanted_body_is_not_read() -> None:
    """What nobody wants is cut after the headers, and the connection with it if the rest is still to come."""
    asked: list[tuple[int, str]] = []

    def refuse(status: int, media: str) -> bool:
        asked.append((status, media))
        return False

    head = OK + b"Content-Type: Video/MP4; codecs=x\r\nContent-Length: 5000000\r\n\r\n"
    async with wire(head + b"x" * 1000, 5) as server, fetcher() as opened:
        reply = await get(opened, server.url(), wants=refuse)
        assert (reply.status, reply.body, reply.cut) == (200, b"", True)
        assert reply.size <= 1000
    assert asked == [(200, "video/mp4")]


async def test_unwanted_body_that_is_here_keeps_its_connection() -> None:
    """A small body that came along with the headers does not cost the connection."""
    async with wire(HELLO, None) as server, fetcher() as opened:
        for _ in range(3):
            assert (await get(opened, server.url(), wants=lambda status, media: False)).cut
        assert server.connections == 1


async def test_redirect_is_a_reply() -> None:
    """A redirect is not followed, nor its body read, nor anybody asked whether to."""
    answer = b"HTTP/1.1 302 Found\r\nLocation: /b\r\nContent-Length: 5\r\n\r\nhello"
    async with wire(answer, None) as server, fetcher() as opened:
        reply = await get(opened, server.url(), wants=lambda status, media: pytest.fail("asked"))
        assert (reply.status, reply.headers["location"], reply.body, reply.cut) == (302, "/b", b"", True)
        assert len(server.heads) == 1


async def test_counting_may_stop_the_fetch() -> None:
    """When the count of bytes raises, the fetch ends there and the rest is never read."""
    left = 5000

    def count(size: int) -> None:
        nonlocal left
        left -= size
        if left < 0:
            raise errors.LeaseLost("no bytes left")

    pieces = [OK + b"Content-Length: 90000\r\n\r\n", *([b"x" * 1000, 0.01] * 90)]
    async with wire(*pieces) as server, fetcher(on_bytes=count) as opened:
        with pytest.raises(errors.LeaseLost):
            await get(opened, server.url())
        assert -2000 < left < 0


# Memory


async def test_memory_is_first_come_first_served() -> None:
    """Bytes are given in the order asked for, all of a request or none, and at most all there are."""
    memory = Memory(10)
    assert await memory.reserve(6) == 6
    order: list[str] = []

    async def ask(name: str, size: int) -> int:
        reserved = await memory.reserve(size)
        order.append(name)
        return reserved

    large, small = asyncio.ensure_future(ask("large", 100)), asyncio.ensure_future(ask("small", 1))
    await asyncio.sleep(0)
    assert order == []
    memory.release(6)
    assert await large == 10
    assert order == ["large"]
    memory.release(10)
    assert await small == 1


@pytest.mark.parametrize("given", [False, True])
async def test_memory_loses_nothing_to_cancellation(*, given: bool) -> None:
    """Who is cancelled while waiting, or in the moment of being given, holds nothing."""
    memory = Memory(10)
    await memory.reserve(10)
    waiting = asyncio.ensure_future(memory.reserve(4))
    behind = asyncio.ensure_future(memory.reserve(10))
    await asyncio.sleep(0)
    if given:
        memory.release(10)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    if not given:
        memory.release(10)
    assert await asyncio.wait_for(behind, 1) == 10


async def test_large_bodies_wait_for_memory_not_for_time() -> None:
    """A large body waits until there is memory for it, and no time limit counts the waiting."""
    size = 3 * MIB
    head = OK + b"Content-Length: %d\r\n\r\n" % size
    settings = {"read_timeout": 0.2, "total_timeout": 0.3, "body_memory": 4 * MIB}
    async with wire(head, b"x" * size) as server, fetcher(**settings) as opened:
        others = await opened._memory.reserve(2 * MIB)
        waiting = asyncio.ensure_future(get(opened, server.url()))
        await asyncio.sleep(0.5)
        assert not waiting.done()
        opened._memory.release(others)
        assert len((await waiting).body) == size
        assert await asyncio.wait_for(opened._memory.reserve(4 * MIB), 1) == 4 * MIB


# Downloads


async def download(opened: Fetcher, url: str, **more: Any) -> tuple[int, list[bytes]]:
    async with opened.stream(Request(url), before_send=lambda: None, **more) as (status, headers, chunks):
        assert "server" not in headers
        return status, [chunk async for chunk in chunks]


async def test_stream_gives_the_bytes_as_sent() -> None:
    """A download asks for no encoding, takes more headers, and comes in chunks of the size asked for."""
    counted: list[int] = []
    pieces = [OK + b"Content-Length: 300000\r\n\r\n", b"x" * 300_000]
    async with wire(*pieces) as server, fetcher(on_bytes=counted.append, max_body_bytes=1000) as opened:
        status, chunks = await download(opened, server.url(), headers={"Range": "bytes=5-"}, chunk_size=100_000)
    assert (status, b"".join(chunks)) == (200, b"x" * 300_000)
    assert max(map(len, chunks)) <= 100_000
    assert sum(counted) == 300_000
    assert b"Accept-Encoding: identity\r\n" in server.heads[0]
    assert b"Range: bytes=5-\r\n" in server.heads[0]


DOWNLOADS: dict[str, tuple[list[object], type[errors.FetchError]]] = {
    "short": ([OK + b"Content-Length: 10\r\n\r\nhel"], errors.TruncatedBody),
    "declared too large": ([OK + b"Content-Length: 1001\r\n\r\n"], errors.ResponseTooLarge),
    "too large": ([OK + b"\r\n", b"x" * 1001], errors.ResponseTooLarge),
    "stalled": ([OK + b"\r\n", b"x", 1], errors.ReadTimeout),
    "no headers": ([1], errors.ReadTimeout),
    "reset": ([OK + b"\r\nhel", 0.05, Wire.RESET], errors.TruncatedBody),
    "bad chunk": ([CHUNKED + b"5\r\nhello\r\n", 0.05, b"ZZ\r\nxx", 1], errors.ProtocolError),
    "switching protocols": ([b"HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", 1], errors.ProtocolError),
}


@pytest.mark.parametrize("name", DOWNLOADS)
def test_stream_fails_with_errors_of_ours(name: str, run: Callable[..., None]) -> None:
    """A download that goes wrong raises what a page would, from the chunks or before."""
    pieces, expected = DOWNLOADS[name]

    async def scenario() -> None:
        async with wire(*pieces) as server, fetcher(**SHORT, max_file_bytes=1000) as opened:
            with pytest.raises(errors.FetchError) as caught:
                await download(opened, server.url())
            assert type(caught.value) is expected
            assert caught.value.url == server.url()

    run(scenario())


async def test_slow_reader_is_not_a_slow_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """While the caller is busy with a chunk no limit runs, and there is none for the time in all."""
    monkeypatch.setattr(deadlines, "RATE_WINDOW", 0.2)
    pieces = [OK + b"Content-Length: 4000000\r\n\r\n", b"x" * 4_000_000]
    async with wire(*pieces) as server, fetcher(**{**SHORT, "total_timeout": 0.3}) as opened:
        got = 0
        async with opened.stream(Request(server.url()), before_send=lambda: None) as (_, _, chunks):
            async for chunk in chunks:
                if got < 500_000:
                    await asyncio.sleep(0.25)
                got += len(chunk)
    assert got == 4_000_000


async def test_stream_that_is_left_closes_its_connection() -> None:
    """Who leaves a download in the middle leaves no connection behind."""
    async with wire(OK + b"Content-Length: 4000000\r\n\r\n", b"x" * 1000, 5) as server, fetcher() as opened:
        async with opened.stream(Request(server.url()), before_send=lambda: None) as (_, _, chunks):
            assert await anext(aiter(chunks))
        connector = opened._session.connector
        assert connector is not None
        assert not connector._acquired
        assert not connector._conns


# Foreign errors


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (aiohttp.SocketTimeoutError("late"), errors.ReadTimeout),
        (aiohttp.ConnectionTimeoutError("late"), errors.ConnectTimeout),
        (OSError(errno.ETIMEDOUT, "Connection timed out"), errors.ReadTimeout),
        (ssl.SSLError(1, "alert"), errors.TlsError),
        (aiohttp.InvalidURL("http://1.2.3/"), errors.DnsError),
        (aiohttp.NonHttpUrlClientError("ftp://a/"), errors.UnsafeRedirect),
        (aiohttp.ClientPayloadError("odd"), errors.ProtocolError),
        (RuntimeError("File descriptor 9 is used by transport <x>"), errors.ConnectionReset),
        (aiohttp.ClientError("new"), errors.ProtocolError),
        (OSError(errno.ENFILE, "Too many open files in system"), errors.StoreUnavailable),
    ],
)
def test_foreign_errors_are_translated(error: Exception, expected: type[errors.CrawlerError]) -> None:
    """What aiohttp and the system may raise has one name of ours each."""
    ours = translated(error, "http://a.example/")
    assert type(ours) is expected
    assert str(ours)


class MockedResponse(aiohttp.ClientResponse):
    """aioresponses does not know yet that a response wants its `stream_writer`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, stream_writer=mock.Mock(output_size=0), **kwargs)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (aiohttp.ServerTimeoutError("late"), errors.ReadTimeout),
        (aiohttp.ServerFingerprintMismatch(b"a", b"b", "a.example", 443), errors.ConnectionReset),
        (aiohttp.ClientConnectorDNSError(mock.Mock(host="a", port=1, ssl=True), OSError(None, "odd")), None),
    ],
)
async def test_exact_errors_of_aiohttp(error: Exception, expected: type[errors.FetchError] | None) -> None:
    """Errors that no server of ours can produce are translated on their way through a fetch."""
    url = "http://a.example/"
    with aioresponses() as mocked:
        mocked.get(url, exception=error, repeat=True)
        async with fetcher() as opened:
            assert type(await failure(opened, url)) is (expected or errors.ConnectionReset)


async def test_mocked_reply() -> None:
    """Authors who test with aioresponses get a reply as from the wire."""
    url = "http://a.example/"
    with aioresponses() as mocked:
        mocked.get(url, body="hello", content_type="text/plain", response_class=MockedResponse)
        async with fetcher() as opened:
            reply = await get(opened, url)
    assert (reply.status, reply.body, reply.headers["content-type"]) == (200, b"hello", "text/plain")
