"""The frontier: the durable half of a crawl, which holds what must outlive any process.

Whatever stores it, these invariants hold after each transaction; `Frontier.violations` checks them:

1. A page is pending or finished. Nothing is in flight on disk, so nothing needs repair; a run is finished exactly when
   it has no pending page.
2. A host has one `ready_at`, before which nobody asks it, and at most one owner, known by the host's latest `token`.
   Only the owner may ask the host, or end one of its pages. So it is with a group of hosts, whose owner is that of
   all its hosts that have one.
3. All that one request led to (its `Visit`) is committed as one, or refused as one.
4. Items are numbered in commit order and never change, but for one that is quarantined; a sink follows them with its
   own cursor.
5. A host with a pending page has a `due_at`; one without has none. So no pending page is forgotten.

The frontier judges nothing: it compares tokens and writes rows. When to ask and what to try again is decided by
`workbench` and `politeness`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from msgspec import Struct

from crawler.budget import Limits
from crawler.cookies import SessionState
from crawler.models import Counts, Event, Json, Lease, Link, StoredItem, Visit
from crawler.revisit import Revisit


class JobFacts(Struct, frozen=True):
    """What makes a job the same job: its spider's name and its arguments. Code, scope and settings may change."""

    spider: str
    arguments: Mapping[str, str] = {}


class Seeds(Struct, frozen=True):
    """What the default scope is made of: origins of seeds, and URLs of the folders that seeds redirect to.

    ``written`` are those of the ``hosts`` that somebody wrote.
    """

    hosts: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    written: frozenset[str] = frozenset()


class Run(Struct, frozen=True):
    """One pass of a job; ``resumed`` when it was begun by an earlier process. ``invocation`` is what limits are of.

    ``others`` are engines at work on it already. With ``has_feed`` its items are what has changed of them.
    """

    number: int
    resumed: bool
    key: bytes
    seeds: Seeds = Seeds()
    invocation: int = 0
    others: int = 0
    has_feed: bool = False


class Part(Struct, frozen=True):
    """The run and the invocation that a further engine takes part in."""

    run: int
    invocation: int


class Want(Struct, frozen=True):
    """What an engine asks of `Frontier.lease`: up to `hosts` further hosts, and more pages of those it holds.

    ``held`` maps a held host to the pages (seq) in the engine's hands and to how many more it wants. ``batch`` is how
    many pages of a new host. Hosts that may not be asked within ``horizon`` seconds, or have no
    page that is due, are left for later. ``origins`` are hosts wanted by name, whether they have pages or not.
    ``reserve`` is how many pages of the invocation's limit the engine wants to hold in all; None: there is no limit.
    ``counts_taken``: tell of each new host what was taken of it in this run.
    """

    hosts: int
    batch: int
    horizon: float
    held: Mapping[int, tuple[Sequence[int], int]] = {}
    origins: Sequence[str] = ()
    reserve: int | None = None
    counts_taken: bool = False


class Leased(Struct, frozen=True):
    """What an engine was given, and the seeds, if others have added to them since it asked last.

    ``reserved`` is how many pages of the limit it holds now; ``is_spent`` when no engine holds one and none is left.
    ``share`` is how many hosts are one engine's part of those with work; None while others would gain nothing by it.
    """

    leases: Sequence[Lease] = ()
    seeds: Seeds | None = None
    reserved: int = 0
    is_spent: bool = False
    share: int | None = None


class Committed(Struct, frozen=True):
    """What became of a group of visits.

    ``refused`` are indexes of visits whose token was stale, ``excess`` of those whose items the invocation's limit has
    no room for: both stay pending, whole. ``best`` is the lowest rank of the new pages by host. ``is_spent`` when the
    limit leaves no room for a further item. ``item_bytes`` is the size of all items of the run.
    """

    refused: frozenset[int] = frozenset()
    excess: frozenset[int] = frozenset()
    best: Mapping[int, int] = {}
    is_spent: bool = False
    item_bytes: int = 0


class Cursor(Struct, frozen=True):
    """Where a sink stands: the last item it holds, the size of all it holds, its own position; None for a new sink."""

    seq: int = 0
    bytes: int = 0
    position: dict[str, Json] | None = None


class Renewed(Struct, frozen=True):
    """What an engine learns when it says that it lives.

    ``freed`` counts the hosts of dead engines; ``was_buried`` when others took this one for dead, so that it holds
    nothing any more; ``step`` (s) is how far the system's clock was set since the last time.
    """

    freed: int = 0
    was_buried: bool = False
    step: float = 0.0


ONLY_SESSION = "login"  # the name of a session that has none


class StoredSession(Struct, frozen=True):
    """A session that the engines share; version 0 before the first login. It is valid until an answer says not.

    ``strikes`` are signs of a ban in a row. It is left alone until ``retired_until`` (epoch seconds), for a ``reason``.
    """

    version: int = 0
    is_valid: bool = False
    state: SessionState = SessionState()
    strikes: int = 0
    retired_until: float = 0.0
    reason: str = ""


