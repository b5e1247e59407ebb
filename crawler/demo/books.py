"""The shop's stock: invented books, the same ones on every machine and every day."""

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib import resources
from typing import TypeVar

Drawn = TypeVar("Drawn")
NUMBER = 80
_STOCK = tomllib.loads((resources.files(__package__) / "stock.toml").read_text("utf-8"))
SHELVES: tuple[str, ...] = tuple(_STOCK["titles"])


@dataclass(frozen=True)
class Book:
    """One book as its page shows it, in plain text; ``rating`` is 1 to 5 stars, ``copies`` may be 0."""

    title: str
    author: str
    category: str
    pence: int
    copies: int
    rating: int
    description: str

    @property
    def path(self) -> str:
        """Where its page is; no two books share one."""
        return "/book/" + "-".join(re.findall(r"\w+", self.title.lower()))

    @property
    def upc(self) -> str:
        """The shop's own sixteen-digit number for it, hexadecimal."""
        return sha256(self.title.encode()).hexdigest()[:16]

    @property
    def price(self) -> str:
        """Pounds and pence, such as £12.34."""
        return f"£{self.pence // 100}.{self.pence % 100:02}"

    @property
    def availability(self) -> str:
        """What its page says about copies."""
        return f"In stock ({self.copies} available)" if self.copies else "Out of stock"


@cache
def books() -> tuple[Book, ...]:
    """All books of the shop in the order of its listing; titles are unique."""
    by_title: dict[str, Book] = {}
    seed = 0
    while len(by_title) < NUMBER:
        book = _book(seed, SHELVES[len(by_title) % len(SHELVES)])
        by_title.setdefault(book.title, book)
        seed += 1
    return tuple(by_title.values())


def _book(seed: int, category: str) -> Book:
    words: dict[str, str] = {kind: _drawn(seed, kind, choice) for kind, choice in _STOCK["words"].items()}
    author = f"{words['first']} {words['last']}"
    spoken = {kind: word.lower() for kind, word in words.items()} | {"place": words["place"], "author": author}
    sentences: list[str] = [_drawn(seed, kind, choice) for kind, choice in _STOCK["sentences"].items()]
    return Book(
        title=_drawn(seed, "title", _STOCK["titles"][category]).format_map(words),
        author=author,
        category=category,
        pence=_drawn(seed, "pence", range(4_50, 58_00)),
        copies=_drawn(seed, "copies", range(20)),
        rating=_drawn(seed, "rating", range(1, 6)),
        description=" ".join(sentence.format_map(spoken) for sentence in sentences),
    )


def _drawn(seed: int, kind: str, choice: Sequence[Drawn]) -> Drawn:
    """One of the choice by a digest, not by `random`, whose draws may change from one Python to the next."""
    return choice[int.from_bytes(sha256(f"{seed} {kind}".encode()).digest()[:4]) % len(choice)]
