"""A bookshop of a hundred pages to crawl without asking anybody: what ``crawler demo`` serves on loopback.

It has what a crawl meets outside: listings in pages, a robots.txt that keeps /basket/ to itself, a sitemap, a
redirect, a link to nowhere, a corner that answers slowly, and a PDF to download.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass, field
from importlib import resources
from itertools import pairwise

from aiohttp import web

from crawler import testing
from crawler.demo.books import SHELVES, books
from crawler.demo.html import HOME, SALE_BELOW, listing, product, prose, shelf_path
from crawler.demo.pdf import text_pdf

BOOKS_A_PAGE = 20
SLOW = 0.3
ESSAYS = {
    "On Snails": "A snail is never late. It has merely read ahead, and knows that nothing will start without it.",
    "On Tea": "Four minutes are three minutes too few for a conversation, and exactly right for tea.",
    "On Glaciers": "They, too, were told to hurry once. The valley remembers.",
}
SITEMAP = """<?xml version="1.0" encoding="utf-8"?>
<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">
{}</urlset>
"""


@dataclass(frozen=True)
class Page:
    """What the shop answers to one path; ``delay`` is in seconds."""

    body: bytes
    content_type: str = testing.HTML
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0


def pages(base: str = "http://127.0.0.1") -> dict[str, Page]:
    """The whole shop, path to page; ``base`` is the origin that robots.txt and the sitemap name. Always the same.

    Every path that is linked from another stands here, also the one that leads nowhere, with its status 404.
    """
    html = _listings() | _shelves() | _slow_corner() | {book.path: product(book) for book in books()}
    named = "".join(f"<url><loc>{base}{path}</loc></url>\n" for path in html)
    html["/basket/"] = prose("Your Basket", "It is empty, and it is yours alone: robots.txt says so.")
    lost = prose("Not on Our Shelves", "Nobody has seen this page since the last stocktaking.")
    robots = f"User-agent: *\nDisallow: /basket/\n\nSitemap: {base}/sitemap.xml\n"
    prices = sorted(f"{book.title:<50}{book.price:>8}" for book in books())
    style = (resources.files(__name__) / "style.css").read_bytes()
    return {path: Page(text.encode(), delay=SLOW * path.startswith("/slow/")) for path, text in html.items()} | {
        "/slow/on-haste": Page(lost.encode(), status=404),
        "/sale": Page(b"", status=301, headers={"Location": "/category/sale"}),
        "/style.css": Page(style, "text/css; charset=utf-8"),
        "/price-list.pdf": Page(text_pdf(["The Paper Lantern: price list", "", *prices]), "application/pdf"),
        "/robots.txt": Page(robots.encode(), "text/plain; charset=utf-8"),
        "/sitemap.xml": Page(SITEMAP.format(named).encode(), "application/xml"),
    }


@asynccontextmanager
async def serve(host: str = testing.LOOPBACK, port: int = 0) -> AsyncIterator[str]:
    """Open the shop on a port, 0 for a free one; gives its base URL, without a slash at the end.

    Raises OSError if the port is taken.
    """
    shop: dict[str, Page] = {}

    async def answer(request: web.Request) -> web.Response:
        page = shop.get(request.path)
        if page is None:
            return web.Response(status=404, text="404: Not Found")
        await asyncio.sleep(page.delay)
        return web.Response(
            body=page.body, status=page.status, headers={"Content-Type": page.content_type, **page.headers}
        )

    async with testing.listening(answer, host, port) as opened:
        base = f"http://{host}:{opened}"
        shop.update(pages(base))
        yield base


def in_thread(host: str = testing.LOOPBACK, port: int = 0) -> AbstractContextManager[str]:
    """`serve`, by a thread with an event loop of its own."""
    return testing.in_thread(serve(host, port))


def _listings() -> dict[str, str]:
    starts = range(0, len(books()), BOOKS_A_PAGE)
    paths = ["/", *(f"/page/{number}" for number in range(2, len(starts) + 1)), ""]
    return {
        path: listing("All Books", books()[start : start + BOOKS_A_PAGE], len(books()), start + 1, after)
        for start, (path, after) in zip(starts, pairwise(paths), strict=True)
    }


def _shelves() -> dict[str, str]:
    shelves = {name: [book for book in books() if book.category == name] for name in SHELVES}
    shelves["Sale"] = [book for book in books() if book.pence < SALE_BELOW]
    return {shelf_path(name): listing(name, shelf, len(shelf)) for name, shelf in shelves.items()}


def _slow_corner() -> dict[str, str]:
    paths = {title: f"/slow/{title.lower().replace(' ', '-')}" for title in (*ESSAYS, "On Haste")}
    trail = HOME | {"Slow Corner": "/slow/"}
    essays = {paths[title]: prose(title, text, trail=trail) for title, text in ESSAYS.items()}
    return essays | {"/slow/": prose("Slow Corner", "These essays arrive when they are ready.", paths)}
