"""Reading HTML: links, selectors, text. Cases of strings are those that cssselect and lxml give for Scrapy."""

import codecs
from collections.abc import Callable

import pytest

from crawler.errors import SelectorError
from crawler.html import Node, linked
from crawler.tree import marked, meta_robots, parse

PAGE = "https://books.example/list"
SHELF = """<!doctype html><title>Shelf</title>
<ul id=shelf>
  <li class="book new"><a href="/1" title="One">Winter  Pears</a> <b>£3</b></li>
  <li class="book"><a href="/2">Salt
    and&nbsp;Rain</a><b>£4</b><a href="/2/reviews">reviews</a></li>
  <li class="gone">sold out</li>
</ul>"""
NESTED = """<body>x<div id=a class=q>one<p>two <b>three</b> four</p>five<div id=b>six<p title=t>seven</p></div></div>
<ul><li>1<ul><li>2</ul>3<li>4</ul>"""


def node(markup: str) -> Node:
    root = parse(markup.encode(), "utf-8").root
    assert root is not None
    return Node(root, PAGE)


# -- what every page is asked


@pytest.mark.parametrize(
    ("body", "codec"),
    [
        ("<p>Käse".encode(), "utf-8"),
        (codecs.BOM_UTF8 + "<p>Käse".encode(), "utf-8"),
        ("<p>Käse".encode("cp1252"), "cp1252"),
        ("\ufeff<p>Käse".encode("utf-16-le"), "utf_16_le"),
    ],
)
def test_parse_reads_the_charset_it_is_told(body: bytes, codec: str) -> None:
    """The tree holds the same text whatever encoding the page came in, and no byte order mark."""
    assert parse(body, codec).html == "<html><head></head><body><p>Käse</p></body></html>"


@pytest.mark.parametrize("body", [b"", b"\xff\xfe\xfd", b"\0", b"<", b"<!--", b"<p>" * 50, b'{"a": "<b>"}'])
def test_any_bytes_have_a_tree(body: bytes) -> None:
    """A page that is no HTML is still parsed, never refused."""
    tree = parse(body, "utf-8")
    assert tree.root is not None
    assert marked(tree).hrefs == []


def test_damaged_utf8_reads_as_replacement_characters() -> None:
    """Bytes that are no UTF-8 become U+FFFD in text and attributes alike."""
    root = parse(b"<a href='/\xff'>a\xffb</a>", "utf-8").root
    assert root is not None
    assert Node(root).text() == "a\ufffdb"
    assert Node(root).attr("a", "href") == "/\ufffd"


def test_hrefs_are_those_of_a_and_area_in_document_order() -> None:
    """Links come as they are written, in page order; other elements' hrefs, and what is not in the page, do not."""
    markup = """<head><base href=/b><link href=/style.css></head><A HREF=" /1 ">1</A><map><area href=2></map><a>none</a>
    <a href>empty</a><!-- <a href=/comment> --><template><a href=/template></a></template>
    <noscript><a href=4></a></noscript><script>"<a href=/script>"</script>
    <svg><a xlink:href=/xlink></a><a href=5 xlink:href=/xlink></a></svg><a href=/1>again"""
    assert marked(parse(markup.encode(), "utf-8")).hrefs == [" /1 ", "2", None, "4", None, "5", "/1"]


@pytest.mark.parametrize(
    ("markup", "expected"),
    [
        ("<p>", None),
        ("<base target=_blank>", None),
        ("<base target=_blank><BASE HREF=/first><base href=/second>", "/first"),
        ("<head><div></div><base href=/late></head>", "/late"),
        ("<base href>", ""),
    ],
)
def test_base_href_is_the_first_that_has_one(markup: str, expected: object) -> None:
    """The base of links is that of the first base element with an href, wherever it stands."""
    assert marked(parse(markup.encode(), "utf-8")).base == expected


@pytest.mark.parametrize(
    ("markup", "expected"),
    [
        ("<p>", set()),
        ("<meta name=robots content='noindex, NoFollow'>", {"noindex", "nofollow"}),
        ("<META NAME=' Robots ' CONTENT=nofollow>", {"nofollow"}),
        ("<meta name=robots content=noindex><meta name=crawler content=nofollow>", {"noindex", "nofollow"}),
        ("<meta name=googlebot content=noindex><meta content=nofollow><meta name>", set()),
        ("<meta name=robots><meta name=robots content=', ,'>", set()),
        ("<body><p><meta name=robots content=none>", {"none"}),
    ],
)
def test_meta_robots_directives(markup: str, expected: object) -> None:
    """Directives for all robots and for this one are found in any case and anywhere; those for others are not ours."""
    assert meta_robots(marked(parse(markup.encode(), "utf-8")).metas, "crawler") == expected


