"""By which way a host is reached: proxies in turn and at rest, authorities, client certificates, addresses."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from crawler import Crawl, Spider, errors
from crawler.errors import ConfigError
from crawler.fetch import Fetcher
from crawler.fetch.routes import Routes
from crawler.proxies import LONGEST_REST, Health, Proxy, after_failure, next_proxy
from crawler.settings import Settings, merged
from crawler.testing import Site
from tests.test_fetch import CERTIFICATE, HELLO, KEY, failure, fetcher, get, scripted, wire

ONE, TWO, THREE = (Proxy(f"http://{name}.test:8080") for name in ("one", "two", "three"))
SECRET = "s3cr3t"
AUTHORIZATION = b"Proxy-Authorization: Basic dTpzM2NyM3Q="  # u:s3cr3t


class Relay:
    """An HTTP proxy that takes every host for this machine, and keeps the heads that it was sent."""

    def __init__(self, refusal: bytes = b"") -> None:
        self.heads: list[bytes] = []
        self._refusal = refusal
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.heads.append(head)
        method, target, _ = head.split(b"\r\n")[0].split(b" ")
        if self._refusal:
            writer.write(b"HTTP/1.1 %b\r\nContent-Length: 0\r\n\r\n" % self._refusal)
            writer.close()
            return
        authority = target if method == b"CONNECT" else target.split(b"/")[2]
        there, back = await asyncio.open_connection("127.0.0.1", int(authority.rpartition(b":")[2]))
        if method == b"CONNECT":
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        else:
            back.write(head)
        self._tasks = {asyncio.create_task(_piped(reader, back)), asyncio.create_task(_piped(there, writer))}


async def _piped(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while piece := await reader.read(65536):
            writer.write(piece)
    except ConnectionError:
        pass  # either end may go away first
    finally:
        writer.close()


@asynccontextmanager
async def relay(refusal: bytes = b"") -> AsyncIterator[tuple[Relay, str]]:
    """A proxy, and its URL; with a `refusal` it answers all requests by that status."""
    proxy = Relay(refusal)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    async with server:
        yield proxy, f"http://u:{SECRET}@127.0.0.1:{server.sockets[0].getsockname()[1]}"


@asynccontextmanager
async def nobody() -> AsyncIterator[str]:
    """The URL of a proxy that is not there."""
    server = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    yield f"http://127.0.0.1:{port}"


def proxies(**listed: list[str]) -> dict[str, object]:
    patterns = {name.replace("_", "*"): [Proxy(url) for url in urls] for name, urls in listed.items()}
    return {"proxies": patterns}


# decisions


@pytest.mark.parametrize(
    ("health", "turn", "tried", "expected"),
    [
        ({}, 0, (), ONE),
        ({}, 1, (), TWO),
        ({}, 5, (), THREE),
        ({}, 0, (ONE,), TWO),
        ({ONE: Health(3, 10.0)}, 0, (), TWO),
        ({ONE: Health(3, 10.0), TWO: Health(4, 20.0)}, 0, (), THREE),
        ({ONE: Health(3, 4.0)}, 0, (), ONE),
        ({ONE: Health(2)}, 0, (), ONE),
        ({ONE: Health(3, 10.0), TWO: Health(3, 8.0), THREE: Health(3, 9.0)}, 0, (), 3.0),
        ({}, 0, (ONE, TWO, THREE), 1.0),
    ],
)
def test_whose_turn_it_is(
    health: dict[Proxy, Health], turn: int, tried: tuple[Proxy, ...], expected: Proxy | float
) -> None:
    """They take turns but for those that rest or were tried; when none is left, the wait is until the first is back."""
    assert next_proxy([ONE, TWO, THREE], health, turn, tried, now=5.0) == expected


def test_how_long_one_rests() -> None:
    """Two failures in a row cost nothing; from the third on it rests, each time twice as long, up to half an hour."""
    health, rests = Health(), []
    for _ in range(12):
        health = after_failure(health, now=100.0)
        rests.append(max(0.0, health.rests_until - 100.0))
    assert rests == [0, 0, 10, 20, 40, 80, 160, 320, 640, 1280, LONGEST_REST, LONGEST_REST]


@pytest.mark.parametrize(
    ("written", "complaint"),
    [
        ({"*": "socks5://a.test:1080"}, "SOCKS is not spoken here"),
        ({"*": ["https://a.test:1"]}, "a proxy is http://host:port"),
        ({"*": ["a.test:8080"]}, "a proxy is http://host:port"),
        ({"*": [f"http://u:{SECRET}@a.test:1/path"]}, "a proxy is http://host:port"),
        ({"*": [f"http://u:{SECRET}\r\nX: y@a.test:1"]}, "a proxy is http://host:port"),
        ({"*": 8080}, "give each host pattern a list"),
        (f"http://u:{SECRET}@a.test:1", "expected name=value"),
    ],
)
def test_what_is_no_proxy(written: object, complaint: str) -> None:
    """It is refused when it is configured, and the message does not repeat a password."""
    with pytest.raises(ConfigError, match=complaint) as caught:
        merged(("here", {"proxies": written}))
    assert SECRET not in str(caught.value)


def test_how_proxies_are_written() -> None:
    """As text for an environment variable, or as a table; a repr has no password."""
    found = merged(("here", {"proxies": f"*.test=http://one.test:8080/ http://u:{SECRET}@two.test:81, intern="}))
    assert found.proxies == {"*.test": [ONE, Proxy(f"http://u:{SECRET}@two.test:81")], "intern": []}
    assert found == merged(("again", {"proxies": found.proxies}))
    assert SECRET not in repr(found)


@pytest.mark.parametrize(
    ("name", "value"),
    [("ca_file", "/no/such.pem"), ("client_certificates", {"*": "/no/such.pem"}), ("local_address", "eth0")],
)
def test_what_cannot_be_used_is_known_before_the_first_request(name: str, value: object) -> None:
    """A missing file or a wrong address is a ConfigError that names the setting."""
    with pytest.raises(ConfigError, match=f"setting {name}: "):
        Fetcher(merged(("here", {name: value})))


# on the wire


async def test_by_proxy() -> None:
    """http goes to the proxy whole, https by CONNECT; the host sees neither the proxy's password nor another's name."""
    async with relay() as (proxy, url), wire(HELLO) as plain, wire(HELLO, tls=True) as secure:
        async with fetcher(**proxies(_=[url]), insecure_hosts=["*"]) as opened:
            assert (await get(opened, plain.url(host="plain.test"))).body == b"hello"
            asked = secure.url(host="secure.test", scheme="https")
            assert (await get(opened, asked, headers={"Authorization": "Basic aTpt"})).body == b"hello"
        heads = sorted(proxy.heads)
        assert heads[0].startswith(f"CONNECT secure.test:{secure.port} HTTP/1.1\r\n".encode())
        assert heads[1].startswith(f"GET http://plain.test:{plain.port}/ HTTP/1.1\r\n".encode())
        assert all(AUTHORIZATION in head for head in heads)
        assert b"Proxy-Authorization" not in secure.heads[0]
        assert b"\r\nAuthorization" in secure.heads[0]
        assert b"\r\nAuthorization" not in heads[0]


async def test_only_the_hosts_that_are_meant() -> None:
    """The first pattern counts, and an empty list is none at all."""
    async with relay() as (proxy, url), wire(HELLO) as server:
        resolve = {"*.test": "127.0.0.1"}
        async with fetcher(resolve=resolve, proxies={"own.test": [], "*.test": [Proxy(url)]}) as opened:
            await get(opened, server.url(host="own.test"))
            assert not proxy.heads
            await get(opened, server.url(host="other.test"))
            assert len(proxy.heads) == 1


async def test_one_that_is_away_costs_nothing() -> None:
    """Nothing was sent, so the next proxy is asked at once; after three times the first is left alone."""
    async with nobody() as away, relay() as (_, url), wire(HELLO) as server:
        async with fetcher(**proxies(_=[away, url])) as opened:
            for _ in range(8):
                assert (await get(opened, server.url(host="a.test"))).body == b"hello"
            (health,) = opened._routes._health.items()
            assert (health[0], health[1].failures) == (Proxy(away), 3)
        assert len(server.heads) == 8


@pytest.mark.parametrize("refusal", [b"407 Proxy Authentication Required", b"403 Forbidden"])
async def test_all_fail(refusal: bytes) -> None:
    """When no proxy lets us through, the failure is the proxies' and says how long to wait; the host hears nothing."""
    async with relay(refusal) as (_, url), wire(HELLO, tls=True) as server, fetcher(**proxies(_=[url])) as opened:
        for _ in range(3):
            error = await failure(opened, server.url(host="a.test", scheme="https"))
            assert type(error) is errors.ProxyError
            assert 1.0 <= (error.retry_after or 0.0) <= 10.0
        assert "none of 1 proxies" in str(error)
        assert SECRET not in str(error)
        assert not server.heads


