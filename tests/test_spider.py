"""A spider as its author writes it: the examples, the arguments, and every mistake that is caught early."""

import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, ClassVar

import msgspec
import pytest

from crawler.errors import ConfigError, HandlerError
from crawler.items import Step, encode, refined
from crawler.models import Request
from crawler.response import Response
from crawler.scope import Scope
from crawler.spider import Spider, build, check, handler

from .test_response import Door, page

# -- the examples


class Quotes(Spider):
    seeds = ["https://quotes.toscrape.com/"]

    def parse(self, response: Response) -> Iterator[object]:
        for quote in response.css("div.quote"):
            yield {"text": quote.text(".text"), "author": quote.text(".author")}
        yield from response.follow("li.next a")


def test_example_quotes() -> None:
    """A spider in ten lines yields an item for each quote, and the next page to itself."""
    body = """<div class="quote"><span class="text">“One.”</span> by <small class="author">Ann</small></div>
    <div class="quote"><span class="text">“Two.”</span> by <small class="author">Bob</small></div>
    <ul><li class="next"><a href="/page/2/">Next</a></li></ul>"""
    assert list(Quotes().parse(page(body, url="https://quotes.toscrape.com/"))) == [
        {"text": "“One.”", "author": "Ann"},
        {"text": "“Two.”", "author": "Bob"},
        Request("https://quotes.toscrape.com/page/2/", depth=1),
    ]


@dataclass
class Book:
    title: str
    price: Decimal
    url: str


def drop_out_of_stock(book: Book) -> Book | None:
    return book if book.price else None


async def add_currency(book: Book) -> dict[str, object]:
    return {"title": book.title, "price": f"£{book.price}", "url": book.url}


class Books(Spider):
    seeds = ["https://books.toscrape.com/"]
    settings = {"delay": 0.5, "concurrency_per_host": 2}
    pipeline = [drop_out_of_stock, add_currency]

    def parse(self, response: Response) -> Iterator[object]:
        yield from response.follow("article h3 a", to=self.book, priority=1)
        yield from response.follow("li.next a")

    def book(self, response: Response) -> Iterator[object]:
        yield Book(response.text("h1"), Decimal(response.text(".price_color").lstrip("£")), response.url)


async def test_example_books() -> None:
    """Links go to a handler of their own, ahead of others; its typed items pass through sync and async steps."""
    spider = Books()
    listing = '<article><h3><a href="a.html">A</a></h3></article><li class="next"><a href="page-2.html">next</a>'
    assert list(spider.parse(page(listing, url="https://books.toscrape.com/index.html"))) == [
        Request("https://books.toscrape.com/a.html", handler="book", depth=1, priority=1),
        Request("https://books.toscrape.com/page-2.html", depth=1),
    ]
    url = "https://books.toscrape.com/a.html"
    made = list(spider.book(page('<h1>A Light</h1><p class="price_color">£51.77</p>', url=url)))
    assert made == [Book("A Light", Decimal("51.77"), url)]
    assert encode(made[0]).body == '{"title":"A Light","price":"51.77","url":"https://books.toscrape.com/a.html"}'
    assert await refined(made[0], spider.pipeline) == {"title": "A Light", "price": "£51.77", "url": url}
    assert await refined(Book("A", Decimal(0), url), spider.pipeline) is None


class Posts(Spider):
    seeds = ["https://api.example/posts?cursor="]

    async def parse(self, response: Response) -> AsyncIterator[object]:
        page = response.json()
        names = (await response.fetch("/authors?ids=" + ",".join(page["author_ids"]))).json()
        for post in page["posts"]:
            yield {"id": post["id"], "title": post["title"], "author": names[post["author_id"]]}
        if page["next"]:
            yield response.request(f"/posts?cursor={page['next']}")


async def test_example_posts() -> None:
    """An async handler waits for an extra fetch, reads JSON and asks for the next page by its URL."""
    door = Door(answers={"https://api.example/authors?ids=7,8": '{"7": "Ann", "8": "Bob"}'})
    body = '{"author_ids":["7","8"],"posts":[{"id":1,"title":"T","author_id":"8"}],"next":"c2"}'
    response = page(body, url="https://api.example/posts?cursor=", content_type="application/json", door=door)
    assert [one async for one in Posts().parse(response)] == [
        {"id": 1, "title": "T", "author": "Bob"},
        Request("https://api.example/posts?cursor=c2", depth=1),
    ]


class Reports(Spider):
    seeds = ["https://agency.example/reports"]

    def parse(self, response: Response) -> Iterator[object]:
        for row in response.css("table tr.report"):
            pdf = response.download(row.attr("a[href$='.pdf']", "href"))
            yield {"year": int(row.text(".year")), "path": pdf.path}
            yield pdf


