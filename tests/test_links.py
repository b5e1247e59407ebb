"""Links of every kind: which of them an author wants, and how the odd ones are written."""

import time
from collections.abc import Sequence
from typing import Any

import pytest
from multidict import CIMultiDict

from crawler import LinkRules
from crawler.errors import ConfigError
from crawler.links import candidates, header_links, refresh
from crawler.models import Request
from crawler.response import Response
from crawler.urls import canonical
from tests.test_response import URL, Door

PAGE = """<!doctype html><head><base href="/base/"><base href="/second/"><link rel="NEXT prefetch" href="2.html">
<link rel=stylesheet href=s.css><meta http-equiv=Refresh content="5; url='later.html'"></head>
<nav><a href="/home" rel="nofollow">h</a></nav><main><a href="a.html">a</a><a href="a.PDF?x=1">p</a>
<a href="mailto:x@y.test">m</a><a href="javascript:void(0)">j</a><a href="data:text/html,x">d</a><a>none</a>
<area href="area.html"><iframe src="frame.html"></iframe><img src="i.png" srcset="i1.png, i2.png 2x">
<picture><source srcset="s.webp 100w"></picture><form action="find"></form><form method=POST action="buy"></form>
<form></form></main>"""
BASE = "https://books.example/base/"


def response(
    body: str = PAGE, *, links: Sequence[str] = (), kind: str = "text/html", door: Door | None = None
) -> Response:
    """A page at `URL` with some lines of a Link header."""
    headers = CIMultiDict([("Content-Type", kind), *(("Link", line) for line in links)])
    return Response(
        Request(URL), url=URL, status=200, headers=headers, body=body.encode(), door=door or Door()
    )  # fmt: skip


@pytest.mark.parametrize(
    ("rules", "found"),
    [
        (LinkRules(), "/home a.html a.PDF?x=1 area.html"),
        (LinkRules(elements=("area",)), "area.html"),
        (LinkRules(elements=("link",)), "2.html s.css"),
        (LinkRules(elements=("link",), rel=("next",)), "2.html"),
        (LinkRules(elements=("a", "link", "img"), rel=("Next", "nofollow")), "2.html /home"),
        (LinkRules(elements=("iframe", "frame")), "frame.html"),
        (LinkRules(elements=("img",)), "i.png i1.png i2.png"),
        (LinkRules(elements=("source",)), "s.webp"),
        (LinkRules(elements=("form",)), "find"),
        (LinkRules(elements=("meta",)), "later.html"),
        (LinkRules(elements=("iframe", "a"), within="main"), "a.html a.PDF?x=1 frame.html"),
        (LinkRules(within="main, main a[href^=a]"), "a.html a.PDF?x=1 area.html"),
        (LinkRules(within="aside"), ""),
        (LinkRules(elements=("link",), within="main"), ""),
        (LinkRules(allow=("*.html",)), "a.html area.html"),
        (LinkRules(allow=("*/base/a*",), deny=("*/base/a.*",)), "area.html"),
        (LinkRules(skip_extensions=("pdf", ".HTML")), "/home"),
    ],
)
def test_rules_choose(rules: LinkRules, found: str) -> None:
    """Each rule leaves what it says, in page order, resolved against the first base, each link once."""
    page = response()
    assert page.links(rules) == [canonical(one, BASE) for one in found.split()]
    assert list(page.follow(rules).urls) == page.links(rules)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [({"elements": ("a", "video")}, "video"), ({"elements": "a"}, r"\('a',\)"), ({"allow": "*x*"}, "allow")],
)
def test_rules_are_checked(arguments: dict[str, Any], named: str) -> None:
    """What no rule can be is told where it is written."""
    with pytest.raises(ConfigError, match=named):
        LinkRules(**arguments)


NEXT = '<?page=2>; rel="next", </all>; rel="last"; title="a, \\"b\\" <c>", </x>; rel=prev'


