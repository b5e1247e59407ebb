"""A spider: what to crawl and what to take from it, as its author writes it down."""

import asyncio
import difflib
import inspect
import re
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import BrokenExecutor, Executor
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from functools import partial
from types import UnionType
from typing import (
    Annotated,
    Any,
    ClassVar,
    NamedTuple,
    Self,
    TypeVar,
    TypeVarTuple,
    Union,
    Unpack,
    get_args,
    get_origin,
    get_type_hints,
)

import msgspec
from msgspec.structs import replace

from crawler.changes import Keys, are_keys
from crawler.errors import ConfigError, HandlerError, escaped
from crawler.items import Step
from crawler.models import Request
from crawler.requests import Headers, Options, described, resolved
from crawler.response import Response
from crawler.scope import Scope
from crawler.session import Session, are_names
from crawler.sitemaps import since
from crawler.urls import canonical
from crawler.wraps import Wrap

Args = TypeVarTuple("Args")
Result = TypeVar("Result")

_WORD_STARTS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_NAME = re.compile(r"\w[\w.-]*")
_BOOLS = {"yes": True, "on": True, "true": True, "1": True, "no": False, "off": False, "false": False, "0": False}

page_at_work: ContextVar[AbstractContextManager[None] | None] = ContextVar("page_at_work", default=None)
"""Within it the code of the page at hand is known to run."""