def test_example_reports() -> None:
    """The item of a download knows the file's path before it is fetched."""
    body = (
        """<table><tr class="report"><td class="year"> 2026 <td><a href="/r.html">page</a> <a href="/r.pdf">PDF</a>"""
    )
    assert list(Reports().parse(page(body, url="https://agency.example/reports"))) == [
        {"year": 2026, "path": "files/r.pdf"},
        Request("https://agency.example/r.pdf", handler="", kind="download", depth=1, path="files/r.pdf"),
    ]


@pytest.mark.parametrize("spider", [Quotes(), Books(), Posts(), Reports()])
async def test_examples_are_in_order(spider: Spider) -> None:
    """The examples pass the check, and start with their seeds."""
    check(spider)
    assert [seed async for seed in spider.start()] == list(spider.seeds)


# -- what a spider has of itself


@pytest.mark.parametrize(
    ("name", "expected"),
    [("Quotes", "quotes"), ("BookShop", "book_shop"), ("JDKPages", "jdk_pages"), ("Shop24News", "shop24_news")],
)
def test_the_default_name_is_the_classs_in_snake_case(name: str, expected: str) -> None:
    """A spider is named after its class, its children after theirs, unless they say otherwise."""
    kind: type[Spider] = type(name, (Spider,), {})
    assert kind.name == expected
    assert type("Child", (kind,), {}).name == "child"  # type: ignore[attr-defined]  # a class made by type()
    assert type(name, (Spider,), {"name": "own"}).name == "own"  # type: ignore[attr-defined]


def test_request_of_a_spider() -> None:
    """A spider makes requests for absolute URLs, with the options that a response's have."""
    books = Books()
    assert books.request("https://a.example/x#y", to=books.book, data={"a": 1}, statuses=[404]) == Request(
        "https://a.example/x", handler="book", data={"a": 1}, statuses=(404,)
    )
    assert books.request("http://a.example").handler == "parse"
    with pytest.raises(HandlerError, match="not an http or https URL"):
        books.request("/relative")


def test_handler_by_name() -> None:
    """A stored name leads back to the method."""
    books = Books()
    assert handler(books, "book") == books.book
    assert handler(books, "parse") == books.parse


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("bok", "Books has no handler 'bok'; did you mean 'book'?"),
        ("seeds", "Books has no handler 'seeds'"),
        ("in_thread", "Books has no handler 'in_thread'"),
        ("__init__", "Books has no handler '__init__'"),
        ("", "Books has no handler ''"),
    ],
)
def test_a_handler_that_is_gone_is_named(name: str, message: str) -> None:
    """A name without a method of the author's is a ConfigError that names the spider, and the nearest method."""
    with pytest.raises(ConfigError) as caught:
        handler(Books(), name)
    assert str(caught.value) == message


def test_parse_that_was_not_written() -> None:
    """Without a parse, the base class's says so when it is called, and it is no handler."""
    with pytest.raises(HandlerError, match="Spider has no method parse"):
        Spider().parse(page())
    with pytest.raises(ConfigError, match="has no handler 'parse'"):
        handler(Spider(), "parse")


# -- arguments


class Colour(Enum):
    RED = "red"


class Shop(Spider):
    seeds = ["https://shop.example/"]
    limits: ClassVar[int] = 3
    _private: int = 0
    start_url: str
    pages: int = 3
    deep: bool = False
    tags: list[str] = []
    sizes: tuple[int, ...] | None = None
    price: Decimal | None = None
    colour: Colour = Colour.RED
    folder: Path = Path()
    ratio: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.5

    def parse(self, response: Response) -> None: ...


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("start_url", "1,2", "1,2"),
        ("pages", "5", 5),
        ("deep", "yes", True),
        ("deep", "ON", True),
        ("deep", "true", True),
        ("deep", "0", False),
        ("deep", "no", False),
        ("tags", "a, b,,c", ["a", "b", "c"]),
        ("tags", "", []),
        ("sizes", "1,2", (1, 2)),
        ("price", "3.50", Decimal("3.50")),
        ("colour", "red", Colour.RED),
        ("folder", "a/b", Path("a/b")),
        ("ratio", "1", 1.0),
    ],
)
def test_arguments_have_the_types_they_declare(name: str, text: str, expected: object) -> None:
    """Text from the command line becomes what the attribute is annotated with; the others keep their defaults."""
    spider = build(Shop, {"start_url": "https://shop.example/", name: text})
    assert getattr(spider, name) == expected
    assert type(getattr(spider, name)) is type(expected)
    assert getattr(spider, "_private") == 0  # noqa: B009 -- it is no attribute of every spider


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "Shop needs -a start_url=…"),
        ({"start_url": "x", "page": "3"}, "Shop takes no argument 'page'; did you mean 'pages'?"),
        (
            {"start_url": "x", "zzz": "3"},
            "Shop takes no argument 'zzz'; it takes start_url, pages, deep, tags, sizes, ",
        ),
        ({"start_url": "x", "seeds": "y"}, "Shop takes no argument 'seeds'"),
        ({"start_url": "x", "limits": "4"}, "Shop takes no argument 'limits'"),
        ({"start_url": "x", "_private": "4"}, "Shop takes no argument '_private'"),
        ({"start_url": "x", "pages": "many"}, "argument pages='many' of Shop: Expected `int`, got `str`"),
        ({"start_url": "x", "deep": "maybe"}, "argument deep='maybe' of Shop: Expected `bool`, got `str`"),
        ({"start_url": "x", "sizes": "1,x"}, "argument sizes='1,x' of Shop: Expected `int`, got `str` - at `$[1]`"),
        ({"start_url": "x", "ratio": "2"}, "argument ratio='2' of Shop: Expected `float` <= 1.0"),
        ({"start_url": "x", "colour": "blue"}, "argument colour='blue' of Shop: Invalid enum value 'blue'"),
    ],
)
def test_wrong_arguments_are_named(arguments: dict[str, str], message: str) -> None:
    """A missing, unknown or unfitting argument is a ConfigError with spider, argument and what would be right."""
    with pytest.raises(ConfigError) as caught:
        build(Shop, arguments)
    assert str(caught.value).startswith(message)


