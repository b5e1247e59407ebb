import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from urllib.parse import urljoin, urlsplit

import aiohttp
import pytest
from selectolax.lexbor import LexborHTMLParser

from crawler.demo import SLOW, Page, in_thread, pages, serve
from crawler.demo.books import NUMBER, Book, books
from crawler.demo.html import SALE_BELOW
from crawler.demo.pdf import text_pdf
from crawler.robots import parse

BASE = "http://127.0.0.1:8000"
SHOP = pages(BASE)
HTML = {path: page for path, page in SHOP.items() if page.content_type.startswith("text/html") and page.status == 200}
NOT_LINKED = {"/robots.txt", "/sitemap.xml", "/style.css"}


def texts(page: Page, css: str) -> list[str]:
    return [node.text(strip=True) for node in LexborHTMLParser(page.body).css(css)]


def links(page: Page, css: str = "a[href]") -> list[str]:
    return [str(node.attributes["href"]) for node in LexborHTMLParser(page.body).css(css)]


def reached(start: str) -> dict[str, list[str]]:
    """Every path that links and redirects lead to, each with what it leads to itself."""
    graph: dict[str, list[str]] = {}
    frontier = [start]
    while frontier:
        path = frontier.pop()
        page = SHOP[path]
        found = [page.headers["Location"]] if "Location" in page.headers else links(page) if path in HTML else []
        graph[path] = [urlsplit(urljoin(BASE + path, link)).path for link in found]
        frontier += [link for link in graph[path] if link not in graph]
    return graph


def test_every_page_is_linked_and_every_link_has_a_page() -> None:
    """From the front door one reaches all that a person may see; one link leads nowhere, and one is a redirect."""
    graph = reached("/")
    assert set(graph) == set(SHOP) - NOT_LINKED
    assert Counter(SHOP[path].status for path in graph) == {200: len(graph) - 2, 301: 1, 404: 1}
    assert graph["/sale"] == ["/category/sale"]


def test_the_shop_has_about_a_hundred_pages() -> None:
    """The stock is eighty books on four listing pages, and the whole shop about a hundred pages."""
    assert len(books()) == NUMBER == 80
    assert sum(path.startswith("/book/") for path in SHOP) == NUMBER
    assert 95 <= len(HTML) <= 105


def test_the_listing_goes_on_from_page_to_page() -> None:
    """Following `li.next a` from the first page shows each book once, in order, twenty a page."""
    path = "/"
    shown: list[str] = []
    while path:
        found = links(SHOP[path], "article.product_pod h3 a[href]")
        count = texts(SHOP[path], ".count strong")
        assert count == [str(NUMBER), str(len(shown) + 1), str(len(shown) + 20)]
        shown += found
        path = next(iter(links(SHOP[path], "li.next a")), "")
    assert shown == [book.path for book in books()]


def test_product_pages_say_all_of_their_books() -> None:
    """The selectors that read books.toscrape.com read title, price, copies, rating, category, text and UPC here."""
    for book in books():
        _says_all(SHOP[book.path], book)


def _says_all(page: Page, book: Book) -> None:
    rating = ["One", "Two", "Three", "Four", "Five"][book.rating - 1]
    assert texts(page, "h1") == [book.title]
    assert texts(page, "p.price_color") == [f"£{book.pence / 100:.2f}"]
    assert texts(page, "p.instock.availability") == [book.availability]
    assert len(LexborHTMLParser(page.body).css(f"p.star-rating.{rating}")) == 1
    assert texts(page, "ul.breadcrumb li a") == ["Home", "Books", book.category]
    assert texts(page, "#product_description + p") == [book.description]
    table = dict(zip(texts(page, "table th"), texts(page, "table td"), strict=True))
    assert table["UPC"] == book.upc
    assert table["Author"] == book.author


def test_books_differ() -> None:
    """No two books share a title, a page or a UPC; there are some of every rating, and some are sold out."""
    for values in ([book.title for book in books()], [book.path for book in books()], [book.upc for book in books()]):
        assert len(set(values)) == NUMBER
    assert {book.rating for book in books()} == {1, 2, 3, 4, 5}
    assert {book.copies > 0 for book in books()} == {True, False}
    assert all(re.fullmatch(r"£\d+\.\d\d", book.price) for book in books())


def test_shelves_hold_their_books() -> None:
    """Each category page lists exactly its books, and the sale those below its price."""
    by_shelf = {book.category: f"/category/{book.category.lower()}" for book in books()}
    for name, path in by_shelf.items():
        assert links(SHOP[path], "article.product_pod h3 a") == [book.path for book in books() if book.category == name]
    sale = [book.path for book in books() if book.pence < SALE_BELOW]
    assert links(SHOP["/category/sale"], "article.product_pod h3 a") == sale != []


