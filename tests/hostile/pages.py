"""What is in a page: traps for a crawl that goes on and on, and plain pages that must come through all of it."""

from tests.hostile.server import DONE, Asked, Piece, Row, plain, sends


def good(asked: Asked) -> list[Piece]:
    """A small site of five pages."""
    links = b"".join(b"<a href=/%d>%d</a>" % (n, n) for n in range(1, 5))
    return [plain(b"<title>good</title>" + links)]


def _deeper(asked: Asked) -> list[Piece]:
    """A link that goes on from wherever it is found."""
    return [plain(b"<a href=x/>deeper</a>")]


def _sessions(asked: Asked) -> list[Piece]:
    """Each page gives its one link another session."""
    return [plain(b"<a href='/?PHPSESSID=%032x'>again</a>" % (asked.number * 7919))]


def _facets(asked: Asked) -> list[Piece]:
    """Each page adds a filter to the query."""
    query = asked.path.partition("?")[2]
    more = f"{query}&f{query.count('=')}=1".strip("&")
    return [plain(f"<a href='/?{more}'>narrower</a>".encode())]


FLOOD = b"".join(b"<a href=http://out.example/%d>x</a>" % n for n in range(60_000))
TRAPS = b"".join(b"<a href=/a/a/a/a/a/%d>x</a>" % n for n in range(20_000))
ATTRIBUTES = b"<p " + b" ".join(b"a%d=1" % n for n in range(4_400)) + b">"  # each is compared with those before it
DEEP = b"<div>" * 3_400

ROWS: dict[str, Row] = {
    **{f"good-{number}": Row(good, DONE) for number in range(10)},
    "folder-in-itself": Row(_deeper, DONE),
    "session-in-each-link": Row(_sessions, DONE, None),
    "filter-upon-filter": Row(_facets, DONE),
    "links-60000": sends(DONE, plain(FLOOD)),
    "links-20000-of-a-trap": sends(DONE, plain(TRAPS)),
    "attributes-4400": sends(DONE, plain(ATTRIBUTES)),
    "nested-3400": sends(DONE, plain(DEEP)),
    "link-of-1-mib": sends(DONE, plain(b"<a href='/" + b"x" * (1 << 20) + b"'>x</a>")),
    "links-out-of-the-web": sends(DONE, plain(b"<a href=javascript:1>1</a><a href=data:,x>2</a><a href=file:///etc>3</a>")),
    "base-out-of-the-web": sends(DONE, plain(b"<base href=javascript:1><a href=1>1</a>")),
    "title-of-4-mib": sends(DONE, plain(b"<title>" + b"t" * (4 << 20) + b"</title>")),
    "refresh-to-itself": sends(DONE, plain(b"<meta http-equiv=refresh content='0; url=/'>")),
    "escapes": sends(DONE, plain(b"<title>\x1b]0;owned\x07\x1b[2J\xe2\x80\xae</title>")),
    "nul-bytes": sends(DONE, plain(b"<title>a\0b</title>" + bytes(100_000))),
    "empty": sends(DONE, plain(b"")),
    "not-found": sends("gone HttpError", plain(b"", start=b"HTTP/1.1 404 Not Found\r\n")),
    "forbidden": sends("failed HttpError", plain(b"", start=b"HTTP/1.1 403 Forbidden\r\n")),
    "broken": sends("failed HttpError", plain(b"", start=b"HTTP/1.1 500 Error\r\n"), tries=4),
}  # fmt: skip