class Spider:
    """What to crawl, and what to take from it. Subclass it, name the ``seeds``, write ``parse``.

        class Quotes(Spider):
            seeds = ["https://quotes.toscrape.com/"]

            def parse(self, response):
                for quote in response.css("div.quote"):
                    yield {"text": quote.text(".text"), "author": quote.text(".author")}
                yield response.follow("li.next a")

    Any method may be a handler: a plain or async generator, or a function that returns a list or None. It yields items,
    requests and lists of requests. ``def failed(self, request, error)``, where there is one, is told of each request
    that failed for good, and may yield as well.

    Annotated attributes of a subclass (``pages: int = 3``) are its arguments: keywords of its constructor, and
    ``-a pages=5`` on the command line.

    A spider keeps nothing that must survive the process: that rides in a request's ``data``.
    """

    name: str = "spider"
    """The job's default name; the class's name in snake case unless given."""
    seeds: Sequence[str | Request] = ()
    """Where to begin: absolute URLs, or requests made by `Spider.request`."""
    scope: Scope | None = None
    """What belongs to the crawl; the hosts of the seeds unless given."""
    settings: Mapping[str, object] = {}
    """Settings of the crawl that this spider wants, by their names."""
    pipeline: Sequence[Step] = ()
    """What each item is taken through before it is stored, in order: see `items.refined`."""
    headers: Mapping[str, str] = {}
    """Headers of every request."""
    sessions: Sequence[str] = ()
    """Names of sessions in which pages are asked in turn, such as accounts: each has its own cookies and `login`."""
    wrap: Sequence[Wrap] = ()
    """What is put around each fetch of a page, the first outermost: ``async def wrapped(request, fetch)``."""
    item_key: Keys = ()
    """The field, or fields, by which its items are told from others when pages are visited again; or by their class."""
    sitemaps: bool | Sequence[str] = False
    """URLs of sitemaps and feeds; True: those that the robots.txt of the seeds' hosts name, or else /sitemap.xml."""
    sitemap_since: str = ""
    """What is older is left out: a date (``2024-05-17``), or how long ago (``7d``)."""
    sitemap_to: Mapping[str, str] = {}
    """Handlers for what sitemaps name, by patterns for the URL; the first that matches counts, ``parse`` if none."""

    given: Mapping[str, str]
    """The arguments that this spider was made with, as text: they are part of what makes a job the same job."""

    _processes: Executor | None = None

    def __new__(cls, *args: object, **keywords: object) -> Self:
        """Take down the arguments; whether they fit is for ``__init__`` to say."""
        spider = super().__new__(cls)
        names = list(inspect.signature(cls.__init__).parameters)[1:]
        both = {**dict(zip(names, args, strict=False)), **keywords}
        spider.given = {name: value if isinstance(value, str) else repr(value) for name, value in both.items()}
        return spider

    def __init_subclass__(cls, **options: object) -> None:
        super().__init_subclass__(**options)
        if "name" not in vars(cls):
            cls.name = _WORD_STARTS.sub("_", cls.__name__).lower()

    def __init__(self, **arguments: object) -> None:
        """Set the annotated attributes. Raises `ConfigError` for one that is unknown or missing."""
        kind = type(self)
        _check_names(kind, arguments, _attributes(kind))
        for name, value in arguments.items():
            setattr(self, name, value)

    async def start(self) -> AsyncIterator[Request | str]:
        """The first requests, or URLs: the seeds, unless overridden. They may come from anywhere, one by one.

        It is run again from its beginning if the process dies before its end.
        """
        for seed in self.seeds:
            yield seed

    def parse(self, response: Response) -> object:
        """The handler of the seeds, and of all requests that name no other."""
        raise HandlerError(f"{type(self).__name__} has no method parse, the handler of {response.url}")

    async def login(self, session: Session) -> None:
        """Log in, by ``await session.get(url)``, ``.post(url, form=…)`` and ``.submit(response.form(…))``.

        Unless it is overridden nobody logs in; without ``sessions`` no cookies are kept either. It is called before the
        first page is asked, for each of the ``sessions``, and when `logged_out` says so; they outlive the process.
        """

    def logged_out(self, response: Response) -> bool:  # noqa: ARG002  # for authors
        """Whether an answer is one to somebody who is not logged in; asked of every page of a spider with `login`.

        A redirect is asked about too: its ``status`` is 302 or so, and its ``url`` where it leads.
        """
        return False

    def banned(self, response: Response) -> bool:
        """Whether an answer is one to somebody who is banned; asked of every page of a spider with ``sessions``.

        401, 403 and 429, unless overridden. Of a redirect ``response.url`` is where it leads.
        """
        return response.status in {401, 403, 429}

    def request(self, url: str, **options: Unpack[Options]) -> Request:
        """A request for an absolute URL, for `start` and ``seeds``; raises `HandlerError` if it is none."""
        return replace(described(options), url=resolved(url))

    async def in_thread(self, function: Callable[[*Args], Result], *args: *Args) -> Result:
        """Call a function that blocks in a thread, so that the crawl goes on meanwhile."""
        with (
            page_at_work.get() or nullcontext()
        ):  # what ends the process there is the page's fault, though its handler waits
            return await asyncio.to_thread(function, *args)

    async def in_process(self, function: Callable[[*Args], Result], *args: *Args) -> Result:
        """Call a function that computes in a process of its own, one for each core.

        It stands at the top of a module, since it is pickled by its name. Raises `HandlerError` if the process dies.
        """
        pool = self._processes
        if pool is None:
            from crawler import children  # noqa: PLC0415  # what it imports is for the few spiders that compute so much

            pool = self._processes = children.pool()
        try:
            return await asyncio.get_running_loop().run_in_executor(pool, function, *args)
        except BrokenExecutor as error:
            if self._processes is pool:  # it is broken for good; the next call has a new one
                self.close()
            raise HandlerError(f"the process that ran {function} died") from error

    def close(self) -> None:
        """End the processes of `in_process`."""
        pool, self._processes = self._processes, None
        if pool is not None:
            pool.shutdown(wait=False, cancel_futures=True)


def handler(spider: Spider, name: str) -> Callable[..., object]:
    """The spider's method of that name. Raises `ConfigError` if it has none, as when its code has changed since."""
    kind = type(spider)
    if _is_own(kind, name):
        method: Callable[..., object] = getattr(spider, name)
        return method
    near = _hint(name, filter(partial(_is_own, kind), dir(kind)))
    raise ConfigError(f"{kind.__name__} has no handler {name!r}{near}")


