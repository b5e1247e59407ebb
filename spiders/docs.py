"""A documentation site, page by page: title, headings, text."""

from collections.abc import Iterator

from crawler import Response, Scope, Spider


class Docs(Spider):
    """All pages below the folder of -a start=URL."""

    def __init__(self, start: str = "https://docs.python.org/3/index.html") -> None:
        super().__init__()
        self.seeds = [start]
        self.scope = Scope.below(start)

    def parse(self, response: Response) -> Iterator[object]:
        if not response.is_html:
            return  # sources and the like, which pages link to
        yield response.follow("a")
        content = next(iter(response.css("main, [role=main]")), response.node)
        yield {
            "url": response.url,
            "title": response.text("title", default=None),
            "headings": [heading.text().removesuffix("¶") for heading in content.css("h1, h2, h3")],
            "text": content.text(),
        }
