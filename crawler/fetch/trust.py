"""Certificates of the authorities that this machine trusts: read when a connection first needs them.

This module is imported before aiohttp, which makes two contexts for TLS when it is imported. For each of them OpenSSL
reads some 140 certificates: a tenth of what a crawl takes to begin, for nothing where all is plain http.
"""

import ssl
from collections.abc import Callable
from functools import partial
from typing import Any

_WRAPPING = ("wrap_bio", "wrap_socket")  # what connections begin with
_read = ssl.SSLContext.set_default_verify_paths


def _read_later(context: ssl.SSLContext) -> None:
    """Stand in for `_read`: it is called when `context` is used."""
    for name in _WRAPPING:
        setattr(context, name, partial(_wrapping, context, getattr(context, name)))


def _wrapping(context: ssl.SSLContext, wrap: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    for name in _WRAPPING:
        vars(context).pop(name, None)
    _read(context)
    return wrap(*arguments, **options)


ssl.SSLContext.set_default_verify_paths = _read_later  # type: ignore[method-assign,assignment]  # for a moment
try:
    import aiohttp  # noqa: F401
finally:
    ssl.SSLContext.set_default_verify_paths = _read  # type: ignore[method-assign]
