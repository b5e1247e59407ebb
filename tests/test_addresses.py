"""No page, redirect, robots.txt, sitemap, download or name server leads a crawl into the network that it runs in."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler import Crawl, Limits, Response, Spider, errors
from crawler.addresses import AddressPolicy, embedded, is_public
from crawler.fetch import dns
from crawler.models import Json, Request
from crawler.testing import Site
from crawler.urls import canonical, split
from tests.test_fetch import Wire, failure, fetcher, get, scripted
from tests.test_proxies import proxies, relay

PRIVATE = [
    "0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "100.64.0.1", "100.127.255.254", "127.0.0.1", "127.255.255.255",
    "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.8", "192.0.2.1", "192.168.1.1", "198.18.0.1",
    "198.51.100.7", "203.0.113.9", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255", "::", "::1",
    "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::ffff:0:10.0.0.1", "64:ff9b::a00:1",
    "64:ff9b::127.0.0.1", "64:ff9b:1::1", "100::1", "2001:db8::1", "2001::1", "2002:7f00:1::", "2002:a9fe:a9fe::1",
    "2002:c0a8:101::", "fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%2", "fec0::1", "ff02::1",
    "2606:4700::5efe:10.0.0.1", "2606:4700::200:5efe:192.168.1.1", "4000::1",
]  # fmt: skip
PUBLIC = [
    "1.1.1.1", "8.8.8.8", "93.184.215.14", "100.63.255.255", "100.128.0.1", "172.15.0.1", "172.32.0.1", "192.169.0.1",
    "223.255.255.254", "2606:4700:4700::1111", "2a00:1450:4001:81b::200e", "::ffff:8.8.8.8", "64:ff9b::808:808",
    "2002:808:808::1", "2606:4700::5efe:8.8.8.8",
]  # fmt: skip
SPELLINGS = [
    "127.0.0.1", "2130706433", "0x7f000001", "0x7f.0x0.0x0.0x1", "0177.0.0.1", "017700000001", "127.1", "127.0.1",
    "127.000.000.001", "0", "0.0.0.0", "127.0.0.1.", "%31%32%37.0.0.1", "127。0。0。1", "①②⑦.0.0.1", "[::1]",
    "[0:0:0:0:0:0:0:1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]", "[64:ff9b::7f00:1]",
    "[2002:7f00:1::]", "localhost", "LOCALHOST",
]  # fmt: skip


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses(address: str) -> None:
    """What is not the public internet's is not public, nor is what only stands for it in IPv6."""
    assert not is_public(ip_address(address))


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses(address: str) -> None:
    """The public internet can be reached, by either family and by what stands for its addresses."""
    assert is_public(ip_address(address))


@given(st.ip_addresses(v=4))
def test_what_stands_for_an_address_is_as_public(address: object) -> None:
    """An IPv4 address within an IPv6 one is found, and judged as it is outside."""
    number = int(ip_address(str(address)))
    for wrapped in (0xFFFF << 32 | number, 0x64FF9B << 96 | number, 0x2002 << 112 | number << 80):
        assert str(embedded(ip_address(wrapped.to_bytes(16, "big")))) == str(address)
        assert is_public(ip_address(wrapped.to_bytes(16, "big"))) == is_public(ip_address(str(address)))


@pytest.mark.parametrize(
    ("private_hosts", "url", "address", "port", "is_refused"),
    [
        ([], "http://a.example/", "93.184.215.14", 80, False),
        ([], "http://a.example/", "10.0.0.1", 80, True),
        ([], "http://a.example:8080/", "93.184.215.14", 8080, False),
        ([], "http://a.example:25/", "93.184.215.14", 25, True),
        ([], "http://a.example:6379/", "93.184.215.14", 6379, True),
        (["a.example"], "http://a.example/", "10.0.0.1", 80, False),
        (["a.example"], "http://a.example:25/", "10.0.0.1", 25, False),
        (["A.Example"], "http://a.example/", "10.0.0.1", 80, False),
        (["a.example"], "http://b.a.example/", "10.0.0.1", 80, True),
        (["*.example"], "http://b.a.example/", "10.0.0.1", 80, False),
        (["a.example:81"], "http://a.example:81/", "10.0.0.1", 81, False),
        (["a.example:81"], "http://a.example:82/", "10.0.0.1", 82, True),
        (["10.0.0.0/8"], "http://a.example/", "10.9.9.9", 80, False),
        (["10.0.0.1/8"], "http://a.example/", "10.9.9.9", 80, False),
        (["10.0.0.0/8"], "http://a.example/", "::ffff:10.9.9.9", 80, False),
        (["10.0.0.0/8"], "http://a.example/", "11.0.0.1", 80, False),
        (["10.0.0.0/8"], "http://a.example/", "172.16.0.1", 80, True),
        (["fd00::/8"], "http://a.example/", "fd00::1", 80, False),
        (["[::1]"], "http://[::1]/", "::1", 80, False),
        (["127.0.0.1"], "http://127.0.0.2/", "127.0.0.2", 80, True),
        (["*"], "http://a.example/", "169.254.169.254", 80, False),
    ],
)
def test_what_the_setting_names(private_hosts: list[str], url: str, address: str, port: int, is_refused: bool) -> None:
    """Names, patterns, hosts with ports, addresses and networks may be named; all else stays shut."""
    refusal = AddressPolicy(private_hosts).refusal(url, address, port)
    assert bool(refusal) == is_refused
    assert address not in (refusal or "")


