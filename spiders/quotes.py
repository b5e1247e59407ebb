"""Quotations and their authors: the smallest useful spider."""

from collections.abc import Iterator

from crawler import Response, Spider


class Quotes(Spider):
    """The quotations of quotes.toscrape.com."""

    seeds = ["https://quotes.toscrape.com/"]

    def parse(self, response: Response) -> Iterator[object]:
        for quote in response.css("div.quote"):
            yield {
                "text": quote.text(".text"),
                "author": quote.text(".author"),
                "tags": quote.css("a.tag::text").getall(),
            }
        yield response.follow("li.next a")
