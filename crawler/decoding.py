"""Bounded decoding of a response's Content-Encoding (RFC 9110 section 8.4), chunk by chunk.

The body of a hostile or broken server never costs more than its cap: every codec runs in steps of at most 64 KiB of
output and the first byte over the cap ends it. Only encodings whose library is installed, and can be bounded in this
way, are offered and accepted.
"""

import importlib
import math
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Protocol

from crawler.errors import (
    ContentDecodingError,
    DecompressionBomb,
    FetchError,
    ResponseTooLarge,
    TruncatedBody,
    UnsupportedEncoding,
)

_STEP = 64 * 1024
# The brotli binding fills whole blocks of 32,752, 65,536, … bytes until it has reached its limit: 64 KiB would return
# 96 KiB, this returns one block.
_BROTLI_STEP = 32_000
_BOMB_RATIO = 100
# A stream keeps as much of its output as its window is long, but no more than there was, and twice that while it makes
# room for more. With the largest window, of 16 MiB (RFC 7932 section 9.1), it may put out no more than this; encoders
# choose that window for nothing that is so short.
_BROTLI_MEMORY, _LARGEST_WINDOW = 6 << 20, 0x0F
_LARGE_WINDOWS = (0x0D, _LARGEST_WINDOW)  # 8 and 16 MiB; encoders choose 4 by default
# A member costs microseconds even when empty: as many small ones are taken, and after them one a KiB decoded.
_MEMBERS = 1024
_ZSTD_WINDOW_LOG = 23  # 8 MiB, RFC 9659 section 3
_GZIP, _ZLIB, _RAW_DEFLATE = 31, 15, -15  # zlib's wbits


def _installed(*names: str) -> ModuleType | None:
    for name in names:
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    return None


# isal takes about 0.7 of zlib's time for a page and has the same interface.
_zlib = _installed("isal.isal_zlib") or zlib


