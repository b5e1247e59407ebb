"""A page in a handler's hands: how to read it, and how to go on from it."""

import codecs
import difflib
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Protocol, TypeAlias, TypedDict, TypeVar, Unpack, overload

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import replace

from crawler import charset
from crawler.errors import HandlerError, SelectorError, escaped
from crawler.html import Node, Selection, Tree, base_href, hrefs, linked, meta_robots, parse
from crawler.models import Json, Kind, Request
from crawler.urls import Joiner, canonical

Target: TypeAlias = Callable[..., object] | str
Default = TypeVar("Default")
Wanted = TypeVar("Wanted")

MAX_PRIORITY = 1_000_000_000  # a rank holds priority and depth in 64 bits
_NO_FOLLOW = frozenset({"nofollow", "none"})
_URL_LIKE = re.compile(r"\s*(?:[./?]*/|[a-z][a-z0-9+.-]*://)", re.IGNORECASE)

_Token = Annotated[str, Meta(pattern=r"\A[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")]  # RFC 9110 section 5.6.2
Headers = dict[_Token, Annotated[str, Meta(pattern=r"\A[^\r\n\0]*\Z")]]
_TYPES: dict[str, Any] = {
    "method": _Token,
    "headers": Headers,
    "body": bytes,
    "priority": Annotated[int, Meta(ge=-MAX_PRIORITY, le=MAX_PRIORITY)],
    "key": Annotated[str, Meta(min_length=1)],
    "accept": tuple[Annotated[str, Meta(pattern="/")], ...],
    "statuses": tuple[Annotated[int, Meta(ge=100, le=599)], ...],
    "anywhere": bool,
    "retry": bool,
}
_FIELDS = {"to": "handler", "json": "body"}


class Options(TypedDict, total=False):
    """What may be said of a request besides its URL; None is the same as not saying it.

    ``to``: the handler, as a method of the spider or its name; the one that is running unless given. ``failed``: the
    method that is told when the request has failed for good. ``method``: GET, or POST where there is a body. ``json``:
    anything msgspec encodes, sent as a body with its Content-Type. ``data``: plain JSON that the handler finds in
    ``response.data``. ``priority``: higher goes first among the pages of its host. ``key``: what tells the request from
    others, instead of method, URL and body. ``accept``: further content types to take, such as ``"application/pdf"``.
    ``statuses``: statuses other than 2xx that the handler takes. ``anywhere``: though it is out of scope. ``retry``:
    though it is neither GET nor HEAD.
    """

    to: Target | None
    failed: Target | None
    method: str | None
    headers: Mapping[str, str] | None
    body: bytes | None
    json: object
    data: object
    priority: int | None
    key: str | None
    accept: Sequence[str] | None
    statuses: Collection[int] | None
    anywhere: bool | None
    retry: bool | None


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


class Requests(Sequence[Request]):
    """Requests that differ in nothing but their URL. Each is made when it is looked at, so many cost nothing."""

    __slots__ = ("template", "urls")

    def __init__(self, urls: Sequence[str], template: Request) -> None:
        self.urls = urls
        self.template = template

    def __repr__(self) -> str:
        return f"<Requests {len(self.urls)} to={self.template.handler}>"

    def __len__(self) -> int:
        return len(self.urls)

    def __iter__(self) -> Iterator[Request]:
        template = self.template
        return (replace(template, url=url) for url in self.urls)

    @overload
    def __getitem__(self, index: int) -> Request: ...

    @overload
    def __getitem__(self, index: slice) -> "Requests": ...

    def __getitem__(self, index: int | slice) -> "Request | Requests":
        if isinstance(index, slice):
            return Requests(self.urls[index], self.template)
        return replace(self.template, url=self.urls[index])


