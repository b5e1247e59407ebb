"""Memory over a long crawl of many hosts."""

from statistics import median

from benchmarks.bench import Bench
from benchmarks.contest import ours, read
from benchmarks.nginx import nginx
from benchmarks.process import run as measured
from benchmarks.results import Lines, Result, Target
from benchmarks.tree import addresses, hosts, pages, start, tree

HOW = """A made-up web of ten pages a host, whose robots.txt are asked for as well, with all defaults but `delay=0`.
Memory is that of supervisor and engine together, looked at twenty times a second. Flat: in the last quarter of the
crawl it is what it was in the second."""
COLUMNS = [
    "",
    "pages",
    "hosts",
    "pages/s",
    "CPU µs/page",
    "RSS MiB, peak",
    "in the 2nd quarter",
    "in the 4th quarter",
    "open files, 2nd",
    "4th",
]


def run(bench: Bench) -> Result:
    depth = bench.by_scale(4, 5, 6)
    with nginx(bench.folder / "nginx", {}, servers=tree(depth)) as server:
        crawl = ours("Everywhere", addresses())
        used = measured(crawl.command(start(server), bench.folder / "out"), codes=crawl.codes, within=20_000)
    found = len(read(bench.folder / "out" / crawl.file))
    assert found == pages(depth), f"{found} of {pages(depth)} pages"
    in_quarters = [[one for one in used.samples if n <= 4 * one[0] / used.wall < n + 1] for n in range(4)]
    quarters = [median(size for _, size, _ in those) for those in in_quarters]
    files = [median(files for _, _, files in those) for those in in_quarters]
    shown = [(at, size) for at, size, _ in used.samples[:: max(1, len(used.samples) // 200)]]
    return Result(
        case="memory", title=f"Memory over {found:,} pages of {hosts(depth):,} hosts", how=HOW, columns=COLUMNS,
        rows=[["crawler", found, hosts(depth), round(found / used.wall), round(used.cpu / found * 1e6), used.memory,
               quarters[1], quarters[3], files[1], files[3]]],
        targets=[
            Target("RSS, peak", used.memory, "<", 300, "MiB"),
            Target("RSS in the last quarter, of that in the second", quarters[3] / quarters[1], "≤", 1.1),
            Target("open files in the last quarter, of those in the second", files[3] / files[1], "≤", 1.1),
        ],
        picture=Lines("seconds", "RSS MiB", {"crawler": shown}),
    )  # fmt: skip
