"""The job in silkworm-rs, on uvloop, with its own JSON Lines pipeline."""

import asyncio
import json
import sys

from silkworm import HTMLResponse, Response, Spider, run_spider_uvloop
from silkworm.pipelines import JsonLinesPipeline

from benchmarks.lag import p99_ms, watch

START, OUT = sys.argv[1:3]
FOLDER = START.rsplit("/", 1)[0] + "/"
late: list[float] = []


class Titles(Spider):
    name = "titles"
    start_urls = (START,)

    async def start_requests(self) -> None:
        self.lag = asyncio.create_task(watch(late))
        await super().start_requests()

    async def parse(self, response: Response) -> None:
        if response.status != 200 or not isinstance(response, HTMLResponse):  # it hands on what is not found, too
            return
        if "html" not in response.headers.get("content-type", ""):
            return
        title = await response.select_first("title")
        await self.emit({"url": response.url, "title": None if title is None else title.text})
        for anchor in await response.select("a[href]"):
            url = response.url_join(anchor.attr("href") or "").partition("#")[0]
            if url.startswith(FOLDER):
                await response.follow(url, callback=self.parse)


# by default it reads no HTML of more than 5 MB, of which the JDK's manual has two pages
run_spider_uvloop(Titles, item_pipelines=[JsonLinesPipeline(OUT)], concurrency=16, html_max_size_bytes=20_000_000)
print(json.dumps({"lag_ms": p99_ms(late)}))
