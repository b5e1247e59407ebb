"""wget2: C, threads, no tree of the page, files instead of records."""

import shutil
from pathlib import Path
from statistics import median
from urllib.parse import unquote, urlsplit

from benchmarks.bench import Bench
from benchmarks.contest import OURS, Records, Unequal, cost, ours
from benchmarks.corpus import sites
from benchmarks.nginx import nginx
from benchmarks.process import run as measured
from benchmarks.results import Bars, Result, Target, say

HOW = """`wget2 --recursive --no-parent` with sixteen threads saves the JDK's manual as files; ours is the job of
`manuals`. The pages are the same, but that wget2 now and then leaves out a few; it looks for links with a tokenizer,
and writes no record."""
LEFT_OUT = 0.01
COLUMNS = ["", "pages", "CPU µs/page", "pages/s", "RSS MiB"]
BOUND = 3.0


def run(bench: Bench) -> Result:
    site = sites(bench.folder / "sites", pages=bench.by_scale(300, 0) or None)[0]
    target = f"{site.title}, CPU of wget2"
    found: list[tuple[float, float, float, float]] = []
    with nginx(bench.folder / "nginx", {site.name: site.folder}) as server:
        url = f"{server.base}/{site.name}/{site.small if bench.scale == 'quick' else site.start}"
        for turn in range(bench.by_scale(1, 3) if shutil.which("wget2") else 0):
            say(f"  turn {turn + 1}")
            mine = cost(ours(), url, server.one, bench.folder / "out")
            folder = bench.folder / "wget2"
            shutil.rmtree(folder, ignore_errors=True)
            used = measured(_command(folder, url), codes=(0, 8))
            saved = _compare(mine.records, folder)
            found.append((mine.cpu, used.cpu / saved * 1e6, mine.rate, saved / used.wall))
    if not found:
        missing = Target(target, None, "≤", BOUND, why_not="wget2 is not installed")
        return Result(case="wget2", title="CPU against wget2", how=HOW, columns=COLUMNS, rows=[], targets=[missing])
    cpu, theirs, rate, their_rate = (median(column) for column in zip(*found, strict=True))
    return Result(
        case="wget2", title="CPU against wget2", how=HOW, columns=COLUMNS,
        rows=[
            [f"{site.title}: {OURS}", mine.pages, round(cpu), round(rate), mine.memory],
            [f"{site.title}: wget2", saved, round(theirs), round(their_rate), used.memory],
        ],
        targets=[Target(target, median(mine / other for mine, other, *_ in found), "≤", BOUND)],
        picture=Bars("µs of CPU per page", {OURS: round(cpu), "wget2": round(theirs)}),
    )  # fmt: skip


def _command(folder: Path, url: str) -> list[str]:
    return [
        "wget2", "--recursive", "--level=inf", "--no-parent", "--max-threads=16", "--no-robots", "--quiet",
        "--no-verbose", f"--directory-prefix={folder}", "--no-host-directories", "--accept=*.html", url,
    ]  # fmt: skip


def _compare(records: Records, folder: Path) -> int:
    """How many pages wget2 saved. Raises `Unequal` if one is not ours, or it lacks more than a hundredth."""
    pages = {unquote(urlsplit(url).path).lstrip("/") for url, _ in records}
    files = {str(file.relative_to(folder)) for file in folder.rglob("*.html")}
    if files - pages or len(pages - files) > LEFT_OUT * len(pages):
        raise Unequal(f"only here {sorted(pages - files)[:3]}, only wget2 {sorted(files - pages)[:3]}")
    return len(files)