class Response:
    """A page that was fetched. It is read by `css`, `text`, `attr` and `json`, and left by `follow` and `request`.

    ``requested`` is the request that it answers. ``headers`` are looked up in any case. ``body`` is bytes, no longer
    compressed; a download's is empty, and ``file`` says where it lies. HTML is parsed once, when it is first needed.
    """

    __slots__ = (
        "_base", "_encoding", "_links", "_tree", "body", "door", "file", "headers", "requested", "status", "url",
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
        self._encoding: str | None = None

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
    def encoding(self) -> str:
        """The body's character encoding, by its Python name: declared, or else found out."""
        if self._encoding is None:
            self._encoding = charset.sniff(self.body, self.headers.get("Content-Type", ""))
        return self._encoding

    @property
    def html(self) -> Tree:
        """The tree that all verbs read: selectolax's own."""
        if self._tree is None:
            self._tree = parse(self.body, self.encoding)
        return self._tree

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

    def links(self) -> list[str]:
        """The absolute, canonical URLs of the page's links, each once, in page order; at most ``max_links``."""
        return list(self._page_links())

    def follow(self, selector: str = "a", **options: Unpack[Options]) -> Requests:
        """A request for the link of each element that matches, each once; ``"a"`` is all that `links` has.

        An element's link is its own href, or else that of the first link within it; ``img::attr(src)`` takes other
        attributes. Elements without a link are passed over. A page that says ``nofollow``, in its meta robots or its
        X-Robots-Tag, has none (``obey_robots``). Raises `SelectorError` for a URL: that is `request`.
        """
        template = described(options, handler=self.requested.handler, depth=self.depth + 1)
        if self.door.obeys_nofollow and not _NO_FOLLOW.isdisjoint(self._directives()):
            return Requests([], template)
        if selector == "a":
            return Requests(self._page_links(), template)
        if _URL_LIKE.match(selector):
            raise SelectorError(f"follow takes a CSS selector; for a URL use response.request({escaped(selector)!r})")
        return Requests(self._resolved(linked(self.css(selector))), template)

    def request(self, url: str, **options: Unpack[Options]) -> Request:
        """A request for a URL, absolute or relative to the page. Raises `HandlerError` if it is none."""
        template = described(options, handler=self.requested.handler, depth=self.depth + 1)
        return replace(template, url=resolved(url, self._base_url()))

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
        """What the page says to robots. A header's directives for another robot by name are not for us."""
        tag = self.headers.get("X-Robots-Tag", "")
        said = frozenset(part.strip().lower().removeprefix("crawler:").strip() for part in tag.split(","))
        return said | meta_robots(self.html)

    def _page_links(self) -> list[str]:
        if self._links is None:
            self._links = self._resolved(hrefs(self.html))
        return self._links

    def _resolved(self, found: list[str | None]) -> list[str]:
        pages: list[str | None] = list(dict.fromkeys(href.partition("#")[0] for href in found if href is not None))
        return self.door.joiner.join(self._base_url(), pages[: self.door.max_links])

    def _base_url(self) -> str:
        if self._base is None:
            content_type = self.headers.get("Content-Type", "")
            base = base_href(self.html) if "html" in content_type.lower() or not content_type else None
            self._base = (base and canonical(base, self.url)) or self.url
        return self._base


def resolved(url: object, base: str = "") -> str:
    """The canonical URL that `url` is on the page `base`. Raises `HandlerError` if it is not one of the web."""
    found = canonical(url, base) if isinstance(url, str) else None
    if found is None:
        where = f" on {escaped(base, 2048)}" if base else ""
        raise HandlerError(f"not an http or https URL of at most 2,048 bytes{where}: {escaped(repr(url))}")
    return found


def described(options: Options, *, handler: str = "parse", depth: int = 0, kind: Kind = "page") -> Request:
    """The request that `options` describe, its URL still empty. Raises `HandlerError` naming the option at fault."""
    fields: dict[str, Any] = {"handler": handler, "depth": depth, "kind": kind}
    for name, value in options.items():
        if name not in Options.__annotations__:
            near = difflib.get_close_matches(name, Options.__annotations__, n=1)
            raise HandlerError(f"a request has no {name}={f'; did you mean {near[0]}=?' if near else ''}")
        if value is not None:
            try:
                fields[_FIELDS.get(name, name)] = _checked(name, value)
            except (msgspec.MsgspecError, ValueError, TypeError, RecursionError) as error:
                raise HandlerError(f"{name}={escaped(repr(value))}: {error}") from None
    if options.get("json") is not None:
        if options.get("body") is not None:
            raise HandlerError("a request has json= or body=, not both")
        fields["headers"] = _with_json_type(fields.get("headers", {}))
    if "body" in fields:
        fields.setdefault("method", "POST")
    return Request("", **fields)


def _checked(name: str, value: object) -> object:
    match name:
        case "to" | "failed":
            return _handler_name(value)
        case "json":
            return msgspec.json.encode(value)
        case "data":
            return _plain_json(value)
    checked = msgspec.convert(value, _TYPES[name], builtin_types=(bytes,))
    match checked:
        case str() if name == "method":
            return checked.upper()
        case tuple():  # accept is compared in lower case, statuses come from sets
            return tuple(sorted(one.lower() if isinstance(one, str) else one for one in checked))
    return checked


def _handler_name(target: object) -> str:
    if isinstance(target, str) and target.isidentifier():
        return target
    spider, name = getattr(target, "__self__", None), getattr(target, "__name__", "")
    if hasattr(spider, "seeds") and getattr(spider, name, None) == target:
        return str(name)
    raise ValueError("give a method of the spider, as in to=self.book, or its name: requests outlive the process")


def _plain_json(value: object) -> object:
    """A copy by way of JSON, so that the handler finds the same whether or not the process died in between."""
    back: object = msgspec.json.decode(msgspec.json.encode(value))
    if back != value:
        raise ValueError(f"this is not plain JSON: it would come back as {escaped(repr(back))}")
    return back


def _with_json_type(headers: Mapping[str, str]) -> dict[str, str]:
    if any(name.lower() == "content-type" for name in headers):
        return dict(headers)
    return {**headers, "Content-Type": "application/json"}


def _size(size: int) -> str:
    if size < 1000:
        return f"{size} B"
    return f"{size / 1000:.1f} kB" if size < 1_000_000 else f"{size / 1_000_000:.1f} MB"
