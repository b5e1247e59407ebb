"""Compressed pages: what it costs to unpack them."""

import gzip
import subprocess
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.contest import COLUMNS, LOOP, OURS, Cost, contest, loop, median, ours, ratio, rows
from benchmarks.corpus import sites
from benchmarks.nginx import nginx
from benchmarks.process import python
from benchmarks.results import Bars, Result, Target

HOW = """A manual as it is, and compressed beforehand (gzip, level 6), each against the hand-written loop, whose aiohttp
unpacks with zlib. What gzip costs a page is the difference."""
_WHICH = "import sys, crawler.decoding; print(int('isal.isal_zlib' in sys.modules))"


def run(bench: Bench) -> Result:
    site = sites(bench.folder / "sites", pages=bench.by_scale(300, 0) or None)[1]
    packed = bench.folder / "packed"
    _pack(site.folder, packed)
    costs: dict[str, dict[str, list[Cost]]] = {}
    for gzipped in (False, True):
        with nginx(bench.folder / f"nginx-{gzipped}", {"site": packed}, gzip=gzipped) as server:
            label = "gzip" if gzipped else "plain"
            url, turns = f"{server.base}/site/{site.start}", bench.by_scale(1, 5)
            costs[label] = contest([ours(), loop()], url, server.one, bench.folder / "out", turns)
    bars = {
        f"{label}: {name}": round(median(those, "cpu")) for label, both in costs.items() for name, those in both.items()
    }
    uses_isal = subprocess.run(python("-c", _WHICH), capture_output=True, text=True, check=True).stdout.strip()
    stated = [f"gzip costs {name} {bars[f'gzip: {name}'] - bars[f'plain: {name}']} µs a page" for name in costs["gzip"]]
    packed_ratio = ratio(costs["gzip"][OURS], costs["gzip"][LOOP])
    return Result(
        case="gzip", title="Compressed pages", how=HOW, columns=COLUMNS,
        rows=[row for label, both in costs.items() for row in rows(both, f"{site.title}, {label}: ")],
        targets=[
            Target("isal unpacks (1: yes)", float(uses_isal), "≥", 1, unit=""),
            Target("compressed, CPU of the loop", packed_ratio, "≤", 0.9),
        ],
        picture=Bars("µs of CPU per page", bars), text="; ".join(stated),
    )  # fmt: skip


def _pack(source: Path, target: Path) -> None:
    for file in source.rglob("*"):
        if file.suffix in {".html", ".css"}:
            copy = target / file.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(file.read_bytes())
            copy.with_name(copy.name + ".gz").write_bytes(gzip.compress(file.read_bytes(), 6))
