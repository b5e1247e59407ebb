"""A body as it comes in: against its limits of time and size, and to its true end."""

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Self

import aiohttp

from crawler.errors import FetchError, ProtocolError, ReadTimeout, ResponseTooLarge, TruncatedBody
from crawler.fetch.deadlines import Flight

AT_ONCE = 256 << 10  # bytes that are unpacked without a pause: some milliseconds


class Chunks:
    """The pieces of a response's body, from aiohttp's iterator of them. ``size`` counts their bytes, at most `cap`.

    The limits on gaps, rate and total run only while a piece is awaited: a slow disk does not make a slow server.
    """

    def __init__(
        self,
        flight: Flight,
        response: aiohttp.ClientResponse,
        source: AsyncIterator[bytes],
        on_bytes: Callable[[int], None],
        cap: float = math.inf,
    ) -> None:
        self.size = 0
        self._flight = flight
        self._content = response.content
        self._source = source
        self._on_bytes = on_bytes
        self._cap = cap
        self._waited = 0.0  # in this window of the least rate
        self._came = 0
        self._broken: BaseException | None = None
        _end_with_connection(response)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        with self._flight as flight:
            began = self._allow()
            chunk = await self._next()
        self.size += len(chunk)
        self._measure(len(chunk), flight.deadlines.loop.time() - began)
        self._on_bytes(len(chunk))
        check_size(self.size, self._cap)
        return chunk

    async def _next(self) -> bytes:
        """The next piece, and all that came before the end, if that is an error, before the error."""
        if self._broken is not None:
            raise self._broken
        try:
            return await anext(self._source)
        except (StopAsyncIteration, aiohttp.ClientPayloadError, FetchError):
            self._broken = self._content.exception()
            if self._broken is None:
                raise
        self._content.set_exception(None)  # type: ignore[arg-type]  # it bars the way to what has come
        rest = self._content.read_nowait()
        if not rest:
            raise self._broken
        return rest

    def _allow(self) -> float:
        """Let the next piece take until the first limit that it could break; return the time now."""
        limits = self._flight.deadlines.limits
        left = limits.rate.seconds - self._waited
        if self._came < limits.floor and left < limits.gap.seconds:
            return self._flight.allow(limits.rate, max(left, 0.0))
        return self._flight.allow(limits.gap)

    def _measure(self, size: int, waited: float) -> None:
        limits = self._flight.deadlines.limits
        self._waited += waited
        self._came += size
        if self._waited >= limits.rate.seconds:
            if self._came < limits.floor:
                raise ReadTimeout(limits.rate.detail, url=self._flight.url)
            self._waited, self._came = 0.0, 0


def check_framing(response: aiohttp.ClientResponse) -> None:
    """Raise `ProtocolError` for an answer whose end two readers could see at different places, or that is none.

    aiohttp reads on to the end of the connection where it does not know a transfer coding (RFC 9112 section 6.3), and
    keeps the blank of a field name (section 5.1).
    """
    if response.status == 101:
        raise ProtocolError("101 Switching Protocols, though no upgrade was asked for")
    if response.status < 100:
        raise ProtocolError(f"status {response.status}")
    headers = response.headers
    names = "\n".join(headers)
    if " " in names or "\t" in names:
        name = next(name for name in headers if " " in name or "\t" in name)
        raise ProtocolError(f"a blank in a field's name: {name}")
    if "Transfer-Encoding" in headers:
        codings = ", ".join(headers.getall("Transfer-Encoding"))
        if codings and codings.strip(" \t").lower() != "chunked":
            raise ProtocolError(f"Transfer-Encoding: {codings}")


def check_size(size: int, cap: float) -> None:
    """Raise `ResponseTooLarge` over the cap."""
    if size > cap:
        raise ResponseTooLarge(f"the body is over its cap of {cap} bytes")


def check_declared(response: aiohttp.ClientResponse, cap: int) -> None:
    """Raise `ResponseTooLarge` for a Content-Length over the cap."""
    declared = response.content_length
    if declared is not None and declared > cap:
        raise ResponseTooLarge(f"Content-Length: {declared}, over the cap of {cap} bytes")


def _end_with_connection(response: aiohttp.ClientResponse) -> None:
    """Have whoever awaits the body told when its connection is gone before the body's end.

    aiohttp closes the connection when it cannot make sense of a chunk, and leaves the reader waiting. And a body that
    only the end of the connection ends is whole only if that end is not an error (RFC 9112 section 8).
    """
    content = response.content
    protocol = response.connection and response.connection.protocol
    if protocol is None:
        return
    framed = response.content_length is not None or "Transfer-Encoding" in response.headers
    closed = protocol.closed

    def end(connection: "asyncio.Future[None] | None") -> None:
        if content.exception() is not None:
            return
        if not framed and connection is not None and _failed(connection):
            content.set_exception(TruncatedBody("the connection broke within the body"))
        elif not content.is_eof():
            content.set_exception(ProtocolError("the body's chunks are malformed"))

    if closed is None:
        end(None)
        return
    # The connection goes on to serve others: let go of this body at its end, but never leave an error unheard.
    closed.remove_done_callback(_heard)
    closed.add_done_callback(_heard)
    closed.add_done_callback(end)

    def let_go() -> None:
        closed.remove_done_callback(end)

    content.on_eof(let_go)


def _failed(connection: "asyncio.Future[None]") -> bool:
    return not connection.cancelled() and connection.exception() is not None


def _heard(connection: "asyncio.Future[None]") -> None:
    _failed(connection)


class Body:
    """What there is of a body, how many bytes of it came, and how much of the memory that all bodies share it has."""

    __slots__ = ("came", "parts", "reserved", "size")

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.size = self.came = self.reserved = 0

    async def take(self, coming: Iterator[bytes], cap: int, enough: float, *, is_heavy: bool) -> None:
        """Add what is coming until there is enough of it; what else waits for the loop has its turn meanwhile."""
        pause_at = self.size + AT_ONCE
        while (part := await asyncio.to_thread(next, coming, None) if is_heavy else next(coming, None)) is not None:
            self.parts.append(part)
            self.size += len(part)
            check_size(self.size, cap)
            if self.size > enough:
                return
            if self.size >= pause_at:
                pause_at = self.size + AT_ONCE
                await asyncio.sleep(0)