async def test_a_host_that_its_proxy_cannot_reach() -> None:
    """A 5xx to CONNECT is the host's failure: the proxy goes on for others."""
    async with relay(b"502 Bad Gateway") as (_, url), wire(HELLO) as server, fetcher(**proxies(_=[url])) as opened:
        for _ in range(4):
            error = await failure(opened, "https://away.test/")
            assert (type(error), error.status) == (errors.ConnectionReset, 502)
        assert not opened._routes._health
        assert not server.heads


async def test_a_crawl_by_two_proxies(tmp_path: Path) -> None:
    """A crawl goes on by the proxy that is left; its host is asked as slowly as without any, whichever asks."""

    class Tree(Spider):
        def parse(self, response):
            yield response.follow("a")

    async with nobody() as away, relay() as (proxy, url), relay() as (other, second), Site() as site:
        site.tree(6, 2)
        spider = Tree()
        spider.seeds = [site.url("/", host="site.test")]
        chosen = {**site.settings, "delay": 0.1, "resolve": {}, "proxies": {"*": [away, url, second]}}
        async with Crawl(spider, folder=tmp_path, settings=chosen) as crawl:
            summary = await crawl.ended()
        assert (summary.counts.done, summary.counts.failed) == (6, 0)
        assert proxy.heads
        assert other.heads
        assert min(site.gaps()) >= 0.08
        assert SECRET.encode() not in b"".join(path.read_bytes() for path in tmp_path.rglob("job.db*"))


