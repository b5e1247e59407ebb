"""Where an answer ends, and lies about it: RFC 9112."""

from tests.hostile.server import CHUNKED, DONE, HTML, OK, Asked, KeepAlive, Piece, Reset, Row, plain, sends

PROTOCOL, TRUNCATED, RESET = "failed ProtocolError", "failed TruncatedBody", "failed ConnectionReset"
HELLO = b"5\r\nhello\r\n"
LAST = b"0\r\n\r\n"


def length(written: bytes, body: bytes = b"hello") -> bytes:
    """An answer whose Content-Length is what is written."""
    return HTML + b"Content-Length: " + written + b"\r\n\r\n" + body


def coded(field: bytes) -> bytes:
    """A chunked answer with another field that says so."""
    return HTML + field + b"\r\n\r\n" + HELLO + LAST


def _one_byte_chunks(asked: Asked) -> list[Piece]:
    return [CHUNKED, b"1\r\nx\r\n" * 20_000, LAST]


def _poisoned(asked: Asked) -> list[Piece]:
    """Two answers to one request: whoever keeps the connection takes the second one for the next request's."""
    page = b"<title>own</title><a href=/next>next</a>" if asked.path == "/" else b"<title>own</title>"
    return [plain(page), plain(b"<title>poison</title><a href=/poison>p</a>"), KeepAlive()]


def _poisoned_later(asked: Asked) -> list[Piece]:
    """The same, once the connection is idle."""
    page = b"<title>own</title><a href=/next>next</a>" if asked.path == "/" else b"<title>own</title>"
    return [plain(page), 0.005, plain(b"<title>poison</title><a href=/poison>p</a>"), KeepAlive()]


