"""Names to addresses, by the system's resolver: each name asked for once at a time, and remembered."""

import asyncio
import socket
from collections import OrderedDict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatchcase
from ipaddress import ip_address
from typing import TypeAlias

from aiohttp.abc import AbstractResolver, ResolveResult

from crawler import stages
from crawler.errors import ConfigError, DnsError, escaped

CACHE_SIZE = 10_000
REMEMBERED_FOR = 300.0  # seconds, for a name that exists and for one that does not
TIMEOUT = 5.0  # seconds
MOST_ADDRESSES = 8  # of each family
_THREADS = 32  # a mute name server holds each for many seconds, so they are not those that write files
_NO_SUCH_NAME = {socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)}

_KINDS = {socket.AF_INET: "IPv4 ", socket.AF_INET6: "IPv6 "}

Addresses: TypeAlias = tuple[tuple[int, str], ...]  # (family, address), best first


class Resolver(AbstractResolver):
    """What the crawl's connections ask for addresses. A name without any is a `DnsError`.

    `fixed` maps host patterns to addresses that are taken without asking anybody.
    """

    def __init__(self, fixed: dict[str, str]) -> None:
        self._fixed = [(pattern, _fixed_address(pattern, address)) for pattern, address in fixed.items()]
        self._loop = asyncio.get_running_loop()
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="dns")
        self._known: OrderedDict[str, tuple[float, Addresses]] = OrderedDict()
        self._asked: dict[str, asyncio.Future[Addresses]] = {}

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The host's addresses, of one family or of all. Raises `DnsError`, within 5 s in any case.

        It is permanent if the name does not exist, or not in that family.
        """
        addresses = self._remembered(host)
        if addresses is None:
            with stages.wait("DNS"):
                addresses = await self._ask(host)
        addresses = tuple(one for one in addresses if family in {socket.AF_UNSPEC, one[0]})
        if not addresses:
            raise DnsError(f"{host} does not exist, or has no {_KINDS.get(family, '')}address", permanent=True)
        return [
            ResolveResult(hostname=host, host=address, port=port, family=kind, proto=socket.IPPROTO_TCP, flags=0)
            for kind, address in addresses
        ]

    async def close(self) -> None:
        """Forget the lookups that have not begun; those under way end by themselves."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _remembered(self, host: str) -> Addresses | None:
        for pattern, addresses in self._fixed:
            if fnmatchcase(host, pattern):
                return addresses
        known = self._known.get(host)
        if known is None or known[0] < self._loop.time():
            return None
        self._known.move_to_end(host)
        return known[1]

    async def _ask(self, host: str) -> Addresses:
        answer = self._asked.get(host)
        if answer is None:
            answer = self._asked[host] = self._loop.run_in_executor(self._threads, _looked_up, host)
            answer.add_done_callback(lambda done: self._remember(host, done))
        try:
            async with asyncio.timeout(TIMEOUT):
                return await asyncio.shield(answer)
        except TimeoutError:
            raise DnsError(f"no answer about {host} within {TIMEOUT:g} s") from None
        except socket.gaierror as error:
            raise DnsError(f"{host}: {error.strerror or error}") from error

    def _remember(self, host: str, answer: "asyncio.Future[Addresses]") -> None:
        del self._asked[host]
        if answer.cancelled() or answer.exception() is not None:
            return
        self._known[host] = (self._loop.time() + REMEMBERED_FOR, answer.result())
        self._known.move_to_end(host)
        if len(self._known) > CACHE_SIZE:
            self._known.popitem(last=False)


def _looked_up(host: str) -> Addresses:
    """Ask the system. No addresses if the name does not exist; raises gaierror if nobody could tell."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    except socket.gaierror as error:
        if error.errno in _NO_SUCH_NAME:
            return ()
        raise
    except UnicodeError:  # a label that is empty or too long, RFC 1035 section 2.3.4
        return ()
    return _first(dict.fromkeys((int(family), str(address[0])) for family, _, _, _, address in found))


def _first(found: Iterable[tuple[int, str]]) -> Addresses:
    """Some of a name's addresses: thousands of them would be tried one after the other."""
    kept: list[tuple[int, str]] = []
    for address in found:
        if sum(address[0] == other[0] for other in kept) < MOST_ADDRESSES:
            kept.append(address)
    return tuple(kept)


def _fixed_address(pattern: str, address: str) -> Addresses:
    try:
        version = ip_address(address).version
    except ValueError:
        raise ConfigError(
            f"setting resolve: {escaped(pattern)}={escaped(address)} must give an IP address, such as 127.0.0.1"
        ) from None
    return ((int(socket.AF_INET6 if version == 6 else socket.AF_INET), address),)
