"""One redirect, as browsers follow them (Fetch Standard, "HTTP-redirect fetch"), one hop at a time."""

import re
from collections.abc import Mapping
from hashlib import blake2b

from msgspec.structs import replace

from crawler.errors import BadRedirect, TooManyRedirects, UnsafeRedirect
from crawler.models import Request
from crawler.urls import MAX_LENGTH, canonical, split

OF_A_BODY = frozenset({"content-encoding", "content-language", "content-length", "content-location", "content-type"})
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)  # RFC 3986 section 3.1
KEPT_ACROSS_ORIGINS = frozenset({"accept", "accept-language", "accept-encoding", "user-agent", "from"})


def headers_for(request: Request, own: Mapping[str, str], bound: Mapping[str, str] = {}) -> Mapping[str, str]:
    """The spider's own headers and the request's; of the former only harmless ones once a redirect left the origin.

    `bound` are those that belong to the request's origin: they go before the spider's, and after the request's.
    """
    if bound:
        names = {name.lower() for name in bound}
        own = {**{name: value for name, value in own.items() if name.lower() not in names}, **bound}
    if not own:
        return request.headers
    given = {name.lower() for name in request.headers}
    own = {name: value for name, value in own.items() if name.lower() not in given}
    if any(split(url)[0] != split(request.url)[0] for url in request.hops):
        own = {name: value for name, value in own.items() if name in bound or name.lower() in KEPT_ACROSS_ORIGINS}
    return {**own, **request.headers}


def hop(request: Request, status: int, location: str, most: int) -> Request:
    """The request that a redirect asks for: same handler, data, depth and priority, one hop more.

    301 and 302 turn a POST into a GET without body, 303 anything but HEAD. Another origin gets none of the request's
    own headers but the harmless ones, nor do later hops. Credentials in the Location are dropped.
    Raises BadRedirect, UnsafeRedirect, TooManyRedirects.
    """
    if not location:
        raise BadRedirect(f"status {status} without a Location", url=request.url, status=status)
    target = canonical(location.strip(), request.url)
    if target is None:
        scheme = _SCHEME.match(location.strip())
        if scheme and scheme[0].lower() not in {"http:", "https:"}:
            raise UnsafeRedirect(f"redirected to {location}", url=request.url, status=status)
        raise BadRedirect(f"redirected to {location[:MAX_LENGTH]}", url=request.url, status=status)
    hops = (*request.hops, request.url)
    if len(hops) > most:
        raise TooManyRedirects(f"more than {most} redirects", url=request.url, status=status, hops=hops)
    becomes_get = (status == 303 and request.method != "HEAD") or (status in {301, 302} and request.method == "POST")
    method, body = ("GET", None) if becomes_get else (request.method, request.body)
    # Only URLs are remembered: a chain that began with a POST may come to each of them once more, as a GET.
    if method == request.method and hops.count(target) > bool(request.identity):
        raise TooManyRedirects(f"a circle: redirected to {target} again", url=request.url, status=status, hops=hops)
    headers = request.headers
    if becomes_get:
        headers = {name: value for name, value in headers.items() if name.lower() not in OF_A_BODY}
    headers = _kept(headers, request.url, target)
    moved = replace(request, url=target, method=method, body=body, headers=headers, hops=hops)
    if request.kind == "download":  # its path was promised for the URL that was asked first
        return replace(moved, key=f"download of {hops[0]}")
    if request.kind == "page" and (request.identity or request.data is not None):
        return separate(moved, f"{request.identity} {request.url}")
    return moved


def in_place_of(request: Request, target: str) -> Request:
    """The request for the URL that a page gives as its own. It is a link: redirects are counted from there on."""
    headers = _kept(request.headers, request.url, target)
    return replace(request, url=target, headers=headers, hops=(), by_canonical=True)


def separate(request: Request, asked: str) -> Request:
    """The request told apart from all others of its URL but those that `asked` has led to."""
    return replace(request, key=f"hop of {blake2b(asked.encode(), digest_size=16).hexdigest()}")


def _kept(headers: dict[str, str], url: str, target: str) -> dict[str, str]:
    if split(target)[0] == split(url)[0]:
        return headers
    return {name: value for name, value in headers.items() if name.lower() in KEPT_ACROSS_ORIGINS}
