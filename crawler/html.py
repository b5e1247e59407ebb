"""Reading HTML: the verbs of an element and of a selection, for handlers. What serves every page is in `tree`."""

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Literal, NamedTuple, NoReturn, TypeVar, overload

from selectolax.lexbor import LexborNode, SelectolaxError

from crawler.errors import SelectorError, escaped
from crawler.tree import numbers, relations

Default = TypeVar("Default")

_MISSING = object()


_BLOCKS = numbers(  # what begins and ends a line, an item or a cell (HTML Standard, section 15.3)
    "address article aside blockquote body br caption center dd details dialog dir div dl dt fieldset figcaption"
    " figure footer form h1 h2 h3 h4 h5 h6 header hgroup hr html legend li listing main menu nav ol optgroup option p"
    " plaintext pre search section summary table tbody td tfoot th thead tr ul xmp"
)
_NOT_SHOWN = numbers(  # hidden (section 15.3.1), or a fallback for browsers without what the element is for
    "datalist head noembed noframes rp script style template title audio canvas iframe video"
)


class Node:
    """An element of a page, with the verbs to read it; ``raw`` is selectolax's own node, for all that it can do.

    Selectors are CSS as Lexbor reads it. A malformed one, and one that matches nothing, is a `SelectorError` that names
    it and the page.
    """

    __slots__ = ("page", "raw")

    def __init__(self, raw: LexborNode, page: str = "") -> None:
        self.raw = raw
        self.page = page

    def __repr__(self) -> str:
        return f"<Node {self.tag}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Node) and self.raw.mem_id == other.raw.mem_id

    def __hash__(self) -> int:
        return self.raw.mem_id

    @property
    def parent(self) -> "Node | None":
        """The element that this one lies in; None for the page's root."""
        above = self.raw.parent
        return Node(above, self.page) if above is not None and above.is_element_node else None

    @property
    def tag(self) -> str:
        """The element's name, in lower case."""
        return self.raw.tag or ""

    @property
    def html(self) -> str:
        """The element as HTML, its own tags included."""
        return self.raw.html or ""

    def css(self, selector: str) -> "Selection":
        """All elements that match, this one included if it does; ``::text`` and ``::attr(name)`` select strings."""
        return _select([self.raw], selector, self.page)

    @overload
    def text(self, selector: str | None = None) -> str: ...

    @overload
    def text(self, selector: str | None = None, *, default: Default) -> str | Default: ...

    def text(self, selector: str | None = None, *, default: object = _MISSING) -> object:
        """The text of the first element that matches, or of this one, as a page shows it, but on one line.

        White space, no-break spaces too, is collapsed to single spaces and stripped. Blocks, cells, list items and
        broken lines are a space apart; nothing is put between inline elements: ``<p>a</p><p><b>b</b>c</p>`` is "a bc".
        Titles, scripts, styles, templates and fallbacks within the element are left out; ``noscript`` is not, since no
        script runs here, and style sheets are not looked at. If nothing matches: `default`, or a `SelectorError` when
        none is given.
        """
        found = self.raw if selector is None else self._first(selector)
        if found is not None:
            return _readable(found)
        if default is _MISSING:
            self._refuse(f"nothing matches {selector!r}")
        return default

    @overload
    def attr(self, name: str, /) -> str: ...

    @overload
    def attr(self, name: str, /, *, default: Default) -> str | Default: ...

    @overload
    def attr(self, selector: str, name: str, /) -> str: ...

    @overload
    def attr(self, selector: str, name: str, /, *, default: Default) -> str | Default: ...

    def attr(self, selector: str, name: str | None = None, /, *, default: object = _MISSING) -> object:
        """``attr(name)`` reads an attribute of this element, ``attr(selector, name)`` of the first one that matches.

        An attribute without a value is an empty string. If the element or its attribute is missing: `default`, or a
        `SelectorError` when none is given.
        """
        found = self.raw if name is None else self._first(selector)
        wanted = selector if name is None else name
        value = None if found is None else found.attrs.sget(wanted, None)
        if value is not None:
            return value
        if default is _MISSING:
            self._refuse(f"nothing matches {selector!r}" if found is None else f"<{found.tag}> has no {wanted!r}")
        return default

    def _first(self, selector: str) -> LexborNode | None:
        try:
            return self.raw.css_first(selector)
        except (SelectolaxError, TypeError, UnicodeError) as error:
            raise _malformed(selector, self.page) from error

    def _refuse(self, complaint: str) -> NoReturn:
        raise SelectorError(f"{complaint} in <{self.tag}>{_on(self.page)}; give default= for what may be missing")