def test_links_of_the_header() -> None:
    """A Link header is followed as a link element is, also of JSON, and resolved against the page's own URL."""
    page = response("{}", links=[NEXT, "<//cdn.example/s.css>; rel=preload"], kind="application/json")
    there = "https://books.example"
    assert page.links(LinkRules(elements=("link",), rel=("next",))) == [f"{there}/list/index.html?page=2"]
    assert page.links(LinkRules(elements=("link",))) == [
        f"{there}/list/index.html?page=2", f"{there}/all", f"{there}/x", "https://cdn.example/s.css",
    ]  # fmt: skip
    assert page.follow(LinkRules(elements=("a", "link"), rel=("prev",))).urls == [f"{there}/x"]
    assert page.links() == page.follow().urls == page.follow("b").urls == []
    assert response(links=["<other>; rel=next"]).links(LinkRules(elements=("link",), rel=("next",))) == [
        "https://books.example/list/other", BASE + "2.html",
    ]  # fmt: skip


def test_a_link_of_another_page_in_the_header_is_no_link_of_this_one() -> None:
    """A Link with an anchor is another page's, unless it names this one."""
    page = response("", links=[f'</a>; anchor="/else", </b>; anchor="#part", </c>; anchor="{URL}"'])
    assert page.links(LinkRules(elements=("link",))) == ["https://books.example/b", "https://books.example/c"]


@pytest.mark.parametrize(
    ("field", "found"),
    [
        ("", []),
        ("<a>", [("a", "")]),
        ("<a>; rel=next", [("a", "next")]),
        ('<a>;rel="next Prev"', [("a", "next prev")]),
        ('<a>; REL = "next" ; rel=last', [("a", "next")]),
        ("<a>; rel", [("a", "")]),
        ("<a>;;rel=x;", [("a", "x")]),
        ('<a>; title="x, <b>; rel=y"; rel=z, <c>', [("a", "z"), ("c", "")]),
        (r'<a>; title="\"; rel=no"; rel=z', [("a", "z")]),
        (",, <a> , ,<b>;rel=x,", [("a", ""), ("b", "x")]),
        ("<a, b>; rel=next", [("a, b", "next")]),
        ("<a", []),
        ("a; rel=next, <b>", []),
        ("<a> garbage, <b>; rel=x", [("a", ""), ("b", "x")]),
        ('<a>; rel="open', [("a", "open")]),
        ("<a>; rel*=UTF-8''x", [("a", "")]),
    ],
)
def test_header_links(field: str, found: list[tuple[str, str]]) -> None:
    """A Link field is read by RFC 8288, quoted strings, commas and all that is odd in it."""
    assert [(link.target, " ".join(sorted(link.rel))) for link in header_links(field)] == found


@pytest.mark.parametrize(
    ("srcset", "found"),
    [
        ("", ""),
        ("a.jpg", "a.jpg"),
        ("a.jpg 1x, b.jpg 2x", "a.jpg b.jpg"),
        ("a.jpg,b.jpg 2x", "a.jpg,b.jpg"),
        ("a.jpg, b.jpg", "a.jpg b.jpg"),
        (" ,, a.jpg 100w , b.jpg 200w 50h,c.jpg", "a.jpg b.jpg c.jpg"),
        ("a,b.jpg 1x", "a,b.jpg"),
        ("a.jpg,, b.jpg", "a.jpg b.jpg"),
        ("a.jpg 1x 2x, b.jpg 5q, c.jpg 1.5x, d.jpg 10h", "c.jpg"),
        ("a.jpg (1x, b.jpg) , c.jpg", "c.jpg"),
        ("a.jpg (open, b.jpg", ""),
        ("data:image/png;base64,AAAA 1x, b.jpg 2x", "data:image/png;base64,AAAA b.jpg"),
    ],
)
def test_candidates(srcset: str, found: str) -> None:
    """A srcset is cut as browsers cut it: at commas behind white space, descriptors or a URL's end."""
    assert list(candidates(srcset)) == found.split()


@pytest.mark.parametrize(
    ("content", "url"),
    [
        ("0; url=/a", "/a"),
        ("5;URL='/a b' x", "/a b"),
        (' 0.5 , url = "/a"', "/a"),
        ("0 /a", "/a"),
        ("0;/a", "/a"),
        (".; url=/a", "/a"),
        ("0; url=", None),
        ("0", None),
        ("30;", None),
        ("x; url=/a", None),
        ("0x; url=/a", None),
        ("0; url='/open", "/open"),
    ],
)
def test_refresh(content: str, url: str | None) -> None:
    """A refresh leads where a browser would go; without a URL it is the page itself, and no link."""
    assert refresh(content) == url


