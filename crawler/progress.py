"""How a crawl is doing and how it ended, in figures that travel: between engine, supervisor and display."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from crawler.models import Counts
from crawler.profile import Profile
from crawler.profile import merged as merged_profiles


class Progress(Struct, frozen=True):
    """A moment of a crawl. Pages, items and bytes are of this invocation, `counts` of the run; seconds and bytes.

    ``engines`` work on it now; ``replaced`` have died and were replaced. ``profile`` if it was asked for.
    """

    counts: Counts
    elapsed: float
    pages: int
    items: int
    bytes: int
    pages_per_second: float
    bytes_per_second: float
    in_flight: int
    hosts: int
    downloads: tuple[tuple[str, int, int | None], ...]
    limited_by: str
    engines: int = 1
    replaced: int = 0
    profile: Profile | None = None


class Summary(Struct, frozen=True):
    """How an invocation ended. `outcome` is "finished", "parked" or "stopped: …", or says why it is parked.

    Pages, items, bytes are its own. ``cached`` replies came from the cache, not from their site.
    """

    job: str
    run: int
    resumed: bool
    outcome: str
    counts: Counts
    pages: int
    items: int
    bytes: int
    elapsed: float
    folder: Path
    outputs: tuple[str, ...]
    max_failed: int = 0
    cached: int = 0
    profile: Profile | None = None

    @property
    def exit_code(self) -> int:
        """0 finished; 3 finished, but pages failed or items were quarantined; 4 stopped before the end, resumable."""
        if self.outcome != "finished":
            return 4
        return 3 if self.counts.failed > self.max_failed or self.counts.quarantined else 0


def merged(latest: Progress, all_of_them: Sequence[Progress], *, bytes_before: int = 0, replaced: int = 0) -> Progress:
    """One picture of several engines: what the journal tells is taken from the latest, what each does is added up.

    `bytes_before` were received by engines that are gone.
    """
    return replace(
        latest,
        bytes=bytes_before + sum(one.bytes for one in all_of_them),
        bytes_per_second=sum(one.bytes_per_second for one in all_of_them),
        in_flight=sum(one.in_flight for one in all_of_them),
        hosts=sum(one.hosts for one in all_of_them),
        downloads=tuple(download for one in all_of_them for download in one.downloads),
        limited_by=_common(one.limited_by for one in all_of_them),
        engines=len(all_of_them),
        replaced=replaced,
        profile=merged_profiles([one.profile for one in all_of_them]),
    )


def _common(reasons: Iterable[str]) -> str:
    """What limits engines: those of them that found work are asked."""
    different = dict.fromkeys(reasons)
    at_work = [reason for reason in different if not reason.startswith(IDLE)] or list(different)
    return ", ".join(at_work[:2])


IDLE = "nothing"
