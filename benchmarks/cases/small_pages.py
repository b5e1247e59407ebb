"""Pages of 1 KB, whose URLs are known: what a crawl adds to a bare loop of requests."""

from benchmarks.bench import Bench
from benchmarks.contest import COLUMNS, OURS, contest, median, module, ours, ratio, rows
from benchmarks.nginx import nginx
from benchmarks.results import Bars, Result, Target

HOW = """A list of URLs of 1 KB each, one record {url, bytes} a page. The loop asks aiohttp for them with sixteen tasks
(`benchmarks/bare.py`) and keeps nothing else; ours stores each URL before it is asked and each record before the next
is."""
LOOP = "bare aiohttp loop"
SIZE = 1000


def run(bench: Bench) -> Result:
    pages = bench.folder / "pages"
    pages.mkdir()
    names = [f"{number}.html" for number in range(bench.by_scale(2000, 10_000))]
    for name in names:
        (pages / name).write_text(f"<title>{name}</title>".ljust(SIZE))
    all_urls, one_url = bench.folder / "all.txt", bench.folder / "one.txt"
    with nginx(bench.folder / "nginx", {"small": pages}) as server:
        all_urls.write_text("".join(f"{server.base}/small/{name}\n" for name in names))
        one_url.write_text(f"{server.base}/small/{names[0]}\n")
        contenders = [ours("Listed", argument="file"), module(LOOP, "bare")]
        costs = contest(contenders, str(all_urls), str(one_url), bench.folder / "out", bench.by_scale(2, 5))
    return Result(
        case="small_pages", title="Small pages against a bare loop", how=HOW, columns=COLUMNS, rows=rows(costs),
        targets=[Target("CPU of the loop", ratio(costs[OURS], costs[LOOP]), "≤", 1.5)],
        picture=Bars("µs of CPU per page", {name: round(median(those, "cpu")) for name, those in costs.items()}),
    )  # fmt: skip
