"""Crawl the whole of the misbehaving web from its index page, with default settings but for shorter timeouts.

``python -m tests.hostile.crawl PORT FOLDER`` prints, as JSON, how each page ended, the items, the longest time that the
loop's thread worked without a pause (s), the most memory that the process had (bytes), and how long it all took (s).
"""

import asyncio
import contextlib
import importlib
import json
import re
import socket
import sys
import time
from pathlib import Path

from crawler import Crawl, Response, Scope, Spider, politeness
from crawler.fetch import dns
from crawler.frontier.schema import readable
from crawler.job import new_loop
from tests.hostile import ROWS, names
from tests.hostile.redirects import LEADS
from tests.hostile.server import DOMAIN

HASTE = {"connect_timeout": 2.0, "header_timeout": 2.0, "read_timeout": 2.0, "total_timeout": 5.0}
LONGEST = 115.0
STARVED = 0.5


class Wanderer(Spider):
    """Follows everything, and keeps what it sees."""

    scope = Scope(hosts=("*",), exclude=("http://out.example/*",))

    def parse(self, response: Response):
        yield {"url": response.url, "title": response.text("title", default="")}
        yield response.follow("a")


class Monitor:
    """How long the loop was not to be had, by the time that its thread worked: a busy machine is no fault of ours.

    Nor is what came together while the machine had no core for it: a turn after that has the work of many.
    """

    def __init__(self) -> None:
        self.longest = 0.0

    async def watch(self) -> None:
        """Look every few milliseconds."""
        while True:
            began, before = time.perf_counter(), time.thread_time()
            await asyncio.sleep(0.005)
            worked = time.thread_time() - before
            if time.perf_counter() - began - worked < STARVED:
                self.longest = max(self.longest, worked)


def expected(port: int) -> dict[str, str]:
    """How the page of each host has to end."""
    rows = {f"http://{name}.{DOMAIN}:{port}/": row.ends for name, row in ROWS.items()}
    return rows | {f"http://{name}.{names.DOMAIN}:{port}/": end for name, (_, end) in names.ANSWERS.items()}


def led(port: int) -> dict[str, str]:
    """How what redirects lead to has to end."""
    urls = {lead: lead if "://" in lead else f"http://{lead.replace('/', f'.{DOMAIN}:PORT/')}" for lead in LEADS}
    return {urls[lead].replace("PORT", str(port)): end for lead, end in LEADS.items()}


def ends(crawl: Crawl) -> dict[str, str]:
    """State and reason of each page, by URL; the crawl's own connection is its writer's."""
    with contextlib.closing(readable(crawl.folder / "job.db")) as journal:
        rows = journal.execute("SELECT url, state, coalesce(reason, '') FROM urls").fetchall()
    return {str(url): f"{state} {reason}" for url, state, reason in rows}


def is_over(found: dict[str, str], wanted: dict[str, str]) -> bool:
    """Whether nothing is left but pages that wait for hours."""
    hosts = {url for url, end in wanted.items() if end.startswith("pending")}
    waiting = [url for url, end in found.items() if end.startswith("pending")]
    return len(found) > len(wanted) and all(any(url.startswith(host) for host in hosts) for url in waiting)


def most_memory() -> int:
    """In bytes; from /proc, since what getrusage tells begins with that of the process that started this one."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) << 10


async def crawled(port: int, folder: Path) -> dict[str, object]:
    spider, monitor, began = Wanderer(), Monitor(), time.monotonic()
    spider.seeds = [f"http://index.{DOMAIN}:{port}/"]
    settings = {"resolve": {f"*.{DOMAIN}": "127.0.0.1"}, **HASTE}
    watch = asyncio.create_task(monitor.watch())
    async with Crawl(spider, folder=folder, settings=settings) as crawl:
        running = asyncio.create_task(crawl.ended())
        while not running.done() and time.monotonic() - began < LONGEST:
            await asyncio.wait({running}, timeout=1.0)
            if is_over(ends(crawl), expected(port)):
                break
        crawl.stop()
        summary = await running
        found = ends(crawl)
    watch.cancel()
    items = [json.loads(line) for line in Path(summary.outputs[0]).read_text().splitlines()]
    return {
        "ends": found, "items": items, "blocked": monitor.longest, "seconds": time.monotonic() - began,
        "memory": most_memory(), "outcome": summary.outcome,
    }  # fmt: skip


def main() -> None:
    socket.getaddrinfo = names.looked_up  # type: ignore[assignment]  # of fewer types
    importlib.import_module("charset_normalizer")  # once in a process; it is no page's doing when that is
    dns.TIMEOUT = 1.0
    politeness.ROBOTS_TRIES_UNCONNECTED = 2
    with asyncio.Runner(loop_factory=new_loop) as runner:
        sys.stdout.write(json.dumps(runner.run(crawled(int(sys.argv[1]), Path(sys.argv[2])))))


if __name__ == "__main__":
    main()
