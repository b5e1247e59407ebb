"""The spiders that come with the crawler, each against a site built like the one it is for."""

from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path

import pytest
from aiohttp import web

from crawler import Crawl, Spider, demo
from crawler.cli.find import spiders_in
from crawler.demo.books import books
from crawler.errors import ConfigError
from crawler.files import file_name
from crawler.spider import build, check
from crawler.testing import Site, filler, run
from spiders.api import Api
from spiders.bookshop import Bookshop
from spiders.docs import Docs
from spiders.files import Files
from spiders.linkcheck import Linkcheck
from spiders.quotes import Quotes

SPIDERS = Path(__file__).parent.parent / "spiders"
DELAY = 0.1


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with Site() as site:
        yield site


def assert_polite(site: Site) -> None:
    """Each host was asked for its robots.txt first, then one thing at a time, each once, with the pause between."""
    for host in {seen.host for seen in site.seen}:
        paths = site.paths(host)
        assert paths[0] == "/robots.txt"
        assert len(set(paths)) == len(paths)
        assert all(gap >= DELAY - 0.03 for gap in site.gaps(host))
        assert site.peak(host) == 1


# -- as the command line meets them


def test_one_spider_a_file() -> None:
    """Each file of spiders/ has one spider, which is called as the file is, and says what it does."""
    names = ["api", "bookshop", "docs", "files", "linkcheck", "quotes"]
    found = list(spiders_in(SPIDERS))
    assert [one.file.stem for one in found] == names
    assert [one.spider.name for one in found if one.spider and one.spider.__doc__] == names


@pytest.mark.parametrize(
    ("kind", "arguments", "expected"),
    [
        (Quotes, {}, {"seeds": ["https://quotes.toscrape.com/"]}),
        (Bookshop, {}, {"seeds": ["https://books.toscrape.com/"]}),
        (Bookshop, {"shop": "https://a.test/"}, {"seeds": ["https://a.test/"]}),
        (Docs, {}, {"seeds": ["https://docs.python.org/3/index.html"]}),
        (Docs, {"start": "https://a.test/en/"}, {"seeds": ["https://a.test/en/"]}),
        (Api, {"start": "https://a.test/"}, {"seeds": ["https://a.test/"]}),
        (Linkcheck, {"start": "https://a.test/"}, {"seeds": ["https://a.test/"]}),
        (Files, {"start": "https://a.test/"}, {"seeds": ["https://a.test/"], "endings": (".pdf",)}),
        (Files, {"start": "https://a.test/", "endings": ".pdf, .epub"}, {"endings": (".pdf", ".epub")}),
    ],
)
def test_arguments(kind: type[Spider], arguments: dict[str, str], expected: dict[str, object]) -> None:
    """Arguments arrive as text and become what the spider takes; what they make can be crawled with."""
    spider = build(kind, arguments)
    check(spider)
    assert {name: getattr(spider, name) for name in expected} == expected


@pytest.mark.parametrize("kind", [Api, Files, Linkcheck])
def test_where_to_begin_is_asked_for(kind: type[Spider]) -> None:
    """A spider that fits many sites says which argument it lacks, as it is typed."""
    with pytest.raises(ConfigError, match=f"{kind.__name__} needs -a start=…"):
        build(kind, {})


# -- quotes.toscrape.com

