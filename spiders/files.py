"""Every file of a kind that a site links to, streamed to disk; one item a file, with its checksum."""

from collections.abc import Iterator

from crawler import Response, Spider


class Files(Spider):
    """Files that end in one of -a endings=.pdf,.epub (default .pdf), from the pages of -a start=URL."""

    def __init__(self, start: str, endings: tuple[str, ...] = (".pdf",)) -> None:
        super().__init__()
        self.seeds = [start]
        self.endings = endings

    def parse(self, response: Response) -> Iterator[object]:
        for url in response.links():
            if url.partition("?")[0].lower().endswith(self.endings):
                yield response.download(url, to=self.saved)
            else:
                yield response.request(url)

    def saved(self, response: Response) -> Iterator[object]:
        file = response.file
        assert file is not None  # it is there after a download
        yield {"url": response.url, "path": file.name, "size": file.size, "sha256": file.sha256}
