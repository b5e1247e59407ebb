"""Replies kept on disk, so that no page is asked for twice while a spider is being written.

It respects nothing but its own lifetime, unlike a cache of RFC 9111: what the site says of freshness would have pages
asked for again with each try of a spider. So it is never on unless it is asked for.
"""

import os
import time
from collections.abc import Callable, Container, Mapping
from hashlib import blake2b
from pathlib import Path

import msgspec
from msgspec import Struct
from multidict import CIMultiDict, CIMultiDictProxy

from crawler.fetch import Fetcher
from crawler.fetch.reply import Reply
from crawler.models import Request
from crawler.settings import Settings


class _Kept(Struct, frozen=True, array_like=True):
    at: float
    url: str
    status: int
    headers: list[tuple[str, bytes]]  # as they were sent, be they UTF-8 or not
    body: bytes
    cut: bool


_encode, _decode = msgspec.msgpack.encode, msgspec.msgpack.Decoder(_Kept).decode


class CachingFetcher(Fetcher):
    """A `Fetcher` that keeps what it fetched in `folder`, one file each, for ``cache_for`` seconds.

    Answers that say that the server is in trouble (429 and 5xx) are not kept, nor are parts of bodies, nor streams. A
    reply that comes from the cache is not sent for: `before_send` is not called, and nothing is counted as received.
    ``cached`` counts them.
    """

    def __init__(
        self, settings: Settings, folder: Path, *, on_bytes: Callable[[int], None] | None = None,
        seeds: Container[str] = (), clock: Callable[[], float] = time.time,
    ) -> None:  # fmt: skip
        super().__init__(settings, on_bytes=on_bytes, seeds=seeds)
        self._folder = folder
        self._lifetime = settings.cache_for
        self._clock = clock
        self.cached = 0
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)  # replies may be those to somebody who is logged in

    async def fetch(
        self,
        request: Request,
        *,
        headers: Mapping[str, str] | None = None,
        before_send: Callable[[], None],
        wants: Callable[[int, str], bool],
        enough: int | None = None,
    ) -> Reply:
        """The reply that is kept, or that of `Fetcher.fetch`, which is kept then."""
        file = self._folder / _name(request, headers or {}, enough)
        if (kept := self._kept(file, wants)) is not None:
            self.cached += 1
            return kept
        reply = await super().fetch(request, headers=headers, before_send=before_send, wants=wants, enough=enough)
        if reply.status != 429 and reply.status < 500 and reply.incomplete is None:
            self._keep(file, reply)
        return reply

    def _kept(self, file: Path, wants: Callable[[int, str], bool]) -> Reply | None:
        try:
            kept = _decode(file.read_bytes())
        except (FileNotFoundError, msgspec.MsgspecError):
            return None
        lines = [(name, value.decode("utf-8", "surrogateescape")) for name, value in kept.headers]
        headers = CIMultiDictProxy(CIMultiDict(lines))
        is_wanted_now = kept.cut and wants(
            kept.status, headers.get("Content-Type", "").partition(";")[0].strip().lower()
        )
        if self._clock() - kept.at > self._lifetime or is_wanted_now:
            return None
        return Reply(kept.url, kept.status, headers, kept.body, 0, kept.cut)

    def _keep(self, file: Path, reply: Reply) -> None:
        headers = [(str(name), value.encode("utf-8", "surrogateescape")) for name, value in reply.headers.items()]
        kept = _Kept(self._clock(), reply.url, reply.status, headers, reply.body, reply.cut)
        part = file.with_suffix(f".{os.getpid()}")
        with open(part, "wb", opener=_private) as out:
            out.write(_encode(kept))
        part.replace(file)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _name(request: Request, headers: Mapping[str, str], enough: int | None) -> str:
    asked = (request.method, request.url, request.body, sorted({**request.headers, **headers}.items()), enough)
    return blake2b(msgspec.json.encode(asked), digest_size=16).hexdigest()