ROWS: dict[str, Row] = {
    "chunk-size-letters": sends(PROTOCOL, CHUNKED, HELLO, b"ZZ\r\nxx", tries=2),
    "chunk-size-later": sends(PROTOCOL, CHUNKED, HELLO, 0.05, b"ZZ\r\nxx", 0.5, tries=2),
    "chunk-size-negative": sends(PROTOCOL, CHUNKED, b"-5\r\nhello\r\n", LAST, tries=2),
    "chunk-size-prefix": sends(PROTOCOL, CHUNKED, b"0x5\r\nhello\r\n", LAST, tries=2),
    "chunk-size-missing": sends(PROTOCOL, CHUNKED, b"\r\nhello\r\n", LAST, tries=2),
    "chunk-size-overflow": sends(PROTOCOL, CHUNKED, b"10000000000000005\r\nhello\r\n", LAST, tries=2),
    "chunk-too-long": sends(PROTOCOL, CHUNKED, b"3\r\nhello\r\n", LAST, tries=2),
    "chunk-too-short": sends(TRUNCATED, CHUNKED, b"ff\r\nhello\r\n", LAST, tries=4),
    "chunk-without-last": sends(TRUNCATED, CHUNKED, HELLO, tries=4),
    "chunk-last-cut": sends(TRUNCATED, CHUNKED, HELLO, b"0\r\n", tries=4),
    "chunk-extension-4-mib": sends(DONE, CHUNKED, b"5;x=", b"y" * (4 << 20), b"\r\nhello\r\n", LAST),
    "chunks-of-one-byte": Row(_one_byte_chunks, DONE),
    "trailers": sends(DONE, CHUNKED, HELLO, b"0\r\nX-Sum: 1\r\nX-More: 2\r\n\r\n"),
    "trailers-forbidden": sends(
        PROTOCOL, CHUNKED, HELLO, b"0\r\nContent-Length: 9\r\nTransfer-Encoding: x\r\n\r\n", tries=2
    ),
    "length-over": sends(TRUNCATED, length(b"10"), tries=4),
    "length-over-later": sends(TRUNCATED, length(b"10", b"hel"), 0.05, b"lo", tries=4),
    "length-under": sends(PROTOCOL, length(b"3"), tries=2),
    "length-and-chunks": sends(PROTOCOL, coded(b"Content-Length: 5\r\nTransfer-Encoding: chunked"), tries=2),
    "chunks-and-length": sends(PROTOCOL, coded(b"Transfer-Encoding: chunked\r\nContent-Length: 5"), tries=2),
    "length-twice": sends(PROTOCOL, length(b"5\r\nContent-Length: 6"), tries=2),
    "length-twice-the-same": sends(PROTOCOL, length(b"5\r\nContent-Length: 5"), tries=2),
    "length-list": sends(PROTOCOL, length(b"5, 5"), tries=2),
    "length-negative": sends(PROTOCOL, length(b"-5"), tries=2),
    "length-plus": sends(PROTOCOL, length(b"+5"), tries=2),
    "length-hexadecimal": sends(PROTOCOL, length(b"0x5"), tries=2),
    "length-words": sends(PROTOCOL, length(b"five"), tries=2),
    "length-overflow": sends(PROTOCOL, length(b"18446744073709551621"), tries=2),
    "coding-unknown": sends(PROTOCOL, coded(b"Transfer-Encoding: cow"), tries=2),
    "coding-not-last": sends(PROTOCOL, coded(b"Transfer-Encoding: chunked, gzip"), tries=2),
    "coding-twice": sends(PROTOCOL, coded(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"), tries=2),
    "coding-vertical-tab": sends(PROTOCOL, coded(b"Transfer-Encoding: \x0bchunked"), tries=2),
    "coding-space-before-colon": sends(PROTOCOL, coded(b"Transfer-Encoding : chunked"), tries=2),
    "coding-nearly": sends(PROTOCOL, coded(b"Transfer-Encoding: xchunked"), tries=2),
    "two-answers": Row(_poisoned, DONE),
    "two-answers-later": Row(_poisoned_later, DONE),
    "nothing-for-204": sends(DONE, b"HTTP/1.1 204 No Content\r\n\r\n"),
    "body-for-204": sends(PROTOCOL, plain(b"hello", start=b"HTTP/1.1 204 No Content\r\n"), tries=2),
    "status-101": sends(
        PROTOCOL, OK.replace(b"200 OK", b"101 Up") + b"Upgrade: x\r\nConnection: upgrade\r\n\r\nabc", tries=2
    ),
    "status-999": sends("failed HttpError", plain(b"hello", start=b"HTTP/1.1 999 Request Denied\r\n")),
    "status-000": sends(PROTOCOL, plain(b"hello", start=b"HTTP/1.1 000 None\r\n"), tries=2),
    "status-99": sends(PROTOCOL, plain(b"hello", start=b"HTTP/1.1 99 Low\r\n"), tries=2),
    "status-1000": sends(PROTOCOL, plain(b"hello", start=b"HTTP/1.1 1000 High\r\n"), tries=2),
    "status-letters": sends(PROTOCOL, plain(b"hello", start=b"HTTP/1.1 OK\r\n"), tries=2),
    "status-negative": sends(PROTOCOL, plain(b"hello", start=b"HTTP/1.1 -200 OK\r\n"), tries=2),
    "status-without-reason": sends(DONE, plain(b"hello", start=b"HTTP/1.1 200\r\n")),
    "version-0.9": sends(PROTOCOL, b"<html>hello</html>", tries=2),
    "version-1.0": sends(DONE, b"HTTP/1.0 200 OK\r\nContent-Type: text/html\r\n\r\nhello"),
    "version-2-preface": sends(PROTOCOL, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", tries=2),
    "version-9": sends(PROTOCOL, plain(b"hello", start=b"HTTP/9.9 200 OK\r\n"), tries=2),
    "garbage": sends(PROTOCOL, b"\x00\x01\x02garbage\r\n\r\n", tries=2),
    "another-protocol": sends(PROTOCOL, b"SSH-2.0-OpenSSH_9.9\r\n", 0.2, tries=2),
    "tls-alert": sends(PROTOCOL, b"\x15\x03\x01\x00\x02\x02\x28", tries=2),
    "no-answer": sends(RESET, tries=4),
    "reset-at-once": sends(RESET, Reset(), tries=4),
    "reset-in-headers": sends("failed", OK + b"X-", 0.05, Reset(), tries=None),
    "reset-in-body": sends(TRUNCATED, length(b"10", b"hel"), 0.05, Reset(), tries=4),
    "reset-at-an-open-end": sends(TRUNCATED, HTML + b"\r\nhel", 0.05, Reset(), tries=4),
    "end-in-status-line": sends(PROTOCOL, b"HTTP/1.1 20", tries=2),
    "end-in-headers": sends(PROTOCOL, OK + b"X-", tries=2),
}
