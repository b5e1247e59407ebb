"""A hundred pages of a slow server."""

import contextlib
import json
import subprocess
from collections.abc import Iterator
from statistics import median

from benchmarks.bench import Bench
from benchmarks.contest import OURS, compare, read
from benchmarks.process import cores, pinned, python
from benchmarks.process import run as measured
from benchmarks.results import Bars, Result, Target, installed

HOW = """A hundred URLs, each of which the server takes 200 ms for, asked from a script: one after the other with a
session of requests, with twenty threads of it, and by `crawl()` with `concurrency_per_host=100`. Time is that of the
call; modules are imported before. The robots.txt that ours asks for first is answered at once."""
SYNC, THREADS = "requests", "requests, 20 threads"
URLS, LATENCY = 100, 0.2


def run(bench: Bench) -> Result:
    ways = {OURS: "crawler"} | ({SYNC: "1", THREADS: "20"} if installed("requests") else {})
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    urls, urls_out = bench.folder / "urls.txt", bench.folder / "out.jsonl"
    with slow_server() as port:
        urls.write_text("".join(f"http://127.0.0.1:{port}/{n}\n" for n in range(URLS)))
        for _ in range(bench.by_scale(1, 3)):
            records = []
            for name, way in ways.items():
                urls_out.unlink(missing_ok=True)
                used = measured(python("-m", "benchmarks.listed", str(urls), str(urls_out), way))
                seconds[name].append(json.loads(used.out.splitlines()[0])["seconds"])
                records.append(read(urls_out))
            for name, theirs in zip(ways, records, strict=True):
                compare(OURS, records[0], name, theirs)
    walls = {name: median(found) for name, found in seconds.items()}
    return Result(
        case="latency", title="A hundred pages of a slow server", how=HOW, columns=["", "URLs", "seconds"],
        rows=[[name, URLS, wall] for name, wall in walls.items()],
        targets=[_target(SYNC, seconds, 40), _target(THREADS, seconds, 3)], picture=Bars("seconds", walls),
    )  # fmt: skip


def _target(name: str, seconds: dict[str, list[float]], bound: float) -> Target:
    what = f"speed of {name}"
    if name not in seconds:
        return Target(what, None, "≥", bound, why_not="requests is not installed")
    ratios = [theirs / ours for ours, theirs in zip(seconds[OURS], seconds[name], strict=True)]
    return Target(what, median(ratios), "≥", bound)


@contextlib.contextmanager
def slow_server() -> Iterator[int]:
    """The slow server's port."""
    with pinned(cores()[1]):
        server = subprocess.Popen(python("-m", "benchmarks.slow", str(LATENCY)), stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        yield int(server.stdout.readline())
    finally:
        server.terminate()
        server.communicate()