QUOTE = """
<div class="quote" itemscope itemtype="http://schema.org/CreativeWork">
    <span class="text" itemprop="text">“{text}”</span>
    <span>by <small class="author" itemprop="author">{author}</small>
    <a href="/author/{author}">(about)</a>
    </span>
    <div class="tags">
        Tags:
        <meta class="keywords" itemprop="keywords" content="{tags}" />
        {links}
    </div>
</div>"""
QUOTES_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="UTF-8"><title>Quotes to Scrape</title></head><body>
<div class="row header-box"><h1><a href="/">Quotes to Scrape</a></h1><p><a href="/login">Login</a></p></div>
{quotes}
<nav><ul class="pager">{pager}</ul></nav>
<div class="tags-box"><h2>Top Ten tags</h2><span class="tag-item"><a class="tag" href="/tag/love/">love</a></span></div>
</body></html>"""


def quote(text: str, author: str, *tags: str) -> str:
    links = "".join(f'<a class="tag" href="/tag/{tag}/page/1/">{tag}</a>\n' for tag in tags)
    return QUOTE.format(text=text, author=author, tags=",".join(tags), links=links)


async def test_quotes(site: Site) -> None:
    """`quotes` reads each quotation with its author and tags, and follows the pages to the last one, no other link."""
    pages = {
        "/": (quote("Think.", "A. E.", "mind", "world") + quote("Choose.", "J. K."), 'next"><a href="/page/2/">Next →'),
        "/page/2/": (quote("Wait &amp; see.", "J. A.", "time"), 'next"><a href="/page/3/">Next →'),
        "/page/3/": (quote("Done.", "A. E."), 'previous"><a href="/page/2/">← Previous'),
    }
    for path, (quotes, pager) in pages.items():
        site.page(path, QUOTES_PAGE.format(quotes=quotes, pager=f'<li class="{pager}</a></li>'))
    spider = Quotes()
    spider.seeds = [site.url("/")]
    assert await run(spider, site, delay=DELAY) == [
        {"text": "“Think.”", "author": "A. E.", "tags": ["mind", "world"]},
        {"text": "“Choose.”", "author": "J. K.", "tags": []},
        {"text": "“Wait & see.”", "author": "J. A.", "tags": ["time"]},
        {"text": "“Done.”", "author": "A. E.", "tags": []},
    ]
    assert site.paths() == ["/robots.txt", *pages]
    assert_polite(site)


# -- books.toscrape.com

POD = """
<li class="col-xs-6 col-sm-4 col-md-3 col-lg-3"><article class="product_pod">
    <div class="image_container"><a href="{path}"><img src="media/cache/1.jpg" class="thumbnail"></a></div>
    <p class="star-rating Two"><i class="icon-star"></i></p>
    <h3><a href="{path}" title="{title}">{title} ...</a></h3>
    <div class="product_price"><p class="price_color">£1.00</p>
    <p class="instock availability"><i class="icon-ok"></i> In stock</p></div>
</article></li>"""
LISTING = """<!DOCTYPE html>
<html lang="en-us" class="no-js"><head><title>All products | Books to Scrape - Sandbox</title>
<meta http-equiv="content-type" content="text/html; charset=UTF-8" /></head><body>
<ul class="breadcrumb"><li><a href="index.html">Home</a></li><li class="active">All products</li></ul>
<div class="side_categories"><ul class="nav nav-list"><li><a href="catalogue/category/">Books</a></li></ul></div>
<ol class="row">{pods}</ol>
<ul class="pager"><li class="current">Page</li>{pager}</ul></body></html>"""
PRODUCT = """<!DOCTYPE html>
<html lang="en-us" class="no-js"><head><title>{title} | Books to Scrape - Sandbox</title>
<meta http-equiv="content-type" content="text/html; charset=UTF-8" /></head><body>
<ul class="breadcrumb"><li><a href="../../index.html">Home</a></li><li><a href="../category/books_1/">Books</a></li>
<li><a href="../category/books/poetry_23/index.html">{category}</a></li><li class="active">{title}</li></ul>
<article class="product_page"><div class="col-sm-6 product_main"><h1>{title}</h1>
<p class="price_color">{price}</p>
<p class="instock availability"><i class="icon-ok"></i>
        {stock}
