"""URLs without their numbers, and when pages of one shape are taken for a machine's."""

import time

import pytest

from crawler.revisit import digest
from crawler.shapes import LONGEST, STEP, Ended, Shape, Shapes, shape_of
from crawler.traps import BARREN, SAME

HOST = "http://a.test"


@pytest.mark.parametrize(
    ("path", "shape"),
    [
        ("/", "/"),
        ("/day/2024/05/17", "/day/#/#/#"),
        ("/day/2024-05-17.html?page=3", "/day/#-#-#.html?page=#"),
        ("/v1/chapter12a", "/v#/chapter#a"),
        ("/photo/5f3a9c0be1", "/photo/#"),
        ("/x/F00DBABE?s=0123456789abcdef", "/x/#?s=#"),
        ("/u/9f8b1c2d-aaaa-bbbb-cccc-dddddddddddd/edit", "/u/#/edit"),
        ("/facade/decade/added", "/facade/decade/added"),
        ("/a1b2c3z", "/a#b#c#z"),
        ("/%20%C3%A4/%2f7", "/%20%C3%A4/%2f#"),
    ],
)
def test_shapes(path: str, shape: str) -> None:
    """Numbers, hexadecimal ones and UUIDs make no other shape; words and escapes do."""
    assert shape_of(path) == shape


@pytest.mark.parametrize("path", ["/" + "a" * 2000 + "z", "/" + "a1" * 1000, "/" + "1-" * 1000, "/" + "%aa" * 600])
def test_shapes_take_linear_time(path: str) -> None:
    """No URL makes its shape expensive."""
    began = time.perf_counter()
    shape_of(path)
    assert time.perf_counter() - began < 0.05


def met(
    shapes: Shapes, path: str, body: str, *, items: bool = False, leads: tuple[str, ...] = ()
) -> tuple[Ended | None, Shape | None]:
    """What is made of a page: of its links, and for the journal."""
    url, content = HOST + path, digest(body.encode())
    ended = shapes.ended(url, content)
    found = shapes.note(url, content, body=body.encode(), has_items=items, leads=[HOST + lead for lead in leads])
    return ended, found


def test_pages_with_one_body() -> None:
    """Links of a page are left out when so many had its very body before; those of pages with another are not."""
    shapes = Shapes(3, 0)
    assert [met(shapes, f"/{n}", "gone")[0] for n in range(3)] == [None] * 3
    assert met(shapes, "/3", "gone")[0] == Ended(SAME, HOST, "/#")
    assert met(shapes, "/4", "here")[0] is None
    assert met(shapes, "/x/5", "gone")[0] is None
    assert shapes.ended("http://b.test/3", digest(b"gone")) is None
    assert [met(shapes, "/one", "gone")[0] for _ in range(9)] == [None] * 9  # one page, however often it is asked


def test_what_the_journal_is_told_of_one_body() -> None:
    """The page that makes them enough tells the journal, once; another process goes on from there."""
    shapes = Shapes(3, 0)
    told = [found for n in range(9) if (found := met(shapes, f"/{n}", "gone")[1])]
    assert told == [Shape("/#", digest(b"gone").hex(), 3, 0, SAME)]
    other, wider, off = Shapes(3, 0), Shapes(4, 0), Shapes(0, 0)
    for one in (other, wider, off):
        one.learn(HOST, told)
    assert met(other, "/9", "gone")[0] == Ended(SAME, HOST, "/#")
    assert [met(wider, f"/{n}", "gone")[0] is None for n in range(2)] == [True, False]
    assert [met(off, f"/{n}", "gone")[0] for n in range(9)] == [None] * 9


def test_pages_in_vain() -> None:
    """A shape ends after so many pages when the last half brought no item, no new words and no way to another shape."""
    shapes = Shapes(0, 10)
    assert [met(shapes, f"/{n}", f"number {n}", leads=(f"/{n + 1}",))[0] for n in range(11)] == [None] * 11
    assert met(shapes, "/11", "number 11")[0] == Ended(BARREN, HOST, "/#")


@pytest.mark.parametrize("use", ["item", "word", "way", "host"])
def test_pages_of_use(use: str) -> None:
    """One page of use, and the shape goes on for as long again."""
    shapes = Shapes(0, 10)
    for n in range(11):
        is_use = n == 8
        body = f"number {n}" + " news" * (is_use and use == "word")
        leads = {"way": ("/other/1",), "host": (".else/1",)}.get(use, ()) if is_use else ()
        met(shapes, f"/{n}", body, items=is_use and use == "item", leads=leads)
    assert [met(shapes, f"/{n}", f"number {n}")[0] is None for n in range(11, 16)] == [True, True, True, False, False]


def test_what_the_journal_is_told_of_pages_in_vain() -> None:
    """Every fifty pages in vain the journal is told how many, so that kills do not keep a shape from its end."""
    shapes, most = Shapes(0, 4 * STEP), 4 * STEP
    told = [found for n in range(most + 1) if (found := met(shapes, f"/{n}", "x")[1])]
    assert [(one.pages, one.barren, one.reason) for one in told] == [
        (3 * STEP + 1, STEP, ""),
        (most + 1, 2 * STEP, BARREN),
    ]
    early, late = Shapes(0, most), Shapes(0, most)
    early.learn(HOST, told[:1])
    late.learn(HOST, told)
    assert [met(early, f"/{n}", "xy"[n % 2])[0] is None for n in range(STEP + 1)] == [True] * STEP + [False]
    assert [met(late, f"/{n}", "xy"[n % 2])[0] is None for n in range(9)] == [False] * 9


def test_what_a_link_is_to_a_shape_that_has_ended() -> None:
    """Links are left out wherever they lead, or to pages of that shape; requests of the spider's own only there."""
    same, barren = Ended(SAME, HOST, "/#"), Ended(BARREN, HOST, "/#")
    own, other = HOST + "/7", HOST + "/x"
    assert [same.holds(url, is_followed=True) for url in (own, other)] == [True, True]
    assert [same.holds(url, is_followed=False) for url in (own, other)] == [False, False]
    assert [barren.holds(url, is_followed=yes) for url in (own, other) for yes in (True, False)] == [
        True,
        True,
        False,
        False,
    ]


def test_shapes_are_forgotten() -> None:
    """Memory is bounded: what was not met for long is counted anew, what is met goes on."""
    shapes = Shapes(3, 0)
    for n in range(3):
        met(shapes, f"/{n}", "gone")
        met(shapes, f"/old/{n}", "gone")
    for n in range(3 * LONGEST):
        met(shapes, f"/x/{n}", str(n))
        if not n % 1000:
            met(shapes, f"/{n}", "gone")
    assert met(shapes, "/3", "gone")[0] == Ended(SAME, HOST, "/#")
    assert met(shapes, "/old/3", "gone")[0] is None
