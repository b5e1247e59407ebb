"""Which addresses a crawl may connect to: those of the public internet, and what its operator has named.

A link, a redirect, a robots.txt, a sitemap or a name server can point a crawler into the network that it runs in. So
the address is judged at each new connection, when it is known for good, and not the name before.
"""

from collections.abc import Container, Iterable, Mapping
from fnmatch import fnmatchcase
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TypeAlias

from crawler.scope import authority
from crawler.urls import hostname

Address: TypeAlias = IPv4Address | IPv6Address

# Networks whose addresses hold an IPv4 address, and the bits below it: mapped and compatible (RFC 4291 section 2.5.5),
# NAT64 (RFC 6052), 6to4 (RFC 3056).
_EMBEDDING = (
    (IPv6Network("::ffff:0:0/96"), 0),
    (IPv6Network("::/96"), 0),
    (IPv6Network("64:ff9b::/96"), 0),
    (IPv6Network("2002::/16"), 80),
)
_ISATAP = {0x0000_5EFE, 0x0200_5EFE}  # RFC 5214 section 6.1, before the IPv4 address
_UNICAST = IPv6Network("2000::/3")  # all that IANA has given to the public internet
_NOT_GLOBAL = (IPv4Network("192.0.0.0/24"), IPv6Network("3fff::/20"))  # older Pythons do not know (RFC 6890, RFC 9637)
# Ports that are no web's, on which a request may do harm: the "bad ports" of the Fetch Standard, section 2.9.
BAD_PORTS = frozenset({
    0, 1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101, 102, 103, 104, 109,
    110, 111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161, 179, 389, 427, 465, 512, 513, 514, 515, 526, 530, 531,
    532, 540, 548, 554, 556, 563, 587, 601, 636, 989, 990, 993, 995, 1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060,
    5061, 6000, 6379, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697, 10080,
})  # fmt: skip
_HINT = "if it is meant, name the host or its network in the setting private_hosts"


def embedded(address: Address) -> IPv4Address | None:
    """The IPv4 address that an IPv6 address stands for, if it does."""
    if isinstance(address, IPv4Address):
        return None
    number = int(address)
    for network, shift in _EMBEDDING:
        if address in network:
            return IPv4Address(number >> shift & 0xFFFF_FFFF)
    return IPv4Address(number & 0xFFFF_FFFF) if number >> 32 & 0xFFFF_FFFF in _ISATAP else None


def is_public(address: Address) -> bool:
    """Whether an address is one of the public internet's, and so is the IPv4 address within, if there is one."""
    if any(address in network for network in _NOT_GLOBAL):
        return False
    if isinstance(address, IPv4Address):
        return address.is_global and not address.is_multicast
    inner = embedded(address)
    if inner is not None:
        return is_public(inner)
    return address in _UNICAST and address.is_global


class AddressPolicy:
    """Judges the address of each new connection.

    `private_hosts` are names (``intranet``, ``*.corp.example``, ``localhost:8000``), addresses and networks
    (``10.0.0.0/8``) that may be private and have any port. `resolved` maps host patterns to the addresses that the
    operator gives them, which are as good. `seeds` are hosts (with their port, unless it is the scheme's own) of URLs
    that the operator wrote: they may be private, but one that is a name may not change from a public address to a
    private one while the crawl runs, nor lead to this link's own addresses, where clouds keep their secrets.
    """

    def __init__(
        self, private_hosts: Iterable[str] = (), resolved: Mapping[str, str] | None = None, seeds: Container[str] = ()
    ) -> None:
        self._names: list[str] = []
        self._networks = []
        for written in private_hosts:
            try:
                self._networks.append(ip_network(written.strip("[]"), strict=False))
            except ValueError:
                self._names.append(written.lower())
        self._resolved = [(pattern, ip_address(address)) for pattern, address in (resolved or {}).items()]
        self._seeds = seeds
        self._were_public: set[str] = set()

    def refusal(self, url: str, address: str, port: int) -> str | None:
        """Why no connection may be made to an address for a URL, without telling the address; None when it may."""
        found = ip_address(address)
        host, name = authority(url), hostname(url)
        if self._is_named(host, name, found):
            return None
        if host in self._seeds:
            return None if self._is_given(name, found) else self._refusal_of_seed(host, name, found)
        if port in BAD_PORTS:
            return f"port {port} is not one of the web's; {_HINT}"
        return None if is_public(found) or self._is_given(name, found) else f"its address is not a public one; {_HINT}"

    def refusal_unresolved(self, url: str, port: int) -> str | None:
        """The same where only the name is known, since a proxy looks it up: addresses as such, ``localhost``, ports."""
        name = hostname(url)
        is_local = name.rstrip(".").rpartition(".")[2] == "localhost"  # RFC 6761 section 6.3
        try:
            address = "127.0.0.1" if is_local else str(ip_address(name))
        except ValueError:
            host = authority(url)
            is_fine = port not in BAD_PORTS or host in self._seeds or self._matches(host, name)
            return None if is_fine else f"port {port} is not one of the web's; {_HINT}"
        return self.refusal(url, address, port)

    def _is_named(self, host: str, name: str, address: Address) -> bool:
        inner = embedded(address) or address
        if any(one in network for network in self._networks for one in (address, inner)):
            return True
        return self._matches(host, name)

    def _is_given(self, name: str, address: Address) -> bool:
        return address == next((given for pattern, given in self._resolved if fnmatchcase(name, pattern)), None)

    def _matches(self, host: str, name: str) -> bool:
        return any(fnmatchcase(name, pattern) or fnmatchcase(host, pattern) for pattern in self._names)

    def _refusal_of_seed(self, host: str, name: str, address: Address) -> str | None:
        if name == str(address):
            return None
        if is_public(address):
            self._were_public.add(host)
            return None
        if host in self._were_public:
            return f"its name led to a public address before, and now to another; {_HINT}"
        inner = embedded(address) or address
        is_usual = inner.is_loopback or (inner.is_private and not inner.is_link_local and not inner.is_unspecified)
        return None if is_usual else f"its address is not one that a site of one's own has; {_HINT}"
