"""The job in Crawlee, with its ParselCrawler and its storage in memory."""

import asyncio
import json
import logging
import re
import sys
from pathlib import Path

from crawlee import ConcurrencySettings
from crawlee.crawlers import ParselCrawler, ParselCrawlingContext
from crawlee.storage_clients import MemoryStorageClient

from benchmarks.lag import lags, p99_ms

START, OUT = sys.argv[1:3]
FOLDER = START.rsplit("/", 1)[0] + "/"


async def main() -> float:
    crawler = ParselCrawler(
        storage_client=MemoryStorageClient(),
        concurrency_settings=ConcurrencySettings(min_concurrency=16, max_concurrency=16, desired_concurrency=16),
        configure_logging=False,
    )
    with Path(OUT).open("w") as lines:

        @crawler.router.default_handler
        async def parse(context: ParselCrawlingContext) -> None:
            if "html" not in context.http_response.headers.get("content-type", ""):
                return
            title = context.selector.css("title::text").get()
            lines.write(json.dumps({"url": context.request.url.partition("#")[0], "title": title}) + "\n")
            await context.enqueue_links(selector="a", include=[re.compile(re.escape(FOLDER))])

        async with lags() as late:
            await crawler.run([START])
    return p99_ms(late)


logging.getLogger().setLevel(logging.WARNING)
print(json.dumps({"lag_ms": asyncio.run(main())}))
