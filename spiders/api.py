"""A paginated JSON API, with an extra fetch for each page."""

from collections.abc import AsyncIterator

from crawler import Response, Spider


class Api(Spider):
    """Posts with the names of their authors, from an API at -a start=URL."""

    def __init__(self, start: str) -> None:
        super().__init__()
        self.seeds = [start]

    async def parse(self, response: Response) -> AsyncIterator[object]:
        page = response.json()
        wanted = ",".join(sorted({post["author_id"] for post in page["posts"]}))
        names = (await response.fetch(f"/authors?ids={wanted}")).json()
        for post in page["posts"]:
            yield {"id": post["id"], "title": post["title"], "author": names[post["author_id"]]}
        if page["next"]:
            yield response.request(page["next"])