# -- text and attributes


def test_text_is_on_one_line() -> None:
    """White space is collapsed and stripped, no-break spaces too, across the elements within."""
    shelf = node(SHELF)
    assert shelf.text("li.book") == "Winter Pears £3"
    assert [link.text() for link in shelf.css("li a")] == ["Winter Pears", "Salt and Rain", "reviews"]
    assert node("<p>one <b> two </b>\n three</p>").text("p") == "one two three"


@pytest.mark.parametrize(
    ("markup", "expected"),
    [
        ("<p>a</p><p>b</p>", "a b"),
        ("a<div>b</div>c", "a b c"),
        ("<span><div>a</div></span>b<span><i><div>c</div></i></span>", "a b c"),
        ("<a><div>a</div></a><a><div>b</div></a>", "a b"),
        ("<div><div><div>a</div></div></div>b", "a b"),
        ("x<br>y<br/>z<hr>w", "x y z w"),
        ("<ul><li>1<li>2<ul><li>3</ul>4</ul><ol><li>5</ol>", "1 2 3 4 5"),
        ("<dl><dt>a<dd>b</dl>c", "a b c"),
        ("<select><option>1<option>2</select>", "1 2"),
        ("<table><caption>t</caption><tr><th>a</th><th>b</th></tr><tr><td>1</td><td>2</td></tr></table>", "t a b 1 2"),
        ("<details><summary>a</summary>b</details><figure>c<figcaption>d</figcaption></figure>", "a b c d"),
        ("<search>a</search><section>b</section><nav>c</nav><pre>d\n e</pre>f", "a b c d e f"),
        ("a<p></p>b", "a b"),
    ],
)
def test_text_keeps_blocks_apart(markup: str, expected: object) -> None:
    """Blocks, cells, items and broken lines do not run into one another, whatever inline elements lie in between."""
    assert node(markup).text("body") == expected


@pytest.mark.parametrize(
    ("markup", "expected"),
    [
        ("<b>H</b>ello", "Hello"),
        ("<span>£</span>12<sup>.50</sup>", "£12.50"),
        ("<td>1<sup>2</sup></td>", "12"),
        ("<p><i>a</i><b><u>b</u>c</b></p>", "abc"),
        ("long<wbr>word, sh&shy;y", "longword, sh\xady"),
        ("a<!-- <p> -->b<img alt=x>c<input value=y>d", "abcd"),
        ("<my-price>1</my-price><my-cents>.50</my-cents>", "1.50"),
        ("<svg><text>a</text></svg>b", "ab"),
        ("a<p hidden>b</p>", "a b"),
    ],
)
def test_text_puts_nothing_between_inline_elements(markup: str, expected: object) -> None:
    """What stands on one line in a browser is one word here too."""
    assert node(markup).text("body") == expected


@pytest.mark.parametrize(
    ("markup", "expected"),
    [
        ("<title>T</title><style>s{}</style>a", "a"),
        ("a<title>T</title>b<svg><title>T<b>T</b></title></svg>c", "abc"),
        ("a<iframe><p>no frames</iframe><noframes><p>none</noframes><noembed><i></noembed>b", "ab"),
        ("a<video>too old<p>a browser</p></video><canvas>c</canvas><audio>d</audio>b", "ab"),
        ("<input list=l><datalist id=l><option>a</datalist>b", "b"),
        ("<ruby>漢<rp>(</rp><rt>kan</rt><rp>)</rp></ruby>", "漢kan"),
        ("a<template><p>b<template>c</template></template>d", "ad"),
        ("a<noscript>b<p>c</noscript>", "ab c"),
        ("<textarea>a\n<p></textarea>", "a <p>"),
    ],
)
def test_text_is_what_a_page_shows(markup: str, expected: object) -> None:
    """The text of a page is what a browser without scripts shows: no title, no fallbacks, but noscript."""
    assert node(markup).text() == expected


def test_text_of_what_is_hidden_can_be_had() -> None:
    """Whoever selects an element that is not shown gets what is in it."""
    page = node("<title> The  Title </title><svg><title>I<b>con</b></title></svg><iframe>x</iframe>")
    assert [found.text() for found in page.css("title")] == ["The Title", "Icon"]
    assert page.text("iframe") == "x"


def test_text_of_a_page_of_any_depth() -> None:
    """A hundred thousand elements, side by side or one in another, have their text read without recursion."""
    assert node("<p>a" * 100_000).text("body") == " ".join("a" * 100_000)
    assert node("<div>a</div>" + "<span>b" * 100_000).text("body") == "a " + "b" * 100_000