</p><p class="star-rating {stars}"><i class="icon-star"></i><i class="icon-star"></i></p></div>
<table class="table table-striped"><tr><th>Price (incl. tax)</th><td>{price}</td></tr></table></article>
<h2>Products you recently viewed</h2><ul class="row">{seen}</ul></body></html>"""


BOOKS = {
    "attic_1000": ("A Light in the Attic", "£51.77", "In stock (22 available)", "Three", "Poetry"),
    "sea_9": ("Under the Sea", "£20.50", "Out of stock", "One", "Travel"),
    "soumission_998": ("Soumission", "£50.10", "In stock (1 available)", "Five", "Fiction"),
}


def listing(*paths: str, pager: str) -> str:
    return LISTING.format(pods="".join(POD.format(path=path, title="X") for path in paths), pager=pager)


async def test_bookshop(site: Site) -> None:
    """`bookshop` reads the books of all listings, each from its own page, and leaves shelves alone."""
    first = listing(
        "catalogue/attic_1000/index.html",
        "catalogue/sea_9/index.html",
        pager='<li class="next"><a href="catalogue/page-2.html">next</a></li>',
    )
    last = listing("soumission_998/index.html", pager='<li class="previous"><a href="../index.html">previous</a></li>')
    site.page("/", first, content_type="text/html")
    site.page("/catalogue/page-2.html", last, content_type="text/html")
    seen = POD.format(path="../never_1/index.html", title="Never")
    for name, (title, price, stock, stars, category) in BOOKS.items():
        body = PRODUCT.format(title=title, price=price, stock=stock, stars=stars, category=category, seen=seen)
        site.page(f"/catalogue/{name}/index.html", body, content_type="text/html")
    items = await run(build(Bookshop, {"shop": site.url("/")}), site, delay=DELAY)
    assert [tuple(item.values()) for item in items] == [
        ("A Light in the Attic", "51.77", 3, True, "Poetry", site.url("/catalogue/attic_1000/index.html")),
        ("Under the Sea", "20.50", 1, False, "Travel", site.url("/catalogue/sea_9/index.html")),
        ("Soumission", "50.10", 5, True, "Fiction", site.url("/catalogue/soumission_998/index.html")),
    ]
    assert list(items[0]) == ["title", "price", "stars", "in_stock", "category", "url"]
    assert len(site.paths()) == 6
    assert_polite(site)


async def test_bookshop_on_the_demo_shop(tmp_path: Path) -> None:
    """`bookshop` takes home every book of the shop that comes with the crawler, and its price list, byte for byte."""
    async with demo.serve() as shop:
        spider = build(Bookshop, {"shop": f"{shop}/"})
        async with Crawl(spider, folder=tmp_path, settings={"delay": 0.0, "min_free_space": 0}) as crawl:
            items = [item async for item in crawl]
    assert sorted(tuple(item.values()) for item in items) == sorted(
        (
            book.title, f"{book.pence / 100:.2f}", book.rating, book.copies > 0, book.category, shop + book.path,
        )
        for book in books()
    )  # fmt: skip
    (stored,) = (file for file in crawl.folder.glob("files/0001/*") if file.suffix == ".pdf")
    assert stored.read_bytes() == demo.pages()["/price-list.pdf"].body


# -- docs.python.org, and what other generators make

SPHINX = """<!DOCTYPE html>
<html lang="en" data-content_root="./">
  <head><meta charset="utf-8" /><title>{title} &#8212; Python 3.14 documentation</title>
    <link rel="index" title="Index" href="genindex.html" /><script src="_static/doctools.js"></script>
  </head><body>
    <div class="related" role="navigation" aria-label="Related">
      <h3>Navigation</h3>
      <ul><li class="right"><a href="genindex.html" title="General Index" accesskey="I">index</a></li>
      <li><a href="https://www.python.org/">Python</a> &#187;</li>
      <li class="nav-item nav-item-this"><a href="">{title}</a></li></ul>
    </div>
    <div class="document"><div class="documentwrapper"><div class="bodywrapper">
          <div class="body" role="main">
  <section id="top">
<h1>{title}<a class="headerlink" href="#top" title="Link to this heading">¶</a></h1>
{body}
</section>
          </div>
    </div></div>
    <div class="sphinxsidebar" role="navigation" aria-label="Main"><h3>This page</h3>
      <ul class="this-page-menu"><li><a href="_sources/{name}.rst.txt" rel="nofollow">Show source</a></li></ul>
    </div></div>
  </body>
