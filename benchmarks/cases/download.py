"""One large download."""

import shutil
from pathlib import Path
from statistics import median

from benchmarks.bench import Bench
from benchmarks.contest import OURS, ours
from benchmarks.nginx import nginx
from benchmarks.process import Used, python
from benchmarks.process import run as measured
from benchmarks.results import Bars, Result, Target, say

HOW = """A file from nginx to disk. The loop is aiohttp's `iter_chunked(256 KiB)` and `file.write`; ours has a journal,
takes the SHA-256 of the file, and could go on where it stopped. Bytes per second are those beyond what the same command
takes for one page. Memory is that of the engine; the supervisor has its own beside it."""
LOOP = "bare iter_chunked loop"
MIB = 1 << 20


def run(bench: Bench) -> Result:
    pages, out = bench.folder / "pages", bench.folder / "out"
    pages.mkdir()
    size = bench.by_scale(256, 4096)
    with (pages / "file.bin").open("wb") as file:
        file.truncate(size * MIB)
    found: dict[str, list[tuple[float, Used]]] = {OURS: [], LOOP: []}
    with nginx(bench.folder / "nginx", {"files": pages}) as server:
        url = f"{server.base}/files/file.bin"
        for turn in range(bench.by_scale(1, 3)):
            for name, (small, large) in _commands(server.one, url, out).items():
                say(f"  turn {turn + 1}: {name}")
                _clear(out)
                least = measured(small, codes=(0, 3))
                _clear(out)
                used = measured(large, codes=(0, 3))
                _check(out, size * MIB)
                found[name].append((size / (used.wall - least.wall), used))
    rates = {name: median(rate for rate, _ in runs) for name, runs in found.items()}
    ratios = [one / other for (one, _), (other, _) in zip(found[OURS], found[LOOP], strict=True)]
    largest = max(used.largest for _, used in found[OURS])
    return Result(
        case="download", title=f"A download of {size:,} MiB", how=HOW,
        columns=["", "MiB/s", "CPU s", "RSS MiB", "RSS MiB in all"],
        rows=[
            [name, round(rates[name]), median(used.cpu for _, used in runs), max(used.largest for _, used in runs),
             max(used.memory for _, used in runs)]
            for name, runs in found.items()
        ],
        targets=[Target("bytes/s of the loop", median(ratios), "≥", 0.9), Target("RSS", largest, "<", 80, "MiB")],
        picture=Bars("MiB/s", rates),
    )  # fmt: skip


def _commands(page: str, url: str, out: Path) -> dict[str, tuple[list[str], list[str]]]:
    def mine(target: str) -> list[str]:
        return ours("File", options=["-a", f"url={target}"], argument="page").command(page, out)

    def loop(target: str) -> list[str]:
        return python("-m", "benchmarks.whole", target, str(out / "file"))

    return {OURS: (mine(""), mine(url)), LOOP: (loop(page), loop(url))}


def _clear(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()


def _check(folder: Path, size: int) -> None:
    largest = max(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    assert largest == size, f"the file has {largest} bytes, not {size}"
