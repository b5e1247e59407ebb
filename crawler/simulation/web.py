"""A web that is a table: what each URL answers, what goes wrong first, and a log of every request.

A `Served` is what a server does with one request: text is an HTML page, a number is a status without a body, a class of
`FetchError` is a failure, and an `Answer` says more.
"""

import asyncio
import math
import random
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NoReturn, Self, TypeAlias

from msgspec import Struct
from multidict import CIMultiDict, CIMultiDictProxy

from crawler.errors import ConfigError, ConnectTimeout, DnsError, FetchError, ReadTimeout, TlsError
from crawler.fetch import CHUNK_SIZE, Fetcher, Stream
from crawler.fetch.reply import Reply
from crawler.files import FileStore
from crawler.models import Request
from crawler.politeness import OVERLOADED, REDIRECTS
from crawler.settings import Settings
from crawler.urls import canonical, hostname, split

HTML, TEXT = "text/html", "text/plain"
NEVER_SENT = (ConnectTimeout, DnsError, TlsError)
ROBOTS_HOPS = 5


class Answer(Struct, frozen=True):
    """What a server does with one request, in full.

    ``after``: seconds until the answer, else a seeded time. ``stale``: the connection turns out to be a dead one of the
    pool, so that the request is written twice. ``error`` comes instead of an answer.
    """

    status: int = 200
    body: str = ""
    headers: Mapping[str, str] = {}
    after: float | None = None
    stale: bool = False
    error: type[FetchError] | None = None


Served: TypeAlias = "str | int | Answer | type[FetchError]"


class Overload(Struct, frozen=True):
    """A time in which a host answers 429 to everything. Seconds; `retry_after` None: it does not say for how long."""

    begins_at: float
    ends_at: float
    retry_after: int | None = None


class Asked(Struct):
    """One request in the log. Virtual seconds; `status` 0 is a failure. `process` is who sent it, counted from 1.

    `kind` is the request's, or "fetch" for one of a handler. It was over at `ended_at`, and looked at at `read_at`.
    `is_final` when what came is what the URL always answers. `error` is what came instead of an answer.

    `owner` and `ready_at` are what the journal said of the host when it was sent: whose it was, by the engine's number
    there, and from when on it might be asked. `groups` are those that have limits, each with its owner.
    """

    at: float
    origin: str
    url: str
    kind: str
    process: int
    engine: int
    owner: int | None
    ready_at: float
    status: int = 0
    ended_at: float = math.inf
    read_at: float = math.inf
    retry_after: float = 0.0
    is_final: bool = False
    error: type[FetchError] | None = None
    groups: Mapping[str, int | None] = {}


class Web:
    """Answers by URL. Those that nobody put up are 404; `faults` come first, one a request."""

    def __init__(
        self,
        pages: Mapping[str, Served],
        faults: Mapping[str, Sequence[Served]],
        overloads: Mapping[str, Overload],
        chance: random.Random,
    ) -> None:
        self._pages = {_url(url): served for url, served in pages.items()}
        self._faults = {_url(url): deque(served) for url, served in faults.items()}
        self._overloads = overloads
        self._chance = chance
        self.log: list[Asked] = []

    def connecting(self) -> float:
        """How long the next connection takes (s)."""
        return self._chance.choice((0.0, 0.0, 0.01, 0.03))

    def answer(self, url: str, now: float) -> tuple[Answer, bool]:
        """What the server does with a request that it has now, and whether that is its last word on the URL."""
        overload = self._overloads.get(split(url)[0])
        if overload is not None and overload.begins_at <= now < overload.ends_at:
            wait = {} if overload.retry_after is None else {"Retry-After": str(overload.retry_after)}
            return self._timed(Answer(429, headers=wait)), False
        if faults := self._faults.get(url):
            return self._timed(_answer(faults.popleft())), False
        return self._timed(self.standing(url)), True

    def standing(self, url: str) -> Answer:
        """What a URL answers when nothing goes wrong."""
        return _answer(self._pages.get(url, 404))

    def _timed(self, answer: Answer) -> Answer:
        if answer.after is not None:
            return answer
        slow = self._chance.random() < 0.05
        after = self._chance.uniform(1.0, 6.0) if slow else self._chance.choice((0.0, 0.01, 0.05, 0.2, 0.4))
        return Answer(answer.status, answer.body, answer.headers, after, answer.stale, answer.error)

    def hang_up(self, process: int, now: float) -> None:
        """A process has died, and its connections with it."""
        for asked in self.log:
            if asked.process == process:
                asked.ended_at = min(asked.ended_at, now)

    def robots_text(self, origin: str) -> bytes | None:
        """The robots.txt that a host has in the end, behind its redirects; empty without one, None if unreachable."""
        url = f"{origin}/robots.txt"
        for _ in range(ROBOTS_HOPS + 1):
            answer = self.standing(url)
            if answer.error is not None or answer.status >= 500:
                return None
            if answer.status not in REDIRECTS:
                return answer.body.encode() if answer.status < 300 else b""
            url = canonical(answer.headers["Location"], url) or ""
        return b""


