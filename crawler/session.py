"""A session: who a site takes us for, from the login on. What `Spider.login` has in its hands."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Unpack

import msgspec
from msgspec.structs import replace

from crawler.cookies import Jar, SessionState
from crawler.errors import HandlerError
from crawler.models import Request
from crawler.requests import Headers, Options, described, resolved
from crawler.response import Response
from crawler.urls import split


def are_names(value: object) -> bool:
    """Whether these can be the names of a spider's sessions."""
    names = [*value] if isinstance(value, Sequence) and not isinstance(value, str | bytes) else [None]
    return all(isinstance(name, str) and name.isprintable() and name for name in names) and len({*names}) == len(names)


class Session:
    """Cookies as a browser keeps them (RFC 6265), headers by origin, and the requests of a login.

    ``name`` is one of the spider's ``sessions``, if it names any.
    """

    def __init__(
        self, state: SessionState, fetch: Callable[[Request], Awaitable[Response]] | None = None, name: str = ""
    ) -> None:
        self.name = name
        self.jar = Jar(state.cookies)
        self._headers = {origin: dict(headers) for origin, headers in state.headers.items()}
        self._fetch = fetch
        self._at = ""

    async def get(self, url: str, **options: Unpack[Options]) -> Response:
        """Fetch a page, absolute or relative to the one before; redirects are followed. Raises `FetchError`."""
        return await self.submit(replace(described(options), url=resolved(url, self._at)))

    async def post(self, url: str, **options: Unpack[Options]) -> Response:
        """Send ``form=``, ``json=`` or ``body=``; as `get` otherwise."""
        return await self.submit(replace(described({"method": "POST", **options}), url=resolved(url, self._at)))

    async def submit(self, request: Request) -> Response:
        """Send a request such as `Response.form` makes."""
        if self._fetch is None:
            raise HandlerError("a session asks for nothing once its login has ended")
        response = await self._fetch(request)
        self._at = response.url
        return response

    @property
    def headers(self) -> dict[str, str]:
        """Headers that from now on go with each request to the origin of the page fetched last, and to no other."""
        if not self._at:
            raise HandlerError("a session's headers belong to an origin: fetch a page of it first")
        return self._headers.setdefault(split(self._at)[0], {})

    def state(self) -> SessionState:
        """What is to be kept. Raises `HandlerError` for a header that could not be sent."""
        try:
            headers = {origin: msgspec.convert(own, Headers) for origin, own in self._headers.items() if own}
        except msgspec.ValidationError as error:
            raise HandlerError(f"the session's headers: {error}") from None
        return SessionState(self.jar.all(), headers)

    def headers_for(self, request: Request, now: float) -> Mapping[str, str]:
        """What goes with a request: the cookies of its URL, and its origin's headers unless it came by another."""
        origin = split(request.url)[0]
        own = self._headers.get(origin, {}) if all(split(url)[0] == origin for url in request.hops) else {}
        cookies = self.jar.header(request.url, now)
        return {**own, "Cookie": cookies} if cookies else own