class Selection(Sequence[Node]):
    """What a selector found: nodes to loop over, or, for ``::text`` and ``::attr(name)``, strings to `get`.

    Elements come in document order and each once. ``p::text`` is the text directly in each ``p``, ``p ::text`` all that
    is below it too; strings are as they stand in the page.
    """

    __slots__ = ("page", "raw", "strings")

    def __init__(self, raw: list[LexborNode], page: str = "", strings: list[str] | None = None) -> None:
        self.raw = raw
        self.page = page
        self.strings = strings

    def __repr__(self) -> str:
        return f"<Selection of {len(self)} {'nodes' if self.strings is None else 'strings'}>"

    def __len__(self) -> int:
        return len(self.raw if self.strings is None else self.strings)

    def __iter__(self) -> Iterator[Node]:
        page = self.page
        return (Node(raw, page) for raw in self._elements())

    @overload
    def __getitem__(self, index: int) -> Node: ...

    @overload
    def __getitem__(self, index: slice) -> "Selection": ...

    def __getitem__(self, index: int | slice) -> "Node | Selection":
        if isinstance(index, slice):
            return Selection(self._elements()[index], self.page)
        return Node(self._elements()[index], self.page)

    @overload
    def get(self) -> str | None: ...

    @overload
    def get(self, default: Default) -> str | Default: ...

    def get(self, default: object = None) -> object:
        """The first string; of a selector for elements, the first one's HTML. `default` when there is none."""
        if self.strings is not None:
            return self.strings[0] if self.strings else default
        return (self.raw[0].html or "") if self.raw else default

    def getall(self) -> list[str]:
        """All strings; of a selector for elements, the HTML of each."""
        if self.strings is not None:
            return list(self.strings)
        return [raw.html or "" for raw in self.raw]

    def css(self, selector: str) -> "Selection":
        """All that match in these elements, each once."""
        return _select(self._elements(), selector, self.page)

    def _elements(self) -> list[LexborNode]:
        if self.strings is not None:
            raise SelectorError(f"::text and ::attr() select strings: read them with get() or getall(){_on(self.page)}")
        return self.raw


def linked(selection: Selection, *, obey_rel: bool = False) -> list[str | None]:
    """What to follow of a selection: its strings; or the href of each element, else of the first link within it.

    With `obey_rel` no element that is marked ``rel=nofollow``; of strings nobody knows.
    """
    if selection.strings is not None:
        return [*selection.strings]
    elements = selection.raw
    if obey_rel:
        elements = [raw for raw in elements if "nofollow" not in relations(_itself_or_inner_link(raw))]
    return [_own_or_inner_href(raw) for raw in elements]


def _own_or_inner_href(raw: LexborNode) -> str | None:
    own = raw.attrs.get("href")
    return own if own is not None else _itself_or_inner_link(raw).attrs.get("href")


def _itself_or_inner_link(raw: LexborNode) -> LexborNode:
    return raw if raw.attrs.get("href") is not None else raw.css_first("a[href], area[href]") or raw


def _readable(raw: LexborNode) -> str:
    child = raw.first_child
    if child is None or (child.next is None and child.is_text_node):  # nearly every element that is ever asked
        return " ".join(raw.text_lexbor().split())
    return " ".join("".join(_shown(raw)).split())


def _shown(raw: LexborNode) -> Iterator[str]:
    """The texts below `raw` that a page shows, with spaces around its blocks."""
    # Of eight ways that were measured this costs least: half of serialising, spacing and parsing once more.
    opened: list[LexborNode] = []  # by hand, since a page may be nested deeper than Python
    node = raw.first_child
    while node is not None or opened:
        if node is None:
            node = opened.pop()
            if node.tag_id in _BLOCKS:
                yield " "
        elif node.is_text_node:
            yield node.text_content or ""
        elif (tag := node.tag_id) not in _NOT_SHOWN:
            if tag in _BLOCKS:
                yield " "
            opened.append(node)
            node = node.first_child
            continue
        node = node.next


class _Reading(NamedTuple):
    """A selector taken apart. ``deep``: the strings of all that is in the elements found, not of these alone."""

    css: str
    kind: Literal["nodes", "text", "attr"] = "nodes"
    name: str = ""
    deep: bool = False