@pytest.mark.parametrize(
    ("url", "addresses", "is_refused"),
    [
        ("http://intranet/", ["10.0.0.1"], False),
        ("http://intranet/", ["127.0.0.1"], False),
        ("http://intranet:8080/", ["10.0.0.1"], True),
        ("https://intranet/", ["10.0.0.1"], False),
        ("http://intranet/", ["169.254.169.254"], True),
        ("http://intranet/", ["::ffff:169.254.169.254"], True),
        ("http://intranet/", ["fe80::1"], True),
        ("http://intranet/", ["0.0.0.0"], True),  # refused is the point
        ("http://intranet/", ["224.0.0.1"], True),
        ("http://intranet/", ["10.0.0.1", "10.0.0.2"], False),
        ("http://intranet/", ["93.184.215.14", "93.184.215.15"], False),
        ("http://intranet/", ["93.184.215.14", "10.0.0.1"], True),
        ("http://169.254.169.254/", ["169.254.169.254"], False),
        ("http://10.0.0.1/", ["10.0.0.1"], False),
        ("http://10.0.0.2/", ["10.0.0.2"], True),
    ],
)
def test_seeds(url: str, addresses: list[str], is_refused: bool) -> None:
    """The operator's own seeds may be private, at the port they were written with; a name may not lead inside later."""
    policy = AddressPolicy(seeds={"intranet", "169.254.169.254", "10.0.0.1"})
    *before, last = [policy.refusal(url, address, 80) for address in addresses]
    assert before == [None] * len(before)
    assert bool(last) == is_refused


def test_names_of_the_operators_own() -> None:
    """A name that the setting `resolve` gives an address has that address, and no other private one."""
    policy = AddressPolicy(resolved={"*.test": "127.0.0.1", "*": "10.0.0.1"})
    assert policy.refusal("http://a.test/", "127.0.0.1", 80) is None
    assert policy.refusal("http://a.test/", "10.0.0.1", 80)
    assert policy.refusal("http://127.0.0.1/", "127.0.0.1", 80)
    assert policy.refusal("http://a.example/", "10.0.0.1", 80) is None


# on the wire