def address_of(settings: Settings, url: str) -> tuple[str, ...]:
    """The address that the setting `resolve` has for a URL's host, if it has one."""
    host = hostname(url)
    return tuple(address for pattern, address in settings.resolve.items() if fnmatchcase(host, pattern))[:1]


Noted: TypeAlias = Callable[[Request], Asked]


class Wire(Fetcher):
    """The fetcher of one simulated process: the web's answers, in virtual time. `note` begins a line of its log."""

    def __init__(self, settings: Settings, web: Web, note: Noted) -> None:
        super().__init__(settings)
        self._web = web
        self._note = note

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *raised: object) -> None:
        """Nothing is open."""

    async def addresses(self, url: str) -> tuple[str, ...]:
        """What the setting `resolve` says of a URL's host; nothing if it has not heard of it."""
        return address_of(self._settings, url)

    async def fetch(
        self,
        request: Request,
        *,
        headers: Mapping[str, str] | None = None,  # noqa: ARG002  # the fetcher's; servers here do not look at them
        before_send: Callable[[], None],
        wants: Callable[[int, str], bool],
        enough: int | None = None,
    ) -> Reply:
        """See `Fetcher.fetch`."""
        loop = asyncio.get_running_loop()
        await asyncio.sleep(self._web.connecting())
        answer, is_final = self._web.answer(request.url, loop.time())
        if answer.error is not None and issubclass(answer.error, NEVER_SENT):
            await asyncio.sleep(self._settings.connect_timeout if answer.error is ConnectTimeout else 0.0)
            raise answer.error("as planned", url=request.url)
        before_send()
        if answer.stale:
            self._note(request).ended_at = loop.time()
            await asyncio.sleep(self._web.connecting())
            before_send()
        asked = self._note(request)
        after = answer.after or 0.0
        if answer.error is ReadTimeout:
            after = self._settings.header_timeout
        asked.ended_at = loop.time() + after  # known now, so that it holds for a process that dies meanwhile too
        asked.is_final = is_final
        await asyncio.sleep(after)
        asked.read_at = loop.time()
        asked.error = answer.error
        if answer.error is not None:
            raise answer.error("as planned", url=request.url, status=None)
        asked.status = answer.status
        if answer.status in OVERLOADED:
            asked.retry_after = float(answer.headers.get("Retry-After", 0))
        reply = self._reply_to(request, answer, wants, enough)
        reply.waited = after
        return reply

    @asynccontextmanager
    async def stream(
        self,
        request: Request,
        *,
        headers: Mapping[str, str] | None = None,  # noqa: ARG002  # as above
        before_send: Callable[[], None],
        chunk_size: int = CHUNK_SIZE,
    ) -> AsyncIterator[Stream]:
        """See `Fetcher.stream`."""
        reply = await self.fetch(request, before_send=before_send, wants=lambda status, _kind: status < 300)
        yield reply.status, reply.headers, _chunks(reply.body, chunk_size)

    def _reply_to(
        self, request: Request, answer: Answer, wants: Callable[[int, str], bool], enough: int | None
    ) -> Reply:
        kind = TEXT if request.kind == "robots" else HTML
        received = CIMultiDictProxy(CIMultiDict({"Content-Type": kind, **answer.headers}))
        body = answer.body.encode()
        if answer.status in REDIRECTS or not wants(answer.status, received["Content-Type"]):
            return Reply(request.url, answer.status, received, cut=bool(body))
        self._on_bytes(len(body))
        return Reply(request.url, answer.status, received, body[:enough], len(body))


async def _chunks(body: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(body), size):
        yield body[start : start + size]


class NoFiles(FileStore):
    """Where downloads would go."""

    def __init__(self) -> None:
        super().__init__(Path())

    async def receive(self, url: str, *_how: object) -> NoReturn:
        """Raises `ConfigError`."""
        raise ConfigError(f"a simulation has no disk: {url} cannot be downloaded")


def _answer(served: Served) -> Answer:
    if isinstance(served, Answer):
        return served
    if isinstance(served, str):
        return Answer(body=served)
    return Answer(served) if isinstance(served, int) else Answer(error=served)


def _url(written: str) -> str:
    url = canonical(written)
    if url is None:
        raise ConfigError(f"{written!r} is not an http or https URL")
    return url