def _is_own(kind: type[Spider], name: str) -> bool:
    """Whether it is a method that this spider's author wrote."""
    method = getattr(kind, name, None)
    return callable(method) and method is not getattr(Spider, name, None) and not name.startswith("__")


def logs_in(spider: Spider) -> bool:
    """Whether its author wrote a ``login``."""
    return _is_own(type(spider), "login")


def check(spider: Spider, *, has_seeds: bool = False) -> None:
    """Raise a `ConfigError` for what cannot work about a spider: which attribute, what it is, and what it takes.

    `has_seeds`: the crawl has seeds besides the spider's own, so that it needs none, but a ``parse``.
    """
    for attribute, fits, expected in _EXPECTED:
        if not fits(getattr(spider, attribute)):
            raise _wrong(spider, attribute, expected)
    try:
        msgspec.convert(spider.headers, Headers)
    except msgspec.ValidationError as error:
        raise _wrong(spider, "headers", f"a dict of header lines by name ({error})") from None
    if has_seeds:
        handler(spider, "parse")
    elif not (spider.seeds or _is_own(type(spider), "start") or _names_sitemaps(spider)):
        raise ConfigError(f"{type(spider).__name__} has nowhere to begin: give it seeds, or its own start()")
    for seed in spider.seeds:
        _check_seed(spider, seed)
    for name in _sitemap_handlers(spider):
        handler(spider, name)


def _sitemap_handlers(spider: Spider) -> set[str]:
    named = set(spider.sitemap_to.values())
    return named | {"parse"} if spider.sitemaps and "*" not in spider.sitemap_to else named


