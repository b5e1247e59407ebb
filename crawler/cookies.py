"""Cookies as RFC 6265 has them, bounded: whose they are, how long they last, and what goes along with a request.

From its revision (RFC 6265bis) are the name prefixes, and that a secure cookie comes over https only. What is no UTF-8
is no cookie: the journal keeps text. `now` is epoch seconds.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache

from msgspec import Struct
from msgspec.structs import replace
from publicsuffixlist import PublicSuffixList

from crawler.urls import hostname, split

LONGEST_COOKIE, LONGEST_HEADER = 4096, 8190  # bytes
MOST_OF_A_DOMAIN, MOST = 50, 3000
LEAST_CHANGE = 300.0  # by less than that another expiry is not worth a write
LONGEST_LIFE = 400 * 86_400.0

_NO_TEXT = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]")  # the last: bytes of a header that are no UTF-8
_TOKEN = re.compile(r"[^\x09\x20-\x2f\x3b-\x40\x5b-\x60\x7b-\x7e]+")  # section 5.1.1
_TIME = re.compile(r"(\d{1,2}):(\d{1,2}):(\d{1,2})(?:\D|\Z)")
_DAY, _YEAR = re.compile(r"(\d{1,2})(?:\D|\Z)"), re.compile(r"(\d{2,4})(?:\D|\Z)")
_MONTH_NAMES = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTHS = {name: number for number, name in enumerate(_MONTH_NAMES, 1)}
_ADDRESS = re.compile(r"[\d.]+|.*:.*")


class Cookie(Struct, frozen=True, array_like=True):
    """One cookie; ``expires_at`` None: it lasts as long as the session. One that has expired takes the old one away."""

    name: str
    value: str
    domain: str
    path: str
    is_host_only: bool
    is_secure: bool
    expires_at: float | None = None

    @property
    def key(self) -> tuple[str, str, str]:
        """What it replaces another by."""
        return self.domain, self.path, self.name


class SessionState(Struct, frozen=True):
    """What is kept of a session: its cookies, and its headers by origin."""

    cookies: list[Cookie] = []
    headers: dict[str, dict[str, str]] = {}


class Jar:
    """The cookies of one session. Over its bounds the oldest give way."""

    def __init__(self, cookies: Iterable[Cookie] = ()) -> None:
        self._cookies = {cookie.key: cookie for cookie in cookies}

    def __len__(self) -> int:
        return len(self._cookies)

    def all(self) -> list[Cookie]:
        """What there is, the oldest first."""
        return list(self._cookies.values())

    def learn(self, url: str, lines: Iterable[str], now: float) -> list[Cookie]:
        """Take what an answer's Set-Cookie lines say; what changed by it, but for minutes by which it lasts longer."""
        found = [cookie for line in lines if (cookie := parsed(line, url, now)) is not None]
        changed = [cookie for cookie in found if _is_news(self._cookies.get(cookie.key), cookie, now)]
        self.take(found, now)
        return changed

    def take(self, cookies: Iterable[Cookie], now: float) -> None:
        """Put cookies in, in place of those that they replace."""
        for cookie in cookies:
            if _has_expired(cookie, now):
                self._cookies.pop(cookie.key, None)
                continue
            self._cookies[cookie.key] = cookie
            self._shrink([one for one in self._cookies.values() if one.domain == cookie.domain], MOST_OF_A_DOMAIN, now)
            self._shrink(list(self._cookies.values()), MOST, now)

    def header(self, url: str, now: float) -> str:
        """The Cookie header for a URL (section 5.4), longest paths first; what would make it too long stays out."""
        origin, path = split(url)
        host, path = hostname(origin), path.partition("?")[0]
        fitting = [one for one in self._cookies.values() if _belongs(one, origin, host, path, now)]
        text = ""
        for cookie in sorted(fitting, key=lambda one: -len(one.path)):
            longer = f"{text}; {cookie.name}={cookie.value}" if text else f"{cookie.name}={cookie.value}"
            if len(longer.encode()) <= LONGEST_HEADER:
                text = longer
        return text

    def _shrink(self, cookies: Sequence[Cookie], most: int, now: float) -> None:
        excess = len(cookies) - most
        if excess > 0:
            for cookie in sorted(cookies, key=lambda one: not _has_expired(one, now))[:excess]:
                del self._cookies[cookie.key]


