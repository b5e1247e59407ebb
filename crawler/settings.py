"""Every setting, once: its name, type, default, bounds, unit and help.

The command line's ``-s``, the environment's ``CRAWLER_…``, the two TOML files, a spider's ``settings`` and the table in
the docs all come from the fields of `Settings`.
"""

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatchcase
from fractions import Fraction
from typing import Annotated, Literal, cast

import msgspec
from msgspec import Meta, Struct

from crawler.credentials import Credential, by_origin
from crawler.errors import ConfigError
from crawler.proxies import Proxy, by_pattern
from crawler.revisit import Revisit, policies
from crawler.traps import TrapLimits
from crawler.windows import window

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)i?b?", re.IGNORECASE)
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)?", re.IGNORECASE)
_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}

SECRET = {"credentials", "proxies"}  # not repeated in messages
_BOOLEANS = {"yes": "true", "on": "true", "no": "false", "off": "false"}

SESSION_PARAMETERS = (  # of PHP, Java, ASP, ColdFusion, osCommerce and Zen Cart; "sid" is too often an article's number
    "PHPSESSID", "jsessionid", "ASPSESSIONID*", "CFID", "CFTOKEN", "osCsid", "zenid", "sessionid", "session_id",
)  # fmt: skip

LONGEST = 10 * 366 * 86_400.0  # ten years: longer is a slip, and infinity is no date
Seconds = Annotated[float, Meta(ge=0, le=LONGEST, extra={"unit": "s"})]
Timeout = Annotated[float, Meta(gt=0, le=LONGEST, extra={"unit": "s"})]
Bytes = Annotated[int, Meta(ge=1, extra={"unit": "bytes"})]
Size = Annotated[int, Meta(ge=0, extra={"unit": "bytes"})]
Count = Annotated[int, Meta(ge=1)]
Rate = Annotated[float, Meta(gt=1 / LONGEST, le=1e6, extra={"unit": "requests/s"})]


class HostSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """What may differ from host to host: ``[hosts."*.example.com"]`` in a TOML file, or a dict in a spider."""

    delay: Seconds | None = None
    concurrency_per_host: Count | None = None
    rate: Rate | None = None
    burst: Count | None = None
    windows: list[str] | None = None
    drop_parameters: tuple[str, ...] | None = None
    sort_query: bool | None = None
    max_pages_per_host: Count | None = None
    max_bytes_per_host: Bytes | None = None


class GroupSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """The limits of a group of hosts, ``[groups."ip:*"]`` in a TOML file; what is left out is not limited."""

    delay: Seconds | None = None
    concurrency: Count | None = None
    rate: Rate | None = None
    burst: Count | None = None


