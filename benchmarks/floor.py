"""The floor: what a careful person writes by hand with the same two libraries, with nothing durable and no manners.

An in-memory queue, N workers, every link below the start page's folder, one JSON line a page. It says which pages there
are, and what a page costs when nothing is promised.

    python -m benchmarks.floor http://127.0.0.1:8080/pg/index.html pages.jsonl [WORKERS]
"""

import asyncio
import json
import resource
import sys
from pathlib import Path
from typing import TextIO

import ada_url
import aiohttp
import uvloop
from selectolax.lexbor import LexborHTMLParser

from benchmarks.lag import lags, p99_ms


async def crawl(start: str, lines: TextIO, workers: int) -> tuple[int, float]:
    folder = start.rsplit("/", 1)[0] + "/"
    known, queue, pages = {start}, asyncio.Queue[str](), 0
    queue.put_nowait(start)

    async def work(session: aiohttp.ClientSession) -> None:
        nonlocal pages
        while True:
            url = await queue.get()
            async with session.get(url) as response:
                is_page = response.status == 200 and response.content_type == "text/html"
                body = await response.read() if is_page else b""
            if is_page:
                pages += 1
                tree = LexborHTMLParser(body)
                title = tree.css_first("title")
                lines.write(json.dumps({"url": url, "title": title.text() if title else None}) + "\n")
                for link in links(tree, url):
                    if link.startswith(folder) and link not in known:
                        known.add(link)
                        queue.put_nowait(link)
            queue.task_done()

    connector = aiohttp.TCPConnector(limit=workers, limit_per_host=workers)
    async with (
        lags() as late,
        aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as session,
    ):
        tasks = [asyncio.create_task(work(session)) for _ in range(workers)]
        await queue.join()
        for task in tasks:
            task.cancel()
    return pages, p99_ms(late)


def links(tree: LexborHTMLParser, base: str) -> list[str]:
    found = []
    for anchor in tree.css("a[href]"):
        href = anchor.attributes["href"]
        if href and not href.startswith("#"):
            try:
                found.append(str(ada_url.join_url(base, href)).partition("#")[0])
            except ValueError:
                continue
    return found


if __name__ == "__main__":
    with Path(sys.argv[2]).open("w") as lines:
        pages, lag = uvloop.run(crawl(sys.argv[1], lines, int(sys.argv[3]) if len(sys.argv) > 3 else 16))
    usage = resource.getrusage(resource.RUSAGE_SELF)
    cpu = usage.ru_utime + usage.ru_stime
    figures = {"pages": pages, "cpu_us_per_page": round(cpu / pages * 1e6), "rss_mb": usage.ru_maxrss >> 10}
    print(json.dumps({**figures, "lag_ms": lag}))