</html>"""


def sphinx(name: str, title: str, body: str) -> str:
    return SPHINX.format(name=name, title=title, body=body)


async def test_docs(site: Site) -> None:
    """`docs` reads every HTML page below the folder once: the page's own headings and text, not the navigation's."""
    contents = """<ul><li class="toctree-l1"><a class="reference internal" href="glossary.html">Glossary</a></li>
    <li class="toctree-l2"><a class="reference internal" href="glossary.html#term-3">Terms</a></li>
    <li class="toctree-l2"><a href="whatsnew/old.html">News</a></li></ul>
    <a href="archives/docs.zip">Zip</a> <a href="../2/index.html">x</a> <a href="internal/x.html">x</a>"""
    site.robots("User-agent: *\nDisallow: /3/internal/")
    site.page("/3/index.html", sphinx("index", "Contents", contents))
    terms = '<h2>Terms<a class="headerlink" href="#terms" title="Link">¶</a></h2>\n<p>The <em>GIL</em> &amp; more.</p>'
    site.page("/3/glossary.html", sphinx("glossary", "Glossary", terms))
    site.page("/3/genindex.html", sphinx("genindex", "Index", '<a href="nowhere.html">Lost</a>'))
    site.redirect("/3/whatsnew/old.html", "../whatsnew/new.html")
    site.page("/3/whatsnew/new.html", "<h1>What is new?</h1>\n<p>All.</p>\n<script>No()</script>")
    site.file("/3/archives/docs.zip", 100_000, content_type="application/zip")
    for name in ("index", "glossary", "genindex"):
        site.page(f"/3/_sources/{name}.rst.txt", '<a href="never.html">in the text</a>', content_type="text/plain")
    items = await run(build(Docs, {"start": site.url("/3/index.html")}), site, delay=DELAY)
    python = "{} — Python 3.14 documentation"
    assert [tuple(item.values()) for item in items] == [
        (site.url("/3/index.html"), python.format("Contents"), ["Contents"], "Contents¶ Glossary Terms News Zip x x"),
        (site.url("/3/genindex.html"), python.format("Index"), ["Index"], "Index¶ Lost"),
        (
            site.url("/3/glossary.html"), python.format("Glossary"), ["Glossary", "Terms"],
            "Glossary¶ Terms¶ The GIL & more.",
        ),
        (site.url("/3/whatsnew/new.html"), None, ["What is new?"], "What is new? All."),
    ]  # fmt: skip
    assert list(items[0]) == ["url", "title", "headings", "text"]
    assert sorted(site.paths()) == sorted(
        ["/robots.txt", "/3/index.html", "/3/genindex.html", "/3/glossary.html", "/3/nowhere.html"]
        + ["/3/whatsnew/old.html", "/3/whatsnew/new.html", "/3/archives/docs.zip"]
        + [f"/3/_sources/{name}.rst.txt" for name in ("index", "glossary", "genindex")]
    )
    assert_polite(site)


# -- a site with broken links


async def test_linkcheck(site: Site) -> None:
    """`linkcheck` tells each broken link, the page that shows it and what is wrong, on the site and beyond it."""
    nowhere = f"http://{'x' * 64}.example/"  # a label too long for the DNS (RFC 1035 section 2.3.4): nobody is asked
    there = {name: site.url(f"/{name}", host="other.test") for name in ("fine", "gone", "back")}
    links = ["/a", "/lost", "/gone", "/error", "/private", "/moved", "/out", "mailto:x@site.test", "#top", nowhere]
    site.robots("User-agent: *\nDisallow: /private")
    site.page("/", "".join(f'<a href="{link}">x</a>' for link in [*links, *there.values()]))
    site.page("/a", '<a href="/deep?q=1#x">x</a> <a href="/">home</a> <a href="/fine">y</a>')
    site.page("/fine", '<a href="/never">in the text</a>', content_type="text/plain")
    site.page("/gone", "x", status=410)
    site.page("/error", "x", status=500)
    site.redirect("/moved", "/lost-too")
    site.redirect("/out", site.url("/lost", host="third.test"))
    site.page("/fine", '<a href="/not-ours">x</a>', host="other.test")
    site.redirect("/back", site.url("/inside"), host="other.test")
    site.page("/inside", '<a href="/last">x</a>')
    items = await run(build(Linkcheck, {"start": site.url("/")}), site, delay=DELAY, retries=0)
    home = site.url("/")
    assert sorted(tuple(item.values()) for item in items) == sorted([
        (site.url("/lost"), home, "HttpError", 404),
        (site.url("/gone"), home, "HttpError", 410),
        (site.url("/error"), home, "HttpError", 500),
        (site.url("/moved"), home, "HttpError", 404),
        (site.url("/out"), home, "HttpError", 404),
        (nowhere, home, "DnsError", None),
        (there["gone"], home, "HttpError", 404),
        (site.url("/deep?q=1"), site.url("/a"), "HttpError", 404),
        (site.url("/last"), site.url("/inside"), "HttpError", 404),
    ])  # fmt: skip
    assert list(items[0]) == ["url", "found_on", "problem", "status"]
    assert site.paths("other.test") == ["/robots.txt", "/fine", "/gone", "/back"]
    assert "/private" not in site.paths()
    assert_polite(site)


async def test_a_broken_link_of_many_pages(site: Site) -> None:
    """A broken link is told once, with the first page that shows it, however many do."""
    for path, links in {"/": ["/a", "/b"], "/a": ["/b", "/lost"], "/b": ["/a", "/lost", "/"]}.items():
        site.page(path, "".join(f'<a href="{link}">x</a>' for link in links))
    items = await run(build(Linkcheck, {"start": site.url("/")}), site, delay=DELAY)
    assert items == [{"url": site.url("/lost"), "found_on": site.url("/a"), "problem": "HttpError", "status": 404}]
    assert site.paths() == ["/robots.txt", "/", "/a", "/b", "/lost"]


async def test_linkcheck_of_a_moved_site(site: Site) -> None:
    """A start that redirects to another host is a site there; a start that is broken is told as found nowhere."""
    site.redirect("/", site.url("/home", host="www.site.test"))
    site.page("/home", '<a href="/lost">x</a>', host="www.site.test")
    home, lost = (site.url(path, host="www.site.test") for path in ("/home", "/lost"))
    items = await run(build(Linkcheck, {"start": site.url("/")}), site, delay=DELAY)
    assert items == [{"url": lost, "found_on": home, "problem": "HttpError", "status": 404}]
    items = await run(build(Linkcheck, {"start": lost}), site, delay=DELAY)
    assert items == [{"url": lost, "found_on": None, "problem": "HttpError", "status": 404}]


# -- a JSON API


async def test_api(site: Site) -> None:
    """`api` joins each post with its author by one extra fetch a page, and follows the pages to the last."""
    pages = {"1": ([1, 2, 3], "/v1/posts?cursor=2"), "2": ([4], site.url("/v1/posts?cursor=3")), "3": ([5, 6], None)}

    def posts(request: web.Request) -> dict[str, object]:
        numbers, following = pages[request.query["cursor"]]
        found = [{"id": n, "title": f"Post {n}", "author_id": f"u{n % 2}", "body": "…"} for n in numbers]
        return {"posts": found, "next": following}

    site.answer("/v1/posts", posts)
    site.answer("/authors", lambda request: {user: f"User {user}" for user in request.query["ids"].split(",")})
    items = await run(build(Api, {"start": site.url("/v1/posts?cursor=1")}), site, delay=DELAY)
    assert items == [{"id": n, "title": f"Post {n}", "author": f"User u{n % 2}"} for n in range(1, 7)]
    assert [path for path in site.paths() if "posts" in path] == [f"/v1/posts?cursor={n}" for n in (1, 2, 3)]
    assert [path for path in site.paths() if "ids" in path] == [
        f"/authors?ids={ids}" for ids in ("u0,u1", "u0", "u0,u1")
    ]
    assert min(site.gaps()) >= DELAY - 0.03
    assert site.peak() == 1


# -- a folder of files

FOLDER = '<h1>Index of /papers</h1><hr><pre><a href="../">../</a>\n{}</pre><hr>'
FILES = {  # by host and path, their size
    ("site.test", "/papers/b.pdf"): 300_000,
    ("site.test", "/papers/Annual%20Report.PDF?v=2"): 1_500_000,
    ("site.test", "/papers/2025/a.epub"): 7,
    ("cdn.test", "/c.pdf"): 70_000,
}


def folder(*names: str) -> str:
    return FOLDER.format("".join(f'<a href="{name}">{name}</a>  12-Jan-2026 10:00  1.2M\n' for name in names))


async def test_files(site: Site, tmp_path: Path) -> None:
    """`files` stores each file of its kind once, byte for byte, wherever it lies, and tells its size and checksum."""
    site.page("/", '<a href="/papers/">papers</a>')
    elsewhere = site.url("/c.pdf", host="cdn.test")
    site.page("/papers/", folder("2025/", "b.pdf", "Annual%20Report.PDF?v=2", "notes.txt", "all.zip", elsewhere))
    site.page("/papers/2025/", folder("a.epub", "../b.pdf", "lost.pdf"))
    site.page("/papers/notes.txt", '<a href="never.pdf">in the text</a>', content_type="text/plain")
    site.file("/papers/all.zip", 10_000, content_type="application/zip")
    for (host, path), size in FILES.items():
        site.file(path, size, host=host, content_type="application/pdf")
    spider = build(Files, {"start": site.url("/papers/"), "endings": ".pdf,.epub"})
    async with Crawl(spider, folder=tmp_path, settings={**site.settings, "delay": DELAY}) as crawl:
        items = [item async for item in crawl]
    urls = {site.url(path, host=host): size for (host, path), size in FILES.items()}
    assert sorted(tuple(item.values()) for item in items) == sorted(
        (url, f"files/0001/{file_name(url)}", size, sha256(filler(size)).hexdigest()) for url, size in urls.items()
    )
    assert list(items[0]) == ["url", "path", "size", "sha256"]
    for item in items:
        assert sha256((crawl.folder / str(item["path"])).read_bytes()).hexdigest() == item["sha256"]
    assert_polite(site)
