"""Everything that can go wrong, in three branches by who must act.

    CrawlerError
    ├── FetchError                 the web: a request led to no usable response
    │   ├── network                ConnectTimeout ReadTimeout TruncatedBody ProtocolError HeadersTooLarge
    │   │                          ConnectionReset DnsError TlsError ProxyError
    │   ├── content                ResponseTooLarge DecompressionBomb UnsupportedEncoding ContentDecodingError
    │   │                          ParseLimit UrlTooLong BadSitemap
    │   ├── redirects and rules    TooManyRedirects UnsafeRedirect BadRedirect BlockedAddress
    │   │                          RobotsDisallowed RobotsUnreachable LoginFailed
    │   └── status                 HttpError
    ├── SpiderError                the spider's author: HandlerError ItemError SelectorError
    ├── ConfigError                the operator: a wrong setting, spider, argument or file
    ├── StoreError                 the operator: StorageFull StoreUnavailable JournalVersionError
    └── LeaseLost                  nobody: another engine owns the host now; the page stays pending

A `FetchError`'s stable ``code`` is its class name. Any other exception is a bug in the framework.
"""

from collections.abc import Sequence
from typing import ClassVar

DETAIL_LENGTH = 300


def escaped(text: str, limit: int = DETAIL_LENGTH) -> str:
    r"""Text from outside, safe for a terminal, a log line and the journal: controls and bidi marks become ``\xNN``.

    At most `limit` characters; what is cut ends in an ellipsis.
    """
    shown = text[: limit + 1]
    if not shown.isprintable():
        shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in shown)
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


def escaped_lines(text: str, limit: int = 10_000) -> str:
    """Text of several lines, safe for a terminal: each is `escaped`, and the ends of lines stay."""
    return "\n".join(escaped(line, limit) for line in text.split("\n"))


class CrawlerError(Exception):
    """The root: everything this package raises on purpose."""


class FetchError(CrawlerError):
    """A request led to no usable response; it says so as a value, and ends or retries the page."""

    retryable: ClassVar[bool] = False
    permanent = False  # whether no time mends it, not even the hours that a robots.txt is waited for

    def __init__(self, detail: str, *, url: str = "", status: int | None = None, hops: Sequence[str] = ()) -> None:
        self.detail = escaped(detail)
        self.url = url
        self.status = status
        self.hops = tuple(hops)
        self.retry_after: float | None = None
        super().__init__(self.detail)

    @property
    def code(self) -> str:
        """The stable name of this failure, as it stands in the journal."""
        return type(self).__name__

    def __str__(self) -> str:
        return f"{self.code}: {self.detail}" + (f" ({escaped(self.url, 2048)})" if self.url else "")


class ConnectTimeout(FetchError):
    """No connection within the connect timeout."""

    retryable = True


class ReadTimeout(FetchError):
    """Headers or body came too late, too slowly or not at all."""

    retryable = True


class TruncatedBody(FetchError):
    """The body ended before its declared or framed end (RFC 9112 section 8)."""

    retryable = True


class ProtocolError(FetchError):
    """The answer is not HTTP as RFC 9112 has it."""

    retryable = True


class HeadersTooLarge(FetchError):
    """A header line, or their number, is over the limit."""


class ConnectionReset(FetchError):
    """The peer closed or refused the connection."""

    retryable = True


class DnsError(FetchError):
    """The host's name has no address; ``permanent`` when the name does not exist."""

    retryable = True

    def __init__(self, detail: str, *, url: str = "", permanent: bool = False) -> None:
        super().__init__(detail, url=url)
        self.permanent = permanent


class TlsError(FetchError):
    """The certificate or the TLS handshake was refused."""

    permanent = True


class ProxyError(FetchError):
    """No proxy of the host's can be used now; it waits until one can."""

    retryable = True


class ResponseTooLarge(FetchError):
    """The body is over its cap."""


class DecompressionBomb(FetchError):
    """The body decodes to more than 100 times its size on the wire, and over its cap."""


class UnsupportedEncoding(FetchError):
    """Content-Encoding is not exactly one coding that is installed here."""


class ContentDecodingError(FetchError):
    """The body is not what its Content-Encoding says."""

    retryable = True


class ParseLimit(FetchError):
    """The page's structure would cost more than a page may."""


class UrlTooLong(FetchError):
    """The URL is longer than 2,048 bytes."""


class BadSitemap(FetchError):
    """What was named as a sitemap is none, or it is broken before its first entry."""


class TooManyRedirects(FetchError):
    """The chain of redirects is too long, or a circle."""


class UnsafeRedirect(FetchError):
    """The redirect leaves http and https."""


class BadRedirect(FetchError):
    """The redirect has no usable Location."""


class BlockedAddress(FetchError):
    """The host's address is not publicly routable, and neither a seed's host nor named by ``private_hosts``."""

    permanent = True


class RobotsDisallowed(FetchError):
    """robots.txt forbids this URL."""


class RobotsUnreachable(FetchError):
    """robots.txt could not be had for twelve hours, so nothing may be asked (RFC 9309 section 2.3.1.4)."""


class LoginFailed(FetchError):
    """The page takes us for logged out, however often we log in."""


class HttpError(FetchError):
    """The server answered with a status that no handler takes."""


class SpiderError(CrawlerError):
    """The spider's code or its expectations of a page are at fault."""


class HandlerError(SpiderError):
    """A handler raised, hung, or yielded something that is neither an item nor a request."""


class ItemError(SpiderError):
    """An item cannot be stored: of the wrong type, not encodable, or refused by its own annotations."""


class SelectorError(SpiderError):
    """A CSS selector is malformed, or matches nothing where the author counted on it."""


class ConfigError(CrawlerError):
    """A setting, spider, argument or file is wrong; the message says which, where, and what would be right."""


class StoreError(CrawlerError):
    """The journal, a sink or the disk cannot take what it is given; nothing is marked done that is not stored."""


class StorageFull(StoreError):
    """No space left, over quota, or read-only."""


class StoreUnavailable(StoreError):
    """The store does not answer, or is in use by another program."""


class JournalVersionError(StoreError):
    """The file is not a journal, is damaged, or was written by a newer version."""


class LeaseLost(CrawlerError):
    """The host's lease ran out or passed to another engine before the request was sent."""
