"""CPU per page against the hand-written loop, on three manuals, with journal and export."""

from benchmarks.bench import Bench
from benchmarks.contest import COLUMNS, OURS, contest, loop, median, ours, profiled, ratio, rows
from benchmarks.corpus import sites
from benchmarks.nginx import nginx
from benchmarks.results import Bars, Cell, Result, Target, say

HOW = """Each page below the start page's folder, one record {url, title} a page. The loop is aiohttp, uvloop and
selectolax with a queue in memory (`benchmarks/floor.py`). Ours is `crawler crawl` with journal, export, robots.txt and
supervisor: all defaults but `delay=0` and `concurrency_per_host=16`. Its lag, and
where its time goes, are from one further crawl each, with `--profile`."""


def run(bench: Bench) -> Result:
    found: list[list[Cell]] = []
    targets: list[Target] = []
    bars: dict[str, float] = {}
    profiles: list[str] = []
    all_sites = sites(bench.folder / "sites", pages=bench.by_scale(300, 0) or None)
    with nginx(bench.folder / "nginx", {site.name: site.folder for site in all_sites}) as server:
        for site in all_sites:
            say(f"  {site.title}")
            page = site.small if bench.scale == "quick" else site.start
            url = f"{server.base}/{site.name}/{page}"
            turns = bench.by_scale(1, 3, 5)
            costs = contest([ours(), loop()], url, server.one, bench.folder / "out", turns)
            (loops,) = (name for name in costs if name != OURS)
            profile, lag = profiled(url, bench.folder / "out")
            profiles.append(f"{site.title}\n{profile}")
            found += rows(costs, f"{site.title}: ", lag)
            targets.append(Target(f"{site.title}, CPU of the loop", ratio(costs[OURS], costs[loops]), "≤", 0.9))
            bars |= {f"{site.title}: {name}": round(median(those, "cpu")) for name, those in costs.items()}
    return Result(
        case="manuals", title="CPU per page against a hand-written loop", how=HOW, columns=COLUMNS, rows=found,
        targets=targets, picture=Bars("µs of CPU per page", bars),
        text="\n".join(profiles),
    )  # fmt: skip
