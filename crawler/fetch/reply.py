"""What came of a request, as the wire gave it."""

from collections.abc import Mapping

from msgspec import Struct
from multidict import CIMultiDict, CIMultiDictProxy

from crawler.errors import ResponseTooLarge, TruncatedBody


class Reply(Struct):
    """What the wire gave. ``body`` is decoded, ``size`` its bytes on the wire; ``headers`` are looked up in any case.

    ``cut`` means that there is a body that was not read: a redirect's, or one that nobody wants. ``waited`` is the time
    from the request to the headers (s). ``incomplete`` says why the body is only a part of it, where that will do.
    """

    url: str
    status: int
    headers: CIMultiDictProxy[str]
    body: bytes = b""
    size: int = 0
    cut: bool = False
    waited: float = 0.0
    incomplete: ResponseTooLarge | TruncatedBody | None = None


def made(url: str, status: int, headers: Mapping[str, str], body: bytes, size: int) -> Reply:
    """A reply that is not the wire's own."""
    return Reply(url, status, CIMultiDictProxy(CIMultiDict(headers)), body, size)
