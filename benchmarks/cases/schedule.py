"""Many hosts with a long delay: does each get its turn as soon as it may?"""

import json
from collections import defaultdict
from itertools import accumulate, pairwise
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.contest import ours
from benchmarks.nginx import DOMAIN, nginx
from benchmarks.process import python
from benchmarks.process import run as measured
from benchmarks.results import Lines, Result, Target
from benchmarks.tree import chains

HOW = """Hosts that may each be asked once in their delay, crawled with all defaults but that; requests are counted in
the server's log, robots.txt too. Permitted is one request a host in each delay, from its first request to the end of
the crawl. What the scheduler itself costs is measured apart, with made-up time and as many hosts
(`benchmarks/scheduler.py`)."""
COLUMNS = ["", "hosts", "delay s", "seconds", "requests/s permitted", "achieved", "shortest pause s", "scheduler µs"]


def run(bench: Bench) -> Result:
    hosts, delay = bench.by_scale(800, 20_000), bench.by_scale(11, 40)
    seeds = bench.folder / "seeds.txt"
    span = bench.by_scale(24, 150)
    with nginx(bench.folder / "nginx", {}, servers=chains(), log=True) as server:
        seeds.write_text("".join(f"http://s{n}.{DOMAIN}:{server.port}/1\n" for n in range(hosts)))
        options = ["-s", f"delay={delay}", "-s", "concurrency_per_host=1", "--max-time", f"{span}s"]
        crawl = ours("Chain", f"resolve=*.{DOMAIN}=127.0.0.1", options=options, argument="file")
        measured(crawl.command(str(seeds), bench.folder / "out"), codes=(4,))
        asked = _asked(server.log)
    assert len(asked) == hosts, f"{len(asked)} of {hosts} hosts were asked"
    part = _achieved(asked, delay)
    shortest = min(after - at for times in asked.values() for at, after in pairwise(times))
    used = measured(python("-m", "benchmarks.scheduler", str(hosts), str(delay), str(bench.by_scale(60_000, 200_000))))
    micro = json.loads(used.out)["us"]
    return Result(
        case="schedule", title=f"{hosts:,} hosts with a delay of {delay} s", how=HOW, columns=COLUMNS,
        rows=[["crawler", hosts, delay, span, hosts / delay, part * hosts / delay, shortest, micro]],
        targets=[
            Target("achieved of the permitted rate", part * 100, "≥", 95, "%"),
            Target("shortest pause, of the delay", shortest / delay, "≥", 0.999),
            Target("scheduler's CPU a request", micro, "<", 5, "µs"),
        ],
        picture=Lines("seconds", "requests", {"asked so far": _rate(asked)}),
    )  # fmt: skip


def _asked(log: Path) -> dict[str, list[float]]:
    """When each host was asked, in epoch seconds."""
    found: dict[str, list[float]] = defaultdict(list)
    for line in log.read_text().splitlines():
        at, host, _ = line.split(" ", 2)
        if host.startswith("s"):
            found[host].append(float(at))
    return found


def _achieved(asked: dict[str, list[float]], delay: float) -> float:
    """The part of its turns that a host has had: of each pause, how much of it was the delay.

    A pause that was not over at the end counts for what it had been too long.
    """
    ended = max(times[-1] for times in asked.values())
    turns = sum(len(times) - 1 for times in asked.values())
    spent = sum(times[-1] - times[0] + max(0.0, ended - times[-1] - delay) for times in asked.values())
    return turns * delay / spent


def _rate(asked: dict[str, list[float]]) -> list[tuple[float, float]]:
    """Requests so far, over the crawl."""
    began = min(times[0] for times in asked.values())
    counted: dict[int, int] = defaultdict(int)
    for times in asked.values():
        for at in times:
            counted[int(at - began)] += 1
    seconds = sorted(counted)
    so_far = accumulate(counted[second] for second in seconds)
    return [(float(second), float(requests)) for second, requests in zip(seconds, so_far, strict=True)]