@pytest.mark.parametrize(
    "text",
    ["<" * 200_000, '<a>;x="' + "\\" * 200_000, "<a>;" * 50_000, "<a>; " + " " * 200_000 + "x", ",;=" * 70_000,
     "0" * 200_000, "0;" + " " * 200_000 + "'", "a (" * 70_000, "a " + "(" * 200_000, "1w " * 70_000, " " * 200_000],
)  # fmt: skip
def test_hostile_text_costs_time_in_proportion(text: str) -> None:
    """Nothing in a header, srcset or refresh costs more than its length does."""
    began = time.process_time()
    for read in (header_links, candidates):
        assert len(list(read(text))) <= len(text)
    refresh(text)
    assert time.process_time() - began < 1.0


def test_links_are_bounded() -> None:
    """Not more than max_links come of rules, wherever they stand."""
    page = response(
        "".join(f"<img srcset='{n}.png, x{n}.png'>" for n in range(10)),
        links=[f"</{n}>" for n in range(10)], door=Door(max_links=4),
    )  # fmt: skip
    assert len(page.links(LinkRules(elements=("link", "img")))) == 4


def test_rel_nofollow() -> None:
    """A link marked nofollow is followed unless the setting says otherwise; it is listed all the same."""
    free, bound = response(links=["</n>; rel=nofollow"]), response(links=["</n>; rel=nofollow"])
    bound.door = Door(obeys_rel_nofollow=True)
    home = "https://books.example/home"
    everything = LinkRules(elements=("a", "link"))
    for chosen in ("a", "nav", "nav a", LinkRules(), everything):
        assert home in free.follow(chosen).urls
        assert home not in bound.follow(chosen).urls
    assert home in bound.links()
    assert home in bound.links(LinkRules())
    assert not [url for url in bound.follow(everything).urls if url.endswith("/n")]
    assert BASE + "a.html" in bound.follow().urls


@pytest.mark.parametrize("line", [["nofollow"], ["noindex", "nofollow"], ["other: x", "crawler: none"]])
def test_header_forbids_the_links_of_a_header_too(line: list[str]) -> None:
    """X-Robots-Tag holds for what is not HTML, in whichever of its lines it is said."""
    page = response("{}", links=["</n>; rel=next"], kind="application/json")
    headers = CIMultiDict(page.headers)
    for said in line:
        headers.add("X-Robots-Tag", said)
    page.headers = headers
    rules = LinkRules(elements=("link",))
    assert page.follow(rules).urls == []
    assert page.links(rules) == ["https://books.example/n"]


@pytest.mark.parametrize(
    ("head", "header", "found"),
    [
        ("<link rel=canonical href=/c>", [], "/c"),
        ("<LINK REL='x CANONICAL' HREF=/c#part>", [], "/c"),
        ("<link rel=canonical><link rel=canonical href=/c><link rel=canonical href=/d>", [], "/c"),
        ("<base href=/base/><link rel=canonical href=c>", [], "/base/c"),
        ("", ["</h>; rel=canonical"], "/h"),
        ("<link rel=canonical href=/c>", ["</h>; rel=canonical"], "/c"),
        ("<link rel=canonical href='mailto:x'>", [], None),
        ("<title>canonical</title>", [], None),
        ("</head><body><p><link rel=canonical href=/c>", [], None),
    ],
)
def test_canonical(head: str, header: list[str], found: str | None) -> None:
    """A page's canonical URL is what its head says, or else its header; what stands in the body is not heard."""
    wanted = found and "https://books.example" + found
    assert response(f"<html><head>{head}", links=header).canonical == wanted


def test_canonical_of_what_is_no_html() -> None:
    """A PDF or a JSON document may name its canonical URL in the header only."""
    body = "<link rel=canonical href=/c>"
    assert response(body, links=["</h>; rel=canonical"], kind="text/plain").canonical == "https://books.example/h"
    assert response(body, kind="text/plain").canonical is None
