"""How inputs are made: of the scraps of a format in any order, some many times over, and of bytes that are nothing."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

from hypothesis import strategies as st

LONGEST = 2.0  # seconds of CPU time for one input; all of them take milliseconds
MOST = 20_000  # bytes of one scrap, repeated


class Target(NamedTuple):
    """What is fuzzed: `holds` is given an input and fails if anything is wrong with what becomes of it."""

    name: str
    inputs: st.SearchStrategy[Any]
    holds: Callable[[Any], None]

    def check(self, given: Any) -> None:
        """Whether all that has to hold does, in time."""
        began = time.thread_time()
        self.holds(given)
        took = time.thread_time() - began
        assert took < LONGEST, f"{took:.1f} s"


def scraps(listed: str, *, most: int = 20, separator: str = " ") -> st.SearchStrategy[bytes]:
    """Bytes made of these scraps, of the characters that formats trip over, and of any others."""
    known = [scrap.encode() for scrap in listed.split(separator)] + [
        b" ",
        b"\n",
        b"\r\n",
        b"\t",
        b"\0",
        b"\xff",
        b"\xe9",
    ]
    scrap = st.sampled_from(known)
    many = st.tuples(scrap, st.integers(2, 2000)).map(lambda pair: (pair[0] * pair[1])[:MOST])
    return st.lists(st.one_of(scrap, scrap, scrap, many, st.binary(max_size=6)), max_size=most).map(b"".join)


def texts(listed: str, *, most: int = 12) -> st.SearchStrategy[str]:
    """The same as text, with any characters in it but surrogates."""
    known = st.sampled_from([*listed.split(" "), " ", "\t", "\n", "\0", "\u202e", "é", "\u2028", "İ", "\U0001d4b3"])
    many = st.tuples(known, st.integers(2, 1000)).map(lambda pair: (pair[0] * pair[1])[:MOST])
    other = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
    return st.lists(st.one_of(known, known, known, many, other), max_size=most).map("".join)


def fields(listed: str, *, most: int = 20) -> st.SearchStrategy[str]:
    """A header's value as the HTTP library hands it over: bytes that are no UTF-8 are lone surrogates."""
    return scraps(listed, most=most).map(
        lambda value: value.translate(None, b"\r\n\0").decode("utf-8", "surrogateescape").strip(" \t")
    )


def cut(data: bytes, sizes: list[int]) -> list[bytes]:
    """Data in pieces of these sizes, and the rest."""
    pieces, at = [], 0
    for size in sizes:
        pieces.append(data[at : at + size])
        at += size
    return [piece for piece in [*pieces, data[at:]] if piece]


sizes = st.lists(st.integers(1, 3000), max_size=8)