class _Stream(Protocol):
    """One compressed stream, as zstd's decompressor is."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class _Inflate:
    def __init__(self, wbits: int) -> None:
        self._inflate = _zlib.decompressobj(wbits)
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return bool(self._inflate.eof)

    @property
    def unused_data(self) -> bytes:
        return bytes(self._inflate.unused_data)

    def decompress(self, data: bytes, max_length: int) -> bytes:
        inflate = self._inflate
        out: bytes = inflate.decompress(inflate.unconsumed_tail or data, max_length)
        self.needs_input = len(out) < max_length
        return out


class _WindowTooLarge(Exception):
    """What a stream wants to keep of its output is more than it may: between two classes here, never an outcome."""


class _Brotli:
    unused_data = b""

    def __init__(self, library: ModuleType, start: int) -> None:
        self._brotli = library.Decompressor()
        self._left = _BROTLI_MEMORY if start & 0x0F == _LARGEST_WINDOW else math.inf
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return bool(self._brotli.is_finished())

    def decompress(self, data: bytes, max_length: int) -> bytes:
        limit = min(max_length, _BROTLI_STEP)
        out: bytes = self._brotli.process(data, output_buffer_limit=limit)
        self._left -= len(out)
        if self._left < 0:
            raise _WindowTooLarge
        # can_accept_more_data() is also true when the input is used up but output still waits.
        self.needs_input = len(out) < limit
        return out


@dataclass(frozen=True)
class _Coding:
    open: Callable[[bytes], _Stream]  # given the stream's first bytes
    sniffed: int = 1  # how many bytes `open` must see
    magics: tuple[bytes, ...] = ()  # how every member or frame begins; without, there is only one
    strict: bool = False  # whether bytes after the end are an error


def _open_deflate(start: bytes) -> _Stream:
    """Deflate is zlib-wrapped (RFC 9110 section 8.4.1.2), but many servers send it bare: look, as browsers do."""
    wrapped = start[0] & 0x8F == 0x08 and (start[0] * 256 + start[1]) % 31 == 0
    return _Inflate(_ZLIB if wrapped else _RAW_DEFLATE)


def _codings() -> tuple[dict[str, _Coding], tuple[type[Exception], ...]]:
    """The codings that can be decoded here, most common first, and what their libraries raise at corrupt data."""
    gzip = _Coding(lambda _: _Inflate(_GZIP), magics=(b"\x1f\x8b",))
    codings = {"gzip": gzip, "x-gzip": gzip, "deflate": _Coding(_open_deflate, sniffed=2)}
    corrupt: list[type[Exception]] = [_zlib.error]
    brotli = _installed("brotli", "brotlicffi")
    if brotli is not None and hasattr(brotli.Decompressor, "can_accept_more_data"):  # unbounded before 1.2
        # The binding cannot tell a byte after the end from corruption, so it is one however the chunks fall.
        codings["br"] = _Coding(lambda start: _Brotli(brotli, start[0]), strict=True)
        corrupt.append(brotli.error)
    zstd = _installed("compression.zstd", "backports.zstd")
    if zstd is not None:
        options = {zstd.DecompressionParameter.window_log_max: _ZSTD_WINDOW_LOG}
        skippable = tuple(bytes((low, 0x2A, 0x4D, 0x18)) for low in range(0x50, 0x60))
        magics = (b"\x28\xb5\x2f\xfd", *skippable)  # RFC 8878 section 3.1
        codings["zstd"] = _Coding(lambda _: zstd.ZstdDecompressor(options=options), magics=magics)
        corrupt.append(zstd.ZstdError)
    return codings, tuple(corrupt)


_CODINGS, _CORRUPT = _codings()
_IDENTITY = ("", "identity")

ACCEPT_ENCODING = ", ".join(coding for coding in _CODINGS if coding != "x-gzip")


def is_known(encoding: str) -> bool:
    """Whether `Decoder` takes this value of Content-Encoding: nothing, ``identity``, or one coding installed here."""
    coding = encoding.strip(" \t").lower()
    return coding in _CODINGS or coding in _IDENTITY


class Decoder:
    """One response's body, decoded chunk by chunk and never past `cap` bytes.

    A body may be several gzip members (RFC 1952 section 2.2) or zstd frames; what follows the last one is ignored, as
    browsers do, but bytes after a brotli stream are `ContentDecodingError`. An empty body is empty in every coding.
    Beyond the decoded bytes a Decoder holds the coding's window: 32 KiB, for zstd 8 MiB (RFC 9659 section 3), for
    brotli 12 MiB at most; a stream with brotli's largest window ends at 6 MiB. An unencoded body needs no
    Decoder, which would only count it.
    """

    def __init__(self, encoding: str, *, cap: int, enough: int | None = None) -> None:
        """Take the value of Content-Encoding and the most decoded bytes allowed.

        Whoever wants only the beginning says how much is `enough`: what follows those bytes is not looked at. Raises
        `UnsupportedEncoding` if the encoding is not exactly one coding that is installed here.
        """
        if not is_known(encoding):
            raise UnsupportedEncoding(f"Content-Encoding: {encoding}; this crawler takes one of: {ACCEPT_ENCODING}")
        self._encoding = encoding.strip(" \t").lower()
        self._coding = _CODINGS.get(self._encoding)
        self._cap = cap
        self._enough = math.inf if enough is None else enough
        # Small enough that one window of a bomb, counted whole, cannot hide its ratio.
        self._window = min(_STEP, max(64, min(cap, _BROTLI_MEMORY) // 128))
        self._wire = 0
        self._decoded = 0
        self._members = 0
        self._stream: _Stream | None = None
        self._held = b""  # too short to tell how the stream begins
        self._first = b""
        self._ended = False

    def feed(self, chunk: bytes) -> bytes:
        """Return what `chunk` decodes to, maybe nothing.

        Raises `ContentDecodingError` for corrupt data, and over the cap `DecompressionBomb` if the decoded bytes are
        more than 100 times those on the wire, else `ResponseTooLarge`. The decoder is of no use after an error.
        """
        parts = list(self.parts(chunk))
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def parts(self, chunk: bytes) -> Iterator[bytes]:
        """The same, some 64 KiB at a time: a chunk may decode to all of the cap, and others may wait meanwhile."""
        if self._coding is None:
            self._wire += len(chunk)
            self._count(chunk)
            yield chunk
            return
        try:
            for start in range(0, len(chunk), self._window):
                yield from self._decode(self._coding, chunk[start : start + self._window])
        except _WindowTooLarge:
            raise self._excess(f"{_BROTLI_MEMORY}, the most with brotli's largest window,") from None
        except _CORRUPT as error:
            raise ContentDecodingError(f"not {self._encoding}, or damaged: {error}") from error

    def is_heavy(self, chunk: bytes) -> bool:
        """Whether a single part of this chunk may take tens of milliseconds, none of them with Python's lock held.

        Brotli fills its whole window, at a few bytes' command, before it gives out the first byte of it.
        """
        self._first = self._first or chunk[:1]
        return self._encoding == "br" and bool(self._first) and self._first[0] & 0x0F in _LARGE_WINDOWS

    def finish(self) -> bytes:
        """Return what is left: nothing, since each feed returns all it can. Raises `TruncatedBody` before the end."""
        if self._decoded < self._enough and (self._stream is not None or self._held):
            raise TruncatedBody(f"the {self._encoding} stream stops before its end, at {self._decoded} bytes decoded")
        return b""

    def _decode(self, coding: _Coding, data: bytes) -> Iterator[bytes]:
        self._wire += len(data)
        # Empty members, frames to skip and bytes after the end decode to nothing, and would never reach the cap.
        if self._wire > 2 * self._cap + _STEP:
            raise ResponseTooLarge(f"over {2 * self._cap + _STEP} bytes on the wire, for {self._cap} decoded at most")
        data, self._held = self._held + data, b""
        while (data or self._stream is not None) and self._decoded < self._enough:
            stream = self._stream or self._begin(coding, data)
            if stream is None:
                return
            out = stream.decompress(data, _STEP)
            if out:
                self._count(out)
                yield out
            self._stream = None if stream.eof else stream
            if stream.eof:
                data = stream.unused_data
            elif stream.needs_input:
                return
            else:
                data = b""

    def _begin(self, coding: _Coding, data: bytes) -> _Stream | None:
        """Open the stream that begins with `data`; None if `data` is too short to tell, or only follows the end."""
        if self._ended:
            return None
        if (self._members or coding.magics) and not data.startswith(coding.magics):
            if any(magic.startswith(data) for magic in coding.magics):
                self._held = data
            elif coding.strict or not self._members:
                raise ContentDecodingError(f"no {self._encoding} stream begins with {data[:16]!r}")
            else:
                self._ended = True
            return None
        if len(data) < coding.sniffed:
            self._held = data
            return None
        self._members += 1
        if self._members > _MEMBERS + self._decoded // _MEMBERS:
            raise ContentDecodingError(f"{self._members} {self._encoding} streams in {self._decoded} decoded bytes")
        return coding.open(data)

    def _count(self, out: bytes) -> None:
        self._decoded += len(out)
        if self._decoded > self._cap:
            raise self._excess(f"{self._cap}")

    def _excess(self, most: str) -> FetchError:
        if self._decoded > _BOMB_RATIO * self._wire:
            return DecompressionBomb(f"{self._wire} bytes of {self._encoding} decode to over {most}")
        return ResponseTooLarge(f"the decoded body is over {most} bytes")
