"""Says what it is told to, whether that is HTTP or not."""

import asyncio
import json
import socket
import struct
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import NamedTuple, TypeAlias

DOMAIN = "hostile.test"


class Asked(NamedTuple):
    """One request: the `number` counts those to its host and path, from 1 on."""

    host: str
    path: str
    head: bytes
    number: int
    port: int

    def url(self, path: str = "/", host: str | None = None) -> str:
        """An absolute URL of this host, or another of the server's."""
        return f"http://{host or self.host}:{self.port}{path}"


class Reset:
    """A piece of an answer that resets the connection."""


class KeepAlive:
    """A piece of an answer after which the connection takes a further request; without, it is closed."""


Piece: TypeAlias = "bytes | float | Reset | KeepAlive"  # bytes are sent, a number is a pause in seconds
Answer: TypeAlias = Callable[[Asked], Iterable[Piece]]


class Row(NamedTuple):
    """How one host misbehaves and how its page ends: its state, and the beginning of the reason in the journal.

    `tries` is how often the page's own path is asked for; None where it is not counted.
    """

    answer: Answer
    ends: str
    tries: int | None = 1
    robots: Answer | None = None  # None: there is none, as with most of the web


OK = b"HTTP/1.1 200 OK\r\n"
HTML = OK + b"Content-Type: text/html\r\n"
CHUNKED = HTML + b"Transfer-Encoding: chunked\r\n\r\n"
DONE = "done"


def plain(body: bytes, headers: bytes = b"", start: bytes = OK) -> bytes:
    """An answer as it should be."""
    length = b"Content-Length: %d\r\n" % len(body)
    return start + b"Content-Type: text/html\r\n" * (b"Content-Type" not in headers) + headers + length + b"\r\n" + body


def always(*pieces: Piece) -> Answer:
    """The same answer to every request."""
    return lambda asked: pieces


def sends(ends: str, *pieces: Piece, tries: int | None = 1) -> Row:
    """A row of one answer."""
    return Row(always(*pieces), ends, tries)


class Server:
    """One port for all hosts. ``asked`` counts requests by host and path, ``heads`` keeps those of `remember`."""

    def __init__(self, rows: Mapping[str, Row], index: Callable[[int], bytes]) -> None:
        self.rows = rows
        self.index = index
        self.port = 0
        self.asked: Counter[tuple[str, str]] = Counter()
        self.heads: list[tuple[str, str, bytes]] = []
        self._tasks: set[asyncio.Task[None]] = set()

    def url(self, name: str, path: str = "/") -> str:
        """The URL of a row's host."""
        return f"http://{name}.{DOMAIN}:{self.port}{path}"

    def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Called for each connection."""
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def stop(self) -> None:
        """Hang up on everybody."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while start := await reader.read(1):
                if start == b"\x16":  # TLS is answered as a plain server does
                    writer.write(plain(b"", start=b"HTTP/1.1 400 Bad Request\r\n"))
                    break
                if not await self._answered(start + await reader.readuntil(b"\r\n\r\n"), writer):
                    break
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # the client has had enough, as is expected of it
        finally:
            writer.close()

    async def _answered(self, head: bytes, writer: asyncio.StreamWriter) -> bool:
        lines = head.decode("latin-1").split("\r\n")
        path = lines[0].split(" ")[1]
        host = next(line.partition(":")[2].strip() for line in lines if line.lower().startswith("host:"))
        host = host.rpartition(":")[0]
        self.asked[host, path] += 1
        if len(self.heads) < 10_000:
            self.heads.append((host, path, head))
        asked = Asked(host, path, head, self.asked[host, path], self.port)
        for piece in self._pieces(asked):
            if isinstance(piece, KeepAlive):
                return True
            await _say(piece, writer)
        return False

    def _own(self, path: str) -> bytes:
        if path == "/asked":
            return json.dumps([[host, path, times] for (host, path), times in self.asked.items()]).encode()
        return self.index(self.port) if path == "/" else b""

    def _pieces(self, asked: Asked) -> Iterable[Piece]:
        row = self.rows.get(asked.host.removesuffix(f".{DOMAIN}"))
        if row is None:
            return [plain(self._own(asked.path))]
        if asked.path != "/robots.txt":
            return row.answer(asked)
        return row.robots(asked) if row.robots else [plain(b"none", start=b"HTTP/1.1 404 Not Found\r\n")]


async def _say(piece: Piece, writer: asyncio.StreamWriter) -> None:
    if isinstance(piece, bytes):
        writer.write(piece)
        await writer.drain()
    elif isinstance(piece, Reset):
        linger = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    elif isinstance(piece, float):
        await asyncio.sleep(piece)


@asynccontextmanager
async def serving(rows: Mapping[str, Row], index: Callable[[int], bytes] = bytes) -> AsyncIterator[Server]:
    """The server, on a port of this machine alone."""
    server = Server(rows, index)
    async with await asyncio.start_server(server.connected, "127.0.0.1", 0, backlog=1024) as listening:
        server.port = listening.sockets[0].getsockname()[1]
        try:
            yield server
        finally:
            await server.stop()
