"""How a crawl goes, how it ended, and what to do next, in lines for people."""

from collections.abc import Mapping

from crawler.cli import words
from crawler.errors import escaped
from crawler.models import Cut
from crawler.profile import Profile, verdict
from crawler.progress import Progress, Summary
from crawler.stages import WAITS, WORK
from crawler.traps import SETTING_OF


def line(progress: Progress) -> str:
    """A moment of a crawl in one line."""
    counts = progress.counts
    return (
        f"{counts.done:,} done, {counts.pending:,} pending, {counts.failed:,} failed, {counts.items:,} items, "
        f"{progress.pages_per_second:.1f} pages/s, limited by {progress.limited_by}"
        f"{''.join(f'; {row}' for row in at_a_glance(progress.profile))}"
    )


def lines(summary: Summary, advice: str) -> list[str]:
    """Outcome, pages with reasons, items, bytes, time, rate, outputs; `advice` is what to do next."""
    rate = summary.pages / max(0.001, summary.elapsed)
    received = f"{words.count(summary.pages, 'page')} ({rate:.1f}/s), {words.count(summary.items, 'item')}"
    counts = summary.counts
    told = [
        f"{summary.outcome}: {received}, {words.size(summary.bytes)} in {words.duration(summary.elapsed)}",
        f"  run {summary.run} of {summary.job}: {outcomes(counts.reasons, counts.pending)}",
    ]
    told += cuts(counts.cuts)
    if counts.quarantined:
        told.append(f"  {words.count(counts.quarantined, 'item')} quarantined: they did not fit their type")
    if summary.cached:
        told.append(f"  {words.count(summary.cached, 'answer')} from the cache, not from the site")
    if summary.resumed:
        told.append(f"  {words.count(counts.items, 'item')} in all since the run began")
    told += [f"  items: {escaped(target, 1000)}" for target in summary.outputs if target != "-"]
    told += stages(summary.profile)
    return [*told, f"  {advice}"]


def advice(summary: Summary) -> str:
    """What to do after a crawl that ended so."""
    if summary.outcome.startswith("stopped"):
        return "run the same command again to go on"
    if summary.outcome != "finished":
        return f"run the same command again later to go on; see why with: crawler status {summary.job}"
    if summary.exit_code:
        return f"see what failed with: crawler status {summary.job}"
    return "run the same command again for the next run"


def at_a_glance(profile: Profile | None) -> list[str]:
    """What has taken time, in a line for waits and one for work; nothing without a profile."""
    if profile is None:
        return []
    taken = {stage: seconds for stage, (seconds, _) in profile.stages.items() if seconds >= 0.001}
    waits = [f"{stage} {words.duration(taken[stage])}" for stage in WAITS if stage in taken]
    work = [f"{stage} {words.duration(taken[stage])}" for stage in WORK if stage in taken]
    return [f"waits: {', '.join(waits) or 'none'}", f"work: {', '.join([*work, _loop(profile)])}"]


def _loop(profile: Profile) -> str:
    p99, longest = profile.lag
    return f"loop {profile.busy:.0%} busy, {p99 * 1e3:.0f} ms late (p99), {longest * 1e3:.0f} ms at most"


def stages(profile: Profile | None) -> list[str]:
    """The verdict, and a line for each stage; nothing without a profile."""
    if profile is None:
        return []
    told = [f"  profile: {verdict(profile)}", f"    {_loop(profile)}"]
    for kind, names in (("wait", WAITS), ("work", WORK)):
        for name in names:
            seconds, times = profile.stages[name]
            each = f", {times:,} times, {seconds / times * 1e3:.2f} ms each" if times else ""
            told.append(f"    {kind} {name:<10} {seconds:9.3f} s{each}")
    return told


def cuts(found: Mapping[str, Cut]) -> list[str]:
    """A line for each reason for which links were left out."""
    return [
        f"  {words.count(cut.links, 'link')} left out ({reason}, see {SETTING_OF[reason]}): {escaped(cut.example, 200)}"
        for reason, cut in found.items()
    ]


def outcomes(reasons: Mapping[str, int], pending: int) -> str:
    """``90 done, 3 skipped (robots), 1 failed (ReadTimeout), 12 pending``."""
    by_state: dict[str, dict[str, int]] = {}
    for name, pages in reasons.items():
        state, _, reason = name.partition(": ")
        by_state.setdefault(state, {})[reason] = pages
    told = [_state(state, found) for state, found in by_state.items() if any(found.values())]
    return ", ".join([*told, *([f"{pending:,} pending"] if pending else [])]) or "no pages"


def _state(state: str, found: Mapping[str, int]) -> str:
    named = {reason: pages for reason, pages in found.items() if reason and pages}
    whole = f"{sum(found.values()):,} {state}"
    if not named:
        return whole
    parts = [f"{pages:,} {reason}" if len(found) > 1 else reason for reason, pages in named.items()]
    return f"{whole} ({escaped(', '.join(parts))})"
