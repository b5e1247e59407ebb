import asyncio
import http.client
import json
import logging
import math
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping

import aiohttp
import pytest
from aiohttp import web
from selectolax.lexbor import LexborHTMLParser
from yarl import URL

from crawler.demo import serve
from crawler.settings import merged
from crawler.testing import HOST, Handler, Seen, Site, filler, in_thread

DATA = bytes(range(256)) * 4


async def ask(
    site: Site, path: str, host: str = HOST, headers: Mapping[str, str] | None = None, method: str = "GET"
) -> tuple[int, Mapping[str, str], bytes]:
    """One request on a connection of its own; redirects are not followed."""
    url = URL(f"http://127.0.0.1:{site.port}{path}", encoded=True)
    sent = {"Host": f"{host}:{site.port}", **(headers or {})}
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, url, headers=sent, allow_redirects=False) as response,
    ):
        return response.status, response.headers, await response.read()


def ask_plainly(port: int, path: str, host: str = HOST) -> bytes:
    """The body of one answer, from a thread without an event loop."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path, headers={"Host": host})
        return connection.getresponse().read()
    finally:
        connection.close()


async def test_page_is_answered_as_it_was_put_up() -> None:
    """Status, headers, type and body arrive as given, on the host they were given for."""
    async with Site() as site:
        site.page("/", "<a href=/a>Zoë</a>")
        site.page("/x", b"\xff", host="other.test", status=410, headers={"X-Robots-Tag": "noindex"}, content_type="a/b")
        status, headers, body = await ask(site, "/")
        assert (status, headers["Content-Type"], body.decode()) == (
            200,
            "text/html; charset=utf-8",
            "<a href=/a>Zoë</a>",
        )
        status, headers, body = await ask(site, "/x", host="OTHER.test")
        assert (status, headers["Content-Type"], headers["X-Robots-Tag"], body) == (410, "a/b", "noindex", b"\xff")


async def test_headers_may_name_the_content_type() -> None:
    """A Content-Type among the headers is the only one sent."""
    async with Site() as site:
        site.page("/", "", headers={"content-type": "text/plain"})
        assert (await ask(site, "/"))[1].getall("Content-Type") == ["text/plain"]  # type: ignore[attr-defined]  # CIMultiDict


@pytest.mark.parametrize(("path", "host"), [("/nowhere", HOST), ("/", "other.test"), ("/robots.txt", HOST)])
async def test_unknown_paths_are_not_found(path: str, host: str) -> None:
    """What nobody put up is a 404, and stands in the log as one."""
    async with Site() as site:
        site.page("/", "")
        assert (await ask(site, path, host))[0] == 404
        assert [(seen.host, seen.status) for seen in site.seen] == [(host, 404)]


async def test_times_limit_an_answer_to_the_first_requests() -> None:
    """An answer with `times` goes first, whichever was put up first; then the standing one, or a 404."""
    async with Site() as site:
        site.page("/", "back")
        site.page("/", "", status=503, times=2)
        site.redirect("/", "/moved", times=1)
        site.page("/once", "", times=1)
        assert [(await ask(site, "/"))[0] for _ in range(5)] == [503, 503, 301, 200, 200]
        assert [(await ask(site, "/once"))[0] for _ in range(2)] == [200, 404]


async def test_a_query_is_looked_up_whole_first() -> None:
    """A page put up with a query answers that query only; the bare path answers all the others."""
    async with Site() as site:
        site.page("/list", "any")
        site.page("/list?page=2", "two")
        assert [(await ask(site, path))[2] for path in ("/list?page=2", "/list?page=3", "/list")] == [
            b"two",
            b"any",
            b"any",
        ]


async def test_paths_are_matched_as_they_travel() -> None:
    """A path with spaces and accents is put up in plain writing, and found, logged and linked percent-encoded."""
    async with Site() as site:
        site.page("/Zoë b", "here")
        assert (await ask(site, "/Zo%C3%AB%20b"))[2] == b"here"
        assert site.paths() == ["/Zo%C3%AB%20b"]
        assert site.url("/Zoë b", host="a.test") == f"http://a.test:{site.port}/Zo%C3%AB%20b"


async def test_an_answer_may_be_late() -> None:
    """`after` holds back the whole answer for so many seconds."""
    async with Site() as site:
        site.page("/", "late", after=0.1)
        began = time.monotonic()
        assert (await ask(site, "/"))[2] == b"late"
        assert time.monotonic() - began >= 0.099


@pytest.mark.parametrize("target", ["/new", "new?a=b", "http://other.test/", "//other.test/x", "ftp://x/", ""])
async def test_redirect_sends_location_as_given(target: str) -> None:
    """Location is sent untouched, so that odd ones can be tried."""
    async with Site() as site:
        site.redirect("/old", target, status=308)
        status, headers, _ = await ask(site, "/old")
        assert (status, headers["Location"]) == (308, target)


RANGES = [
    ({}, 200, None, DATA),
    ({"Range": "bytes=10-19"}, 206, "bytes 10-19/1024", DATA[10:20]),
    ({"Range": "bytes=1000-"}, 206, "bytes 1000-1023/1024", DATA[1000:]),
    ({"Range": "bytes=1000-9999"}, 206, "bytes 1000-1023/1024", DATA[1000:]),
    ({"Range": "bytes=-24"}, 206, "bytes 1000-1023/1024", DATA[1000:]),
    ({"Range": "bytes=-9999"}, 206, "bytes 0-1023/1024", DATA),
    ({"Range": "bytes=1024-"}, 416, "bytes */1024", b""),
    ({"Range": "bytes=5-4"}, 200, None, DATA),
    ({"Range": "bytes=0-1,3-4"}, 200, None, DATA),
    ({"Range": "pages=1-2"}, 200, None, DATA),
    ({"Range": "bytes=10-19", "If-Range": '"v1"'}, 206, "bytes 10-19/1024", DATA[10:20]),
    ({"Range": "bytes=10-19", "If-Range": '"v0"'}, 200, None, DATA),
    ({"Range": "bytes=10-19", "If-Range": 'W/"v1"'}, 200, None, DATA),
]


@pytest.mark.parametrize(("headers", "status", "content_range", "body"), RANGES)
async def test_file_honours_range_and_if_range(
    headers: dict[str, str], status: int, content_range: str | None, body: bytes
) -> None:
    """A part is sent only when it is asked for, exists, and is of the version that the client knows."""
    async with Site() as site:
        site.file("/data", DATA, etag="v1")
        got = await ask(site, "/data", headers=headers)
        assert (got[0], got[1].get("Content-Range"), got[2]) == (status, content_range, body)
        assert site.seen[0].status == status
        if status != 416:
            assert (got[1]["ETag"], got[1]["Accept-Ranges"]) == ('"v1"', "bytes")


@pytest.mark.parametrize("etag", [None, 'W/"v1"'])
async def test_only_a_strong_etag_answers_if_range(etag: str | None) -> None:
    """Without a strong tag of its own a file is sent whole to whoever sends If-Range (RFC 9110 section 13.1.5)."""
    async with Site() as site:
        site.file("/data", DATA, headers={"ETag": etag} if etag else None)
        asked = {"Range": "bytes=10-19", "If-Range": etag or '"v1"'}
        assert (await ask(site, "/data", headers=asked))[::2] == (200, DATA)


async def test_a_file_may_be_of_any_size() -> None:
    """A file given as a number holds that many bytes of filler, the same at every offset, whole or in parts."""
    size = 1_000_003
    async with Site() as site:
        site.file("/big", size)
        whole = (await ask(site, "/big"))[2]
        part = (await ask(site, "/big", headers={"Range": "bytes=700001-"}))[2]
    assert whole == filler(size)
    assert part == whole[700_001:] == filler(size - 700_001, 700_001)
    assert all(whole[: 1 << 16] != whole[offset : offset + (1 << 16)] for offset in (1, 4096, 1 << 16, 1 << 18))


async def test_head_sends_no_body() -> None:
    """HEAD gets the headers of GET and nothing more."""
    async with Site() as site:
        site.file("/data", DATA)
        status, headers, body = await ask(site, "/data", method="HEAD")
        assert (status, headers["Content-Length"], body) == (200, "1024", b"")


async def test_a_file_may_be_slow() -> None:
    """`bytes_per_second` spreads the body over its time."""
    async with Site() as site:
        site.file("/slow", 2_000, bytes_per_second=10_000)
        began = time.monotonic()
        assert (await ask(site, "/slow"))[2] == filler(2_000)
        assert 0.19 <= time.monotonic() - began < 2


@pytest.mark.parametrize("cut_after", [0, 1, 1000])
async def test_a_file_may_be_cut_off(cut_after: int) -> None:
    """`cut_after` hangs up after exactly so many bytes of a longer body; the next request may have the rest."""
    async with Site() as site:
        site.file("/data", DATA, cut_after=cut_after, times=1)
        site.file("/data", DATA)
        reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
        writer.write(b"GET /data HTTP/1.1\r\nHost: site.test\r\n\r\n")
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
        assert b"Content-Length: 1024" in head
        assert body == DATA[:cut_after]
        rest = await ask(site, "/data", headers={"Range": f"bytes={cut_after}-"})
        assert body + rest[2] == DATA


def a_text(_request: web.Request) -> str:
    return "<p>text"


async def some_bytes(request: web.Request) -> bytes:
    return await request.read() or b"nothing"


def a_mapping(request: web.Request) -> dict[str, str]:
    return {"cursor": request.query["cursor"]}


async def a_response(_request: web.Request) -> web.Response:
    return web.Response(status=201, text="made")


@pytest.mark.parametrize(
    ("handler", "status", "content_type", "body"),
    [
        (a_text, 200, "text/html; charset=utf-8", b"<p>text"),
        (some_bytes, 200, "application/octet-stream", b"nothing"),
        (a_mapping, 200, "application/json; charset=utf-8", json.dumps({"cursor": "7"}).encode()),
        (a_response, 201, "text/plain; charset=utf-8", b"made"),
    ],
)
async def test_functions_answer(handler: Handler, status: int, content_type: str, body: bytes) -> None:
    """Plain and async functions may return text, bytes, a mapping or a response."""
    async with Site() as site:
        site.answer("/api", handler)
        got = await ask(site, "/api?cursor=7")
        assert (got[0], got[1]["Content-Type"], got[2]) == (status, content_type, body)


async def test_a_function_that_raises_is_a_server_error(caplog: pytest.LogCaptureFixture) -> None:
    """A handler's mistake is a 500 in answer and log, and is reported; an HTTP exception is its own answer."""

    def mistaken(_request: web.Request) -> str:
        raise KeyError("page")

    def teapot(_request: web.Request) -> str:
        raise web.HTTPConflict

    async with Site() as site:
        site.answer("/mistaken", mistaken)
        site.answer("/conflict", teapot)
        assert [(await ask(site, path))[0] for path in ("/mistaken", "/conflict")] == [500, 409]
        assert [seen.status for seen in site.seen] == [500, 409]
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [KeyError]


