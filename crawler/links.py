"""Links of every kind: which of them an author wants, and how the odd ones are written.

All that reads a page's own words here takes time in proportion to their length.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import NamedTuple

from msgspec import Struct
from msgspec.structs import force_setattr

from crawler.errors import ConfigError, escaped
from crawler.html import Node
from crawler.scope import any_of
from crawler.urls import split

Attributes = Mapping[str, str | None]
_NONE: frozenset[str] = frozenset()

_TARGET = re.compile(r"[\s,]*+<([^>]*+)>")
_PARAMETER = re.compile(
    r"""\s*+;\s*+(?:([^\s=;,"<>]++)\s*+(?:=\s*+(?:"((?:[^"\\]|\\.)*+)"?|([^\s;,"]*+)))?)?""", re.DOTALL
)
_CANDIDATE = re.compile(r"[\s,]*+(\S++)")
_DESCRIPTORS = re.compile(r"((?:[^,(]|\([^)]*+\)?)*+),?")
_FITTING = re.compile(
    r"(?:\d++w(?:\s++\d++h)?|\d++h\s++\d++w|(?:\d++(?:\.\d++)?|\.\d++)(?:e[+-]?\d++)?x)?", re.IGNORECASE
)  # of a srcset's candidate
_REFRESH = re.compile(
    r"""\s*+(?:\d|\.)[\d.]*+(?=[;,\s])\s*+[;,]?\s*+(?:url\s*+=\s*+)?(?:'([^']*+)|"([^"]*+)|(.*+))""",
    re.IGNORECASE | re.DOTALL,
)


class LinkRules(Struct, frozen=True):
    """Which links of a page `Response.follow` and `Response.links` take; as it comes, what a reader may click on.

    ``elements``: where links stand: ``a``, ``area``, ``link`` (and the header ``Link``, RFC 8288, which says the same),
    ``iframe``, ``frame``, ``img`` and ``source`` (``src`` and ``srcset``), ``form`` (the action of one that is sent by
    GET), ``meta`` (refresh). ``rel``: only links with one of these relations, as ``("next",)``, so of ``a``, ``area``,
    ``form`` and ``link``. ``within``: only elements that a CSS selector matches, or that lie within one.
    ``allow`` and ``deny``: patterns for whole URLs with ``*``, ``?`` and ``[…]``, as in a shell; a URL must match one
    of ``allow``, if there are any, and none of ``deny``. ``skip_extensions``: not what ends so, as ``("pdf", "zip")``.
    Raises ConfigError for an element that has no links.
    """

    elements: tuple[str, ...] = ("a", "area")
    rel: tuple[str, ...] = ()
    within: str | None = None
    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    skip_extensions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("elements", "rel", "allow", "deny", "skip_extensions"):
            if isinstance(given := getattr(self, name), str):
                raise ConfigError(f"LinkRules({name}={given!r}): give a tuple, also for one alone: ({given!r},)")
            force_setattr(self, name, tuple(given))
        if unknown := set(self.elements) - set(_SELECTORS):
            listed = ", ".join(_SELECTORS)
            raise ConfigError(f"LinkRules has no links of {escaped(', '.join(sorted(unknown)))}: take some of {listed}")

    @property
    def selector(self) -> str:
        """What selects the elements that may have such links."""
        return ", ".join(_SELECTORS[element] for element in self.elements)

    def hrefs(self, nodes: Iterable[Node], *, obey_rel: bool) -> Iterator[str]:
        """The links of elements, as they are written; with `obey_rel` not those marked ``nofollow``."""
        for node in nodes:
            attributes = node.raw.attributes
            rel = _NONE if node.tag in _WITHOUT_REL else relations(attributes.get("rel"))
            if self._suits(rel, obey_rel=obey_rel):
                yield from _READERS[node.tag](attributes)

    def hrefs_of_header(self, links: Iterable["HeaderLink"], *, obey_rel: bool) -> Iterator[str]:
        """The links of a header, as they are written."""
        for link in links if "link" in self.elements and self.within is None else ():
            if self._suits(link.rel, obey_rel=obey_rel):
                yield link.target

    def _suits(self, rel: frozenset[str], *, obey_rel: bool) -> bool:
        if obey_rel and "nofollow" in rel:
            return False
        return not self.rel or any(one.lower() in rel for one in self.rel)

    def admits(self, url: str) -> bool:
        """Whether a canonical URL is wanted, as far as it tells."""
        allow, deny = _patterns(self.allow), _patterns(self.deny)
        if (allow and not allow.match(url)) or (deny and deny.match(url)):
            return False
        return not (self.skip_extensions and _extension(url) in _extensions(self.skip_extensions))


class HeaderLink(NamedTuple):
    """One link of a ``Link`` header: its target as written, its relations in lower case, and what it is a link of."""

    target: str
    rel: frozenset[str]
    anchor: str | None


def header_links(field: str) -> Iterator[HeaderLink]:
    """The links of a ``Link`` header, several lines of it joined by commas (RFC 8288 section 3 and appendix B.2).

    Of a parameter that comes twice the first one counts. What follows a value that is none is not read.
    """
    at = 0
    while target := _TARGET.match(field, at):
        at = target.end()
        found: dict[str, str] = {}
        while parameter := _PARAMETER.match(field, at):
            at = parameter.end()
            name, quoted, plain = parameter.groups()
            if name:
                value = re.sub(r"\\(.)", r"\1", quoted, flags=re.DOTALL) if quoted is not None else plain or ""
                found.setdefault(name.lower(), value)
        yield HeaderLink(target[1].strip(), relations(found.get("rel")), found.get("anchor"))
        comma = field.find(",", at)
        at = len(field) if comma < 0 else comma


def relations(rel: str | None) -> frozenset[str]:
    """The words of a ``rel``, in lower case."""
    return frozenset(rel.lower().split()) if rel else frozenset()


def candidates(srcset: str) -> Iterator[str]:
    """The URLs of a ``srcset`` (HTML Standard, section 4.8.4.2.2); of a candidate that no browser takes, none."""
    at = 0
    while found := _CANDIDATE.match(srcset, at):
        at, url = found.end(), found[1]
        if url.endswith(","):
            yield url.rstrip(",")
            continue
        descriptors = _DESCRIPTORS.match(srcset, at)
        assert descriptors is not None  # it may be empty
        at = descriptors.end()
        if _FITTING.fullmatch(descriptors[1].strip()):
            yield url


def refresh(content: str) -> str | None:
    """Where a ``<meta http-equiv=refresh>`` leads (HTML Standard, section 4.2.5.3); None if it is the page itself."""
    found = _REFRESH.match(content)
    return (found[1] or found[2] or (found[3] or "").strip() or None) if found else None


def _one(name: str) -> Callable[[Attributes], Iterator[str]]:
    def read(attributes: Attributes) -> Iterator[str]:
        if (value := attributes.get(name)) is not None:
            yield value

    return read


def _images(attributes: Attributes) -> Iterator[str]:
    if src := attributes.get("src"):
        yield src
    yield from candidates(attributes.get("srcset") or "")


def _action(attributes: Attributes) -> Iterator[str]:
    if (attributes.get("method") or "get").strip().lower() not in {"post", "dialog"} and attributes.get("action"):
        yield attributes["action"] or ""


def _refreshes(attributes: Attributes) -> Iterator[str]:
    is_refresh = (attributes.get("http-equiv") or "").strip().lower() == "refresh"
    if is_refresh and (url := refresh(attributes.get("content") or "")):
        yield url


_SELECTORS = {
    "a": "a[href]", "area": "area[href]", "link": "link[href]", "iframe": "iframe[src]", "frame": "frame[src]",
    "img": "img", "source": "source", "form": "form[action]", "meta": "meta[http-equiv]",
}  # fmt: skip
_READERS: Mapping[str, Callable[[Attributes], Iterator[str]]] = {
    "a": _one("href"), "area": _one("href"), "link": _one("href"), "iframe": _one("src"), "frame": _one("src"),
    "img": _images, "source": _images, "form": _action, "meta": _refreshes,
}  # fmt: skip
_WITHOUT_REL = frozenset({"iframe", "frame", "img", "source", "meta"})


@lru_cache(maxsize=256)
def _patterns(patterns: tuple[str, ...]) -> re.Pattern[str] | None:
    return any_of(patterns)


@lru_cache(maxsize=256)
def _extensions(listed: tuple[str, ...]) -> frozenset[str]:
    return frozenset(one.lower().lstrip(".") for one in listed)


def _extension(url: str) -> str:
    name = split(url)[1].partition("?")[0].rpartition("/")[2]
    return name.rpartition(".")[2].lower() if "." in name else ""
