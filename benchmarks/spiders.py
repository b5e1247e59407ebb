"""The spiders of the benchmarks, as anybody would write them."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import urlsplit

from crawler import Request, Response, Scope, Spider


class Titles(Spider):
    """Every page below the start page's folder, and its title."""

    def __init__(self, start: str) -> None:
        super().__init__()
        self.seeds = [start]
        self.scope = Scope.below(start)

    def parse(self, response: Response) -> Iterator[object]:
        if response.headers.get("Content-Type", "").startswith("text/html"):
            yield {"url": response.url, "title": response.text("title", default=None)}
            yield response.follow("a")


class Listed(Spider):
    """The URLs of a file, one a line, and the sizes of their bodies."""

    file: str

    async def start(self) -> AsyncIterator[Request | str]:
        for line in Path(self.file).read_text().splitlines():
            yield line

    def parse(self, response: Response) -> dict[str, object]:
        return {"url": response.url, "bytes": len(response.body)}


class Everywhere(Spider):
    """Every link, to whatever host."""

    scope = Scope(hosts=("*",))

    def __init__(self, start: str) -> None:
        super().__init__()
        self.seeds = [start]

    def parse(self, response: Response) -> Iterator[object]:
        yield {"url": response.url}
        yield response.follow("a")


class Chain(Listed):
    """The URLs of a file, one a line, and from each page on to the next."""

    def parse(self, response: Response) -> Iterator[object]:  # type: ignore[override]  # a handler's form is its own
        yield {"url": response.url}
        yield response.follow("a")


class Broad(Spider):
    """The URLs of a file, one a line, and all below the folder of the first on whatever host."""

    def __init__(self, file: str) -> None:
        super().__init__()
        self.seeds = Path(file).read_text().splitlines()
        self.scope = Scope(include=(f"*{urlsplit(self.seeds[0]).path.rpartition('/')[0]}/*",))

    def parse(self, response: Response) -> Iterator[object]:
        yield {"url": response.url, "title": response.text("title", default=None)}
        yield response.follow("a")


class File(Spider):
    """One download."""

    def __init__(self, page: str, url: str) -> None:
        super().__init__()
        self.seeds = [page]
        self.url = url

    def parse(self, response: Response) -> Iterator[object]:
        if self.url:
            yield response.download(self.url)