class Settings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """All settings of a crawl, checked. Unknown names and values out of bounds are refused with a `ConfigError`."""

    delay: Annotated[Seconds, Meta(description="pause between two requests to one host")] = 1.0
    concurrency_per_host: Annotated[Count, Meta(description="requests in flight to one host")] = 1
    rate: Annotated[
        Rate | None,
        Meta(description="requests to one host on average, beside `delay`", extra={"unit": "requests/s"}),
    ] = None
    burst: Annotated[Count, Meta(description="of those so many may follow one another at once, after a rest")] = 1
    adaptive: Annotated[
        bool, Meta(description="where there is a pause: none shorter than the host's latency; longer after 429 and 503")
    ] = True
    windows: Annotated[
        list[str], Meta(description="hours at which hosts may be asked: 22:00-06:00, or 22:00-06:00 Europe/Berlin")
    ] = []
    concurrency: Annotated[Count, Meta(description="requests in flight in all")] = 128
    hosts: Annotated[dict[str, HostSettings], Meta(description="some of the settings by host pattern, see above")] = {}
    groups: Annotated[
        dict[str, GroupSettings],
        Meta(description="limits over all hosts of an `ip:ADDRESS` or `site:DOMAIN`, or for a request's `group`"),
    ] = {}
    obey_robots: Annotated[bool, Meta(description="obey robots.txt (RFC 9309) and meta robots")] = True
    obey_rel_nofollow: Annotated[bool, Meta(description="follow no link that is marked rel=nofollow")] = False
    max_crawl_delay: Annotated[Seconds, Meta(description="a host that asks for a longer Crawl-delay is parked")] = 60.0
    user_agent: Annotated[str, Meta(description="product token sent and looked up in robots.txt")] = ""
    contact: Annotated[str, Meta(description="address or page of the operator, added to the User-Agent")] = ""
    retries: Annotated[int, Meta(ge=0, description="further tries of a page after a failure worth retrying")] = 3
    circuit_patience: Annotated[
        Seconds, Meta(description="a host that fails for so long is left alone for a day, its pages parked")
    ] = 3600.0
    connect_timeout: Annotated[Timeout, Meta(description="until a connection stands, TLS included")] = 10.0
    header_timeout: Annotated[Timeout, Meta(description="until the whole header block is there")] = 20.0
    read_timeout: Annotated[Timeout, Meta(description="longest gap within a body")] = 20.0
    total_timeout: Annotated[Timeout, Meta(description="for one page in all; downloads have none")] = 60.0
    min_rate: Annotated[int, Meta(ge=0, description="slowest body, measured over 20 s", extra={"unit": "bytes/s"})] = (
        500
    )
    max_body_bytes: Annotated[Bytes, Meta(description="longest decoded body of a page")] = 10 * MIB
    max_file_bytes: Annotated[Bytes, Meta(description="longest download")] = 16 * GIB
    body_memory: Annotated[Bytes, Meta(description="bodies held in memory at once; longer ones wait")] = 96 * MIB
    max_links: Annotated[Count, Meta(description="different links taken from one page")] = 50_000
    max_depth: Annotated[
        Annotated[int, Meta(ge=0)] | None, Meta(description="links further from a seed are skipped")
    ] = None
    max_pages_per_host: Annotated[
        Count | None, Meta(description="pages of one host that end as done in a run; its others are skipped")
    ] = None
    max_bytes_per_host: Annotated[
        Bytes | None,
        Meta(
            description="with so much read of one host's pages in a run its others are skipped", extra={"unit": "bytes"}
        ),
    ] = None
    max_path_segments: Annotated[Count, Meta(description="links with more segments in their path are traps")] = 20
    max_repeated_segments: Annotated[
        Count, Meta(description="links with one and the same segment more often are traps")
    ] = 3
    max_query_parameters: Annotated[Count, Meta(description="links with more parameters in their query are traps")] = 10
    max_same_pages: Annotated[
        int,
        Meta(
            ge=0,
            description="pages of one URL shape with one body; links of further ones are left out; 0: no limit",
        ),
    ] = 20
    max_barren_pages: Annotated[
        int,
        Meta(
            ge=0,
            description="pages of one URL shape, half of them in vain; they lead to no more of it; 0: no limit",
        ),
    ] = 1000
    drop_parameters: Annotated[
        tuple[str, ...], Meta(description="parameters (* and ? are wildcards) that make no other page: session ids")
    ] = SESSION_PARAMETERS
    sort_query: Annotated[bool, Meta(description="the order of a query's parameters makes no other page")] = False
    canonical_identity: Annotated[
        bool, Meta(description="a page that names another URL as its canonical one is not handled: that one is")
    ] = False
    near_duplicates: Annotated[
        Annotated[float, Meta(ge=0.7, le=1)] | None,
        Meta(description="a page that is so much like one before it, in its words, is not handled (0.7 to 1)"),
    ] = None
    max_redirects: Annotated[int, Meta(ge=0, description="hops of one redirect chain")] = 10
    handler_timeout: Annotated[Timeout, Meta(description="an async handler is cancelled after it")] = 30.0
    session_bans: Annotated[
        Count, Meta(description="pages in a row with an answer that looks like a ban: their session is retired")
    ] = 3
    session_rest: Annotated[Timeout, Meta(description="how long a retired session is left alone")] = 3600.0
    insecure_hosts: Annotated[list[str], Meta(description="host patterns whose TLS certificate is not verified")] = []
    credentials: Annotated[
        dict[str, Credential], Meta(description="who we are to an origin: user and password, or token")
    ] = {}
    proxies: Annotated[
        dict[str, list[Proxy]], Meta(description="host pattern to the proxies it is asked by in turn")
    ] = {}
    ca_file: Annotated[str, Meta(description="PEM file of further authorities whose certificates are trusted")] = ""
    client_certificates: Annotated[
        dict[str, str], Meta(description="host pattern to the PEM file of our own certificate and key")
    ] = {}
    address_family: Annotated[
        Literal["any", "ipv4", "ipv6"], Meta(description="by which addresses hosts are reached")
    ] = "any"
    local_address: Annotated[str, Meta(description="IP address of this machine that connections come from")] = ""
    private_hosts: Annotated[
        list[str], Meta(description="hosts and networks that may be private: intranet, 10.0.0.0/8; seeds' hosts may be")
    ] = []
    resolve: Annotated[dict[str, str], Meta(description="host pattern to IP address, instead of DNS")] = {}
    cache_for: Annotated[Seconds, Meta(description="how long replies are kept while a spider is written; 0: none")] = (
        0.0
    )
    revisit: Annotated[
        dict[str, Revisit],
        Meta(description="pages are visited again after so long: 1d, or 1h-7d by their changes; by URL pattern"),
    ] = {}
    stall_timeout: Annotated[
        Timeout, Meta(description="an engine that stands still for so long is ended, replaced")
    ] = 60.0
    commit_window: Annotated[Seconds, Meta(description="visits that end within it share one transaction")] = 0.05
    durability: Annotated[
        Literal["process", "power"],
        Meta(description="survive the death of the process, or also a power loss (slower)"),
    ] = "process"
    keep_runs: Annotated[Count, Meta(description="runs whose items stay in the journal")] = 2
    events: Annotated[
        Literal["failures", "all"], Meta(description="what the journal's events hold: failures, or every request")
    ] = "failures"
    backlog_bytes: Annotated[Bytes, Meta(description="items no sink has yet; fetching pauses beyond it")] = 256 * MIB
    min_free_space: Annotated[
        Size | None,
        Meta(
            description="nothing is fetched with less free on the job's disk (1 GiB, but at most 5 % of the disk)",
            extra={"unit": "bytes"},
        ),
    ] = None
    store_patience: Annotated[
        Seconds, Meta(description="a full disk, a journal or a sink that is away is waited for so long")
    ] = 600.0
    memory_limit: Annotated[
        Bytes | None,
        Meta(
            description="with more memory in use fewer requests are made at once (80 % of a container's limit)",
            extra={"unit": "bytes"},
        ),
    ] = None
    max_failed: Annotated[int, Meta(ge=0, description="failed pages that still count as success")] = 0
    csv_formulas: Annotated[bool, Meta(description="write CSV cells that a spreadsheet would run as they are")] = False

    @property
    def product_token(self) -> str:
        """The name looked up in robots.txt: the User-Agent up to its first ``/`` or space (RFC 9309 section 2.2.1)."""
        return re.split(r"[/ ]", self.user_agent, maxsplit=1)[0] or "crawler"

    @property
    def trap_limits(self) -> TrapLimits:
        """The limits of what a link may look like."""
        return TrapLimits(self.max_path_segments, self.max_repeated_segments, self.max_query_parameters)

    def for_host(self, origin: str, host: str) -> "HostSettings":
        """The first pattern of ``hosts`` that matches the host's name or its origin; nothing set if none does."""
        for pattern, chosen in self.hosts.items():
            if fnmatchcase(host, pattern) or fnmatchcase(origin, pattern):
                return chosen
        return HostSettings()


