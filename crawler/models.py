"""The nouns that travel: what is asked for, what is leased, what came of it.

Requests are the author's; pages, leases, visits and links pass between engine and journal. All are plain data.
"""

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from enum import IntEnum
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import msgspec
from msgspec import Struct

from crawler.cookies import Cookie
from crawler.likeness import Likeness
from crawler.revisit import UNCHANGED, History
from crawler.shapes import Shape

if TYPE_CHECKING:
    Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
else:
    Json = Any  # msgspec knows no recursive types
Kind = Literal["page", "start", "robots", "download", "sitemap"]

# What a process that ended inside a page's handler counts against the page: little when the whole crawl ended with it,
# since that is what operators do. Two deaths make it suspect, three end it.
DEATH, DEATH_WITH_ALL = 4, 1
SUSPECT_DEATHS, LAST_DEATH = 2 * DEATH, 3 * DEATH
LINK_WEIGHT = 300  # bytes of memory, about, that a link takes until it is stored
ROBOTS_PRIORITY = 1 << 30  # a host's robots.txt goes before anything else of that host
SITEMAP_PRIORITY = ROBOTS_PRIORITY - 1  # and its sitemaps before its pages, so that what they say of these counts


class State(IntEnum):
    """Where a page stands; it is pending or finished, nothing between."""

    PENDING = 0
    DONE = 1
    GONE = 2
    SKIPPED = 3
    FAILED = 4


# reasons of pages that are the crawl's own, and counted as none
HOUSEKEEPING = frozenset({"start", "robots.txt", "sitemap"})


class Request(Struct, frozen=True, omit_defaults=True):
    """One thing to ask for. Made by `Response.request`, `Response.follow`, `Spider.request`; never changed.

    ``url`` is absolute and canonical; ``handler`` and ``failed`` are names of the spider's methods; ``data`` is JSON;
    ``session`` is the name of the one that it is asked in, if that matters; ``group`` is what it shares limits with
    beside its host, which makes no other page of it.
    """

    url: str
    handler: str = "parse"
    kind: Kind = "page"
    method: str = "GET"
    headers: dict[str, str] = {}
    body: bytes | None = None
    data: Json = None
    priority: int = 0
    depth: int = 0
    key: str | None = None
    failed: str | None = None
    statuses: tuple[int, ...] = ()
    accept: tuple[str, ...] = ()
    anywhere: bool = False
    retry: bool = False
    hops: tuple[str, ...] = ()
    path: str | None = None
    session: str | None = None
    by_canonical: bool = False  # in place of a page that named it as its canonical URL; handled whatever it names
    group: str | None = None

    def __repr__(self) -> str:
        return f"<Request {self.method} {self.url} to={self.handler}>"

    @property
    def is_counted(self) -> bool:
        """Whether it is one of the pages that a limit is about."""
        return self.kind in {"page", "download"}

    @property
    def identity(self) -> str:
        """What tells this request from a plain GET of its URL; empty for one."""
        if self.key is not None:
            return "key " + self.key
        if self.kind != "page":
            return self.kind
        if self.method == "GET" and self.body is None:
            return ""
        return f"{self.method} {(self.body or b'').hex()}"


PLAIN = msgspec.json.encode(Request("")).decode()
_encode, _decode = msgspec.json.Encoder().encode, msgspec.json.Decoder(Request).decode


def packed(request: Request) -> str | None:
    """What the journal keeps of a request besides URL, depth and priority; None for a plain one."""
    text = _encode(msgspec.structs.replace(request, url="", depth=0, priority=0)).decode()
    return None if text == PLAIN else text


def unpacked(url: str, depth: int, priority: int, rest: str | None) -> Request:
    """The request that `packed` took apart."""
    if rest is None:
        return Request(url, depth=depth, priority=priority)
    return msgspec.structs.replace(_decode(rest), url=url, depth=depth, priority=priority)


def rank(priority: int, depth: int) -> int:
    """A page's place among those of its host, lowest first: by priority, then by depth."""
    return (-priority << 32) + depth


class Link(Struct, frozen=True, array_like=True):
    """A request on its way into the journal, with all that the journal must know of it already worked out.

    ``plain`` when its URL alone tells it from others. ``known_as`` is what its fingerprint is made of, where that is
    not its path. ``written`` is a seed that somebody wrote, and no server's redirect of one.
    """

    origin: str
    fingerprint: int
    path: str
    depth: int
    priority: int
    rest: str | None = None
    seed: bool = False
    parent: int | None = None
    plain: bool = True
    known_as: str | None = None
    written: bool = False
    modified: float | None = None  # when a sitemap says that it was changed last, in epoch seconds

    @property
    def moved_to(self) -> str:
        """The folder of what a seed redirects to; nothing for other links."""
        return self.path.partition("?")[0].rpartition("/")[0] + "/" if self.seed and self.parent is not None else ""


class Page(Struct):
    """A pending page in an engine's hands."""

    seq: int
    host: int
    request: Request
    attempts: int = 0
    deferrals: int = 0
    rank: int = 0
    parent: int | None = None
    deaths: int = 0  # of processes that were inside its handler, as they count
    history: History | None = None  # of a page that was visited before in this run

    @property
    def is_suspect(self) -> bool:
        """Whether it is tried with nothing beside it, since it may have ended the process twice."""
        return self.deaths >= SUSPECT_DEATHS


