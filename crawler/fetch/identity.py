"""Who we say that we are."""

from multidict import CIMultiDict

from crawler.decoding import ACCEPT_ENCODING
from crawler.errors import ConfigError
from crawler.settings import Settings
from crawler.version import VERSION

_ACCEPT = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


def default_headers(settings: Settings) -> CIMultiDict[str]:
    """Who we are, what we take, and whom to write to (RFC 9110 sections 10.1.2 and 10.1.5)."""
    contact = settings.contact
    agent = settings.user_agent or f"crawler/{VERSION}"
    headers = CIMultiDict({"User-Agent": f"{agent} (+{contact})" if contact else agent, "Accept": _ACCEPT})
    headers["Accept-Encoding"] = ACCEPT_ENCODING
    if "@" in contact and "://" not in contact:
        headers["From"] = contact
    for name, value in headers.items():
        if not (value.isascii() and value.isprintable()):
            raise ConfigError(f"user_agent and contact: {value!r} cannot be sent as {name}; use printable ASCII")
    return headers