def test_pages_are_whole_documents() -> None:
    """Each page has its doctype, language, charset, one heading and a title; no id stands twice."""
    for path, page in HTML.items():
        tree = LexborHTMLParser(page.body)
        assert page.body.startswith(b'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">'), path
        assert len(tree.css("h1")) == len(tree.css("title")) == 1, path
        ids = [node.attributes["id"] for node in tree.css("[id]")]
        assert len(set(ids)) == len(ids), path
        assert b"$" not in page.body, path


def test_titles_differ() -> None:
    """No two pages have the same title."""
    assert len({texts(page, "title")[0] for page in HTML.values()}) == len(HTML)


def test_robots_forbid_the_basket_only() -> None:
    """Our own parser reads the shop's robots.txt as: everything but the basket, no delay, a sitemap."""
    robots = parse(SHOP["/robots.txt"].body, "crawler")
    assert {path for path in SHOP if not robots.allows(path)} == {"/basket/"}
    assert robots.crawl_delay is None
    assert list(robots.sitemaps) == [BASE + "/sitemap.xml"]
    assert "/basket/" in reached("/")


def test_the_sitemap_names_what_may_be_crawled() -> None:
    """Every HTML page that answers 200 stands in the sitemap once, with the shop's origin; the basket does not."""
    named = re.findall(r"<loc>(.*?)</loc>", SHOP["/sitemap.xml"].body.decode())
    assert sorted(named) == sorted(BASE + path for path in HTML if path != "/basket/")


def test_only_the_slow_corner_is_slow() -> None:
    """The pages below /slow/ wait, and no other."""
    assert {path for path, page in SHOP.items() if page.delay} == {path for path in HTML if path.startswith("/slow/")}
    assert {page.delay for page in SHOP.values()} == {0, SLOW}


def test_the_price_list_is_a_sound_pdf() -> None:
    """Each offset of the cross-reference table points at its object, and all prices stand in the text."""
    pdf = SHOP["/price-list.pdf"].body
    start = int(pdf.rsplit(b"startxref\n", 1)[1].split()[0])
    assert pdf.startswith(b"%PDF-1.4\n")
    assert pdf[start:].startswith(b"xref\n0 ")
    offsets = [int(row) for row in re.findall(rb"(\d{10}) 00000 n \n", pdf[start:])]
    assert len(offsets) == pdf.count(b" 0 obj\n")
    for number, offset in enumerate(offsets, 1):
        assert pdf[offset:].startswith(b"%d 0 obj\n" % number)
    for length, stream in re.findall(rb"/Length (\d+) >>\nstream\n(.*?)\nendstream", pdf, re.DOTALL):
        assert int(length) == len(stream)
    assert all(book.price.encode("cp1252") in pdf for book in books())


def test_pdf_text_is_escaped() -> None:
    """Brackets and backslashes are escaped, and what the font lacks is a question mark, so that lengths stay true."""
    assert b"(a\\(b\\)\\\\ \xa3?) Tj" in text_pdf(["a(b)\\ £☃"])


def test_the_shop_is_always_the_same() -> None:
    """Another process, with another hash seed, builds the same shop to the byte."""
    program = (
        "import hashlib; from crawler.demo import pages; print(hashlib.sha256(repr(pages()).encode()).hexdigest())"
    )
    path = os.pathsep.join(sys.path)
    told = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": path},
            stdout=subprocess.PIPE,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(told) == 1


async def test_serve_answers_as_pages_say() -> None:
    """Every path is served over HTTP with its status, type, headers and body; the base URL is the one that it names."""
    async with serve() as base, aiohttp.ClientSession() as session:
        for path, page in pages(base).items():
            async with session.get(base + path, allow_redirects=False) as response:
                assert (response.status, await response.read()) == (page.status, page.body), path
                assert response.headers["Content-Type"] == page.content_type
                assert page.headers.items() <= response.headers.items()
        async with session.get(base + "/nowhere") as response:
            assert response.status == 404


async def test_slow_pages_take_their_time() -> None:
    """A page of the slow corner is not answered before its delay is over."""
    async with serve() as base, aiohttp.ClientSession() as session:
        began = time.monotonic()
        async with session.get(base + "/slow/on-tea") as response:
            assert response.status == 200
        assert time.monotonic() - began >= SLOW * 0.99


def test_a_plain_program_can_open_the_shop() -> None:
    """`in_thread` serves while the block runs and not after; redirects lead to the sale."""
    with in_thread() as base, urllib.request.urlopen(base + "/sale") as response:
        assert (response.status, response.url) == (200, base + "/category/sale")
    with pytest.raises(urllib.error.URLError, match="refused"):
        urllib.request.urlopen(base + "/")