class Lease(Struct):
    """The right to ask one host, and the best of its pages. ``ready_at`` is epoch seconds; ``circuit`` is packed.

    ``groups``: those that the host is known to be in; from when on each may be asked, and its pause (s) as it is known.
    """

    host: int
    origin: str
    token: int
    ready_at: float
    pages: list[Page]
    complete: bool
    robots: "RobotsRecord | None" = None
    circuit: str = ""
    groups: Mapping[str, tuple[float, float]] = {}
    shapes: Sequence[Shape] = ()
    likenesses: Sequence[Likeness] = ()


class RobotsRecord(Struct, frozen=True):
    """A robots.txt as last fetched; ``status`` 0: it could not be had, and the body says why. Epoch seconds."""

    status: int
    body: bytes
    fetched_at: float
    expires_at: float


class Item(Struct, frozen=True, array_like=True):
    """One item as it is stored: ``body`` is its JSON, byte for byte the line of a JSONL file; ``key`` is JSON too."""

    kind: str
    body: str
    quarantine: str | None = None
    key: str | None = None


class StoredItem(Struct, frozen=True, array_like=True):
    """An item in the journal; ``seq`` grows in commit order, ``id`` is the same however often the job is resumed."""

    seq: int
    id: str
    kind: str
    body: str


class FileRecord(Struct, frozen=True):
    """A downloaded file: its path below the job's folder, size in bytes, SHA-256 in hex."""

    path: str
    size: int
    sha256: str


class Event(Struct, frozen=True, array_like=True):
    """Something that happened to a host, for the journal; ``at`` is epoch seconds."""

    at: float
    kind: str
    detail: str


class Cut(Struct, frozen=True):
    """How many different links were left out for one reason, and one of them."""

    links: int
    example: str


class Visit(Struct):
    """All that one request led to. It is committed as one, or refused as one if its token is stale.

    A page that is to be tried again has state PENDING and a ``due_at`` (epoch seconds); the try is `charged` to the
    page, or `deferred` by its host's fault, or counts as none. ``cookies`` are what it changed of the session of that
    name and version. ``canonical`` is the URL that the page gives as its own, where it is another; ``content`` a digest
    of its body, ``etag`` and ``modified`` what the server says of that; ``shape`` what is known now of its URL's shape,
    where that matters; ``cuts`` by their reasons. It is visited again at ``revisit_at``, after so long an ``interval``.
    """

    page: Page
    token: int
    state: State
    reason: str = ""
    status: int = 0
    size: int = 0
    ended_at: float = 0.0
    due_at: float = 0.0
    charged: bool = False
    deferred: bool = False
    items: Sequence[Item] = ()
    links: Sequence[Link] = ()
    trace: str | None = None
    file: FileRecord | None = None
    robots: RobotsRecord | None = None
    robots_for: str | None = None
    robots_delay: float | None = None
    ready_at: float | None = None
    delay: float | None = None
    circuit: str | None = None
    events: Sequence[Event] = ()
    cookies: Sequence[Cookie] = ()
    session: tuple[str, int] = ("", 0)
    canonical: str | None = None
    content: bytes = b""
    etag: str | None = None
    modified: str | None = None
    revisit_at: float | None = None
    interval: float | None = None
    shape: Shape | None = None
    likeness: Likeness | None = None
    cuts: Mapping[str, Cut] = {}

    @property
    def is_counted(self) -> bool:
        """Whether it ends one of the pages that a limit is about."""
        is_elsewhere = self.reason.startswith(("redirected", "canonical"))
        ended = self.state in {State.DONE, State.GONE, State.FAILED} and not is_elsewhere
        return ended and self.page.request.is_counted

    @property
    def tells_items(self) -> bool:
        """Whether its items are all that its page has now; those of a page that could not be seen stand."""
        return bool(self.items) or (self.state in {State.DONE, State.GONE} and self.reason != UNCHANGED)

    @property
    def good_items(self) -> int:
        """How many items it brings that fit their type."""
        return sum(item.quarantine is None for item in self.items)

    @property
    def weight(self) -> int:
        """Roughly the bytes of memory that it takes until it is stored, its items and links."""
        return sum([len(item.body) for item in self.items]) + LINK_WEIGHT * len(self.links)


# seconds since the machine was started, its sleep included where that can be known; the same in all processes
since_boot = partial(time.clock_gettime, time.CLOCK_BOOTTIME) if sys.platform == "linux" else time.monotonic


class Clock(Struct, frozen=True):
    """The two clocks: `monotonic` for all that waits, `epoch` for all that is stored. A simulation brings its own."""

    monotonic: Callable[[], float] = since_boot
    epoch: Callable[[], float] = time.time


class Spent(Struct, frozen=True):
    """What the engines of one invocation have stored: pages that count, and items."""

    pages: int = 0
    items: int = 0


class Counts(Struct, frozen=True):
    """How far a run is, and the invocation. Sizes in bytes; ``hosts`` counts those with a pending page.

    ``held``: hosts that an engine works for. ``cuts``: links left out, by reason. ``revisit_at``: when the first page
    is due to be visited again; None if none ever is.
    """

    pending: int = 0
    done: int = 0
    gone: int = 0
    skipped: int = 0
    failed: int = 0
    items: int = 0
    quarantined: int = 0
    bytes: int = 0
    hosts: int = 0
    held: int = 0
    item_bytes: int = 0
    next_due_at: float | None = None
    revisit_at: float | None = None
    reasons: Mapping[str, int] = {}
    cuts: Mapping[str, Cut] = {}
    spent: Spent = Spent()