@asynccontextmanager
async def inside() -> AsyncIterator[Wire]:
    """A server of the network that the crawl runs in; on either family, if there is more than one."""
    async with scripted(lambda head, number: [b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecret"]) as server:
        if socket.has_ipv6:
            try:
                six = await asyncio.start_server(server._connected, "::1", server.port)
            except OSError:  # it is not configured here
                yield server
                return
            async with six:
                yield server
        else:
            yield server


@pytest.mark.parametrize("host", SPELLINGS)
async def test_every_spelling_is_refused(host: str) -> None:
    """However a private address is written, no connection is made to it, and the message does not tell it."""
    async with inside() as server, fetcher(private_hosts=[]) as opened:
        url = canonical(f"http://{host}:{server.port}/")
        assert url
        error = await failure(opened, url)
        assert type(error) is errors.BlockedAddress
        assert not error.retryable
        assert "private_hosts" in error.detail
        assert "127" not in error.detail
        assert not server.connections


@pytest.mark.parametrize("host", [*SPELLINGS, "localhost.", "a.localhost"])
async def test_every_spelling_is_refused_to_a_proxy(host: str) -> None:
    """What can be told from the URL alone is not asked of a proxy either, which may stand in the same network."""
    async with (
        inside() as server,
        relay() as (proxy, address),
        fetcher(private_hosts=[], **proxies(_=[address])) as opened,
    ):
        url = canonical(f"http://{host}:{server.port}/")
        assert url
        assert type(await failure(opened, url)) is errors.BlockedAddress
        assert not proxy.heads
        assert type(await failure(opened, "http://a.example:25/")) is errors.BlockedAddress


def _names(monkeypatch: pytest.MonkeyPatch, answers: Callable[[str], list[str]]) -> None:
    """Have the system's resolver give what it is told to."""

    def found(host: str, *_: object, **__: object) -> list[tuple[object, ...]]:
        return [
            (socket.AF_INET6 if ":" in one else socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, 0))
            for one in answers(host)
        ]

    monkeypatch.setattr(socket, "getaddrinfo", found)


async def test_a_name_that_changes_between_check_and_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """The address that is judged is the one that is connected to: a name server cannot answer one with the other."""
    given = iter(["93.184.215.14", "127.0.0.1"])
    _names(monkeypatch, lambda host: [next(given)])
    monkeypatch.setattr(dns, "REMEMBERED_FOR", -1.0)
    async with inside() as server, fetcher(private_hosts=[]) as opened:
        assert (await opened._resolver.resolve("rebind.example"))[0]["host"] == "93.184.215.14"
        error = await failure(opened, server.url(host="rebind.example"))
        assert type(error) is errors.BlockedAddress
        assert "127" not in str(error).partition("(")[0]
        assert not server.connections


@pytest.mark.parametrize(
    "mixed", [["10.255.255.1", "127.0.0.1"], ["fe80::1", "::1", "127.0.0.1"], ["127.0.0.1", "10.0.0.1"]]
)
async def test_a_name_with_several_addresses(mixed: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Of several addresses only those that are allowed are tried; one that is not takes nothing from the others."""
    _names(monkeypatch, lambda host: mixed)
    async with inside() as server:
        async with fetcher(private_hosts=["127.0.0.1"]) as opened:
            assert (await get(opened, server.url(host="many.example"))).body == b"secret"
        async with fetcher(private_hosts=[]) as opened:
            assert type(await failure(opened, server.url(host="many.example"))) is errors.BlockedAddress
        assert server.connections == 1


async def test_a_download_too() -> None:
    """Downloads are connections like all others."""
    async with inside() as server, fetcher(private_hosts=[]) as opened:
        with pytest.raises(errors.BlockedAddress):
            async with opened.stream(Request(server.url()), before_send=lambda: None):
                pass
        assert not server.connections


class Visitor(Spider):
    """Goes wherever it is led."""

    def parse(self, response: Response):
        yield {"page": split(response.url)[1]}
        yield response.follow("a")
        for url in response.css("b::text").getall():
            yield response.request(url, anywhere=True)
        for url in response.css("i::text").getall():
            yield response.download(url)
        for url in response.css("u::text").getall():
            yield response.request("/fetch", to=self.fetched, data=url)

    async def fetched(self, response: Response):
        yield {"body": (await response.fetch(str(response.data))).text("*")}


async def crawled(spider: Spider, folder: Path, **more: Any) -> tuple[dict[str, str], list[dict[str, Json]]]:
    """How each page ended, by URL, and the items."""
    async with Crawl(spider, folder=folder, job="crawl", **more) as crawl:
        items = [item async for item in crawl]
        await crawl.ended()
        rows = crawl._frontier._journal.db.execute("SELECT url, coalesce(reason, '') FROM urls").fetchall()
    return {str(url): str(reason) for url, reason in rows}, items


async def test_a_crawl_that_is_led_inside(tmp_path: Path) -> None:
    """Links, redirects, robots.txt, sitemaps, downloads and extra fetches: none reaches what is private."""
    async with inside() as server, Site() as site, Site() as other:
        robots, at = other.url("/", host="robots.test"), server.url
        lines = f"<b>{at('/link')}</b><b>/moved</b><b>{robots}</b><i>{at('/file.pdf')}</i><u>{at('/fetched')}</u>"
        site.page("/", lines)
        site.page("/fetch", "fetch")
        site.redirect("/moved", at("/moved"))
        site.robots(f"Sitemap: {at('/map.xml')}")
        other.redirect("/robots.txt", at("/other/robots.txt"), host="robots.test")
        other.page("/", "in", host="robots.test")
        spider = Visitor()
        spider.seeds, spider.sitemaps = [site.url("/")], True
        reasons, items = await crawled(spider, tmp_path, settings=site.settings)
        assert not server.connections
        inner = {url.removeprefix(at("")) for url in reasons if url.startswith(at(""))}
        assert inner == {"/robots.txt", "/link", "/moved", "/file.pdf", "/map.xml", "/other/robots.txt"}
        for url in (at("/link"), at("/moved"), at("/file.pdf"), at("/map.xml"), site.url("/fetch"), robots):
            assert "BlockedAddress" in reasons[url], (url, reasons[url])
        assert {"page": "/"} in items
        assert not any("body" in item for item in items)


async def test_a_private_seed(tmp_path: Path) -> None:
    """A seed's own host is crawled wherever it is, by the next process too; where it redirects to is not its own."""
    async with Site() as site, inside() as server:
        at = f"http://127.0.0.1:{site.port}"
        site.page("/", "<a href=/1>1</a><a href=/2>2</a>", host="127.0.0.1")
        site.page("/1", "one", host="127.0.0.1")
        site.redirect("/2", server.url("/inside"), host="127.0.0.1")
        site.redirect("/seed", server.url("/seed"), host="127.0.0.1")
        spider = Visitor()
        spider.seeds = [f"{at}/", f"{at}/seed"]
        settings = {"delay": 0.0, "min_free_space": 0}
        _, items = await crawled(spider, tmp_path, settings=settings, limits=Limits(max_pages=1))
        assert len(items) <= 1
        reasons, more = await crawled(spider, tmp_path, settings=settings)
        assert [*items, *more] == [{"page": "/"}, {"page": "/1"}]
        assert reasons[server.url("/seed")].startswith("BlockedAddress")
        assert not server.connections
