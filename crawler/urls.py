"""URLs as browsers read them (WHATWG URL Standard), their fingerprints, and the host they belong to."""

import re
from collections.abc import Collection
from functools import lru_cache
from hashlib import blake2b

import ada_url

MAX_LENGTH = 2048
_STRIPPED = "".join(map(chr, range(0x21)))  # leading and trailing C0 controls and space, URL Standard section 4.4

_SCHEME_ALONE = re.compile(r":[\t\n\r]*(?:[?#]|\Z)")  # "http:?page=2" is relative where the base is http too
_ENTRY = 200  # what a remembered link costs besides its characters


def canonical(url: str, base: str = "") -> str | None:
    """The absolute http or https URL that `url` means on the page `base`, without fragment or credentials.

    None for other schemes, for what no browser would accept, and for URLs over 2,048 bytes.
    """
    if len(url) > 2 * MAX_LENGTH:  # what is not sent may be as long as it likes
        url = url.strip(_STRIPPED).partition("#")[0]
        if len(url) > 2 * MAX_LENGTH:
            return None
    try:
        absolute: str = ada_url.join_url(base, url) if base else _normalized(url)
    except ValueError:
        return None
    absolute = absolute.partition("#")[0]
    if not absolute.startswith(("https://", "http://")) or len(absolute) > MAX_LENGTH:
        return None
    return absolute if "@" not in absolute else _without_credentials(absolute)


# a URL is made canonical where it is made, and made sure of where it is used, mostly a moment later
_normalized = lru_cache(maxsize=256)(ada_url.normalize_url)


def _without_credentials(url: str) -> str:
    origin, path = split(url)
    scheme, _, authority = origin.partition("://")
    return f"{scheme}://{authority.rpartition('@')[2]}{path}"


def split(url: str) -> tuple[str, str]:
    """A canonical URL's origin, which is also its host's key (`https://example.com:8443`), and its path with query."""
    slash = url.index("/", 8)
    return url[:slash], url[slash:]


def hostname(origin: str) -> str:
    """The host of an origin or URL, without port; an IPv6 address keeps its brackets off."""
    authority = origin.partition("://")[2].partition("/")[0].rpartition("@")[2]
    if authority.startswith("["):
        return authority[1:].partition("]")[0]
    return authority.partition(":")[0]


def port_of(url: str) -> int:
    """The port that a canonical URL is asked at."""
    origin = split(url)[0]
    port = origin.rpartition(":")[2]
    return int(port) if port.isdecimal() else 443 if origin.startswith("https:") else 80


class Joiner:
    """Resolves the links of many pages, each distinct href of a directory once. Bounded; holds no page."""

    def __init__(self, limit: int = 16_000_000) -> None:
        self._limit = limit  # in characters, of hrefs, URLs and folders
        self._size = 0
        self._directories: dict[str, dict[str, str | None]] = {}

    def join(self, base: str, hrefs: Collection[str]) -> list[str]:
        """The canonical URLs of `hrefs` on the page `base`, itself a canonical URL, each once, in the order given."""
        directory = base[: base.partition("?")[0].rindex("/") + 1]
        known = self._directories.get(directory)
        if known is None or self._size > self._limit:
            known = self._fresh(directory)
        # what is new first, so that all the rest, which is nearly all, needs no loop of its own
        fresh = {href: self._resolve(base, directory, href, known) for href in hrefs if href not in known}
        found = dict.fromkeys([known.get(href) or fresh.get(href) for href in hrefs])
        return [url for url in found if url is not None]

    def _fresh(self, directory: str) -> dict[str, str | None]:
        if self._size > self._limit:
            self._directories.clear()
            self._size = 0
        self._size += len(directory) + _ENTRY
        return self._directories.setdefault(directory, {})

    def _resolve(self, base: str, directory: str, href: str, known: dict[str, str | None]) -> str | None:
        trimmed = href.strip(_STRIPPED)
        if not trimmed:
            return base
        if trimmed[:1] in {"?", "#"} or _SCHEME_ALONE.search(trimmed):
            # these alone depend on more of the base than its directory
            return canonical(trimmed, base)
        url = canonical(trimmed, directory)
        if len(href) <= MAX_LENGTH:
            known[href] = url
            self._size += len(href) + len(url or "") + _ENTRY
        return url


class Fingerprints:
    """Keyed 64-bit names of URLs within their host: nobody who lacks the key can make two of them meet.

    The high 24 bits come from the URL's directory, so that the pages of one directory lie side by side in the index.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._directories: dict[str, bytes] = {}

    def of(self, path: str, identity: str = "") -> int:
        """The fingerprint, a signed 64-bit integer, of a path with query and of what else tells the request apart."""
        if identity:
            digest = blake2b(f"{identity}\n{path}".encode(), digest_size=8, key=self._key).digest()
            return int.from_bytes(digest, "big", signed=True)
        directory = path[: path.partition("?")[0].rindex("/") + 1]
        high = self._directories.get(directory)
        if high is None:
            if len(self._directories) >= 10_000:
                self._directories.clear()
            high = self._directories[directory] = blake2b(directory.encode(), digest_size=3, key=self._key).digest()
        low = blake2b(path.encode(), digest_size=5, key=self._key).digest()
        return int.from_bytes(high + low, "big", signed=True)