@pytest.mark.parametrize(
    ("markup", "expected"),
    [
        ("<div>a<script>var x</script>b</div>", "ab"),
        ("<div>a<p>b<i>c<style>x{}</style>d</i>e</p>f<script>y</script></div><script>z</script>", "a bcde f"),
        ("<div>a<!-- hidden --><script>1</script><!-- hidden -->b</div>", "ab"),
        ("<div><script>1</script></div>", ""),
        ("<div>a<template><script>1</script>t</template>b</div>", "ab"),
        ("<div>" + "<i>" * 3000 + "deep<script>1</script>", "deep"),
    ],
)
def test_text_leaves_scripts_and_styles_out(markup: str, expected: object) -> None:
    """A script or style within an element is no part of its text, however deep it lies."""
    assert node(markup).text("div") == expected


def test_text_of_a_script_is_its_source() -> None:
    """Whoever selects a script gets what is in it."""
    assert node('<script type="application/ld+json">{"a": 1}</script>').text("script") == '{"a": 1}'


def test_attributes() -> None:
    """One argument names an attribute of the element itself, two a selector and an attribute; names in any case."""
    link = node("<p><a HREF=/1 download data-n='  7 '>x</a>").css("a")[0]
    assert (link.attr("href"), link.attr("HREF"), link.attr("download"), link.attr("data-n")) == (
        "/1",
        "/1",
        "",
        "  7 ",
    )
    assert node(SHELF).attr("li a", "title") == "One"
    assert link.attr("title", default="none") == "none"


@pytest.mark.parametrize(
    ("read", "message"),
    [
        (lambda n: n.text("h1"), f"nothing matches 'h1' in <html> on {PAGE}"),
        (lambda n: n.css("ul")[0].text("h1"), f"nothing matches 'h1' in <ul> on {PAGE}"),
        (lambda n: n.attr("h1", "id"), f"nothing matches 'h1' in <html> on {PAGE}"),
        (lambda n: n.attr("ul", "class"), f"<ul> has no 'class' in <html> on {PAGE}"),
        (lambda n: n.attr("class"), f"<html> has no 'class' in <html> on {PAGE}"),
    ],
)
def test_what_is_missing_is_an_error(read: Callable[[Node], object], message: str) -> None:
    """An element or attribute that is not there is a SelectorError that names it, the page, and the way out."""
    with pytest.raises(SelectorError) as caught:
        read(node(SHELF))
    assert str(caught.value).startswith(message)
    assert "default=" in str(caught.value)


def test_what_may_be_missing_has_a_default() -> None:
    """With a default nothing is raised, be it None, and an empty text is not missing."""
    shelf = node(SHELF + "<h2></h2>")
    assert shelf.text("h1", default=None) is None
    assert shelf.text("h2", default="none") == ""
    assert shelf.attr("h1", "id", default=None) is None
    assert shelf.attr("ul", "class", default="") == ""


def test_a_node_shows_itself() -> None:
    """A node has its tag, its HTML and selectolax's node, and a short repr."""
    title = node(SHELF).css("title")[0]
    assert (title.tag, title.html, repr(title)) == ("title", "<title>Shelf</title>", "<Node title>")
    assert title.raw.parent is not None


# -- selections


def test_selection_of_elements() -> None:
    """A selection is a sequence of nodes in page order, and its HTML can be had as in Scrapy."""
    links = node(SHELF).css("a")
    assert len(links) == 3
    assert [link.attr("href") for link in links] == ["/1", "/2", "/2/reviews"]
    assert links[-1].text() == "reviews"
    assert [link.text() for link in links[1:]] == ["Salt and Rain", "reviews"]
    assert links.get() == '<a href="/1" title="One">Winter  Pears</a>'
    assert links.getall()[2] == '<a href="/2/reviews">reviews</a>'
    assert repr(links) == "<Selection of 3 nodes>"


def test_selection_of_nothing() -> None:
    """What matches nothing is empty and false, and get gives its default."""
    nothing = node(SHELF).css("h1")
    assert not nothing
    assert (len(nothing), list(nothing), nothing.getall(), nothing.get(), nothing.get("x")) == (0, [], [], None, "x")
    assert not nothing.css("a")
    assert node(SHELF).css("h1::text").get(default="x") == "x"


def test_selections_within_selections() -> None:
    """css of a selection looks in each of its elements, and gives no element twice."""
    assert node(SHELF).css("li.book").css("a::attr(href)").getall() == ["/1", "/2", "/2/reviews"]
    assert node(NESTED).css("div").css("p::text").getall() == ["two ", " four", "seven"]


