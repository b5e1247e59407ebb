"""What a spider's author puts around each fetch: to change the request, answer it, look at the response, ask again."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Protocol

import msgspec

from crawler.errors import HandlerError, escaped
from crawler.models import Request
from crawler.requests import Headers
from crawler.response import Door, Response

Ask = Callable[[Request], Awaitable[Response]]


class Wrap(Protocol):
    """One of `Spider.wrap`: an async function of a request and of what fetches it."""

    async def __call__(self, request: Request, fetch: "Fetch", /) -> Response:
        """The response; from ``await fetch(request)``, or ``fetch.answer(…)``."""


class Fetch:
    """What a wrap fetches by: the next wrap of the list, or the crawl itself."""

    __slots__ = ("_ask", "_door")

    def __init__(self, ask: Ask, door: Door) -> None:
        self._ask = ask
        self._door = door

    async def __call__(self, request: Request) -> Response:
        """What the host answers, a redirect or an error's status too. Raises `FetchError`."""
        return await self._ask(request)

    def answer(
        self, request: Request, body: bytes | str = b"", *, status: int = 200, headers: Mapping[str, str] | None = None
    ) -> Response:
        """A response of the wrap's own making; text is sent as UTF-8, and as HTML unless `headers` say otherwise."""
        given = {"Content-Type": "text/html; charset=utf-8"} if headers is None else headers
        body = body.encode() if isinstance(body, str) else body
        return Response(request, url=request.url, status=status, headers=given, body=body, door=self._door)


def chained(wraps: Sequence[Wrap], ask: Ask, door: Door) -> Ask:
    """What asks by way of all wraps, the first of them outermost. Raises `HandlerError` for what is no response."""
    for wrap in reversed(wraps):
        ask = partial(_answered, wrap, Fetch(ask, door))
    return ask


async def _answered(wrap: Wrap, fetch: Fetch, request: Request) -> Response:
    response: object = await wrap(request, fetch)
    if not isinstance(response, Response):
        raise HandlerError(f"{_name(wrap)} returned {escaped(repr(response))}: a wrap returns a response")
    return response


def checked(request: object) -> Request:
    """A request as a wrap may have made it. Raises `HandlerError` for one that cannot be sent."""
    if not isinstance(request, Request) or request.kind != "page":
        raise HandlerError(f"fetch takes a request of a page, not {escaped(repr(request))}")
    try:
        msgspec.convert(request.headers, Headers)
    except msgspec.ValidationError as error:
        raise HandlerError(f"headers of {request!r}: {error}") from None
    return request


def _name(wrap: Wrap) -> str:
    return str(getattr(wrap, "__name__", wrap))
