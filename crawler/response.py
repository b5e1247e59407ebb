"""A page in a handler's hands: how to read it, and how to go on from it."""

import codecs
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar, Unpack, overload

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from crawler import charset, markup, stages
from crawler.directives import directives
from crawler.errors import HandlerError, ParseLimit, SelectorError, escaped
from crawler.forms import Form, Value
from crawler.html import Node, Selection, linked
from crawler.links import HeaderLink, LinkRules, header_links
from crawler.models import Json, Request
from crawler.requests import Options, Requests, described, form_options, resolved, submitted
from crawler.tree import Marked, Tree, marked, meta_robots, parse, source, unmarked_hrefs
from crawler.urls import Joiner, canonical

Default = TypeVar("Default")
Wanted = TypeVar("Wanted")

_HTML = ("text/html", "application/xhtml+xml")
_MARKUP = re.compile(
    r"\s*(?:<!doctype\s+html\b|<!--|<[a-z][a-z0-9]*[\s/>]|<\?xml[^>]*>\s*<(?:!doctype\s+)?html\b)", re.IGNORECASE
)
_NO_FOLLOW = frozenset({"nofollow", "none"})
_URL_LIKE = re.compile(r"\s*(?:[./?]*/|[a-z][a-z0-9+.-]*://)", re.IGNORECASE)


class Door(Protocol):
    """What a response needs of the crawl it belongs to."""

    @property
    def joiner(self) -> Joiner:
        """Resolves links; shared by all pages."""

    @property
    def max_links(self) -> int:
        """How many different links are taken from one page."""

    @property
    def obeys_nofollow(self) -> bool:
        """Whether a page may forbid that its links are followed."""

    @property
    def product_token(self) -> str:
        """The name by which a page may speak to this crawler."""

    @property
    def obeys_rel_nofollow(self) -> bool:
        """Whether a single link may forbid that it is followed."""

    def file_path(self, url: str) -> str:
        """The path, below the job's folder, at which a download of `url` will be stored."""

    async def fetch(self, request: Request, parent: "Response") -> "Response":
        """Fetch for a handler that waits; raises `FetchError`."""


class File(Struct, frozen=True):
    """A downloaded file: where it lies, its name there, its size in bytes, its SHA-256 in hex."""

    path: Path
    name: str
    size: int
    sha256: str


