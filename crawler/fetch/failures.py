"""What aiohttp, the operating system and OpenSSL raise, as our own errors."""

import errno
import ssl

import aiohttp
from aiohttp.http_exceptions import ContentLengthError, HttpProcessingError, LineTooLong, TransferEncodingError

from crawler.errors import (
    ConnectionReset,
    ConnectTimeout,
    DnsError,
    FetchError,
    HeadersTooLarge,
    ProtocolError,
    ProxyError,
    ReadTimeout,
    StoreUnavailable,
    TlsError,
    TruncatedBody,
    UnsafeRedirect,
)

_FOREIGN = (aiohttp.ClientError, HttpProcessingError, OSError)  # TimeoutError and ssl.SSLError are OSErrors
# What aiohttp and uvloop say in a RuntimeError when a connection goes away under their hands.
_GONE = ("Connection closed", "File descriptor", "unable to perform operation on")
_OUT_OF_FILES = {errno.EMFILE, errno.ENFILE}

# The first row that the error, or what caused it, is an instance of.
_BY_TYPE: tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], type[FetchError]], ...] = (
    (aiohttp.ClientProxyConnectionError, ProxyError),
    ((aiohttp.ClientSSLError, ssl.SSLError, ssl.CertificateError), TlsError),
    (aiohttp.NonHttpUrlClientError, UnsafeRedirect),
    (LineTooLong, HeadersTooLarge),
    (ContentLengthError, TruncatedBody),
    ((aiohttp.ClientResponseError, aiohttp.ClientPayloadError, HttpProcessingError), ProtocolError),
    (aiohttp.ConnectionTimeoutError, ConnectTimeout),
    (TimeoutError, ReadTimeout),
    (OSError, ConnectionReset),
    ((aiohttp.ClientConnectionError, RuntimeError), ConnectionReset),
)


def is_foreign(error: BaseException) -> bool:
    """Whether `translated` has a word for this error; any other is somebody's bug."""
    return isinstance(error, _FOREIGN) or (isinstance(error, RuntimeError) and str(error).startswith(_GONE))


def translated(error: BaseException, url: str) -> FetchError | StoreUnavailable:
    """The error of ours that says the same; `StoreUnavailable` if this process has no file descriptor left."""
    cause = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    detail = _detail(error, cause)
    if getattr(error, "errno", None) in _OUT_OF_FILES:
        return StoreUnavailable(f"out of file descriptors: {detail}; raise the limit (ulimit -n) or lower concurrency")
    if isinstance(error, aiohttp.InvalidURL):
        return DnsError(detail, url=url, permanent=True)
    ours = _kind(error, cause)(detail, url=url)
    if isinstance(error, aiohttp.ClientHttpProxyError):
        ours.status = error.status
    return ours


def _kind(error: BaseException, cause: BaseException) -> type[FetchError]:
    if getattr(error, "errno", None) == errno.ETIMEDOUT:
        return ConnectTimeout if isinstance(error, aiohttp.ClientConnectorError) else ReadTimeout
    if isinstance(error, aiohttp.ClientHttpProxyError):  # to CONNECT; 5xx says that the host could not be reached
        return ConnectionReset if error.status >= 500 else ProxyError
    if isinstance(error, aiohttp.ServerDisconnectedError) and not isinstance(error.message, str):
        return ProtocolError  # a part of the headers came
    if isinstance(cause, TransferEncodingError) and "Not enough data" in cause.message:
        return TruncatedBody
    if isinstance(cause, HttpProcessingError) and "Too many headers" in cause.message:
        return HeadersTooLarge
    return next(
        (ours for kinds, ours in _BY_TYPE if isinstance(cause, kinds) or isinstance(error, kinds)), ProtocolError
    )


def _detail(error: BaseException, cause: BaseException) -> str:
    """What happened, in one line. aiohttp's own texts repeat the whole request."""
    if isinstance(cause, HttpProcessingError):
        return " ".join(cause.message.split()) or type(cause).__name__
    if isinstance(error, aiohttp.ClientResponseError):
        return error.message or type(error).__name__
    if isinstance(error, aiohttp.ServerDisconnectedError):
        within = "without an answer" if isinstance(error.message, str) else "within the headers"
        return f"the server closed the connection {within}"
    text = error.strerror if isinstance(error, OSError) else None
    return text or str(cause) or str(error) or type(error).__name__
