"""The parsed page as a whole: its tree, and what stands in it for all of it. It serves every page that is crawled.

Its functions are counted in microseconds; what handlers read is in `html`.
"""

import codecs
from collections.abc import Iterable
from typing import NamedTuple, TypeAlias

from selectolax.lexbor import LexborDocumentOptions, LexborHTMLParser, LexborNode

from crawler import charset

Tree: TypeAlias = LexborHTMLParser

_WITHOUT_EVENTS = int(LexborDocumentOptions.WO_EVENTS)  # no script runs here, so nobody listens to the tree's changes


def numbers(names: str) -> frozenset[int]:
    """The numbers that known tags have in every tree; they are quicker to compare than names."""
    tree = LexborHTMLParser("")
    return frozenset(tree.create_node(name).tag_id for name in names.split())


_LINKS = numbers("a area")
_LINK, _META, _BASE, _HEAD = numbers("link"), numbers("meta"), numbers("base"), numbers("head")


def parse(body: bytes, codec: str) -> Tree:
    """The tree of a page, read by our own verdict on its charset. Any bytes have one, as in browsers."""
    return LexborHTMLParser(source(body, codec), options=_WITHOUT_EVENTS)


def source(body: bytes, codec: str) -> bytes:
    """A page in UTF-8, without a byte order mark, as the parser gets it."""
    return body.removeprefix(codecs.BOM_UTF8) if codec == "utf-8" else charset.decode(body, codec).encode()


class Marked(NamedTuple):
    """What stands in a page for all of it.

    ``hrefs`` has that of each ``a`` and ``area``, as it is written and in document order; None for one without a value.
    ``base`` is that of the first ``base`` that has one (HTML Standard, section 4.2.3); ``metas`` are pairs of the name
    of a ``meta``, in lower case, and its content. ``canonical`` is the href of the first ``<link rel=canonical>`` in
    the head (RFC 6596); one in the body may be a visitor's words.
    """

    hrefs: list[str | None]
    base: str | None
    metas: list[tuple[str, str]]
    canonical: str | None


def marked(tree: Tree) -> Marked:
    """All of it in one walk of the tree: each costs as much as reading the links does."""
    hrefs: list[str | None] = []
    bases: list[str] = []
    metas: list[tuple[str, str]] = []
    canonical: str | None = None
    # Of ten ways that were measured, one selector for any element, and the tag's number, costs least.
    for node in tree.css("[href],meta"):
        if (tag := node.tag_id) in _LINKS:
            hrefs.append(node.attrs.get("href"))
        elif tag in _META:
            metas.append(((node.attrs.sget("name", "") or "").strip().lower(), node.attrs.sget("content", "") or ""))
        elif tag in _BASE and not bases:
            bases.append(node.attrs.sget("href", "") or "")
        elif tag in _LINK and not canonical and "canonical" in relations(node) and _is_in_head(node):
            canonical = node.attrs.get("href")
    return Marked(hrefs, bases[0] if bases else None, metas, canonical)


def unmarked_hrefs(tree: Tree) -> list[str | None]:
    """The hrefs of those ``a`` and ``area`` that are not ``rel=nofollow``."""
    found = (node for node in tree.css("[href]") if node.tag_id in _LINKS)
    return [node.attrs.get("href") for node in found if "nofollow" not in relations(node)]


def _is_in_head(node: LexborNode) -> bool:
    return node.parent is not None and node.parent.tag_id in _HEAD


def meta_robots(metas: Iterable[tuple[str, str]], token: str) -> frozenset[str]:
    """The directives of ``<meta name=robots>``, and of those that name this product token, in lower case."""
    said = [content.lower().split(",") for name, content in metas if name == "robots" or name == token.lower()]
    return frozenset(word.strip() for words in said for word in words) - {""}


def relations(node: LexborNode) -> list[str]:
    """The words of an element's ``rel``, in lower case."""
    return (node.attrs.sget("rel", "") or "").lower().split()
