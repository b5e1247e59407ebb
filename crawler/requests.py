"""Requests as handlers describe them: what may be said of one, and how it is checked on the spot."""

import difflib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Annotated, Any, TypeAlias, TypedDict, cast, overload

import msgspec
from msgspec import Meta
from msgspec.structs import replace

from crawler.errors import HandlerError, escaped
from crawler.formdata import URLENCODED, Entry, encoded, urlencoded
from crawler.forms import Submission
from crawler.models import Kind, Request
from crawler.urls import canonical, split

Target: TypeAlias = Callable[..., object] | str

MAX_PRIORITY = 1_000_000_000  # a rank holds priority and depth in 64 bits

_Token = Annotated[str, Meta(pattern=r"\A[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")]  # RFC 9110 section 5.6.2
_Field: TypeAlias = str | int | float
# Surrogates are what bytes of an answer's header become that are no UTF-8: they can be neither sent nor kept.
Headers = dict[_Token, Annotated[str, Meta(pattern=r"\A[^\r\n\0\ud800-\udfff]*\Z")]]
_TYPES: dict[str, Any] = {
    "method": _Token,
    "headers": Headers,
    "cookies": dict[_Token, Annotated[str, Meta(pattern=r"\A[^;\x00-\x1f\x7f\ud800-\udfff]*\Z")]],
    "body": bytes,
    "priority": Annotated[int, Meta(ge=-MAX_PRIORITY, le=MAX_PRIORITY)],
    "key": Annotated[str, Meta(pattern=r"\A[^\ud800-\udfff]+\Z")],
    "accept": tuple[Annotated[str, Meta(pattern="/")], ...],
    "statuses": tuple[Annotated[int, Meta(ge=100, le=599)], ...],
    "anywhere": bool,
    "retry": bool,
    "truncate": bool,
    "group": Annotated[str, Meta(pattern=r"\A[^:\s]{1,100}\Z")],
    "session": Annotated[str, Meta(min_length=1)],
}
_SECRET = {"cookies", "form"}  # of these a message has the names alone
_FIELDS = {"to": "handler", "json": "body", "form": "body"}
_BODIES = {"json": "application/json", "form": URLENCODED}
_NOT_OF_FORMS = {"method", "body", "json", "form"}  # a form says these itself; they are names of fields there


class Options(TypedDict, total=False):
    """What may be said of a request besides its URL; None is the same as not saying it.

    ``to``: the handler, as a method of the spider or its name; the one that is running unless given. ``failed``: the
    method that is told when the request has failed for good. ``method``: GET, or POST where there is a body.
    ``cookies``: by name; sent as they are, and no others. ``json``: anything msgspec encodes, sent as a body with its
    Content-Type. ``form``: fields, sent as those of a form; a list is a field that is there several times. ``data``:
    plain JSON that the handler finds in ``response.data``. ``priority``: higher goes first among the pages of its host.
    ``key``: what tells the request from others, instead of method, URL and body. ``accept``: further content types to
    take, such as ``"application/pdf"``. ``statuses``: statuses other than 2xx that the handler takes. ``anywhere``:
    though it is out of scope. ``retry``: though it is neither GET nor HEAD. ``group``: the name whose limits it
    shares, beside those of its host (setting ``groups``). ``session``: one of the spider's ``sessions``, by name.
    ``truncate``: a page over ``max_body_bytes``, or cut off at its last try too, is handled with what there is of it.
    """

    to: Target | None
    failed: Target | None
    method: str | None
    headers: Mapping[str, str] | None
    cookies: Mapping[str, str] | None
    body: bytes | None
    json: object
    form: Mapping[str, object] | None
    data: object
    priority: int | None
    key: str | None
    accept: Sequence[str] | None
    statuses: Collection[int] | None
    anywhere: bool | None
    retry: bool | None
    group: str | None
    session: str | None
    truncate: bool | None


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
                shown = str(list(value)) if name in _SECRET and isinstance(value, Mapping) else repr(value)
                raise HandlerError(f"{name}={escaped(shown)}: {error}") from None
    bodies = [name for name in ("json", "form", "body") if options.get(name) is not None]
    if len(bodies) > 1:
        raise HandlerError(f"a request has {bodies[0]}= or {bodies[1]}=, not both")
    if bodies and bodies[0] in _BODIES:
        fields["headers"] = _with({"Content-Type": _BODIES[bodies[0]]}, fields.get("headers", {}))
    if cookies := fields.pop("cookies", None):
        listed = "; ".join(f"{name}={value}" for name, value in cookies.items())
        fields["headers"] = _with({"Cookie": listed}, fields.get("headers", {}))
    if "body" in fields:
        fields.setdefault("method", "POST")
    return Request("", **fields)


def form_options(named: Mapping[str, object]) -> tuple[Options, dict[str, Any]]:
    """Keywords of a form taken apart: the options of its request, and its fields."""
    known = Options.__annotations__.keys() - _NOT_OF_FORMS
    options = {name: value for name, value in named.items() if name in known}
    return cast("Options", options), {name: value for name, value in named.items() if name not in known}


def submitted(template: Request, sent: Submission, action: str, *, page: str) -> Request:
    """What a form sends to the canonical URL `action`, with the Origin and Referer that a browser gives a POST.

    The latter is all of the page's URL to its own origin, its origin to others, and nothing from https to http
    (Referrer Policy, "strict-origin-when-cross-origin").
    """
    if sent.method == "GET":
        query = urlencoded(sent.entries, sent.codec).decode()
        return replace(template, url=resolved(f"{action.partition('?')[0]}?{query}"))
    body, content_type = encoded(sent.entries, sent.enctype, sent.codec)
    origin = split(page)[0]
    own = {"Content-Type": content_type, "Origin": origin}
    if split(action)[0] == origin:
        own["Referer"] = page
    elif not (origin.startswith("https:") and action.startswith("http:")):
        own["Referer"] = f"{origin}/"
    else:
        own["Origin"] = "null"
    return replace(template, url=action, method="POST", body=body, headers=_with(own, template.headers))


def _checked(name: str, value: object) -> object:
    if reader := _READERS.get(name):
        return reader(value)
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


def _fields(value: object) -> bytes:
    entries: list[Entry] = []
    for name, given in msgspec.convert(value, dict[str, _Field | list[_Field]]).items():
        entries += [Entry(name, str(one)) for one in (given if isinstance(given, list) else [given])]
    return urlencoded(entries)


def _with(headers: Mapping[str, str], own: Mapping[str, str]) -> dict[str, str]:
    """Headers, but for those that the author gave another value."""
    given = {name.lower() for name in own}
    return {**{name: value for name, value in headers.items() if name.lower() not in given}, **own}


_READERS: dict[str, Callable[[object], object]] = {
    "to": _handler_name,
    "failed": _handler_name,
    "json": msgspec.json.encode,
    "form": _fields,
    "data": _plain_json,
}
