"""How slowly an answer comes, and for how long: never, in drops, and without end."""

from collections.abc import Iterator

from tests.hostile.server import CHUNKED, DONE, HTML, OK, Asked, Piece, Row, plain, sends

LATE, LARGE = "failed ReadTimeout", "failed ResponseTooLarge"
FOREVER = 3600.0


def _drops(start: bytes, drop: bytes, pause: float) -> Iterator[Piece]:
    yield start
    while True:
        yield drop
        yield pause


def _slow_but_fair(asked: Asked) -> Iterator[Piece]:
    """Two kilobytes a second, and to an end."""
    yield HTML + b"Content-Length: 4000\r\n\r\n"
    for _ in range(20):
        yield b"x" * 200
        yield 0.1


def _endless(start: bytes, piece: bytes) -> Iterator[Piece]:
    yield start
    while True:
        yield piece


ROWS: dict[str, Row] = {
    "mute": sends(LATE, FOREVER, tries=4),
    "headers-in-drops": Row(lambda asked: _drops(OK + b"X: ", b"x", 0.3), LATE, 4),
    "header-lines-in-drops": Row(lambda asked: _drops(OK, b"X: y\r\n", 0.3), LATE, 4),
    "status-line-in-drops": Row(lambda asked: _drops(b"H", b"T", 0.3), "failed", None),
    "body-in-drops": Row(lambda asked: _drops(HTML + b"Content-Length: 99999\r\n\r\n", b"x", 0.3), LATE, 4),
    "chunks-in-drops": Row(lambda asked: _drops(CHUNKED, b"1\r\nx\r\n", 0.3), LATE, 4),
    "chunk-size-in-drops": Row(lambda asked: _drops(CHUNKED, b"0", 0.3), LATE, 4),
    "chunk-extension-without-end": Row(lambda asked: _endless(CHUNKED + b"5;", b"x" * 4096), LATE, 4),
    "body-stops": sends(LATE, HTML + b"Content-Length: 99\r\n\r\nhello", FOREVER, tries=4),
    "body-stops-before-it-begins": sends(LATE, HTML + b"Content-Length: 99\r\n\r\n", FOREVER, tries=4),
    "last-chunk-missing": sends(LATE, CHUNKED + b"5\r\nhello\r\n", FOREVER, tries=4),
    "body-ends-connection-does-not": sends(DONE, plain(b"hello"), FOREVER),
    "body-slow-but-fair": Row(_slow_but_fair, DONE),
    "body-without-end": Row(lambda asked: _endless(HTML + b"\r\n", b"x" * 65536), LARGE),
    "chunks-without-end": Row(lambda asked: _endless(CHUNKED, b"10000\r\n" + b"x" * 65536 + b"\r\n"), LARGE),
    "markup-without-end": Row(lambda asked: _endless(HTML + b"\r\n", b"<b><i><div>" * 6000), LARGE),
    "length-of-4-gib": sends(LARGE, HTML + b"Content-Length: 4294967296\r\n\r\n", FOREVER),
    "error-page-without-end": Row(
        lambda asked: _endless(b"HTTP/1.1 404 Not Found\r\n\r\n", b"x" * 65536), "gone HttpError"
    ),
    "film-without-end": Row(
        lambda asked: _endless(OK + b"Content-Type: video/mp4\r\n\r\n", b"x" * 65536), "skipped content type"
    ),
}
