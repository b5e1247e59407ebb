"""Proxies: how they are written, which one is asked by, and for how long one that fails rests.

Plain functions; `now` is seconds of any clock. A proxy changes who asks, never how often a host is asked.
"""

from collections.abc import Collection, Mapping, Sequence

from msgspec import Struct

from crawler.urls import canonical, split

FAILURES = 3  # in a row, before it rests
SHORTEST_REST, LONGEST_REST = 10.0, 1800.0


class Proxy:
    """An HTTP proxy; its repr does not tell the password. ``https`` is asked through it by CONNECT."""

    __slots__ = ("name", "url")

    def __init__(self, url: str) -> None:
        """Raises ValueError for what is no ``http://[user:password@]host:port``."""
        found, authority = canonical(url), url.partition("://")[2]
        if url.lower().startswith("socks"):
            raise ValueError("SOCKS is not spoken here: give an http:// proxy, or put one before it")
        if found is None or not found.startswith("http://") or split(found)[1] != "/" or not url.isprintable():
            raise ValueError("a proxy is http://host:port, or http://user:password@host:port")
        self.name = split(found)[0].removeprefix("http://")
        user = authority.rpartition("@")[0]
        self.url = f"http://{user}@{self.name}" if user else f"http://{self.name}"

    def __repr__(self) -> str:
        return f"<Proxy {self.name}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Proxy) and self.url == other.url

    def __hash__(self) -> int:
        return hash(self.url)


class Health(Struct, frozen=True):
    """How a proxy does: its failures in a row, and until when it rests."""

    failures: int = 0
    rests_until: float = 0.0


def by_pattern(written: Mapping[str, object]) -> dict[str, list[Proxy]]:
    """The proxies of each host pattern, as text parted by spaces or as a list. Raises ValueError."""
    found = {}
    for pattern, listed in written.items():
        urls = listed.split() if isinstance(listed, str) else listed
        if not isinstance(urls, list | tuple) or not all(isinstance(url, str | Proxy) for url in urls):
            raise ValueError("give each host pattern a list of proxies")
        found[pattern] = [url if isinstance(url, Proxy) else Proxy(url) for url in urls]
    return found


def after_failure(health: Health, now: float) -> Health:
    """A proxy that could not be used once more: from the third time on it rests, each time twice as long."""
    failures = health.failures + 1
    if failures < FAILURES:
        return Health(failures)
    return Health(failures, now + min(LONGEST_REST, SHORTEST_REST * 2.0 ** min(failures - FAILURES, 20)))


def next_proxy(
    proxies: Sequence[Proxy], health: Mapping[Proxy, Health], turn: int, tried: Collection[Proxy], now: float
) -> Proxy | float:
    """The proxy whose `turn` it is, among those that neither rest nor were `tried` for this very request.

    Where there is none, the seconds until one may be tried.
    """
    waits = [max(0.0, health.get(proxy, Health()).rests_until - now) for proxy in proxies]
    for step in range(len(proxies)):
        index = (turn + step) % len(proxies)
        if not waits[index] and proxies[index] not in tried:
            return proxies[index]
    return min(waits) or 1.0