async def test_further_authorities(tmp_path: Path) -> None:
    """A certificate that ca_file vouches for is accepted, for its own name alone."""
    (tmp_path / "ca.pem").write_text(CERTIFICATE)
    resolve = {"*.example": "127.0.0.1"}
    async with wire(HELLO, tls=True) as server, fetcher(ca_file=str(tmp_path / "ca.pem"), resolve=resolve) as opened:
        assert (await get(opened, server.url(scheme="https"))).body == b"hello"
        assert type(await failure(opened, server.url(scheme="https", host="wrong.example"))) is errors.TlsError


async def test_our_own_certificate(tmp_path: Path) -> None:
    """A server that wants to know who asks is shown the certificate of its pattern; another host is shown none."""
    path = tmp_path / "own.pem"
    path.write_text(KEY + CERTIFICATE)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    context.load_verify_locations(cadata=CERTIFICATE)
    context.verify_mode = ssl.CERT_REQUIRED
    async with scripted(lambda _head, _number: [HELLO], tls=True) as server:
        server.server.close()
        await server.start(context)
        own = {"ca_file": str(path), "resolve": {"localhost": "127.0.0.1"}}
        async with fetcher(**own, client_certificates={"127.*": str(path)}) as opened:
            assert (await get(opened, server.url(scheme="https"))).body == b"hello"
            assert isinstance(await failure(opened, server.url(scheme="https", host="localhost")), errors.FetchError)
        assert len(server.heads) == 1


async def test_addresses() -> None:
    """The family that is chosen is the only one that is tried, and connections come from the chosen address."""
    callers = []

    async def note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        callers.append(writer.get_extra_info("peername")[0])
        writer.write(HELLO)
        writer.close()

    async with await asyncio.start_server(note, "127.0.0.1", 0) as server:
        url = f"http://a.test:{server.sockets[0].getsockname()[1]}/"
        resolve = {"a.test": "127.0.0.1"}
        async with fetcher(resolve=resolve, local_address="127.0.0.9", address_family="ipv4") as opened:
            assert (await get(opened, url)).body == b"hello"
        async with fetcher(resolve=resolve, address_family="ipv6") as opened:
            error = await failure(opened, url)
            assert "has no IPv6 address" in str(error)
    assert callers == ["127.0.0.9"]


def test_no_proxy_is_asked_for_where_there_is_none() -> None:
    """Without the settings a host is reached as before: directly, and verified as is usual."""
    routes = Routes(Settings(), lambda: 0.0)
    assert (routes.proxy("http://a.test/", ()), routes.tls("https://a.test/")) == (None, True)
