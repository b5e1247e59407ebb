"""TLS with a new host for each page: what a handshake costs."""

from benchmarks.bench import Bench
from benchmarks.contest import COLUMNS, OURS, contest, median, module, ours, ratio, rows
from benchmarks.nginx import DOMAIN, nginx
from benchmarks.results import Bars, Result, Target

HOW = """One page each of many hosts, over TLS, certificates verified. The loop is aiohttp's with sixteen tasks; ours
stores each host and asks for no robots.txt here (`obey_robots=false`), as the loop does not. Handshakes per second of
CPU are the inverse of the CPU per page."""
LOOP = "bare aiohttp loop"


def run(bench: Bench) -> Result:
    all_urls, one_url = bench.folder / "all.txt", bench.folder / "one.txt"
    with nginx(bench.folder / "nginx", {}, tls=True) as server:
        url = f"https://t{{}}.{DOMAIN}:{server.tls}/one/index.html\n"
        all_urls.write_text("".join(map(url.format, range(bench.by_scale(300, 3000)))))
        one_url.write_text(url.format(0))
        settings = (
            f"ca_file={server.authority}",
            f"resolve=*.{DOMAIN}=127.0.0.1",
            "obey_robots=false",
            "concurrency=16",
        )
        contenders = [
            ours("Listed", *settings, argument="file"),
            module(LOOP, "bare", words=[str(server.authority)]),
        ]
        costs = contest(contenders, str(all_urls), str(one_url), bench.folder / "out", bench.by_scale(1, 5))
    handshakes = {name: round(1e6 / median(those, "cpu")) for name, those in costs.items()}
    return Result(
        case="tls", title="A new host for each page, over TLS", how=HOW, columns=COLUMNS, rows=rows(costs),
        targets=[Target("handshakes per core-second, of the loop's", 1 / ratio(costs[OURS], costs[LOOP]), "≥", 0.9)],
        picture=Bars("handshakes per second of CPU", handshakes),
    )  # fmt: skip
