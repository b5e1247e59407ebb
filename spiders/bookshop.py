"""The books of a shop: pagination, one typed item a product page, and its price list as a file."""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

from crawler import Response, Spider

STARS = {"One": 1, "Two": 2, "Three": 3, "Four": 4, "Five": 5}


@dataclass
class Book:
    title: str
    price: Decimal
    stars: int
    in_stock: bool
    category: str
    url: str


class Bookshop(Spider):
    """All books of books.toscrape.com, or of a shop built like it (-a shop=URL)."""

    def __init__(self, shop: str = "https://books.toscrape.com/") -> None:
        super().__init__()
        self.seeds = [shop]

    def parse(self, response: Response) -> Iterator[object]:
        yield response.follow("article.product_pod h3 a", to=self.book, priority=1)
        yield response.follow("li.next a")
        for link in response.css("a[href$='.pdf']::attr(href)").getall():
            yield response.download(link)

    def book(self, response: Response) -> Iterator[object]:
        yield Book(
            title=response.text("h1"),
            price=Decimal(response.text(".product_main .price_color").lstrip("£")),
            stars=STARS[response.attr(".product_main .star-rating", "class").split()[-1]],
            in_stock="In stock" in response.text(".product_main .availability"),
            category=response.text("ul.breadcrumb li:nth-child(3)"),
            url=response.url,
        )
