"""The spider for a bare URL, and the one that ``crawler new`` writes."""

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

from crawler.errors import ConfigError, escaped
from crawler.response import Response
from crawler.spider import Spider
from crawler.urls import canonical

_SITEMAP = re.compile(r"/[^/]*sitemap[^/]*\.(?:xml|txt)(?:\.gz)?\Z", re.IGNORECASE)

TEMPLATE = '''"""{about}"""

from collections.abc import Iterator

from crawler import Response, Spider


class {name}(Spider):
    """Quotes and their authors, page after page."""

    seeds = ["https://quotes.toscrape.com/"]

    def parse(self, response: Response) -> Iterator[object]:
        for quote in response.css("div.quote"):
            yield {{"text": quote.text(".text"), "author": quote.text(".author")}}
        yield response.follow("li.next a")
'''


class Site(Spider):
    """Every HTML page of a site: its URL, status, title and the length of its text."""

    def __init__(self, sitemaps: bool = False, sitemap_since: str = "") -> None:
        """Take the pages that sitemaps name as well: ``-a sitemaps=true -a sitemap_since=7d``."""
        super().__init__()
        self.sitemaps = self.sitemaps or sitemaps
        self.sitemap_since = sitemap_since

    def parse(self, response: Response) -> Iterator[object]:
        """One item for an HTML page, and a request for each of its links."""
        if not response.is_html:
            return
        yield {
            "url": response.url,
            "status": response.status,
            "title": response.text("title", default=None),
            "text_length": len(response.text("body", default="")),
        }
        yield response.follow()


def site(url: str) -> type[Spider]:
    """A spider for the site at `url`, named after its host, port and path; a sitemap's URL is where to begin, too.

    Raises ConfigError if it is no URL.
    """
    found = canonical(url)
    if found is None:
        raise ConfigError(f"{escaped(url)} is not a URL that can be crawled")
    parts = urlsplit(found)
    name = re.sub(r"[^a-z0-9.]+", "-", f"{parts.netloc}{parts.path}".lower()).strip("-.")
    begin = {"sitemaps": [found]} if _SITEMAP.search(parts.path) else {"seeds": [found]}
    return type("Site", (Site,), {"name": name[:100], **begin, "__module__": __name__, "__doc__": Site.__doc__})
