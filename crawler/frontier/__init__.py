"""The frontier: the durable half of a crawl, which holds what must outlive any process.

Whatever stores it, these invariants hold after each transaction; `Frontier.violations` checks them:

1. A page is pending or finished. Nothing is in flight on disk, so nothing needs repair; a run is finished exactly when
   it has no pending page.
2. A host has one `ready_at`, before which nobody asks it, and at most one owner, known by the host's latest `token`.
   Only the owner may ask the host, or end one of its pages.
3. All that one request led to (its `Visit`) is committed as one, or refused as one.
4. Items are numbered in commit order and never change, but for one that is quarantined; a sink follows them with its
   own cursor.
5. A host with a pending page has a `due_at`; one without has none. So no pending page is forgotten.

The frontier judges nothing: it compares tokens and writes rows. When to ask and what to try again is decided by
`workbench` and `politeness`.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from msgspec import Struct

from crawler.models import Counts, Json, Lease, Link, StoredItem, Visit


class JobFacts(Struct, frozen=True):
    """What makes a job the same job: its spider's name and its arguments. Code, scope and settings may change."""

    spider: str
    arguments: Mapping[str, str] = {}


class Seeds(Struct, frozen=True):
    """What the default scope is made of: origins of seeds, and URLs of the folders that seeds redirect to."""

    hosts: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()


class Run(Struct, frozen=True):
    """One pass of a job; ``resumed`` when it was begun by an earlier process. ``last_item`` is the last before now."""

    number: int
    resumed: bool
    key: bytes
    seeds: Seeds = Seeds()
    last_item: int = 0


class Want(Struct, frozen=True):
    """What an engine asks of `Frontier.lease`: up to `hosts` further hosts, and more pages of those it holds.

    ``held`` maps a held host to the pages (seq) in the engine's hands and to how many more it wants. ``batch`` is how
    many pages of a new host. Hosts that may not be asked within ``horizon`` seconds, or have no
    page that is due, are left for later. ``origins`` are
    hosts wanted by name, whether they have pages or not.
    """

    hosts: int
    batch: int
    horizon: float
    held: Mapping[int, tuple[Sequence[int], int]] = {}
    origins: Sequence[str] = ()


class Leased(Struct, frozen=True):
    """What an engine was given, and the seeds, if others have added to them since it asked last."""

    leases: Sequence[Lease] = ()
    seeds: Seeds | None = None


class Committed(Struct, frozen=True):
    """What became of a group of visits.

    ``refused`` are indexes of visits whose token was stale; ``best`` is the lowest rank of the new pages by host.
    """

    refused: frozenset[int] = frozenset()
    best: Mapping[int, int] = {}


class Parting(Struct, frozen=True):
    """A host on its way back to the frontier. ``ready_at`` and ``due_at`` are epoch seconds and only raise what is."""

    host: int
    token: int
    ready_at: float
    not_before: float = 0.0


class Frontier(Protocol):
    """Six verbs that move pages and items, and what keeps the owner of hosts known. All may raise `StoreError`."""

    async def begin(self, job: JobFacts, *, fresh: bool) -> Run:
        """Resume the unfinished run, or start the next; `fresh` forgets all. ConfigError when the job is another's."""

    async def add(self, links: Sequence[Link]) -> Mapping[int, int]:
        """Make each link a pending page unless its run knows it; the lowest rank of the new pages, by host."""

    async def lease(self, want: Want) -> Leased:
        """Take further hosts that may be asked soon, and the best pages of those held; nothing once the run is over."""

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

    async def renew(self) -> int:
        """Say that this engine lives, and free the hosts of those that do not; how many hosts were freed."""

    async def cursor(self, sink: str, run: int) -> tuple[int, dict[str, Json] | None]:
        """Where a sink stands: the last item it holds, and its own position; (0, None) for a new one."""

    async def follow(self, sink: str, run: int, seq: int, position: dict[str, Json]) -> None:
        """Record that a sink holds all items up to `seq`."""

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
