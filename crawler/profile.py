"""What the stages of a crawl come to: figures that travel, and a verdict in words."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence

from msgspec import Struct

from crawler.stages import WORK

BUSY = 0.75  # of a core: a loop that computes for so long has little time left
LATE = 0.5  # of the time: so late is a loop that computes less only where others take its core
NAMES = {
    "decode": "unpacking bodies", "parse": "parsing", "links": "links", "handler": "handlers",
    "pipeline": "the pipeline",
}  # fmt: skip


class Profile(Struct, frozen=True):
    """Where the time went. ``stages`` are seconds and times; waits of several requests at once add up.

    ``lag`` is what 99 of a hundred looks at the loop were not later than, and the latest of all (s). ``busy`` is the
    part of the time in which the loop computes, ``late`` that in which it was due and did not come. ``limits`` counts
    what held the crawl up, as often as it was looked at. ``hosts`` is how many had work at once, at most.
    """

    stages: Mapping[str, tuple[float, int]]
    lag: tuple[float, float]
    busy: float
    limits: Mapping[str, int]
    hosts: int
    late: float = 0.0
    engines: int = 1


def merged(profiles: Sequence[Profile | None]) -> Profile | None:
    """One picture of several engines; None if there is none of any."""
    found = [profile for profile in profiles if profile is not None]
    if len(found) < 2:
        return found[0] if found else None
    limits: Counter[str] = Counter()
    for one in found:
        limits.update(one.limits)
    engines = sum(one.engines for one in found)
    return Profile(
        {name: (sum(one.stages[name][0] for one in found), sum(one.stages[name][1] for one in found))
         for name in found[0].stages},
        (max(one.lag[0] for one in found), max(one.lag[1] for one in found)),
        sum(one.busy * one.engines for one in found) / engines,
        dict(limits), sum(one.hosts for one in found),
        sum(one.late * one.engines for one in found) / engines, engines,
    )  # fmt: skip


def verdict(profile: Profile, cores: int | None = None) -> str:
    """What would have to change for the crawl to be faster, in words."""
    if profile.busy >= BUSY:
        work = {NAMES[stage]: profile.stages[stage][0] for stage in WORK}
        return f"limited by {max(work, key=work.__getitem__)}: {_more_cores(profile, cores or os.cpu_count() or 1)}"
    if profile.late >= LATE:
        waits = f"the loop is kept waiting for {profile.late:.0%} of the time"
        return f"limited by this machine: {waits}, and computes for {profile.busy:.0%}; others take its core"
    kinds: Counter[str] = Counter()
    for reason, times in profile.limits.items():
        kinds[_kind(reason)] += times
    if not kinds:
        return "too short to tell what limited it"
    kind, times = kinds.most_common(1)[0]
    reason = max((one for one in profile.limits if _kind(one) == kind), key=profile.limits.__getitem__)
    if kind == "the network":
        reason = f"the network, most of all by {_slowest(profile)}"
    return f"limited by {reason}, {times / kinds.total():.0%} of the time"


def _kind(reason: str) -> str:
    """What stands for a reason whatever its figures."""
    return reason.partition(" of ")[0].partition(":")[0]


def _more_cores(profile: Profile, cores: int) -> str:
    full = f"the loop computes for {profile.busy:.0%} of the time"
    if profile.hosts <= profile.engines:
        return f"{full}; a host is one engine's, so take what is heavy to in_process"
    if profile.engines >= cores:
        return f"{full} on all cores"
    return f"{full}; try -j {profile.engines + 1}"


def _slowest(profile: Profile) -> str:
    waits = {stage: profile.stages[stage] for stage in ("DNS", "connect", "TLS", "first byte", "body")}
    stage, (seconds, times) = max(waits.items(), key=lambda wait: wait[1][0])
    return f"{stage} ({seconds / max(1, times) * 1e3:.0f} ms each)"