def test_a_list_of_selectors_gives_each_element_once() -> None:
    """An element that matches two parts of a list is there once, and page order holds."""
    assert [found.tag for found in node(SHELF).css("b, a, li a, a[title]")] == ["a", "b", "a", "b", "a"]


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("p::text", ["two ", " four", "seven"]),
        ("p ::text", ["two ", "three", " four", "seven"]),
        ("p *::text", ["two ", "three", " four", "seven"]),
        ("#a > ::text", ["two ", " four", "six"]),
        ("#a > *::text", ["two ", " four", "six"]),
        ("div::text", ["one", "five", "six"]),
        ("div ::text", ["one", "two ", "three", " four", "five", "six", "seven"]),
        ("li::text", ["1", "2", "3", "4"]),
        ("p::text, b::text", ["two ", "three", " four", "seven"]),
        ("p:not([title='::text'])::text", ["two ", " four", "seven"]),
        ("div[id='a,b']::text, #b::text", ["six"]),
        ("b::TEXT", ["three"]),
        ("b::text ", ["three"]),
        ("div::attr(id)", ["a", "b"]),
        ("div::attr( 'id' )", ["a", "b"]),
        ("div::attr(CLASS)", ["q"]),
        ("body ::attr(id)", ["a", "b"]),
        ("::attr(title)", ["t"]),
        ("p::attr(id)", []),
    ],
)
def test_strings_as_scrapy_has_them(selector: str, expected: list[str]) -> None:
    """::text is the text directly in the elements, with a space before it all that is below; neither is stripped."""
    strings = node(NESTED).css(selector)
    assert strings.getall() == expected
    assert strings.get() == (expected[0] if expected else None)
    assert len(strings) == len(expected)


def test_all_text_of_a_node() -> None:
    """A bare ::text is all text of the node, its own included."""
    assert node(NESTED).css("#b")[0].css("::text").getall() == ["six", "seven"]


def test_strings_are_no_nodes() -> None:
    """A selection of strings cannot be looped over as nodes; the error says how it is read."""
    strings = node(SHELF).css("a::text")
    reads: list[Callable[[], object]] = [lambda: list(strings), lambda: strings[0], lambda: strings.css("b")]
    for read in reads:
        with pytest.raises(SelectorError, match=r"get\(\) or getall\(\)"):
            read()
    assert repr(strings) == "<Selection of 3 strings>"


@pytest.mark.parametrize(
    ("selector", "hint"),
    [
        ("", "cannot read"),
        ("   ", "cannot read"),
        ("div[", "cannot read"),
        ("a >", "cannot read"),
        ("a,,b", "cannot read"),
        ("\ud800", "cannot read"),
        ("p:contains('x')", ":lexbor-contains("),
        ("//div[@id]", "XPath"),
        ("p::first-line", "::text and ::attr(name)"),
        ("::text b", "::text and ::attr(name)"),
        ("a::attr()", "::text and ::attr(name)"),
        ("a::attr(href", "::text and ::attr(name)"),
        ("a::text::text", "::text and ::attr(name)"),
        ("a::text, b", "select different things"),
        ("a::text, b::attr(id)", "select different things"),
        ("p::text, p ::text", "select different things"),
        (None, "is text, not None"),
        (b"a", "is text, not b'a'"),
        (3, "is text, not 3"),
    ],
)
def test_a_malformed_selector_is_named(selector: str, hint: str) -> None:
    """What is no selector is a SelectorError that shows it and says why, never a crash."""
    with pytest.raises(SelectorError) as caught:
        node(SHELF).css(selector)
    assert hint in str(caught.value)
    assert node(SHELF).css("b").getall() == ["<b>£3</b>", "<b>£4</b>"]


@pytest.mark.parametrize("selector", ["", "div[", "h1::text"])
def test_text_and_attr_refuse_a_malformed_selector_even_with_a_default(selector: str) -> None:
    """A default is for what may be missing, not for what is wrong; ::text is not for these verbs."""
    with pytest.raises(SelectorError, match=PAGE):
        node(SHELF).text(selector, default=None)
    with pytest.raises(SelectorError, match=PAGE):
        node(SHELF).attr(selector, "id", default=None)


def test_a_long_selector_takes_linear_time() -> None:
    """Taking a selector apart costs no more than its length, whatever it repeats."""
    for selector in ("::text " * 20_000, "::attr(" * 20_000, "'\\" * 20_000 + "::text", "a," * 20_000 + "a::text"):
        with pytest.raises(SelectorError):
            node("<a>").css(selector)


# -- what is followed


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("li.book", ["/1", "/2"]),
        ("li.book a", ["/1", "/2", "/2/reviews"]),
        ("li", ["/1", "/2", None]),
        ("a::attr(href)", ["/1", "/2", "/2/reviews"]),
        ("a::attr(title)", ["One"]),
        ("h1", []),
    ],
)
def test_linked_is_the_own_link_or_the_first_within(selector: str, expected: object) -> None:
    """An element stands for its own link, or the first in it; strings stand for themselves."""
    assert linked(node(SHELF).css(selector)) == expected
