"""Where an answer leads: round, on and on, out of the web, inside, or nowhere."""

from collections.abc import Iterator

from tests.hostile.server import DONE, Answer, Asked, Piece, Row, plain

MANY, UNSAFE, BAD = "failed TooManyRedirects", "failed UnsafeRedirect", "failed BadRedirect"
MOVED = "done redirected"


def to(location: str, status: int = 302, body: bytes = b"moved") -> Answer:
    """A redirect to a location, from every path but ``/end``; ``PORT`` is the server's."""

    def answer(asked: Asked) -> list[Piece]:
        if asked.path == "/end":
            return [plain(b"end")]
        line = b"Location: " + location.replace("PORT", str(asked.port)).encode("latin-1") + b"\r\n"
        return [plain(body, line, start=b"HTTP/1.1 %d Moved\r\n" % status)]

    return answer


def _chain(length: int) -> Answer:
    """So many redirects, and then a page."""

    def answer(asked: Asked) -> list[Piece]:
        number = int(asked.path.strip("/") or 0)
        if number == length:
            return [plain(b"end")]
        return [plain(b"", b"Location: /%d\r\n" % (number + 1), start=b"HTTP/1.1 302 Found\r\n")]

    return answer


def _circle(asked: Asked) -> list[Piece]:
    target = {"/": b"/a", "/a": b"/b"}.get(asked.path, b"/a")
    return [plain(b"", b"Location: " + target + b"\r\n", start=b"HTTP/1.1 307 Temporary Redirect\r\n")]


def _back(asked: Asked) -> list[Piece]:
    """Away to set a cookie, and back: without the cookie, again and again."""
    target = b"/cookie" if asked.path == "/" else b"/"
    return [plain(b"", b"Set-Cookie: a=b\r\nLocation: " + target + b"\r\n", start=b"HTTP/1.1 302 Found\r\n")]


def _body_without_end(asked: Asked) -> Iterator[Piece]:
    if asked.path == "/end":
        yield plain(b"end")
        return
    yield b"HTTP/1.1 302 Found\r\nLocation: /end\r\n\r\n"
    while True:
        yield b"x" * 65536


ROWS: dict[str, Row] = {
    "to-itself": Row(to("/"), MANY),
    "in-a-circle": Row(_circle, MOVED),
    "there-and-back": Row(_back, MOVED),
    "ten-times": Row(_chain(10), MOVED),
    "eleven-times": Row(_chain(11), MOVED),
    "hundred-times": Row(_chain(100), MOVED),
    "without-location": Row(lambda asked: [plain(b"", start=b"HTTP/1.1 302 Found\r\n")], BAD),
    "to-nothing": Row(to(""), BAD),
    "to-3-kib": Row(to("/" + "x" * 3000), BAD),
    "to-9-kib": Row(to("/" + "x" * 9000), "failed HeadersTooLarge"),
    "to-an-empty-host": Row(to("http://"), BAD),
    "to-a-wrong-port": Row(to("http://a.hostile.test:99999/"), BAD),
    "to-a-wrong-address": Row(to("http://[::1/"), BAD),
    "to-javascript": Row(to("javascript:alert(1)"), UNSAFE),
    "to-javascript-in-disguise": Row(to(" \x01JaVaScRiPt:alert(1)".replace("\x01", "")), UNSAFE),
    "to-data": Row(to("data:text/html,<b>hello"), UNSAFE),
    "to-a-file": Row(to("file:///etc/passwd"), UNSAFE),
    "to-ftp": Row(to("ftp://ftp.hostile.test/"), UNSAFE),
    "to-gopher": Row(to("gopher://127.0.0.1:6379/_FLUSHALL"), UNSAFE),
    "to-a-mail": Row(to("mailto:a@hostile.test"), UNSAFE),
    "to-view-source": Row(to("view-source:http://hostile.test/"), UNSAFE),
    "to-escaped-line-ends": Row(to("/end?%0d%0aSet-Cookie:%20a=b"), MOVED, None),
    "to-userinfo": Row(to("http://user:secret@to-userinfo.redirects.hostile.test:PORT/end"), MOVED),
    "to-bytes": Row(to("/\xff\xfe/end"), BAD),
    "with-a-body-without-end": Row(_body_without_end, MOVED),
    "to-this-machine": Row(to("http://127.0.0.1:PORT/inside"), MOVED),
    "to-this-machine-in-octal": Row(to("http://0177.0.0.01:PORT/inside"), MOVED),
    "to-this-machine-as-a-number": Row(to("http://2130706433:PORT/inside"), MOVED),
    "to-this-machine-by-ipv6": Row(to("http://[::ffff:127.0.0.1]:PORT/inside"), MOVED),
    "to-metadata": Row(to("http://169.254.169.254/latest/meta-data/"), MOVED),
    "to-a-mail-server": Row(to("http://mail.hostile.test:25/"), MOVED),
    "from-http-to-https": Row(to("https://from-http-to-https.redirects.hostile.test:PORT/end"), MOVED),
    "multiple-choices": Row(to("/end", status=300), "failed HttpError"),
    "not-modified-unasked": Row(to("/end", status=304, body=b""), "failed HttpError"),
    "use-proxy": Row(to("http://proxy.hostile.test:3128/", status=305), "failed HttpError"),
}
LEADS: dict[str, str] = {  # how what a redirect leads to ends, by its path on the row's host, or its URL
    "in-a-circle.redirects/b": MANY,
    "there-and-back.redirects/cookie": MANY,
    "ten-times.redirects/10": DONE,
    "eleven-times.redirects/10": MANY,
    "hundred-times.redirects/10": MANY,
    "to-userinfo.redirects/end": DONE,
    "with-a-body-without-end.redirects/end": DONE,
    "http://127.0.0.1:PORT/inside": "failed BlockedAddress",
    "http://[::ffff:7f00:1]:PORT/inside": "failed BlockedAddress",
    "http://169.254.169.254/latest/meta-data/": "failed BlockedAddress",
    "http://mail.hostile.test:25/": "failed BlockedAddress",
    "https://from-http-to-https.redirects.hostile.test:PORT/end": "failed TlsError",
}
