"""A small site with something of everything, and the spider that walks it."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import urlsplit

from crawler import Response, Spider
from crawler.testing import Site, filler

A, B, C = "a.test", "b.test", "c.test"
HOSTS = (A, B, C)
EXTRA = "/extra"  # asked for by a handler, as part of another page
DATA_SIZE = 2 << 20
DATA_ETAG = "v1"
NOTE = filler(50_000)
PAGES = 42
ITEMS = 37


def links(*targets: str) -> str:
    return "".join(f'<a href="{target}">x</a>' for target in targets)


def put_up(site: Site) -> list[str]:
    """Put up the site; the seeds. Each host's pages are reached from its own seed only."""
    site.robots("User-agent: *\nDisallow: /private", host=A)
    special = ("/moved", "/away", "/gone", "/broken", "/private", "/slow", "/fetching", "/book")
    numbers = [f"/{n}" for n in range(1, 11)]
    site.page("/", links(*numbers, *special, "/1", "/2#again"), host=A)
    for number in numbers:
        site.page(number, links("/", "/1", "/2", "/deep"), host=A)
    site.page("/deep", links("/wide"), host=A)
    site.page("/wide", links("/wider"), host=A)
    site.page("/wider", links("/"), host=A)
    site.redirect("/moved", "/landed", host=A)
    site.page("/landed", links("/1"), host=A)
    site.redirect("/away", site.url("/5", host=B), host=A, status=302)
    site.page("/broken", "x", host=A)
    slow = (links("/3") + "." * 24_000).encode()
    site.file("/slow", slow, host=A, content_type="text/html", bytes_per_second=400_000)
    site.page("/fetching", "x", host=A)
    site.page(EXTRA, "extra", host=A, after=0.005)
    site.page("/book", links("/note.pdf"), host=A)
    site.file("/note.pdf", NOTE, host=A)
    site.page("/", links(*(f"/{n}" for n in range(1, 9)), "/data.zip"), host=B)
    for n in range(1, 9):
        site.page(f"/{n}", links(f"/{n % 8 + 1}"), host=B)
    site.file("/data.zip", DATA_SIZE, host=B, etag=DATA_ETAG, bytes_per_second=40e6)
    site.page("/", links("/1", "/2", "/3"), host=C)
    for n in range(1, 4):
        site.page(f"/{n}", "x", host=C)
    seeds = [(A, "/"), (B, "/"), (A, "/9"), (B, "/7"), (C, "/")]  # the last host is in the last batch
    return [site.url(path, host=host) for host, path in seeds]


class Walker(Spider):
    """All pages, what they say, and the files they link to. `starts` is a file in which each `start` leaves a line."""

    def __init__(self, seeds: list[str], starts: str) -> None:
        super().__init__()
        self.sown = seeds
        self.starts = Path(starts)
        self.pipeline = [refine]

    async def start(self) -> AsyncIterator[str]:
        with self.starts.open("a") as file:
            file.write("start\n")
        for seed in self.sown:
            sowing()
            yield seed

    async def parse(self, response: Response) -> AsyncIterator[object]:
        host, path = urlsplit(response.url).hostname, urlsplit(response.url).path
        page = f"{host}{path}"
        yield {"page": page}
        between_items()
        if path == "/broken":
            raise ValueError("broken")
        if path == "/wide":
            yield {"page": page, "formula": "=1+1", "nested": {"of": [1, 2]}}
        if path == "/wider":
            yield {"page": page, "text": "two\nlines, and \u20ac"}
        if path == "/fetching":
            yield {"page": page, "fetched": (await response.fetch(EXTRA)).body.decode()}
        for link in response.links():
            if link.endswith((".zip", ".pdf")):
                zipped = link.endswith(".zip")
                file = response.download(link, to=self.saved) if zipped else response.download(link)
                yield {"page": page, "file": file.path}
                yield file
        yield response.follow("a:not([href$=zip], [href$=pdf])")

    def saved(self, response: Response) -> Iterator[object]:
        assert response.file is not None
        yield {"page": "data", "size": response.file.size, "sha256": response.file.sha256}


def refine(item: dict[str, object]) -> dict[str, object]:
    """The pipeline's only step."""
    return {**item, "refined": True}


def sowing() -> None:
    """Called by `start` before each of its seeds."""


def between_items() -> None:
    """Called by the handler when it has yielded its first item."""