def _is_list(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _names_sitemaps(spider: Spider) -> bool:
    return not isinstance(spider.sitemaps, bool) and bool(spider.sitemaps)


def _are_sitemaps(value: object) -> bool:
    if isinstance(value, bool):
        return True
    urls = value if isinstance(value, Sequence) and _is_list(value) else [None]
    return all(isinstance(url, str) and canonical(url) for url in urls)


def _is_date(text: object) -> bool:
    try:
        return isinstance(text, str) and (not text or since(text, 0.0) is not None)
    except ValueError:
        return False


_EXPECTED: Sequence[tuple[str, Callable[[Any], bool], str]] = (
    ("name", lambda name: isinstance(name, str) and bool(_NAME.fullmatch(name)), "text that can name a folder"),
    ("start", inspect.isasyncgenfunction, "`async def start(self)` that yields requests or URLs"),
    ("login", inspect.iscoroutinefunction, "`async def login(self, session)`"),
    ("seeds", _is_list, "a list of URLs, also when there is only one"),
    ("scope", lambda scope: scope is None or isinstance(scope, Scope), "a Scope or None"),
    ("settings", lambda settings: isinstance(settings, Mapping), "a dict of settings by name"),
    ("sessions", are_names, "a list of names, each of them once"),
    ("item_key", are_keys, "a field, a list of fields, or a dict of these by the item's class"),
    ("sitemaps", _are_sitemaps, "True, or a list of absolute http or https URLs"),
    ("sitemap_since", _is_date, "a date such as 2024-05-17, or how long ago, such as 7d"),
    ("sitemap_to", lambda to: isinstance(to, Mapping), "a dict of names of handlers by patterns for URLs"),
    (
        "wrap",
        lambda wraps: _is_list(wraps) and all(map(callable, wraps)),
        "a list of async functions of request and fetch",
    ),
    ("pipeline", lambda steps: _is_list(steps) and all(map(callable, steps)), "a list of functions from item to item"),
)


def _check_seed(spider: Spider, seed: object) -> None:
    if not isinstance(seed, str | Request):
        raise _wrong(spider, "seeds", f"URLs and requests instead of {escaped(repr(seed))}")
    url = seed if isinstance(seed, str) else seed.url
    if canonical(url) is None:
        bare = "://" not in url and canonical(f"https://{url}")
        hint = f"; did you mean {bare!r}?" if bare else ""
        raise _wrong(spider, "seeds", f"absolute http or https URLs instead of {escaped(url)!r}{hint}")
    handler(spider, "parse" if isinstance(seed, str) else seed.handler)


def _wrong(spider: Spider, attribute: str, expected: str) -> ConfigError:
    found = escaped(repr(getattr(spider, attribute)))
    return ConfigError(f"{type(spider).__name__}.{attribute} is {found}; it takes {expected}")


def _hint(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


class _Argument(NamedTuple):
    kind: Any
    is_required: bool


def build(kind: type[Spider], arguments: Mapping[str, str]) -> Spider:
    """A spider made with arguments that are text, as from ``-a name=value``, converted to the types it declares.

    Yes and no, on and off, true and false are bools; lists are cut at commas. Raises `ConfigError` naming the argument
    that is unknown, missing or of another type.
    """
    known = _arguments(kind)
    _check_names(kind, arguments, known)
    return kind(**{name: _converted(kind, name, text, known[name].kind) for name, text in arguments.items()})


def _arguments(kind: type[Spider]) -> dict[str, _Argument]:
    found: dict[str, _Argument] = {}
    try:
        parameters = inspect.signature(kind, eval_str=True).parameters
    except (AttributeError, NameError, TypeError) as error:
        raise ConfigError(f"the arguments of {kind.__name__} cannot be read: {error}") from error
    for name, parameter in parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD:  # on their way to Spider's constructor, which knows what is missing
            found = {key: known._replace(is_required=False) for key, known in _attributes(kind).items()} | found
        elif parameter.kind is not parameter.VAR_POSITIONAL:
            declared = str if parameter.annotation is parameter.empty else parameter.annotation
            found[name] = _Argument(declared, parameter.default is parameter.empty)
    return found


def _attributes(kind: type[Spider]) -> dict[str, _Argument]:
    """The annotated attributes of a spider's class, those apart that every spider has."""
    try:
        hints = get_type_hints(kind, include_extras=True)
    except (AttributeError, NameError, TypeError) as error:
        raise ConfigError(f"the annotations of {kind.__name__} cannot be read: {error}") from error
    return {
        name: _Argument(hint, not hasattr(kind, name))
        for name, hint in hints.items()
        if not (name.startswith("_") or name in Spider.__annotations__ or get_origin(hint) is ClassVar)
    }


def _check_names(kind: type[Spider], given: Iterable[str], known: Mapping[str, _Argument]) -> None:
    for name in given:
        if name not in known:
            listed = f"; it takes {', '.join(known)}" if known else "; it takes none"
            raise ConfigError(f"{kind.__name__} takes no argument {name!r}{_hint(name, known) or listed}")
    missing = [name for name, argument in known.items() if argument.is_required and name not in given]
    if missing:
        raise ConfigError(f"{kind.__name__} needs {' '.join(f'-a {name}=…' for name in missing)}")


def _converted(kind: type[Spider], name: str, text: str, wanted: Any) -> object:
    value: object = text
    arms = _arms(wanted)
    if str not in arms:
        if bool in arms:
            value = _BOOLS.get(text.lower(), text)
        elif any(issubclass(arm, Collection) and not issubclass(arm, bytes | Mapping) for arm in arms):
            value = [part.strip() for part in text.split(",") if part.strip()]
    try:
        return msgspec.convert(value, wanted, strict=False, dec_hook=_constructed)
    except (msgspec.ValidationError, TypeError) as error:
        raise ConfigError(f"argument {name}={escaped(text)!r} of {kind.__name__}: {error}") from None


def _arms(wanted: Any) -> list[type]:
    """The classes that a type hint allows."""
    origin, arguments = get_origin(wanted), get_args(wanted)
    if origin is Annotated:
        return _arms(arguments[0])
    if origin in {Union, UnionType}:
        return [arm for argument in arguments for arm in _arms(argument)]
    found = origin or wanted
    return [found] if isinstance(found, type) else []


def _constructed(kind: type, value: object) -> object:
    return kind(value)