def test_arguments_from_python() -> None:
    """The constructor takes the same arguments, as values, and refuses the same."""
    spider = Shop(start_url="https://shop.example/", pages=7)
    assert (spider.start_url, spider.pages, spider.deep) == ("https://shop.example/", 7, False)
    with pytest.raises(ConfigError, match="did you mean 'pages'"):
        Shop(start_url="x", page=3)
    with pytest.raises(ConfigError, match="needs -a start_url"):
        Shop()
    with pytest.raises(ConfigError, match="it takes none"):
        Quotes(pages=3)


class Signed(Shop):
    def __init__(self, site: str, pages: int = 1, *, untyped=None, **others: object) -> None:  # as authors do
        super().__init__(start_url=f"https://{site}/", pages=pages, **others)
        self.untyped = untyped


class Closed(Spider):
    ignored: int = 3

    def __init__(self, site: str) -> None:
        self.seeds = [f"https://{site}/"]


def test_arguments_of_an_own_constructor() -> None:
    """An own constructor's parameters are the arguments, and with ** the annotated attributes too."""
    spider = build(Signed, {"site": "shop.example", "pages": "4", "deep": "yes", "untyped": "1"})
    assert isinstance(spider, Signed)
    assert (spider.start_url, spider.pages, spider.deep, spider.untyped) == ("https://shop.example/", 4, True, "1")
    with pytest.raises(ConfigError, match="Closed takes no argument 'ignored'; it takes site"):
        build(Closed, {"site": "x", "ignored": "3"})
    with pytest.raises(ConfigError, match="Closed needs -a site=…"):
        build(Closed, {})
    assert build(Closed, {"site": "shop.example"}).seeds == ["https://shop.example/"]


def test_annotations_that_cannot_be_read_are_a_config_error() -> None:
    """A name that only a type checker knows is reported, not a traceback."""
    unknown: Any = type("Unknown", (Spider,), {"__annotations__": {"pages": "Nowhere"}})
    with pytest.raises(ConfigError, match=r"annotations of Unknown .* 'Nowhere'"):
        build(unknown, {})


# -- mistakes that are caught before anything is fetched


def broken(**attributes: object) -> Spider:
    """A spider that is right but for these attributes."""
    kind: Any = type("Broken", (Quotes,), attributes)
    spider: Spider = kind()
    return spider


async def not_a_generator(self: Spider) -> list[str]:
    return []


