"""The job in Scrapy: all defaults but the concurrency, and robots.txt, cookies and console, which nobody uses here."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Iterator

import scrapy
from scrapy import signals
from scrapy.crawler import CrawlerProcess
from scrapy.http import HtmlResponse, Response

from benchmarks.lag import EVERY, p99_ms

START, OUT = sys.argv[1:3]
FOLDER = START.rsplit("/", 1)[0] + "/"


class Titles(scrapy.Spider):
    name = "titles"

    async def start(self) -> AsyncIterator[scrapy.Request]:
        yield scrapy.Request(START)  # one of start_urls would be asked twice if a link leads to it

    def parse(self, response: Response) -> Iterator[object]:
        if not isinstance(response, HtmlResponse):
            return
        yield {"url": response.url, "title": response.css("title::text").get()}
        for href in response.css("a::attr(href)").getall():
            url = response.urljoin(href).partition("#")[0]
            if url.startswith(FOLDER):
                yield scrapy.Request(url)


class Lag:
    def __init__(self) -> None:
        self.found: list[float] = []

    def begin(self) -> None:
        self.loop = asyncio.get_event_loop()
        self._again()

    def _again(self) -> None:
        due = self.loop.time() + EVERY
        self.loop.call_at(due, self._note, due)

    def _note(self, due: float) -> None:
        self.found.append(self.loop.time() - due)
        self._again()


process = CrawlerProcess(
    {
        "CONCURRENT_REQUESTS": 16,
        "CONCURRENT_REQUESTS_PER_DOMAIN": 16,
        "DOWNLOAD_DELAY": 0,
        "LOG_LEVEL": "WARNING",
        "ROBOTSTXT_OBEY": False,
        "COOKIES_ENABLED": False,
        "TELNETCONSOLE_ENABLED": False,
        "FEEDS": {OUT: {"format": "jsonlines", "overwrite": True}},
    }
)
lag = Lag()
crawler = process.create_crawler(Titles)
crawler.signals.connect(lag.begin, signals.spider_opened)
process.crawl(crawler)
process.start()
print(json.dumps({"lag_ms": p99_ms(lag.found)}))
