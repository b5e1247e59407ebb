"""By which way a host is reached: its proxy, and the TLS that is spoken with it."""

import socket
import ssl
from collections.abc import Callable, Collection, Sequence
from fnmatch import fnmatchcase
from ipaddress import ip_address

from yarl import URL

from crawler import stages
from crawler.errors import ConfigError, ProxyError, escaped
from crawler.fetch.timing import timed
from crawler.proxies import Health, Proxy, after_failure, next_proxy
from crawler.settings import Settings
from crawler.urls import hostname, split

MOST_NAMED = 10  # patterns, in a warning
FAMILIES = {"any": socket.AF_UNSPEC, "ipv4": socket.AF_INET, "ipv6": socket.AF_INET6}


class Routes:
    """Chooses, and remembers which proxies failed. Raises `ConfigError` for a certificate or address of no use."""

    def __init__(self, settings: Settings, now: Callable[[], float]) -> None:
        self._settings = settings
        self._now = now
        self._turn = 0
        self._stages = stages.current()
        self._health: dict[Proxy, Health] = {}
        self._contexts: dict[tuple[str, bool], ssl.SSLContext] = {}
        self.family = FAMILIES[settings.address_family]
        self.local_address = _bindable(settings.local_address)
        for certificate in ([""] if settings.ca_file else []) + list(settings.client_certificates.values()):
            self._context(certificate, is_verified=True)  # now, so that what is wrong about it is known before all else

    def has_proxy(self, url: str) -> bool:
        """Whether a URL's host is asked by way of proxies."""
        return bool(self._proxies(url))

    def _proxies(self, url: str) -> Sequence[Proxy]:
        host = hostname(url)
        return next((listed for pattern, listed in self._settings.proxies.items() if fnmatchcase(host, pattern)), ())

    def proxy(self, url: str, tried: Collection[Proxy]) -> Proxy | None:
        """The proxy for a request, or None for none. Raises `ProxyError` with the wait when all of them rest."""
        proxies = self._proxies(url) if self._settings.proxies else ()
        if not proxies:
            return None
        chosen = next_proxy(proxies, self._health, self._turn, tried, self._now())
        self._turn += 1
        if isinstance(chosen, Proxy):
            return chosen
        error = ProxyError(f"none of {len(proxies)} proxies can be used", url=url)
        error.retry_after = chosen
        raise error

    def failed(self, proxy: Proxy) -> None:
        """It could not be used."""
        self._health[proxy] = after_failure(self._health.get(proxy, Health()), self._now())

    def worked(self, proxy: Proxy) -> None:
        """It brought an answer."""
        self._health.pop(proxy, None)

    def tls(self, url: str) -> ssl.SSLContext | bool:
        """What aiohttp is given: a context, or whether to verify as is usual."""
        if url.startswith("http:"):
            return True
        settings = self._settings
        host = hostname(url)
        is_verified = not any(fnmatchcase(host, pattern) for pattern in settings.insecure_hosts)
        certificates = settings.client_certificates.items()
        own = next((path for pattern, path in certificates if fnmatchcase(host, pattern)), "")
        if not own and not (settings.ca_file and is_verified) and self._stages is None:
            return is_verified
        return self._context(own, is_verified=is_verified)

    def _context(self, certificate: str, *, is_verified: bool) -> ssl.SSLContext:
        key = (certificate, is_verified)
        if key not in self._contexts:
            context = _context(self._settings.ca_file, certificate, is_verified=is_verified)
            self._contexts[key] = context if self._stages is None else timed(context, self._stages)
        return self._contexts[key]


def unverified(patterns: Sequence[str]) -> str:
    """Whose certificates the setting `insecure_hosts` leaves unchecked, in a line for the log. Names ten of them."""
    named = [escaped(pattern, 70) for pattern in patterns[:MOST_NAMED]]
    if len(patterns) > MOST_NAMED:
        named.append(f"{len(patterns) - MOST_NAMED} more")
    told = ", ".join(named)
    return f"the certificates of {told} are not checked (insecure_hosts): who is on the way can read and change all"


def as_yarl(url: str) -> URL:
    """A canonical URL as aiohttp wants it, taken apart by us: half of what its parser takes, which trusts nobody."""
    (origin, path), is_tls = split(url), url.startswith("https:")
    path, _, query = path.partition("?")
    scheme, authority = ("https", origin[8:]) if is_tls else ("http", origin[7:])
    return URL.build(scheme=scheme, authority=authority, path=path, query_string=query, encoded=True)


def _context(ca_file: str, certificate: str, *, is_verified: bool) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if not is_verified:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    for setting, path, load in (
        ("ca_file", ca_file, context.load_verify_locations),
        ("client_certificates", certificate, context.load_cert_chain),
    ):
        try:
            if path:
                load(path)
        except OSError as error:  # ssl.SSLError is one
            raise ConfigError(f"setting {setting}: {path}: {error.strerror or error}") from None
    return context


def _bindable(address: str) -> tuple[str, int] | None:
    if not address:
        return None
    try:
        ip_address(address)
    except ValueError:
        raise ConfigError(f"setting local_address: {address!r} is no IP address of this machine") from None
    return address, 0
