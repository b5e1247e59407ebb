"""The parsed page as a whole: its tree, and what stands in it for all of it. It serves every page that is crawled.

Its functions are counted in microseconds; what handlers read is in `html`.
"""

import codecs
from typing import TypeAlias

from selectolax.lexbor import LexborDocumentOptions, LexborHTMLParser, LexborNode

from crawler import charset

Tree: TypeAlias = LexborHTMLParser

_WITHOUT_EVENTS = int(LexborDocumentOptions.WO_EVENTS)  # no script runs here, so nobody listens to the tree's changes


def numbers(names: str) -> frozenset[int]:
    """The numbers that known tags have in every tree; they are quicker to compare than names."""
    tree = LexborHTMLParser("")
    return frozenset(tree.create_node(name).tag_id for name in names.split())


_LINKS = numbers("a area")
_LINK = numbers("link")


def parse(body: bytes, codec: str) -> Tree:
    """The tree of a page, read by our own verdict on its charset. Any bytes have one, as in browsers."""
    return LexborHTMLParser(source(body, codec), options=_WITHOUT_EVENTS)


def source(body: bytes, codec: str) -> bytes:
    """A page in UTF-8, without a byte order mark, as the parser gets it."""
    return body.removeprefix(codecs.BOM_UTF8) if codec == "utf-8" else charset.decode(body, codec).encode()


def hrefs(tree: Tree, *, obey_rel: bool = False) -> list[str | None]:
    """The href of each ``a`` and ``area``, as it is written and in document order; None for one without a value.

    With `obey_rel` not of those marked ``rel=nofollow``.
    """
    # Of ten ways that were measured, one selector for any element, and the tag's number, costs least.
    found = tree.css("[href]")
    if obey_rel:
        found = [node for node in found if "nofollow" not in relations(node)]
    return [node.attrs.get("href") for node in found if node.tag_id in _LINKS]


def base_href(tree: Tree) -> str | None:
    """The href of the first ``base`` that has one (HTML Standard, section 4.2.3)."""
    for node in tree.tags("base"):  # a walk of the tree: a third of what searching the bytes in any case would cost
        href = node.attrs.sget("href", None)
        if href is not None:
            return href
    return None


def canonical_href(tree: Tree) -> str | None:
    """The href of the head's first ``<link rel=canonical>`` (RFC 6596); one in the body may be a visitor's words."""
    node = None if tree.head is None else tree.head.first_child
    while node is not None:
        if node.tag_id in _LINK and "canonical" in relations(node) and (href := node.attrs.get("href")):
            return href
        node = node.next
    return None


def meta_robots(tree: Tree, token: str) -> frozenset[str]:
    """The directives of ``<meta name=robots>``, and of those that name this product token, in lower case."""
    found: set[str] = set()
    for node in tree.tags("meta"):
        attributes = node.attributes
        if (attributes.get("name") or "").strip().lower() in {"robots", token.lower()}:
            listed = (attributes.get("content") or "").lower().split(",")
            found.update(map(str.strip, listed))
    return frozenset(found - {""})


def relations(node: LexborNode) -> list[str]:
    """The words of an element's ``rel``, in lower case."""
    return (node.attrs.sget("rel", "") or "").lower().split()
