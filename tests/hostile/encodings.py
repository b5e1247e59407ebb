"""What a body is packed in: cut, damaged, mislabelled, layered, or a bomb."""

import gzip
import importlib
import sys
import zlib
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

from tests.hostile.server import DONE, HTML, Answer, Asked, Piece, Row, plain, sends

MIB = 1 << 20
PAGE = b"<title>packed</title>" + b"".join(b"<p>%d</p>" % number for number in range(2000))
BOMB, DAMAGED, CUT = "failed DecompressionBomb", "failed ContentDecodingError", "failed TruncatedBody"
RUN = b"\x02\x00\x10\x00"  # 128 KiB of one byte
UNKNOWN = "failed UnsupportedEncoding"
brotli: Any = importlib.import_module("brotli")
zstd: Any = importlib.import_module("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")


def packed(coding: bytes, body: bytes) -> bytes:
    """An answer whose body is said to be packed."""
    return plain(body, b"Content-Encoding: " + coding + b"\r\n")


def _honest_when_asked_plainly(asked: Asked) -> list[Piece]:
    """A server that packs pages badly, and not at all for those who want none."""
    if b"accept-encoding: identity" in asked.head.lower():
        return [plain(PAGE)]
    return [packed(b"gzip", PAGE)]


@cache
def deflate_bomb(wbits: int) -> tuple[bytes, bytes]:
    """A head, and a block of a mebibyte of zeros that may be sent again and again."""
    compress = zlib.compressobj(9, wbits=wbits)
    head = compress.compress(bytes(MIB)) + compress.flush(zlib.Z_FULL_FLUSH)
    return head, compress.compress(bytes(MIB)) + compress.flush(zlib.Z_FULL_FLUSH)


@cache
def brotli_bomb() -> tuple[bytes, bytes]:
    """The same, with the largest window."""
    compress = brotli.Compressor(quality=5, lgwin=24)
    head = compress.process(bytes(MIB)) + compress.flush()
    return head, compress.process(bytes(MIB)) + compress.flush()


def zstd_bomb() -> tuple[bytes, bytes]:
    """One frame with the largest window that is allowed, of run-length blocks (RFC 8878 section 3.1.1.2)."""
    return b"\x28\xb5\x2f\xfd\x00\x68", RUN * 8


def bomb(coding: bytes, build: Callable[[], tuple[bytes, bytes]]) -> Answer:
    """Ten gibibytes of zeros."""

    def answer(asked: Asked) -> Iterator[Piece]:
        head, block = build()
        yield HTML + b"Content-Encoding: " + coding + b"\r\n\r\n" + head
        for _ in range(1024):
            yield block * 10

    return answer


def _too_large(asked: Asked) -> list[Piece]:
    """Eleven mebibytes that are packed into as many."""
    return [packed(b"gzip", gzip.compress(bytes(11 * MIB), 0))]