FIELDS: dict[str, msgspec.inspect.Field] = {
    field.name: field
    for field in msgspec.inspect.type_info(Settings).fields  # type: ignore[attr-defined]  # a StructType, by Settings
}


def merged(*layers: tuple[str, Mapping[str, object]]) -> Settings:
    """The settings of several layers, each with the name of where it comes from; later layers win.

    Text values are converted to the field's type, sizes (``10MiB``) and durations (``1.5h``) too. Raises `ConfigError`
    naming the layer, the setting, and what would be right.
    """
    values: dict[str, object] = {}
    for source, layer in layers:
        for name, value in layer.items():
            _check_name(name, source)
            values[name] = _checked(name, value, source)
    return Settings(**values)  # type: ignore[arg-type]  # each value was converted to its field's type


def _check_name(name: str, source: str) -> None:
    if name in FIELDS:
        return
    near = difflib.get_close_matches(name, FIELDS, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else f"; known are: {', '.join(sorted(FIELDS))}"
    raise ConfigError(f"unknown setting {name!r} in {source}{hint}")


def _checked(name: str, value: object, source: str) -> object:
    field_type = Settings.__annotations__[name]
    try:
        checked: object = msgspec.convert(_from_text(name, value), field_type, strict=False)
        for text in _windows(name, checked):
            window(text)
        if name == "groups":
            _check_groups(cast("dict[str, GroupSettings]", checked))
    except (msgspec.ValidationError, ValueError) as error:
        shown = "…" if name in SECRET else repr(value)
        raise ConfigError(f"setting {name}={shown} in {source}: {error}{_choices(name)}") from None
    return checked


def _windows(name: str, value: object) -> list[str]:
    if name == "windows":
        return cast("list[str]", value)
    chosen = cast("dict[str, HostSettings]", value).values() if name == "hosts" else ()
    return [text for one in chosen for text in one.windows or ()]


def _check_groups(groups: Mapping[str, GroupSettings]) -> None:
    for pattern, chosen in groups.items():
        kind, colon, rest = pattern.partition(":")
        if not pattern or (colon and (kind not in {"ip", "site"} or not rest)):
            raise ValueError(f"{pattern!r} is neither ip:ADDRESS nor site:DOMAIN nor what a request may give as group=")
        if (chosen.delay, chosen.concurrency, chosen.rate) == (None, None, None):
            raise ValueError(f"{pattern!r} limits nothing: give it a delay, a concurrency or a rate")


def _choices(name: str) -> str:
    wanted = FIELDS[name].type
    inner = wanted.type if isinstance(wanted, msgspec.inspect.Metadata) else wanted
    return f"; choose one of {inner.values}" if isinstance(inner, msgspec.inspect.LiteralType) else ""


def _from_text(name: str, value: object) -> object:
    if name == "revisit" and isinstance(value, int | float):
        value = str(value)  # of seconds, as of all durations
    if (tables := _TABLES.get(name)) and isinstance(value, str | Mapping):
        return tables(value)
    if not isinstance(value, str):
        return value
    if value == "null" and FIELDS[name].default is None:
        return None
    wanted = FIELDS[name].type
    unit = (wanted.extra or {}).get("unit") if isinstance(wanted, msgspec.inspect.Metadata) else None
    if unit in _UNITS:
        return _UNITS[unit](value)
    inner = wanted.type if isinstance(wanted, msgspec.inspect.Metadata) else wanted
    reader = _TYPES.get(type(inner))
    return reader(value) if reader else value


def _hosts(value: str | Mapping[str, object]) -> object:
    return (
        {pattern: _host_from_text(chosen) for pattern, chosen in value.items()} if isinstance(value, Mapping) else value
    )


def _host_from_text(chosen: object) -> object:
    if not isinstance(chosen, Mapping):
        return chosen
    read = {name: reader(chosen[name]) for name, reader in _OF_HOSTS.items() if isinstance(chosen.get(name), str)}
    return {**chosen, **read}


def _pairs(parts: Iterable[str]) -> Iterable[tuple[str, str]]:
    for part in filter(None, map(str.strip, parts)):
        name, equals, value = part.partition("=")
        if not equals:
            raise ValueError(f"expected name=value, got {part!r}")
        yield name.strip(), value.strip()


def _by_name(value: str | Mapping[str, object]) -> Mapping[str, object]:
    """A table, or pairs that may be secret, so that a message must not have them."""
    if not isinstance(value, str):
        return value
    parts = [part for part in value.split(",") if part.strip()]
    if not all("=" in part for part in parts):
        raise ValueError("expected name=value, with commas between; a comma within a value takes a TOML table")
    return dict(_pairs(parts))


def parse_size(text: str) -> int:
    """Bytes from ``65536``, ``10MB``, ``10MiB`` or ``4g``; the letters are powers of 1,024. Raises ValueError."""
    match = _SIZE.fullmatch(text.strip())
    if not match:
        raise ValueError(f"{text!r} is not a size such as 500k, 10MiB or 4GiB")
    size = Fraction(match[1]) * 1024 ** " kmgt".index(match[2].lower() or " ")
    if size >= 1 << 63:
        raise ValueError(f"{text[:40]!r} is not a size that can be: the largest is 8388607T")
    return int(size)


def parse_duration(text: str) -> float:
    """Seconds from ``90``, ``1.5h``, ``30m`` or ``200ms``. Raises ValueError."""
    match = _DURATION.fullmatch(text.strip())
    if not match:
        raise ValueError(f"{text!r} is not a duration such as 30s, 15m or 2h")
    return float(match[1]) * _SECONDS[(match[2] or "s").lower()]


_OF_HOSTS: dict[str, Callable[[str], object]] = {"delay": parse_duration, "max_bytes_per_host": parse_size}
_UNITS: dict[str, Callable[[str], object]] = {"bytes": parse_size, "s": parse_duration}
_TYPES: dict[type, Callable[[str], object]] = {
    msgspec.inspect.ListType: lambda text: [part.strip() for part in text.split(",") if part.strip()],
    msgspec.inspect.VarTupleType: lambda text: tuple(part.strip() for part in text.split(",") if part.strip()),
    msgspec.inspect.DictType: lambda text: dict(_pairs(text.split(","))),
    msgspec.inspect.BoolType: lambda text: _BOOLEANS.get(text.lower(), text),
}
_TABLES: dict[str, Callable[[str | Mapping[str, object]], object]] = {
    "hosts": _hosts,
    "groups": _hosts,
    "credentials": lambda value: by_origin(_by_name(value)),
    "proxies": lambda value: by_pattern(_by_name(value)),
    "revisit": lambda value: policies(value, parse_duration),
}
