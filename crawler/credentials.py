"""Who we are to one origin (RFC 7617, RFC 6750): checked when it is configured, and shown nowhere."""

import re
from base64 import b64encode
from collections.abc import Mapping

from crawler.models import Request
from crawler.urls import canonical, split

_CONTROLS = re.compile(r"[\x00-\x1f\x7f]")
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")  # RFC 6750 section 2.1


class Credential:
    """The value of an Authorization header; its repr does not tell it. Made by `Basic` and `Bearer`."""

    __slots__ = ("header",)

    def __init__(self, header: str) -> None:
        self.header = header

    def __repr__(self) -> str:
        return f"<{type(self).__name__} ****>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Credential) and self.header == other.header

    def __hash__(self) -> int:
        return hash(self.header)


class Basic(Credential):
    """Name and password, sent as UTF-8. Raises ValueError for what could not be sent (RFC 7617 section 2)."""

    __slots__ = ()

    def __init__(self, user: str, password: str) -> None:
        if _CONTROLS.search(user + password) or ":" in user:
            raise ValueError("a user has no colon, and neither user nor password has control characters")
        super().__init__(f"Basic {b64encode(f'{user}:{password}'.encode()).decode()}")


class Bearer(Credential):
    """A token. Raises ValueError for what is none (RFC 6750 section 2.1)."""

    __slots__ = ()

    def __init__(self, token: str) -> None:
        if not _TOKEN.fullmatch(token):
            raise ValueError("a token consists of letters, digits and -._~+/, with = at its end only")
        super().__init__(f"Bearer {token}")


def credential(written: object) -> Credential:
    """A credential as settings have it: ``user:password``, ``Bearer token``, or a table of these. Raises ValueError."""
    match written:
        case Credential():
            return written
        case str() if written.startswith("Bearer "):
            return Bearer(written.removeprefix("Bearer ").strip())
        case str() if ":" in written:
            user, _, password = written.partition(":")
            return Basic(user, password)
        case {"user": str(user), "password": str(password), **others} if not others:
            return Basic(user, password)
        case {"token": str(token), **others} if not others:
            return Bearer(token)
    raise ValueError("give user and password, or token; as text user:password, or Bearer and a token")


def by_origin(written: Mapping[str, object]) -> dict[str, Credential]:
    """The credentials of each origin, spelled as in URLs. Raises ValueError for what is no origin."""
    found = {}
    for name, value in written.items():
        url = canonical(name)
        if url is None or "@" in name or split(url)[1] != "/":
            raise ValueError(f"{name.rpartition('@')[2]!r} is no origin: give scheme, host and port alone")
        found[split(url)[0]] = credential(value)
    return found


def authorization(request: Request, known: Mapping[str, Credential]) -> dict[str, str]:
    """The header for a request, if its origin has one; not in a chain of redirects that has come by another origin."""
    if not known:
        return {}
    origin = split(request.url)[0]
    if origin not in known or any(split(url)[0] != origin for url in request.hops):
        return {}
    return {"Authorization": known[origin].header}
