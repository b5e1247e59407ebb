"""robots.txt: RFC 9309, and what servers make of it."""

from collections.abc import Iterator

from tests.hostile.encodings import bomb, deflate_bomb, packed
from tests.hostile.pace import FOREVER
from tests.hostile.server import DONE, OK, Answer, Asked, Piece, Reset, Row, always, plain

PAGE = always(plain(b"<title>behind robots</title>"))
FORBIDDEN, WAITS = "skipped robots", "pending"
TEXT = b"Content-Type: text/plain\r\n"


def said(text: bytes, start: bytes = OK) -> Answer:
    """A robots.txt of that text."""
    return always(plain(text, TEXT, start=start))


def moved(location: bytes) -> Answer:
    """A robots.txt that lies elsewhere."""
    return always(plain(b"", b"Location: " + location + b"\r\n", start=b"HTTP/1.1 301 Moved\r\n"))


def _without_end(asked: Asked) -> Iterator[Piece]:
    yield OK + TEXT + b"\r\nUser-agent: *\nDisallow: /forbidden\n"
    while True:
        yield b"# what a long comment this is, and it goes on and on\n" * 1000


ALL = b"User-agent: *\nDisallow: /\n"
ROWS: dict[str, Row] = {
    "forbids": Row(PAGE, FORBIDDEN, 0, said(ALL)),
    "forbids-with-a-mark": Row(PAGE, FORBIDDEN, 0, said(b"\xef\xbb\xbf" + ALL)),
    "forbids-by-carriage-returns": Row(PAGE, FORBIDDEN, 0, said(ALL.replace(b"\n", b"\r"))),
    "forbids-as-html": Row(PAGE, FORBIDDEN, 0, always(plain(ALL))),
    "forbids-after-512000-bytes": Row(PAGE, DONE, 1, said(b"#" * 512_000 + b"\n" + ALL)),
    "is-binary": Row(PAGE, DONE, 1, said(bytes(range(256)) * 100)),
    "is-html": Row(PAGE, DONE, 1, always(plain(b"<!DOCTYPE html><title>Not here</title>"))),
    "is-empty": Row(PAGE, DONE, 1, said(b"")),
    "is-a-million-rules": Row(PAGE, DONE, 1, said(b"User-agent: *\n" + b"Disallow: /*x*y*z$\n" * 50_000)),
    "is-of-stars": Row(PAGE, DONE, 1, said(b"User-agent: *\nDisallow: /" + b"*a" * 5000 + b"$\n")),
    "without-end": Row(PAGE, DONE, 1, _without_end),
    "is-a-bomb": Row(PAGE, DONE, 1, bomb(b"gzip", lambda: deflate_bomb(31))),
    "is-gone": Row(PAGE, DONE, 1, said(b"", b"HTTP/1.1 410 Gone\r\n")),
    "is-private": Row(PAGE, DONE, 1, said(ALL, b"HTTP/1.1 403 Forbidden\r\n")),
    "wants-a-day-between-requests": Row(PAGE, WAITS, 0, said(b"User-agent: *\nCrawl-delay: 86400\n")),
    "moved-in-a-circle": Row(PAGE, DONE, 1, moved(b"/robots.txt")),
    "moved-to-javascript": Row(PAGE, DONE, 1, moved(b"javascript:alert(1)")),
    "moved-inside": Row(PAGE, "failed BlockedAddress", 0, moved(b"http://169.254.169.254/robots.txt")),
    "fails": Row(PAGE, WAITS, 0, said(b"", b"HTTP/1.1 500 Error\r\n")),
    "overloaded": Row(PAGE, WAITS, 0, said(b"", b"HTTP/1.1 429 Slow\r\n")),
    "mute": Row(PAGE, WAITS, 0, always(FOREVER)),
    "cut": Row(PAGE, WAITS, 0, always(OK + b"Content-Length: 99\r\n\r\nUser-agent: *\n")),
    "no-http": Row(PAGE, WAITS, 0, always(b"\x00garbage\r\n\r\n")),
    "not-gzip": Row(PAGE, WAITS, 0, always(packed(b"gzip", ALL))),
    "reset": Row(PAGE, "failed RobotsUnreachable", 0, always(Reset())),
}
