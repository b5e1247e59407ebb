"""The broken links of a site, each with the page that holds it."""

from collections.abc import Iterator
from urllib.parse import urlsplit

from crawler import FetchError, Request, Response, Spider


class Linkcheck(Spider):
    """Broken links of the site at -a start=URL, each with the first page that shows it.

    Links that leave the site are looked at, and not followed further.
    """

    def __init__(self, start: str) -> None:
        super().__init__()
        self.seeds = [start]

    def parse(self, response: Response) -> Iterator[object]:
        found_on = str(response.data or response.url)  # a seed was found nowhere
        if urlsplit(response.url).netloc == urlsplit(found_on).netloc:  # still on the site
            yield response.follow("a", data=response.url, anywhere=True)

    def failed(self, request: Request, error: FetchError) -> Iterator[object]:
        link = (*request.hops, request.url)[0]  # as it stands on the page, before any redirect
        yield {"url": link, "found_on": request.data, "problem": error.code, "status": error.status}
