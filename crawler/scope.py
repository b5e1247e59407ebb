"""What belongs to a crawl: one gate for every request, whoever asks for it."""

import re
from collections.abc import Iterable
from fnmatch import translate

from msgspec import Struct

from crawler.models import Request
from crawler.traps import TrapLimits
from crawler.urls import canonical

_IPV6 = re.compile(r"^\[([0-9a-f.]*:[0-9a-f:.]*)\]")


class Scope(Struct, frozen=True):
    """The part of the web that a spider wants.

    ``hosts``: names (``example.com``, ``*.example.com``, with ``:port`` where it is not the scheme's own); none means
    the hosts of the seeds and those that a seed redirects to, on any scheme. ``include`` and ``exclude``: patterns for
    whole URLs with ``*``, ``?`` and ``[…]``, as in a shell; a URL must match one of ``include``, if there are any, and
    none of ``exclude``. ``folders``: URLs of folders, on any scheme, of which one must hold the page; that to which a
    seed redirects is one too. ``max_depth``: links from a seed, the seeds being at 0.
    """

    hosts: tuple[str, ...] = ()
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    max_depth: int | None = None

    @classmethod
    def below(cls, url: str) -> "Scope":
        """All that lies in the folder of `url`."""
        return cls(folders=(folder_of(canonical(url) or url),))


def folder_of(url: str) -> str:
    """The URL of the folder that holds a page."""
    return url.partition("?")[0].rpartition("/")[0] + "/"


def authority(url: str) -> str:
    """Host and explicit port of a canonical URL or origin."""
    return url.partition("://")[2].partition("/")[0]


class Gate:
    """Decides whether a request belongs to the crawl, by its scope and the seeds seen so far."""

    def __init__(
        self, scope: Scope, *, max_depth: int | None = None, seed_hosts: Iterable[str] = (),
        limits: TrapLimits | None = None,
    ) -> None:  # fmt: skip
        depths = [depth for depth in (scope.max_depth, max_depth) if depth is not None]
        self.max_depth = min(depths) if depths else None
        self._hosts = any_of(map(_host_pattern, scope.hosts))
        self._include = any_of(scope.include)
        self._exclude = any_of(scope.exclude)
        self._seeds = {authority(origin) for origin in seed_hosts}
        self.written: set[str] = set()  # hosts of seeds, as somebody wrote them
        self._limits = limits
        self._folders = tuple(_without_scheme(folder) for folder in scope.folders)

    def let_in(self, url: str, *, moved: bool = False, written: bool = False) -> bool:
        """Make a seed's host part of the scope; of where a seed was `moved` to, its folder too. Whether that is new.

        `written`: it is not only where a server sent us to, so its address may be private.
        """
        if written:
            self.written.add(authority(url))
        before = len(self._seeds), self._folders
        self._seeds.add(authority(url))
        folder = _without_scheme(folder_of(url))
        if moved and self._folders and not folder.startswith(self._folders):
            self._folders += (folder,)
        return (len(self._seeds), self._folders) != before

    def refusal(self, url: str) -> str | None:
        """Why a canonical URL is out of scope, or looks like a trap; None when it belongs to the crawl."""
        host = authority(url)
        if not (self._hosts.match(host) if self._hosts else host in self._seeds):
            return "scope: host"
        if self._folders and not _without_scheme(url).startswith(self._folders):
            return "scope: folder"
        if self._include and not self._include.match(url):
            return "scope: not included"
        if self._exclude and self._exclude.match(url):
            return "scope: excluded"
        return self._limits.trap(url) if self._limits else None

    def admit(self, request: Request) -> str | None:
        """Why a request is not to be asked; None when it is."""
        if self.max_depth is not None and request.depth > self.max_depth:
            return "depth"
        if request.anywhere or request.kind != "page" or not request.depth:
            return None
        return self.refusal(request.url)


def _host_pattern(written: str) -> str:
    """A pattern as hosts are spelled in URLs: in lower case and Punycode; an IPv6 address is no set of letters."""
    plain = None if set(written) & set("*?[") else canonical(f"http://{written}/")
    return authority(plain) if plain else _IPV6.sub(r"[[]\1]", written.lower())


def any_of(patterns: Iterable[str]) -> re.Pattern[str] | None:
    """What matches a text as one of some shell patterns does; None without any."""
    joined = "|".join(translate(pattern) for pattern in patterns)
    return re.compile(joined) if joined else None


def _without_scheme(url: str) -> str:
    return url.partition("://")[2]