def sync_start(self: Spider) -> Iterator[str]:
    yield "https://a.example/"


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"name": "a/b"}, "Broken.name is 'a/b'; it takes text that can name a folder"),
        ({"name": ".."}, "Broken.name is '..'; it takes text"),
        ({"name": 3}, "Broken.name is 3; it takes text"),
        ({"seeds": "https://a.example/"}, "Broken.seeds is 'https://a.example/'; it takes a list of URLs"),
        ({"seeds": 3}, "Broken.seeds is 3; it takes a list"),
        ({"seeds": iter(["https://a.example/"])}, "Broken.seeds is <list_iterator"),
        ({"seeds": []}, "Broken has nowhere to begin"),
        ({"seeds": [3]}, "Broken.seeds is [3]; it takes URLs and requests instead of 3"),
        (
            {"seeds": ["a.example/x"]},
            (
                "Broken.seeds is ['a.example/x']; it takes absolute http or https URLs instead of 'a.example/x'; "
                "did you mean 'https://a.example/x'?"
            ),
        ),
        ({"seeds": ["ftp://a.example"]}, "Broken.seeds is ['ftp://a.example']; it takes absolute http or https URLs"),
        ({"seeds": [Request("/x")]}, "Broken.seeds is [<Request GET /x to=parse>]; it takes absolute"),
        (
            {"seeds": [Request("http://a.example/", handler="pars")]},
            "Broken has no handler 'pars'; did you mean 'parse'?",
        ),
        ({"parse": Spider.parse}, "Broken has no handler 'parse'"),
        ({"parse": None}, "Broken has no handler 'parse'"),
        ({"scope": "a.example"}, "Broken.scope is 'a.example'; it takes a Scope or None"),
        ({"settings": ["delay"]}, "Broken.settings is ['delay']; it takes a dict"),
        ({"pipeline": encode}, "Broken.pipeline is <bound method encode"),
        ({"pipeline": ["a.b.Pipeline"]}, "Broken.pipeline is ['a.b.Pipeline']; it takes a list of functions"),
        ({"headers": "X: y"}, "Broken.headers is 'X: y'; it takes a dict of header lines"),
        ({"headers": {"X": 3}}, "Broken.headers is {'X': 3}; it takes a dict"),
        ({"headers": {"X": "a\r\nHost: b"}}, "Broken.headers is {'X': 'a\\r\\nHost: b'}; it takes"),
        ({"headers": {"X\n": "a"}}, "Broken.headers is {'X\\n': 'a'}; it takes"),
        ({"start": not_a_generator}, "Broken.start is <bound method"),
        ({"start": sync_start}, "Broken.start is <bound method"),
        ({"start": ["https://a.example/"]}, "Broken.start is ['https://a.example/']; it takes `async def start(self)`"),
    ],
)
def test_check_names_class_attribute_and_what_is_right(attributes: dict[str, object], message: str) -> None:
    """Each mistake is one ConfigError: the class, the attribute, what it is, and what it takes."""
    with pytest.raises(ConfigError) as caught:
        check(broken(**attributes))
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


async def own_start(self: Spider) -> AsyncIterator[Request]:
    yield self.request("https://a.example/", to="parse")


def test_check_lets_pass_what_is_right() -> None:
    """Tuples, requests as seeds, scope, headers, steps of any kind, and an own start without seeds are fine."""
    steps: list[Step] = [encode, add_currency, str, print]
    check(
        broken(
            seeds=("https://a.example/", Request("https://b.example/")),
            scope=Scope(hosts=("a.example",)),
            headers={"X-Shelf": "3"},
            pipeline=steps,
        )
    )
    check(broken(seeds=(), start=own_start))
    check(broken(seeds=(), start=own_start, parse=Spider.parse, name="own-name.2"))


def test_seeds_given_by_hand_are_somewhere_to_begin() -> None:
    """A spider without seeds is fine where the caller has some, as long as there is a parse that takes them."""
    check(broken(seeds=()), has_seeds=True)
    with pytest.raises(ConfigError, match="nowhere to begin"):
        check(broken(seeds=()), has_seeds=False)
    with pytest.raises(ConfigError, match="Broken has no handler 'parse'"):
        check(broken(seeds=(), parse=Spider.parse), has_seeds=True)
    with pytest.raises(ConfigError, match="Broken has no handler 'parse'"):
        check(broken(seeds=(), start=own_start, parse=Spider.parse), has_seeds=True)


# -- threads and processes


async def test_in_thread() -> None:
    """A function that blocks runs in another thread, and its result and errors come back."""
    assert await Quotes().in_thread(threading.get_ident) != threading.get_ident()
    with pytest.raises(ZeroDivisionError):
        await Quotes().in_thread(divmod, 1, 0)


async def test_in_process() -> None:
    """A function that computes runs in a process that is kept for the next; a dead one is replaced."""
    spider = Quotes()
    assert await spider.in_process(os.getpid) != os.getpid()
    with pytest.raises(ZeroDivisionError):
        await spider.in_process(divmod, 1, 0)
    with pytest.raises(HandlerError, match=r"the process that ran .* died"):
        await spider.in_process(os._exit, 1)
    assert await spider.in_process(pow, 2, 10) == 1024
    spider.close()
    spider.close()


PARENT = """
import asyncio, os, sys
from crawler import Spider

async def main():
    print(await Spider().in_process(os.getpid), flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


def test_processes_die_with_their_parent() -> None:
    """When the crawl is killed, no process of in_process outlives it."""
    root = Path(__file__).parent.parent
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, cwd=root) as parent:
        assert parent.stdout is not None
        assert int(parent.stdout.readline()) != parent.pid
        parent.kill()
        parent.communicate(timeout=30)  # it ends when nobody holds the pipe any more, the child included