GZIPPED = gzip.compress(PAGE, mtime=0)
ROWS: dict[str, Row] = {
    "gzip": sends(DONE, packed(b"gzip", GZIPPED)),
    "gzip-in-capitals": sends(DONE, packed(b"GZip", GZIPPED)),
    "gzip-of-several-members": sends(DONE, packed(b"gzip", gzip.compress(PAGE[:100]) + gzip.compress(PAGE[100:]))),
    "gzip-with-garbage-behind": sends(DONE, packed(b"gzip", GZIPPED + b"garbage")),
    "gzip-cut": sends(CUT, packed(b"gzip", GZIPPED[:-20]), tries=4),
    "gzip-cut-at-once": sends(CUT, packed(b"gzip", GZIPPED[:5]), tries=4),
    "gzip-without-checksum": sends(CUT, packed(b"gzip", GZIPPED[:-8]), tries=4),
    "gzip-wrong-checksum": sends(DAMAGED, packed(b"gzip", GZIPPED[:-8] + b"\0" * 8), tries=2),
    "gzip-damaged": sends(DAMAGED, packed(b"gzip", GZIPPED[:50] + b"\xff" * 50 + GZIPPED[100:]), tries=2),
    "gzip-that-is-none": sends(DAMAGED, packed(b"gzip", PAGE), tries=2),
    "gzip-that-is-none-unless-asked-plainly": Row(_honest_when_asked_plainly, DONE, 2),
    "gzip-that-is-zstandard": sends(DAMAGED, packed(b"gzip", zstd.compress(PAGE)), tries=2),
    "gzip-said-not-to-be": sends(DONE, plain(GZIPPED)),
    "deflate-with-header": sends(DONE, packed(b"deflate", zlib.compress(PAGE))),
    "deflate-bare": sends(DONE, packed(b"deflate", zlib.compress(PAGE, wbits=-15))),
    "brotli": sends(DONE, packed(b"br", brotli.compress(PAGE))),
    "brotli-cut": sends(CUT, packed(b"br", brotli.compress(PAGE)[:-9]), tries=4),
    "brotli-that-is-none": sends(DAMAGED, packed(b"br", PAGE), tries=2),
    "zstandard": sends(DONE, packed(b"zstd", zstd.compress(PAGE))),
    "zstandard-cut": sends(CUT, packed(b"zstd", zstd.compress(PAGE)[:-9]), tries=4),
    "zstandard-of-a-huge-window": sends(DAMAGED, packed(b"zstd", b"\x28\xb5\x2f\xfd\x00\x98" + RUN * 99), tries=2),
    "identity": sends(DONE, packed(b"identity", PAGE)),
    "layered": sends(UNKNOWN, packed(b"gzip, gzip", gzip.compress(GZIPPED))),
    "layered-by-two-lines": sends(UNKNOWN, packed(b"gzip\r\nContent-Encoding: br", GZIPPED)),
    "layered-17-times": sends(UNKNOWN, packed(b", ".join([b"gzip"] * 17), GZIPPED)),
    "unknown": sends(UNKNOWN, packed(b"rot13", PAGE)),
    "unknown-compress": sends(UNKNOWN, packed(b"compress", PAGE)),
    "unknown-with-controls": sends(UNKNOWN, packed(b"\x1b[2J", PAGE), tries=None),
    "bomb-gzip": Row(bomb(b"gzip", lambda: deflate_bomb(31)), BOMB),
    "bomb-gzip-members": Row(bomb(b"gzip", lambda: (b"", gzip.compress(bytes(MIB)))), BOMB),
    "bomb-deflate": Row(bomb(b"deflate", lambda: deflate_bomb(-15)), BOMB),
    "bomb-brotli": Row(bomb(b"br", brotli_bomb), BOMB),
    "bomb-zstandard": Row(bomb(b"zstd", zstd_bomb), BOMB),
    "bomb-in-a-bomb": sends(UNKNOWN, packed(b"gzip, gzip", gzip.compress(b"".join(deflate_bomb(31))))),
    "spaces-4-mib": sends(DONE, packed(b"gzip", gzip.compress(b" " * (4 * MIB)))),
    "too-large-but-no-bomb": Row(_too_large, "failed ResponseTooLarge"),
    "charset-rot13": sends(DONE, plain(PAGE, b"Content-Type: text/html; charset=rot13\r\n")),
    "charset-zlib": sends(DONE, plain(PAGE, b"Content-Type: text/html; charset=zlib_codec\r\n")),
    "charset-unicode-escape": sends(DONE, plain(PAGE, b"Content-Type: text/html; charset=unicode_escape\r\n")),
    "charset-utf-7": sends(DONE, plain(b"+ADw-script+AD4-", b"Content-Type: text/html; charset=utf-7\r\n")),
    "charset-utf-16-that-is-utf-8": sends(DONE, plain(PAGE, b"Content-Type: text/html; charset=utf-16\r\n")),
}  # fmt: skip