def parsed(line: str, url: str, now: float) -> Cookie | None:
    """The cookie that a Set-Cookie line of an answer from `url` makes (sections 5.2 and 5.3); None if it makes none."""
    if _NO_TEXT.search(line) or len(line.encode()) > LONGEST_COOKIE:
        return None
    pair, *rest = line.split(";")
    name, equals, value = (part.strip(" \t") for part in pair.partition("="))
    said = {key.strip(" \t").lower(): text.strip(" \t") for key, _, text in (part.partition("=") for part in rest)}
    origin, path = split(url)
    host = hostname(origin)
    domain = said.get("domain", "").removeprefix(".").lower()
    if domain == host and is_public_suffix(host):
        domain = ""
    is_foreign = bool(domain) and (not _matches(host, domain) or is_public_suffix(domain))
    if not name or not equals or is_foreign or _is_insecure(name, said, origin):
        return None
    own = said.get("path", "")
    cookie_path = own if own.startswith("/") else _default_path(path)
    return Cookie(name, value, domain or host, cookie_path, not domain, "secure" in said, _expiry(said, now))


def _is_insecure(name: str, said: Mapping[str, str], origin: str) -> bool:
    """Whether it promises more than holds: RFC 6265bis sections 4.1.3 and 5.7."""
    is_secure = "secure" in said
    if is_secure and not origin.startswith("https:"):
        return True
    if name.lower().startswith("__host-"):
        return not is_secure or bool(said.get("domain")) or said.get("path") != "/"
    return name.lower().startswith("__secure-") and not is_secure


def is_public_suffix(domain: str) -> bool:
    """Whether anybody may register a name below it, as with ``co.uk``: cookies for all of them are nobody's."""
    return bool(_suffixes().is_public(domain))


def registered_site(host: str) -> str:
    """The part of a host's name that somebody has registered, as ``example.co.uk``; all of an address or a suffix."""
    if ":" in host or host.replace(".", "").isdigit():
        return host
    return _suffixes().privatesuffix(host) or host


@cache
def _suffixes() -> PublicSuffixList:
    return PublicSuffixList()


def _belongs(cookie: Cookie, origin: str, host: str, path: str, now: float) -> bool:
    if _has_expired(cookie, now) or (cookie.is_secure and not origin.startswith("https:")):
        return False
    if host != cookie.domain and (cookie.is_host_only or not _matches(host, cookie.domain)):
        return False
    own = cookie.path
    return path == own or (path.startswith(own) and (own.endswith("/") or path[len(own)] == "/"))


def _is_news(old: Cookie | None, new: Cookie, now: float) -> bool:
    if old is None:
        return not _has_expired(new, now)
    longer = abs((new.expires_at or 0.0) - (old.expires_at or 0.0))
    return longer > LEAST_CHANGE or replace(old, expires_at=new.expires_at) != new


def _has_expired(cookie: Cookie, now: float) -> bool:
    return cookie.expires_at is not None and cookie.expires_at <= now


def _matches(host: str, domain: str) -> bool:
    """Section 5.1.3."""
    return host == domain or (host.endswith(f".{domain}") and not _ADDRESS.fullmatch(host))


def _default_path(path: str) -> str:
    """Section 5.1.4."""
    return path.partition("?")[0].rpartition("/")[0] or "/"


def _expiry(said: Mapping[str, str], now: float) -> float | None:
    age = said.get("max-age", "")
    if re.fullmatch(r"-?\d+", age):
        return now + min(LONGEST_LIFE, float(age[:12])) if not age.startswith("-") else 0.0
    ends = _date(said.get("expires", ""))
    return None if ends is None else min(ends, now + LONGEST_LIFE)


def _date(text: str) -> float | None:
    """Section 5.1.1: dates as servers have written them since 1994."""
    time = day = month = year = None
    for token in _TOKEN.findall(text):
        if time is None and (found := _TIME.match(token)):
            time = tuple(map(int, found.groups()))
        elif day is None and (found := _DAY.match(token)):
            day = int(found[1])
        elif month is None and token[:3].lower() in _MONTHS:
            month = _MONTHS[token[:3].lower()]
        elif year is None and (found := _YEAR.match(token)):
            year = int(found[1])
    if time is None or day is None or month is None or year is None:
        return None
    year += 1900 if 70 <= year <= 99 else 2000 if year <= 69 else 0
    try:
        hour, minute, second = time
        return datetime(year, month, day, hour, minute, second, tzinfo=UTC).timestamp() if year >= 1601 else None
    except ValueError:
        return None