async def test_robots_are_plain_text() -> None:
    """A robots.txt is put up for one host, as text/plain."""
    async with Site() as site:
        site.robots("User-agent: *\nDisallow: /x", host="a.test")
        status, headers, body = await ask(site, "/robots.txt", host="a.test")
        assert (status, headers["Content-Type"]) == (200, "text/plain; charset=utf-8")
        assert body == b"User-agent: *\nDisallow: /x"


async def test_the_log_says_what_was_asked() -> None:
    """Each request is logged in order of arrival with host, method, path, query, headers, status and time."""
    async with Site() as site:
        site.page("/a", "")
        began = time.monotonic()
        await ask(site, "/a?b=1", headers={"User-Agent": "me"}, method="POST")
        await ask(site, "/c", host="other.test")
        first, second = site.seen
        assert (first.host, first.method, first.path_qs, first.status) == (HOST, "POST", "/a?b=1", 200)
        assert first.headers["user-agent"] == "me"
        assert began <= first.at <= first.ended_at <= second.at <= second.ended_at <= time.monotonic()
        assert (site.paths(), site.paths("other.test")) == (["/a?b=1", "/c"], ["/c"])


async def test_gaps_are_measured_per_host() -> None:
    """The gaps of a host are the times between its own requests, whatever other hosts do meanwhile."""
    async with Site() as site:
        for host, at in [("a.test", 1.0), ("b.test", 1.1), ("a.test", 1.5), ("a.test", 3.5)]:
            site.seen.append(Seen(at, host, "GET", "/", {}))
        assert (site.gaps("a.test"), site.gaps("b.test"), site.gaps("c.test")) == ([0.5, 2.0], [], [])


