"""What a URL costs the journal, however many others it knows."""

import json
import shutil
from statistics import median

from benchmarks.bench import Bench
from benchmarks.process import python
from benchmarks.process import run as measured
from benchmarks.results import Bars, Result, Target, say

HOW = """URLs are added in groups of fifty, leased for 64 hosts at once, and committed in groups of fifty, while others
are known: 200 a host, all of them pending. CPU is that of all threads. Bytes are those of the file, indexes and all."""
COLUMNS = ["URLs known", "add µs", "lease µs", "commit µs", "CPU µs a URL", "bytes a URL"]
FEW = 10_000


def run(bench: Bench) -> Result:
    sizes = [FEW, *(n for n in (100_000, 1_000_000, 10_000_000) if n <= bench.by_scale(100_000, 1_000_000, 10_000_000))]
    rows: list[list[str | int | float | None]] = []
    for known in sizes:
        say(f"  {known:,} URLs")
        found = [_figures(bench, known) for _ in range(3 if known == FEW else 1)]
        verbs = [median(one[verb] for one in found) for verb in ("add", "lease", "commit")]
        rows.append([f"{known:,}", *verbs, sum(verbs), found[0]["bytes"]])
    few, many = (float(row[4] or 0) for row in (rows[0], rows[-1]))
    return Result(
        case="frontier", title="What a URL costs the journal", how=HOW, columns=COLUMNS, rows=rows,
        targets=[
            Target(f"cost of a URL with {sizes[-1]:,} known, of that with {FEW:,}", many / few, "≤", 1.25),
            Target("bytes a URL", float(rows[-1][5] or 0), "≤", 150, "B"),
        ],
        picture=Bars("µs of CPU a URL", {f"{row[0]} known": float(row[4] or 0) for row in rows}),
    )  # fmt: skip


def _figures(bench: Bench, known: int) -> dict[str, float]:
    folder = bench.folder / "journal"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    wanted = 5000 if known == FEW else bench.by_scale(5000, 20_000)
    used = measured(python("-m", "benchmarks.journal", str(folder), str(known), str(wanted)))
    figures: dict[str, float] = json.loads(used.out)
    return figures