_STRINGS = re.compile(
    r"""::(?:text|attr\(\s*(?P<quote>['"]?)(?P<name>[^'"()\s]+)(?P=quote)\s*\))\s*\Z""", re.IGNORECASE
)
_TOKEN = re.compile(r"""\\.|'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[()\[\],]""", re.DOTALL)
_HINTS = {
    "::": "::text and ::attr(name) stand at the end of a selector, and only in css()",
    ":contains(": 'Lexbor spells it :lexbor-contains("…")',
    "//": "XPath is not understood here",
}


def _select(nodes: list[LexborNode], selector: str, page: str) -> Selection:
    try:
        reading = _reading(selector) if "::" in selector else _Reading(selector)
        found = _found(nodes, reading.css) if reading.css or reading.kind == "nodes" else nodes
    except (SelectolaxError, TypeError, UnicodeError) as error:
        raise _malformed(selector, page) from error
    return Selection(found, page, None if reading.kind == "nodes" else list(_strings(found, reading)))


def _found(nodes: list[LexborNode], css: str) -> list[LexborNode]:
    found = nodes[0].css(css) if len(nodes) == 1 else [match for node in nodes for match in node.css(css)]
    if "," in css or len(nodes) > 1:  # Lexbor gives an element once for each part of a list that it matches
        return list({node.mem_id: node for node in found}.values())
    return found


@lru_cache(maxsize=1024)
def _reading(selector: str) -> _Reading:
    """Take ``::text`` or ``::attr(name)`` off a selector, with the meaning that cssselect gives them for Scrapy."""
    readings = [_part_reading(part) for part in _parts(selector)]
    if any(reading[1:] != readings[0][1:] for reading in readings):
        raise SelectorError(f"the parts of {escaped(selector)!r} select different things: select them one by one")
    return readings[0]._replace(css=", ".join(reading.css for reading in readings))


def _parts(selector: str) -> Iterator[str]:
    """The selector cut at its own commas, not at those in brackets or quotes."""
    depth = start = 0
    for token in _TOKEN.finditer(selector):
        if token[0] == "," and not depth:
            yield selector[start : token.start()]
            start = token.end()
        depth += (token[0] in {"(", "["}) - (token[0] in {")", "]"})
    yield selector[start:]


def _part_reading(part: str) -> _Reading:
    strings = _STRINGS.search(part)
    if strings is None:
        return _Reading(part)
    name = strings["name"] or ""
    kind: Literal["text", "attr"] = "attr" if name else "text"
    css = part[: strings.start()].lstrip()
    if css == "*" or re.search(r"\s\*\Z", css):  # `p *::text` and `p ::text` say the same
        css = css[:-1]
    scope = css.rstrip()
    if scope.endswith((">", "+", "~")):
        return _Reading(f"{scope} *", kind, name)
    return _Reading(scope, kind, name, deep=scope != css or not scope)


def _strings(nodes: list[LexborNode], reading: _Reading) -> Iterator[str]:
    """In document order, as XPath has them: the text after a nested element comes after that element's."""
    chosen = {node.mem_id for node in nodes}
    if reading.kind == "attr":
        for node in _everything_in(nodes) if reading.deep else nodes:
            value = node.attrs.sget(reading.name, None) if node.is_element_node else None
            if value is not None:
                yield value
        return
    for node in _everything_in(nodes):
        if node.is_text_node and (reading.deep or (node.parent is not None and node.parent.mem_id in chosen)):
            yield node.text_content or ""


def _everything_in(nodes: list[LexborNode]) -> Iterator[LexborNode]:
    """These elements and all below them, each once, though one of them may lie in another."""
    seen: set[int] = set()
    for top in nodes:
        if top.mem_id not in seen:
            for node in top.traverse(include_text=True):
                seen.add(node.mem_id)
                yield node


def _malformed(selector: object, page: str) -> SelectorError:
    if not isinstance(selector, str):
        return SelectorError(f"a CSS selector is text, not {escaped(repr(selector))}{_on(page)}")
    hint = next((hint for sign, hint in _HINTS.items() if sign in selector), "Lexbor cannot read it as CSS")
    return SelectorError(f"malformed selector {escaped(selector)!r}{_on(page)}: {hint}")


def _on(page: str) -> str:
    return f" on {escaped(page, 2048)}" if page else ""