@pytest.mark.parametrize(
    ("spans", "peak"),
    [
        ([], 0),
        ([(1, 2)], 1),
        ([(1, 2), (2, 3), (3, 3), (3, 4)], 1),
        ([(1, 5), (2, 3), (3, 4)], 2),
        ([(1, math.inf), (2, math.inf), (3, 4), (5, 6)], 3),
    ],
)
def test_peak_counts_what_overlaps(spans: list[tuple[float, float]], peak: int) -> None:
    """Requests that touch do not overlap; one without an end is still in flight."""
    site = Site()
    site.seen += [Seen(at, HOST, "GET", "/", {}, 200, ended_at) for at, ended_at in spans]
    site.seen.append(Seen(1.5, "other.test", "GET", "/", {}))
    assert site.peak() == peak


async def test_peak_is_measured_at_the_server() -> None:
    """Five requests at once to a slow page are a peak of five on that host and none elsewhere."""
    async with Site() as site:
        site.page("/", "", after=0.2)
        await asyncio.gather(*(ask(site, "/") for _ in range(5)))
        assert (site.peak(), site.peak("other.test"), len(site.gaps())) == (5, 0, 4)


def test_one_download_after_the_other_is_a_peak_of_one() -> None:
    """A request ends before its client can know: one that follows it on a new connection never overlaps."""
    with Site.in_thread() as site:
        site.file("/data", 300_000)
        for _ in range(20):
            assert len(ask_plainly(site.port, "/data")) == 300_000
        assert site.peak() == 1