class Response:
    """A page that was fetched. It is read by `css`, `text`, `attr` and `json`, and left by `follow` and `request`.

    ``requested`` is the request that it answers. ``headers`` are looked up in any case. ``body`` is bytes, no longer
    compressed; a download's is empty, and ``file`` says where it lies. HTML is parsed once, when it is first needed.
    """

    __slots__ = (
        "_base", "_encoding", "_is_html", "_links", "_marked", "_tree", "_worst", "body", "door", "file", "headers",
        "requested", "status", "url",
    )  # fmt: skip

    def __init__(
        self,
        request: Request,
        *,
        url: str,
        status: int,
        headers: Mapping[str, str],
        body: bytes,
        door: Door,
        file: File | None = None,
    ) -> None:
        self.requested = request
        self.url = url
        self.status = status
        self.headers = headers
        self.body = body
        self.door = door
        self.file = file
        self._tree: Tree | None = None
        self._base: str | None = None
        self._links: list[str] | None = None
        self._marked: Marked | None = None
        self._encoding: str | None = None
        self._worst: float | None = None
        self._is_html: bool | None = None

    def __repr__(self) -> str:
        return f"<Response {self.status} {escaped(self.url, 2048)} {_size(len(self.body))}>"

    @property
    def data(self) -> Json:
        """The ``data`` of the request: plain JSON."""
        return self.requested.data

    @property
    def depth(self) -> int:
        """Links from a seed; a seed is at 0."""
        return self.requested.depth

    @property
    def directives(self) -> frozenset[str]:
        """What meta robots and X-Robots-Tag say to this crawler, in lower case: ``{"noindex", "nofollow"}``.

        ``nofollow`` and ``none`` are obeyed by `follow`; what else is to come of them is for the author to decide.
        """
        return self._directives()

    @property
    def encoding(self) -> str:
        """The body's character encoding, by its Python name: declared, or else found out."""
        if self._encoding is None:
            self._encoding = charset.sniff(self.body, self.headers.get("Content-Type", ""))
        return self._encoding

    @property
    def is_html(self) -> bool:
        """Whether it is HTML, as its Content-Type says; where there is none, whether its body begins like a page."""
        if self._is_html is None:
            declared = self.headers.get("Content-Type", "").strip().lower()
            self._is_html = declared.startswith(_HTML) if declared else self._looks_like_html()
        return self._is_html

    def _looks_like_html(self) -> bool:
        return _MARKUP.match(charset.decode(self.body[:1024], self.encoding)) is not None

    @property
    def html(self) -> Tree:
        """The tree that all verbs read: selectolax's own. Whatever the body is, it is read as HTML.

        Raises ParseLimit for a body that is built to keep a parser busy.
        """
        if self._tree is None:
            if self.worst > markup.LONGEST:
                raise ParseLimit("its structure would cost more than a page may", url=self.url, status=self.status)
            with stages.work("parse"):
                self._tree = parse(self.body, self.encoding)
        return self._tree

    @property
    def worst(self) -> float:
        """The seconds that its structure may cost the parser at most; see `markup.worst`."""
        if self._worst is None:
            self._worst = markup.worst(source(self.body, self.encoding))
        return self._worst

    def parse(self, *, links: bool) -> None:
        """Parse it, and find its links too, now, whatever it costs: for a thread."""
        self._tree = parse(self.body, self.encoding)
        if links:
            self._page_links()

    @property
    def node(self) -> Node:
        """The page's root element; ``response.node.text()`` is the text that a reader of the page sees."""
        root = self.html.root
        assert root is not None  # an HTML parser makes an html element of any bytes
        return Node(root, self.url)

    def css(self, selector: str) -> Selection:
        """All elements that match; ``a::attr(href)`` and ``p::text`` select strings. See `Node.css`."""
        return self.node.css(selector)

    @overload
    def text(self) -> str: ...

    @overload
    def text(self, selector: str) -> str: ...

    @overload
    def text(self, selector: str, *, default: Default) -> str | Default: ...

    def text(self, selector: str | None = None, **default: object) -> object:
        """``text(selector)`` is the text of the first element that matches, see `Node.text`.

        Without a selector it is the whole body, decoded: the source of an HTML page, with its tags.
        """
        if selector is None:
            return charset.decode(self.body, self.encoding)
        return self.node.text(selector, **default)

    @overload
    def attr(self, selector: str, name: str, /) -> str: ...

    @overload
    def attr(self, selector: str, name: str, /, *, default: Default) -> str | Default: ...

    def attr(self, selector: str, name: str, /, **default: object) -> object:
        """An attribute of the first element that matches, see `Node.attr`."""
        return self.node.attr(selector, name, **default)

    @overload
    def json(self) -> Any: ...

    @overload
    def json(self, kind: type[Wanted]) -> Wanted: ...

    def json(self, kind: Any = Any) -> Any:
        """The body as JSON; of a type if one is given: a dataclass, a msgspec Struct, ``list[int]`` and so on.

        Raises `HandlerError` that says where the body is not JSON, or not of that type.
        """
        try:
            text = self.text() if self.encoding != "utf-8" else self.body.removeprefix(codecs.BOM_UTF8)
            return msgspec.json.decode(text, type=kind)
        except (msgspec.DecodeError, UnicodeError) as error:
            raise HandlerError(f"{escaped(self.url, 2048)}: {escaped(str(error))}") from error
        except RecursionError:
            raise HandlerError(f"{escaped(self.url, 2048)}: JSON nested too deep") from None

    @property
    def canonical(self) -> str | None:
        """The URL that the page gives as its own (RFC 6596): its ``<link rel=canonical>``, or else its header's."""
        if not self.names_canonical:
            return None
        href = self._marks().canonical if self.is_html and self._has_canonical() else None
        if href:
            return canonical(href, self._base_url())
        named = (link.target for link in self._header_links() if "canonical" in link.rel)
        return next((canonical(target, self.url) for target in named), None)

    def links(self, rules: LinkRules | None = None) -> list[str]:
        """The absolute, canonical URLs of the page's links, each once, in page order; at most ``max_links``.

        Without `rules`, those of ``a`` and ``area``; `LinkRules` choose others. What is not HTML has none but those of
        its ``Link`` header: what looks like a link in plain text, JSON or XML is somebody's words.
        """
        return list(self._page_links()) if rules is None else self._chosen(rules, obey_rel=False)

    def follow(self, chosen: str | LinkRules = "a", **options: Unpack[Options]) -> Requests:
        """A request for the link of each element that a selector matches, each once; ``"a"`` is all that `links` has.

        An element's link is its own href, or else that of the first link within it; ``img::attr(src)`` takes other
        attributes, and `LinkRules` in place of a selector choose links of other kinds. Elements without a link are
        passed over. What is not HTML has no links but those of its ``Link`` header, and a page has none that says
        ``nofollow``, in its meta robots or its X-Robots-Tag (``obey_robots``); nor is a link taken that is marked
        ``rel=nofollow``, if ``obey_rel_nofollow`` is set. Raises `SelectorError` for a URL: that is `request`.
        """
        template = described(options, handler=self.requested.handler, depth=self.depth + 1)
        if isinstance(chosen, str) and _URL_LIKE.match(chosen):
            raise SelectorError(f"follow takes a CSS selector; for a URL use response.request({escaped(chosen)!r})")
        if self.door.obeys_nofollow and not _NO_FOLLOW.isdisjoint(self._directives()):
            return Requests([], template)
        obey_rel = self.door.obeys_rel_nofollow
        if isinstance(chosen, LinkRules):
            return Requests(self._chosen(chosen, obey_rel=obey_rel), template)
        if chosen == "a" and not obey_rel:
            return Requests(self._page_links(), template)
        if not self.is_html:
            return Requests([], template)
        found = unmarked_hrefs(self.html) if chosen == "a" else linked(self.css(chosen), obey_rel=obey_rel)
        return Requests(self._resolved(found), template)

    def request(self, url: str, **options: Unpack[Options]) -> Request:
        """A request for a URL, absolute or relative to the page. Raises `HandlerError` if it is none."""
        template = described(options, handler=self.requested.handler, depth=self.depth + 1)
        return replace(template, url=resolved(url, self._base_url()))

    def form(
        self,
        selector: str | None = None,
        fields: Mapping[str, Value] | None = None,
        /,
        *,
        submit: str | None = None,
        **named: object,
    ) -> Request:
        """The request that a form of the page sends when `fields` are filled in, as by a browser without scripts.

        Hidden fields, ticked boxes and selected options are sent as they stand; ``True`` ticks a box, ``None`` leaves
        a field out, a list fills in several of one name. `submit` names the button, else it is the first. Keywords are
        fields too, but for the options of `request` (``to=self.results``): a field that is called like one of these
        stands in `fields`. Without a selector the page must have one form only.

        Raises `SelectorError`, with page and selector, for a form, field, button or choice that is not there.
        """
        options, keywords = form_options(named)
        form = Form(self.node, selector, self.encoding)
        form.refuse_unclear(options.keys() - (fields or {}).keys())
        sent = form.submission({**(fields or {}), **keywords}, submit)
        action = resolved(sent.action, self._base_url()) if sent.action else self.url
        template = described(options, handler=self.requested.handler, depth=self.depth + 1)
        return submitted(template, sent, action, page=self.url)

    def download(self, url: str, **options: Unpack[Options]) -> Request:
        """A request for a file of any size, streamed to disk; ``path``, below the job's folder, is known at once.

        Without ``to`` no handler is called when the file is there.
        """
        template = described(options, handler="", depth=self.depth + 1, kind="download")
        absolute = resolved(url, self._base_url())
        return replace(template, url=absolute, path=self.door.file_path(absolute))

    async def fetch(self, url: str, **options: Unpack[Options]) -> "Response":
        """Fetch another page at once, as part of this one. Raises `FetchError`."""
        template = described(options, handler=self.requested.handler, depth=self.depth)
        return await self.door.fetch(replace(template, url=resolved(url, self._base_url())), self)

    def _directives(self) -> frozenset[str]:
        """What the page says to robots, and to this one by its product token."""
        token = self.door.product_token
        said = directives(self._lines("X-Robots-Tag"), token)
        return said | meta_robots(self._marks().metas, token) if self.is_html else said

    def _lines(self, name: str) -> list[str]:
        """The lines of a header; there may be one at most, as in a plain dict."""
        all_lines = getattr(self.headers, "getall", None)
        one = [self.headers[name]] if name in self.headers else []
        return one if all_lines is None else list(all_lines(name, ()))

    def _header(self, name: str) -> str:
        """All lines of a header that is a list (RFC 9110 section 5.3)."""
        return ", ".join(self._lines(name))

    @property
    def names_canonical(self) -> bool:
        """Whether it is worth while to ask for `canonical`, for which the page may have to be parsed."""
        return "Link" in self.headers or (self._has_canonical() and self.is_html)

    def _has_canonical(self) -> bool:
        if self._marked is not None:
            return bool(self._marked.canonical)
        return b"anonical" in self.body or b"ANONICAL" in self.body

    def _header_links(self) -> list[HeaderLink]:
        """The links of the header that are the page's own; those with another anchor are another's (RFC 8288)."""
        found = header_links(self._header("Link"))
        return [link for link in found if link.anchor is None or canonical(link.anchor, self.url) == self.url]

    def _chosen(self, rules: LinkRules, *, obey_rel: bool) -> list[str]:
        of_header = rules.hrefs_of_header(self._header_links(), obey_rel=obey_rel)
        urls = self._resolved([*of_header], self.url)
        if self.is_html:
            nodes = self.css(rules.selector) if rules.within is None else self.css(rules.within).css(rules.selector)
            urls += self._resolved([*rules.hrefs(nodes, obey_rel=obey_rel)])
        return [url for url in dict.fromkeys(urls) if rules.admits(url)][: self.door.max_links]

    def _page_links(self) -> list[str]:
        if self._links is None:
            with stages.work("links"):
                self._links = self._resolved(self._marks().hrefs) if self.is_html else []
        return self._links

    def _marks(self) -> Marked:
        if self._marked is None:
            self._marked = marked(self.html)
        return self._marked

    def _resolved(self, found: Sequence[str | None], base: str | None = None) -> list[str]:
        known = [href for href in dict.fromkeys(found) if href is not None]
        pages = dict.fromkeys([href.partition("#")[0] if "#" in href else href for href in known])
        return self.door.joiner.join(base or self._base_url(), list(pages)[: self.door.max_links])

    def _base_url(self) -> str:
        if self._base is None:
            base = self._marks().base if self.is_html else None
            self._base = (base and canonical(base, self.url)) or self.url
        return self._base


def _size(size: int) -> str:
    if size < 1000:
        return f"{size} B"
    return f"{size / 1000:.1f} kB" if size < 1_000_000 else f"{size / 1_000_000:.1f} MB"
