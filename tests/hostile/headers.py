"""What stands before the body: too much of it, without end, and not what the grammar allows."""

from collections.abc import Iterator

from tests.hostile.framing import PROTOCOL
from tests.hostile.server import CHUNKED, DONE, OK, Answer, Asked, Piece, Row, plain, sends

BUSY = b"HTTP/1.1 429 Too Many Requests\r\n"
HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n"
LARGE, LATE = "failed HeadersTooLarge", "failed ReadTimeout"


def _line_without_end(asked: Asked) -> Iterator[Piece]:
    yield OK + b"X-Long: "
    while True:
        yield b"x" * 4096


def _lines_without_end(asked: Asked) -> Iterator[Piece]:
    yield OK
    number = 0
    while True:
        yield b"".join(b"X-%d: y\r\n" % n for n in range(number, number + 50))
        number += 50


def _reason_without_end(asked: Asked) -> Iterator[Piece]:
    yield b"HTTP/1.1 200 "
    while True:
        yield b"O" * 4096


def _blank_lines(asked: Asked) -> Iterator[Piece]:
    while True:
        yield b"\r\n" * 512
        yield 0.01


def _interim(asked: Asked) -> Iterator[Piece]:
    while True:
        yield HINTS * 20
        yield 0.01


def _busy(retry_after: bytes) -> Answer:
    """Once too busy, then not."""

    def answer(asked: Asked) -> list[Piece]:
        return [plain(b"hello", b"Retry-After: " + retry_after + b"\r\n", start=BUSY if asked.number == 1 else OK)]

    return answer


def header(line: bytes) -> bytes:
    """An answer with a line among its headers."""
    return plain(b"hello", line + b"\r\n")


ROWS: dict[str, Row] = {
    "line-of-9-kib": sends(LARGE, header(b"X: " + b"a" * 9000)),
    "line-without-end": Row(_line_without_end, LARGE),
    "name-of-9-kib": sends(LARGE, header(b"a" * 9000 + b": x")),
    "lines-200": sends(LARGE, header(b"\r\n".join(b"X-%d: 1" % n for n in range(200)))),
    "lines-without-end": Row(_lines_without_end, LARGE),
    "reason-of-1-mib": sends(LARGE, plain(b"hello", start=b"HTTP/1.1 200 " + b"a" * (1 << 20) + b"\r\n")),
    "reason-without-end": Row(_reason_without_end, LARGE),
    "trailers-without-end": sends(LARGE, CHUNKED + b"5\r\nhello\r\n0\r\n", *[b"X: y\r\n" * 500] * 50),
    "blank-lines-without-end": Row(_blank_lines, LATE, 4),
    "interim-answers": sends(DONE, b"HTTP/1.1 100 Continue\r\n\r\n", HINTS, plain(b"hello")),
    "interim-answers-without-end": Row(_interim, LATE, 4),
    "nul-in-value": sends(PROTOCOL, header(b"X: a\x00b"), tries=2),
    "nul-in-name": sends(PROTOCOL, header(b"X\x00: a"), tries=2),
    "carriage-return-in-value": sends(PROTOCOL, header(b"X: a\rSet-Cookie: b=c"), tries=2),
    "space-in-name": sends(PROTOCOL, header(b"X Y: a"), tries=2),
    "space-before-colon": sends(PROTOCOL, header(b"X : a"), tries=2),
    "name-empty": sends(PROTOCOL, header(b": a"), tries=2),
    "no-colon": sends(PROTOCOL, header(b"just words"), tries=2),
    "folded": sends(DONE, header(b"X: a\r\n b")),
    "folded-first": sends(DONE, OK + b" X: a\r\nContent-Length: 5\r\n\r\nhello"),
    "line-feeds-alone": sends(DONE, plain(b"hello").replace(b"\r\n", b"\n")),
    "bytes-in-value": sends(DONE, header(b"X: \xff\xfe\x80 \xc3\xa9")),
    "content-type-missing": sends(DONE, OK + b"Content-Length: 5\r\n\r\nhello"),
    "content-type-twice": sends(DONE, header(b"Content-Type: text/html\r\nContent-Type: image/png")),
    "content-type-lies": sends(DONE, plain(b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 20)),
    "content-type-of-a-film": sends("skipped content type: video/mp4", header(b"Content-Type: video/mp4")),
    "content-type-controls": sends("skipped content type", header(b"Content-Type: \x1b[31m/\xe2\x80\xae"), tries=None),
    "cookies-100": sends(DONE, header(b"\r\n".join(b"Set-Cookie: c%d=%s" % (n, b"v" * 4000) for n in range(100)))),
    "retry-after-one": Row(_busy(b"1"), DONE, 2),
    "retry-after-negative": Row(_busy(b"-9"), DONE, 2),
    "retry-after-words": Row(_busy(b"soon"), DONE, 2),
    "retry-after-a-week": sends("pending HttpError", plain(b"", b"Retry-After: 604800\r\n", start=BUSY)),
}  # fmt: skip
