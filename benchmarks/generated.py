"""Sites made from a seed, whose pages are as long and have as many links as those of real manuals."""

import random
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

SEED = 20261121
WORDS = (
    "the",
    "of",
    "a",
    "to",
    "in",
    "is",
    "for",
    "value",
    "method",
    "type",
    "class",
    "returns",
    "object",
    "list",
    "when",
)


class Shape(Struct, frozen=True):
    """What a site is like: its pages, and 21 points of a distribution, from the least to the most, each.

    ``sizes`` are bytes, ``links`` all anchors of a page, ``targets`` the different pages that these lead to.
    """

    pages: int
    sizes: tuple[int, ...]
    links: tuple[int, ...]
    targets: tuple[int, ...]


SHAPES = {  # counted in Debian 12's openjdk-17-doc, postgresql-doc-15, python3.11-doc; the longest page of each is cut
    "jdk": Shape(
        10_000,
        (3949, 4175, 4245, 4339, 5929, 6398, 7377, 8658, 9872, 10949, 12267, 13726, 15722, 17575, 20084, 23619, 28964,
         37670, 50104, 76924, 400_000),
        (16, 17, 17, 17, 24, 26, 29, 34, 39, 45, 51, 57, 62, 69, 80, 92, 110, 138, 179, 282, 2000),
        (15, 16, 16, 16, 17, 18, 19, 20, 21, 22, 23, 24, 24, 25, 27, 28, 31, 34, 39, 50, 400),
    ),
    "pg": Shape(
        1169,
        (2071, 3396, 3837, 4287, 4590, 4907, 5196, 5512, 5967, 6352, 6876, 7603, 8607, 9797, 11619, 14138, 17145, 22046,
         30220, 45041, 200_000),
        (1, 8, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 14, 15, 17, 19, 22, 29, 51, 600),
        (1, 4, 4, 4, 4, 5, 5, 6, 6, 6, 7, 7, 7, 8, 8, 9, 10, 11, 13, 21, 200),
    ),
    "python": Shape(
        530,
        (8867, 14817, 18393, 20626, 23586, 27992, 32404, 37403, 42820, 48596, 54064, 61156, 70446, 80638, 93356, 104321,
         123772, 161316, 218920, 310765, 900_000),
        (17, 45, 53, 59, 66, 78, 87, 100, 112, 128, 145, 157, 180, 215, 240, 284, 375, 470, 594, 842, 5000),
        (9, 17, 18, 19, 20, 20, 21, 22, 22, 24, 25, 25, 27, 28, 31, 33, 36, 43, 57, 139, 490),
    ),
}  # fmt: skip


def generate(shape: Shape, folder: Path, pages: int) -> None:
    """Write a site of so many pages, the same each time; it begins at ``index.html``."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(SEED)
    for number in range(pages):
        (folder / name(number)).write_text("".join(_page(rng, shape, number, pages)))


def name(number: int) -> str:
    """The file of a page."""
    return f"page-{number}.html" if number else "index.html"


def _page(rng: random.Random, shape: Shape, number: int, count: int) -> Iterator[str]:
    wanted, size = _drawn(rng, shape.sizes), 0
    anchors = _drawn(rng, shape.links)
    # the next page, and two as in a heap: so each page is found, and by no long way
    targets = [(number + 1) % count, min(2 * number + 1, count - 1), min(2 * number + 2, count - 1)]
    targets += [rng.randrange(count) for _ in range(min(anchors, _drawn(rng, shape.targets)) - len(targets))]
    yield f"<!DOCTYPE html><html><head><title>Page {number} &amp; more</title></head><body>\n"
    for anchor in range(max(anchors, len(targets))):
        target = targets[anchor] if anchor < len(targets) else rng.choice(targets)
        fragment = "" if anchor < len(targets) else f"#part-{anchor}"
        line = f'<div class="entry"><code><a href="{name(target)}{fragment}" title="page {target}">{target}</a></code>'
        yield line
        text = _text(rng, max(0, (wanted - size) // max(1, anchors - anchor) - len(line) - 20))
        yield f"<p>{text}</p></div>\n"
        size += len(line) + len(text) + 14
    yield "</body></html>\n"


def _drawn(rng: random.Random, points: tuple[int, ...]) -> int:
    """A figure of the distribution: between two of its points, each pair as likely as any other."""
    low = rng.randrange(len(points) - 1)
    return int(points[low] + (points[low + 1] - points[low]) * rng.random() ** 3)  # long tails are thin


def _text(rng: random.Random, size: int) -> str:
    text = " ".join(rng.choices(WORDS, k=min(40, size // 5 + 1)))
    return (text * (size // len(text) + 1))[:size] if size else ""