class SessionStore(Protocol):
    """Keeps a session, and has one engine at a time log in."""

    def named(self, name: str) -> "SessionStore":
        """What keeps the session of another name."""

    async def look(self) -> StoredSession:
        """The session as it stands."""

    async def claim(self, version: int) -> bool:
        """Whether this engine is to log in now: the session of that version is over, and no living engine is at it."""

    async def keep(self, state: SessionState) -> StoredSession:
        """Store the session that this engine has made, as the next version."""

    async def release(self) -> None:
        """Give the claim up."""

    async def expire(self, version: int) -> None:
        """The session of that version is over."""

    async def strike(self, version: int, most: int, until: float, reason: str) -> StoredSession:
        """Count a sign of a ban; with so many in a row the session is over, and left alone `until` then."""

    async def clear(self, version: int) -> None:
        """Forget the signs of a ban."""


class Breadcrumb(Protocol):
    """Which pages are inside a handler now, told to whoever takes over should the process die there."""

    @property
    def path(self) -> Path | None:
        """The file that tells it, if it is one."""

    def enter(self, page: int) -> int:
        """Mark that the code of a page's handler runs; gives what `leave` wants."""

    def leave(self, slot: int) -> None:
        """Take the mark away."""


class Parting(Struct, frozen=True):
    """A host on its way back to the frontier. ``ready_at`` and ``due_at`` are epoch seconds and only raise what is.

    ``groups``: from when on each of its groups may be asked.
    """

    host: int
    token: int
    ready_at: float
    not_before: float = 0.0
    circuit: str = ""
    events: Sequence[Event] = ()
    groups: Mapping[str, float] = {}


class Frontier(Protocol):
    """Six verbs that move pages and items, and what keeps the owner of hosts known. All may raise `StoreError`."""

    @property
    def breadcrumb(self) -> Breadcrumb:
        """Where this engine leaves word of what it is at."""

    @property
    def sessions(self) -> SessionStore:
        """The sessions that the engines share, for a spider that has some."""

    async def begin(
        self, job: JobFacts, *, fresh: bool, limits: Limits | None = None, part: Part | None = None,
        revisit: Mapping[str, Revisit] | None = None,
    ) -> Run:  # fmt: skip
        """Resume the unfinished run, or start the next; or take `part` in one, though it may be over by now.

        `fresh` forgets all. `revisit`: which pages are visited again, and when. ConfigError when the job is another's.
        """

    async def add(self, links: Sequence[Link]) -> Mapping[int, int]:
        """Make each link a pending page unless its run knows it; the lowest rank of the new pages, by host."""

    async def lease(self, want: Want) -> Leased:
        """Take further hosts that may be asked soon, and the best pages of those held; nothing once the run is over."""

    async def join(self, host: int, token: int, groups: Mapping[str, float]) -> Mapping[str, float] | None:
        """Put a held host into groups, each with its pause (s); from when on each may be asked (epoch seconds).

        None, and nothing is changed, when one of them is another engine's, or the host is not this one's any more.
        """

    async def commit(self, visits: Sequence[Visit]) -> Committed:
        """Store each visit whole, in one transaction; those with a stale token are left out whole."""

    async def release(self, partings: Sequence[Parting]) -> None:
        """Give hosts back, so that any engine may lease them once they are ready."""

    async def items(self, run: int, after: int, limit: int) -> list[StoredItem]:
        """The next items of a run behind `after`, in commit order, without the quarantined."""

    async def counts(self) -> Counts:
        """How far the run is, exactly."""

    async def handlers(self) -> frozenset[str]:
        """The names of the spider's methods that pending pages will need."""

    async def renew(self) -> Renewed:
        """Say that this engine lives, and take over from those that do not.

        Their hosts are freed, each from the moment on that it may be asked. The pages that were inside a handler have
        cost a process: one death is put down to each, and the third ends it as failed.
        """

    async def cursor(self, sink: str, run: int) -> Cursor:
        """Where a sink stands."""

    async def follow(self, sink: str, run: int, cursor: Cursor) -> None:
        """Record that a sink holds all items up to a cursor."""

    async def quarantine(self, item: int, reason: str) -> None:
        """Set a stored item of this run aside, since a sink refuses it; `items` gives it no more."""

    async def finish(self, outcome: str) -> None:
        """End the run, if it has no pending page, and forget the items of runs that are not kept."""

    async def withdraw(self) -> None:
        """Take back a run that was begun and has come to nothing: one without a single page."""

    async def violations(self) -> list[str]:
        """What contradicts the invariants, in words; nothing, always."""

    async def close(self) -> None:
        """Let go of the store. Hosts still held are freed at once."""
