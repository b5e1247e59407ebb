"""HTML: its links, its text, its forms, and what the parser may cost."""

import math
import time

from hypothesis import strategies as st
from multidict import CIMultiDict

from crawler import LinkRules, Response
from crawler.errors import HandlerError, SelectorError
from crawler.markup import QUICK, worst
from crawler.models import Request
from crawler.tree import parse
from crawler.urls import canonical
from tests.fuzz.words import Target, cut, fields, scraps
from tests.test_response import URL, Door

TAGS = (
    "<a <a> </a> <area <base <link <meta <html> <head> <body> <p> </p> <div> </div> <b> <i> <font <table> <tr>"
    " <td> </table> <form </form> <input <select> <option> </select> <textarea> <button> <script> </script>"
    " <style> <title> </title> <template> </template> <noscript> <svg> <math> <iframe <img <!-- --> <!doctype"
    " <![CDATA[ ]]> <plaintext> <frameset> href= rel=canonical rel=nofollow rel= src= srcset= name= value="
    " type=submit type=checkbox action= method=post http-equiv=refresh content= content='5;url=x' name=robots"
    " charset=utf-16 charset=koi8-r http://a.test/b /b ../c #x ?y javascript:x &amp; &#0; &#xD800; &notit; / >"
    " < = ' \" é 2x , x"
)
KINDS = ["text/html", "application/xhtml+xml; charset=utf-16", "text/html; charset=shift_jis", "", "text/plain"]
EVERYTHING = LinkRules(elements=("a", "area", "link", "iframe", "frame", "img", "source", "form", "meta"))


def page(body: bytes, kind: str, link: str) -> Response:
    """An answer with this body, type and ``Link`` header."""
    headers = CIMultiDict([("Content-Type", kind), ("Link", link), ("X-Robots-Tag", link)])
    return Response(Request(URL), url=URL, status=200, headers=headers, body=body, door=Door())


def links_hold(given: tuple[bytes, str, str]) -> None:
    """All links of a page are canonical, each there once; those of ``a`` and ``area`` are among all of them."""
    response = page(*given)
    links = response.links()
    every = response.links(EVERYTHING)
    assert len(set(every)) == len(every)
    assert {*links} <= {*every} or len(every) >= response.door.max_links
    assert all(canonical(url) == url for url in every)
    assert response.canonical is None or canonical(response.canonical) == response.canonical
    assert all(one.lower() == one for one in response.directives)
    assert {*response.follow("a[href]").urls} <= {*links} | {*every}


def reading_holds(given: tuple[bytes, str, str]) -> None:
    """What a handler reads of a page is text that can be written, on one line where it is promised."""
    response = page(*given)
    for text in (response.node.text(), response.text("title", default=""), response.text("form", default="")):
        assert " ".join(text.split()) == text
        text.encode()
    response.text().encode()
    for node in response.css("a, input, meta"):
        (node.html + node.attr("href", default="")).encode()
    for text in response.css("p ::text").getall():
        text.encode()
    try:
        sent = response.form("form", {"x": "1"})
    except (SelectorError, HandlerError) as error:
        str(error).encode()
    else:
        assert canonical(sent.url) == sent.url


def cost_holds(given: tuple[bytes, list[int]]) -> None:
    """A page that is said to cost little does, whatever it is built of; and nothing is made dearer by an end of it."""
    body, repeats = given
    whole = b"".join(part * times for part, times in zip(cut(body, [7] * len(repeats)), repeats, strict=False))[
        : 1 << 18
    ]
    bound = worst(whole)
    assert 0 <= bound < math.inf
    if bound <= QUICK:
        began = time.thread_time()
        parse(whole, "utf-8")
        took = time.thread_time() - began
        assert took < 5 * QUICK, f"{took:.2f} s, said to be {bound:.2f} s at most"


given_pages = st.tuples(scraps(TAGS, most=60), st.sampled_from(KINDS), fields('<a> ; rel= canonical nofollow " , /b'))
TARGETS = (
    Target("links", given_pages, links_hold),
    Target("reading", given_pages, reading_holds),
    Target("parser-cost", st.tuples(scraps(TAGS, most=40), st.lists(st.integers(1, 4000), max_size=12)), cost_holds),
)
