"""Two engines on one journal against one, on many hosts."""

import msgspec

from benchmarks.bench import Bench
from benchmarks.contest import COLUMNS, OURS, Contender, contest, median, ours, ratio, rows
from benchmarks.corpus import sites
from benchmarks.nginx import nginx
from benchmarks.results import Bars, Result, Target

HOW = """Part of a manual on hosts that are addresses of their own, with `-j 1` and `-j 2`. Here the crawler may use all
cores; the server has one of them too, so that on two cores a second engine cannot have a whole one."""


def run(bench: Bench) -> Result:
    site = sites(bench.folder / "sites", pages=64)[2]
    page = f"/{site.name}/" + ("c-api/index.html" if site.is_real else site.start)
    hosts = [f"127.1.{n // 250}.{n % 250 + 1}" for n in range(bench.by_scale(20, 200))]
    seeds, one = bench.folder / "seeds.txt", bench.folder / "one.txt"
    with nginx(bench.folder / "nginx", {site.name: site.folder}) as server:
        seeds.write_text("".join(f"http://{host}:{server.port}{page}\n" for host in hosts))
        one.write_text(server.one)
        both = [_engines(2), _engines(1)]
        costs = contest(both, str(seeds), str(one), bench.folder / "out", bench.by_scale(1, 3))
    two, alone = costs.values()
    return Result(
        case="processes", title="Two processes against one", how=HOW, columns=COLUMNS, rows=rows(costs),
        targets=[
            Target("CPU per page of one", ratio(two, alone), "≤", 1.1),
            Target("pages/s of one", ratio(two, alone, "rate"), "≥", 1.6),
        ],
        picture=Bars("µs of CPU per page", {name: round(median(those, "cpu")) for name, those in costs.items()}),
    )  # fmt: skip


def _engines(count: int) -> Contender:
    crawl = ours("Broad", options=["-j", str(count)], argument="file")
    return msgspec.structs.replace(crawl, name=f"{OURS} -j {count}", all_cores=True)
