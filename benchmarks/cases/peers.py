"""The same job in other crawlers, on two manuals."""

from benchmarks.bench import Bench
from benchmarks.contest import COLUMNS, OURS, Contender, Cost, contest, median, module, ours, ratio, rows
from benchmarks.corpus import Site, sites
from benchmarks.nginx import nginx
from benchmarks.results import Bars, Cell, Result, Target, say

HOW = """The job of `manuals` as users of these crawlers write it (`benchmarks/peers`), sixteen requests at once,
robots.txt and cookies off where there is a switch. Of the JDK's manual a part is crawled unless `--whole` is given: the
others take minutes for it."""
PARTS = {"quick": "java.net.http/module-summary.html", "usual": "java.xml/module-summary.html", "whole": "index.html"}
BOUNDS: dict[str, dict[str, float]] = {
    "jdk": {"Scrapy": 12, "silkworm-rs": 12, "Crawlee": 12},
    "pg": {"Scrapy": 8, "silkworm-rs": 2.4},
}


def others() -> dict[str, Contender]:
    """The other crawlers, installed or not."""
    return {
        "Scrapy": module("Scrapy", "peers.scrapy_titles", package="scrapy"),
        "silkworm-rs": module("silkworm-rs", "peers.silkworm_titles", package="silkworm-rs"),
        "Crawlee": module("Crawlee", "peers.crawlee_titles", package="crawlee"),
    }


def run(bench: Bench) -> Result:
    found: list[list[Cell]] = []
    targets: list[Target] = []
    bars: dict[str, float] = {}
    chosen = [
        site for site in sites(bench.folder / "sites", pages=bench.by_scale(300, 0) or None) if site.name in BOUNDS
    ]
    with nginx(bench.folder / "nginx", {site.name: site.folder for site in chosen}) as server:
        for site in chosen:
            say(f"  {site.title}")
            rivals = others()
            part = PARTS[bench.scale] if site.name == "jdk" and site.is_real else site.start
            url, turns = f"{server.base}/{site.name}/{part}", bench.by_scale(1, 1 if site.name == "jdk" else 3)
            costs = contest([ours(), *rivals.values()], url, server.one, bench.folder / "out", turns)
            found += rows(costs, f"{site.title}: ")
            targets += [_target(site, rivals[name], bound, costs) for name, bound in BOUNDS[site.name].items()]
            bars |= {f"{site.title}: {name}": round(median(those, "cpu")) for name, those in costs.items()}
    return Result(
        case="peers", title="CPU per page against other crawlers", how=HOW, columns=COLUMNS, rows=found,
        targets=targets, picture=Bars("µs of CPU per page", bars),
    )  # fmt: skip


def _target(site: Site, rival: Contender, bound: float, costs: dict[str, list[Cost]]) -> Target:
    what = f"{site.title}, CPU of {rival.name} to ours"
    if rival.missing:
        return Target(what, None, "≥", bound, why_not=rival.missing)
    return Target(what, 1 / ratio(costs[OURS], costs[rival.name]), "≥", bound)
