"""How long it takes until anything happens."""

import shutil
from statistics import median

from benchmarks.bench import Bench
from benchmarks.contest import ours
from benchmarks.nginx import nginx
from benchmarks.process import Used, python
from benchmarks.process import run as measured
from benchmarks.results import Bars, Result, Target

HOW = """Wall time of whole commands, in turn, against a Python that does nothing. The one page is crawled with
supervisor, robots.txt, journal and export. All have their bytecode from an earlier run, as what is installed has."""
NOTHING, HELP, ONE = "python -c pass", "crawler --help", "one-page crawler crawl"


def run(bench: Bench) -> Result:
    found: dict[str, list[Used]] = {NOTHING: [], HELP: [], ONE: []}
    folder = bench.folder / "out"
    with nginx(bench.folder / "nginx", {}) as server:
        crawl = ours()
        commands = {
            NOTHING: python("-c", "pass"),
            HELP: python("-m", "crawler", "--help"),
            ONE: crawl.command(server.one, folder),
        }
        for turn in range(bench.by_scale(5, 20) + 1):
            for name, command in commands.items():
                shutil.rmtree(folder, ignore_errors=True)
                used = measured(command, codes=(0, 3))
                if turn:  # the first fills caches
                    found[name].append(used)
    times = {name: median(used.wall for used in runs) for name, runs in found.items()}
    ratios = {
        name: median(one.wall / nothing.wall for one, nothing in zip(runs, found[NOTHING], strict=True))
        for name, runs in found.items()
    }
    return Result(
        case="startup", title="Start-up", how=HOW, columns=["", "wall ms", "CPU ms", "× python -c pass"],
        rows=[
            [name, times[name] * 1e3, median(used.cpu for used in runs) * 1e3, ratios[name]]
            for name, runs in found.items()
        ],
        targets=[Target(f"{HELP}, wall of {NOTHING}", ratios[HELP], "≤", 12),
                 Target(f"{ONE}, wall of {NOTHING}", ratios[ONE], "≤", 30)],
        picture=Bars("ms", {name: round(wall * 1e3) for name, wall in times.items()}),
    )  # fmt: skip
