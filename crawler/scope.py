"""What belongs to a crawl: one gate for every request, whoever asks for it."""

import re
from collections.abc import Iterable
from fnmatch import translate

from msgspec import Struct

from crawler.models import Request


class Scope(Struct, frozen=True):
    """The part of the web that a spider wants.

    ``hosts``: names (``example.com``, ``*.example.com``, with ``:port`` where it is not the scheme's own); none means
    the hosts of the seeds and those that a seed redirects to, on any scheme. ``include`` and ``exclude``: patterns for
    whole URLs with ``*``, ``?`` and ``[…]``, as in a shell; a URL must match one of ``include``, if there are any, and
    none of ``exclude``. ``max_depth``: links from a seed, the seeds being at 0.
    """

    hosts: tuple[str, ...] = ()
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    max_depth: int | None = None


def below(url: str) -> Scope:
    """The scope of all that lies in the folder of `url`."""
    folder = url.partition("?")[0].rpartition("/")[0] + "/"
    return Scope(include=(re.sub(r"([*?[])", r"[\1]", folder) + "*",))


def authority(url: str) -> str:
    """Host and explicit port of a canonical URL or origin."""
    return url.partition("://")[2].partition("/")[0]


class Gate:
    """Decides whether a request belongs to the crawl, by its scope and the seeds seen so far."""

    def __init__(self, scope: Scope, *, max_depth: int | None = None, seed_hosts: Iterable[str] = ()) -> None:
        depths = [depth for depth in (scope.max_depth, max_depth) if depth is not None]
        self.max_depth = min(depths) if depths else None
        self._hosts = _any_of(scope.hosts)
        self._include = _any_of(scope.include)
        self._exclude = _any_of(scope.exclude)
        self._seeds = {authority(origin) for origin in seed_hosts}

    def let_in(self, origin: str) -> bool:
        """Make a seed's host part of the default scope; whether that is new."""
        before = len(self._seeds)
        self._seeds.add(authority(origin))
        return len(self._seeds) > before

    def refusal(self, url: str) -> str | None:
        """Why a canonical URL is out of scope; None when it belongs to the crawl."""
        host = authority(url)
        if not (self._hosts.match(host) if self._hosts else host in self._seeds):
            return "scope: host"
        if self._include and not self._include.match(url):
            return "scope: not included"
        if self._exclude and self._exclude.match(url):
            return "scope: excluded"
        return None

    def admit(self, request: Request) -> str | None:
        """Why a request is not to be asked; None when it is."""
        if self.max_depth is not None and request.depth > self.max_depth:
            return "depth"
        if request.anywhere or request.kind != "page" or not request.depth:
            return None
        return self.refusal(request.url)


def _any_of(patterns: Iterable[str]) -> re.Pattern[str] | None:
    joined = "|".join(translate(pattern) for pattern in patterns)
    return re.compile(joined) if joined else None