@pytest.mark.parametrize(("pages", "links"), [(1, 3), (2, 3), (30, 1), (37, 4), (200, 7)])
async def test_tree_leads_everywhere(pages: int, links: int) -> None:
    """Every page has its number of links to other pages, and every page is reached from the first."""
    async with Site() as site:
        paths = site.tree(pages, links, host="t.test")
        graph: dict[str, list[str]] = {}
        frontier = ["/"]
        while frontier:
            path = frontier.pop()
            tree = LexborHTMLParser((await ask(site, path, host="t.test"))[2])
            assert [node.text() for node in tree.css("title")] == [f"Page {paths.index(path)}"]
            graph[path] = [str(node.attributes["href"]) for node in tree.css("a")]
            frontier += [other for other in graph[path] if other not in graph and other not in frontier]
        assert sorted(graph) == sorted(paths)
        assert len(set(paths)) == pages
        for path, others in graph.items():
            assert len(set(others) - {path}) == len(others) == min(links, pages - 1)


async def test_settings_are_settings() -> None:
    """The settings of a site are such as a crawl accepts, and lead its names to loopback without a wait."""
    async with Site() as site:
        settings = merged(("the site", site.settings))
        assert (settings.resolve, settings.delay) == ({"*.test": "127.0.0.1"}, 0.0)


def test_a_closed_site_has_no_urls() -> None:
    """Asking for a URL before the port is known is a mistake of the test, and says so."""
    with pytest.raises(AssertionError, match="not open"):
        Site().url("/")


def test_a_site_in_a_thread_serves_plain_programs() -> None:
    """`in_thread` serves while the block runs, takes new pages meanwhile, and leaves neither thread nor port behind."""
    threads = threading.active_count()
    with Site.in_thread() as site:
        site.page("/", "first")
        assert ask_plainly(site.port, "/") == b"first"
        site.page("/", "second")
        assert ask_plainly(site.port, "/") == b"second"
        assert site.paths() == ["/", "/"]
    assert threading.active_count() == threads
    with pytest.raises(ConnectionRefusedError):
        ask_plainly(site.port, "/")


def test_what_fails_in_the_thread_is_raised_here() -> None:
    """A port that is taken is the caller's OSError, and the thread is gone."""
    threads = threading.active_count()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        server = in_thread(serve(port=taken.getsockname()[1]))
        with pytest.raises(OSError, match="address already in use"), server:
            pass
    assert threading.active_count() == threads


async def test_closing_waits_for_nobody() -> None:
    """Idle keep-alive connections, half-sent requests and answers under way do not hold up the end."""
    async with Site() as site:
        site.page("/", "", after=60)
        site.page("/quick", "quick")
        writers = []
        for request in (
            "",
            "GET /qu",
            "GET / HTTP/1.1\r\nHost: site.test\r\n\r\n",
            "GET /quick HTTP/1.1\r\nHost: site.test\r\n\r\n",
        ):
            _, writer = await asyncio.open_connection("127.0.0.1", site.port)
            writer.write(request.encode())
            writers.append(writer)
        await ask(site, "/quick")
        began = time.monotonic()
    assert time.monotonic() - began < 0.5
    for writer in writers:
        writer.close()


async def test_a_client_that_hangs_up_is_not_an_error(caplog: pytest.LogCaptureFixture) -> None:
    """Leaving in the middle of a download is quiet on the server's side."""
    caplog.set_level(logging.INFO)
    async with Site() as site:
        site.file("/data", 4 << 20, bytes_per_second=40 << 20)
        reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
        writer.write(b"GET /data HTTP/1.1\r\nHost: site.test\r\n\r\n")
        await reader.readexactly(1000)
        writer.transport.abort()
        deadline = time.monotonic() + 10
        while math.isinf(site.seen[0].ended_at):
            assert time.monotonic() < deadline
            await ask(site, "/")
    assert (site.seen[0].status, caplog.records) == (200, [])


PROGRAM = """
import gc, socket
from crawler.testing import Site
with Site.in_thread() as site:
    site.page("/", "", after=60)
    address = ("127.0.0.1", site.port)
    with socket.create_connection(address), socket.create_connection(address) as asking:
        asking.sendall(b"GET / HTTP/1.1\\r\\nHost: site.test\\r\\n\\r\\n")
        while not site.seen:
            pass
gc.collect()
"""


def test_a_site_leaves_no_noise() -> None:
    """With every warning on, a program that used a site prints nothing: no access log, nothing unclosed."""
    program = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", PROGRAM],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (program.returncode, program.stdout, program.stderr) == (0, "", "")
