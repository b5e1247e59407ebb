"""The shop's HTML, in the manner of books.toscrape.com, so that one spider reads both."""

from collections.abc import Mapping, Sequence
from html import escape
from importlib import resources
from string import Template

from crawler.demo.books import NUMBER, SHELVES, Book

SALE_BELOW = 12_00  # pence
STARS = ("One", "Two", "Three", "Four", "Five")
HOME = {"Home": "/"}
_LAYOUT, _PRODUCT = (
    Template((resources.files(__package__) / name).read_text("utf-8")) for name in ("layout.html", "product.html")
)


def shelf_path(name: str) -> str:
    """Where the listing of one shelf is."""
    return f"/category/{name.lower()}"


def layout(title: str, main: str, trail: Mapping[str, str] = HOME) -> str:
    """A whole page: ``main`` is HTML, ``title`` plain text, ``trail`` names and links the pages above."""
    shelves = _links({name: shelf_path(name) for name in SHELVES})
    return _LAYOUT.substitute(title=escape(title), main=main, trail=_links(trail), shelves=shelves, number=NUMBER)


def prose(title: str, text: str, links: Mapping[str, str] = {}, trail: Mapping[str, str] = HOME) -> str:
    """A page of one paragraph of plain text, and of links."""
    return layout(title, f"<h1>{escape(title)}</h1>\n<p>{escape(text)}</p>\n<ul>{_links(links)}</ul>", trail)


def listing(title: str, shown: Sequence[Book], of: int, first: int = 1, after: str = "") -> str:
    """The page that shows some of so many books, from the ``first`` on; ``after`` is the path of the next page."""
    last = first + len(shown) - 1
    pods = "\n".join(_pod(book) for book in shown)
    pager = f'<ul class="pager"><li class="next"><a href="{after}">next</a></li></ul>' if after else ""
    count = f"<strong>{of}</strong> books, showing <strong>{first}</strong> to <strong>{last}</strong>."
    main = f'<h1>{title}</h1>\n<p class="count">{count}</p>\n<ol class="shelf">\n{pods}\n</ol>\n{pager}'
    return layout(title if first == 1 else f"{title} from {first}", main)


def product(book: Book) -> str:
    """The page of one book."""
    own = ("title", "author", "description", "upc", "price", "availability")
    text = {name: escape(getattr(book, name)) for name in own}
    main = _PRODUCT.substitute(text, cover=_cover(book), facts=_facts(book))
    return layout(book.title, main, {**HOME, "Books": "/", book.category: shelf_path(book.category)})


def _links(links: Mapping[str, str]) -> str:
    return "".join(f'<li><a href="{path}">{escape(name)}</a></li>' for name, path in links.items())


def _pod(book: Book) -> str:
    title = escape(book.title)
    heading = f'<h3><a href="{book.path}" title="{title}">{title}</a></h3>'
    return f'<li><article class="product_pod">{_cover(book)}{heading}{_facts(book)}</article></li>'


def _cover(book: Book) -> str:
    hue = int(book.upc[:4], 16) % 360
    return f'<div class="cover" style="background:hsl({hue} 38% 36%)" aria-hidden="true">{escape(book.title)}</div>'


def _facts(book: Book) -> str:
    label = '<span class="label">sale</span>' if book.pence < SALE_BELOW else ""
    return f"""<p class="star-rating {STARS[book.rating - 1]}" title="{book.rating} of 5 stars"></p>
<p class="price_color">{book.price}</p>{label}
<p class="instock availability">{book.availability}</p>"""
