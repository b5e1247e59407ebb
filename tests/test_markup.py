"""How long a page may take to parse is known from its bytes, and known soon."""

import time

import pytest

from crawler import markup
from crawler.markup import LONGEST, QUICK, worst
from crawler.tree import parse

COPIES = b"<p>" + b"".join(b"<b %d>" % n for n in range(1500)) + b"<p>x" * 3000
ATTRIBUTES = b" ".join(b"a%d" % n for n in range(100_000))


@pytest.mark.parametrize(
    "page",
    [
        COPIES,
        COPIES.upper(),
        COPIES.replace(b"<b ", b"<strike\n"),
        COPIES.replace(b"<b ", b"<FONT/"),
        b"<p>" + b"".join(b'<i x=">%d">' % n for n in range(1500)) + b"<p>x" * 3000,
        b"<p>" + b"".join(b"<u ' x='>%d'>" % n for n in range(1500)) + b"<p>x" * 3000,
        b"<div>" * 200_000,
        b"<div>" * 30_000 + b"</div>" * 30_000,
        b"<ul><li>" * 20_000,
        b"<a " + ATTRIBUTES + b">",
        b"text <a href=x>" + b"<!-- -->" * 10 + b"<input " + ATTRIBUTES,
        b"".join(b"<body a%d=1>" % n for n in range(50_000)),
        b"".join(b"<HTML %s>" % b" ".join(b"a%d" % n for n in range(m, m + 500)) for m in range(0, 100_000, 500)),
    ],
)
def test_bombs_are_known(page: bytes) -> None:
    """What keeps the parser busy for longer than a page is worth is told from its bytes, in any spelling."""
    assert worst(page) > LONGEST


@pytest.mark.parametrize(
    "page",
    [
        b"",
        b"x" * 10_000_000,
        b"<p>A line of prose, as long as they are in most pages of this world.</p>\n" * 5000,
        b"<select>" + b"<option>x" * 16_000 + b"</select>",
        b"<pre>" + b'one word and another / "more" of them ' * 20_000 + b"</pre>",
        b'<img src="data:image/png;base64,' + b"iVBORw0KGgo" * 50_000 + b'">',
        b"<p><b>bold</b> and <i class=x>italic</i> " * 2000,
    ],
)
def test_what_is_only_long_is_not_suspected(page: bytes) -> None:
    """Long pages of ordinary structure may be parsed at once."""
    assert worst(page) <= LONGEST


def test_a_small_page_costs_a_few_looks() -> None:
    """An ordinary page below 64 KiB is not counted, as a rule, and is quick in any case."""
    page = b"".join(b"<p>Words that <a href=/x>lead</a> to %s words.</p>\n" % (b"more" * (n % 17)) for n in range(200))
    found = [worst(page) for _ in range(500)]
    assert max(found) < 0.01
    assert found.count(0.0) > 450


@pytest.mark.parametrize("space", [0, 1, 4, 23])
def test_no_rhythm_hides_tags(space: int) -> None:
    """A small page that is all tags is counted, however far apart these stand."""
    page = (b"<p>" + b"x" * space) * (60_000 // (3 + space))
    assert all(worst(page) > 0.0 for _ in range(300))


def test_equal_formatting_is_copied_three_times_only() -> None:
    """A thousand equal tags are three to the parser, so that sloppy pages are not suspected."""
    same = b"<p>" + b"<font color=red>" * 2000 + b"<p>x" * 15_000
    different = b"<p>" + b"".join(b"<font color=%d>" % n for n in range(2000)) + b"<p>x" * 15_000
    assert worst(same) < LONGEST < worst(different)


@pytest.mark.parametrize(
    "make",
    [
        lambda n: b"<div>" * n,
        lambda n: b"<b x=1 " * n,
        lambda n: b"<b " + b"x" * n,
        lambda n: b"< " * n,
        lambda n: b"<b x='\">" * n,
        lambda n: b">" * n,
        lambda n: b"".join(b"<b %d>" % i for i in range(n)),
    ],
)
def test_it_is_linear(make) -> None:
    """Whatever is in a page, ten times as much takes about ten times as long to tell."""

    def seconds(page: bytes) -> float:
        began = time.thread_time()
        worst(page)
        return time.thread_time() - began

    short, long = make(50_000), make(500_000)
    assert min(seconds(long) for _ in range(3)) < 40 * min(seconds(short) for _ in range(5)) + 0.01


@pytest.mark.parametrize(
    "page",
    [
        b"<div>" * 3400,
        b"<b>" * 1700 + b"<p>x" * 1700,
        b"<p>" + b"".join(b"<b %d>" % n for n in range(40)) + b"<p>x" * 900,
        b"<a " + b" ".join(b"%d" % n for n in range(4400)) + b">",
        b"<dl>" * 1700 + b"<hr>" * 1700,
    ],
)
def test_the_bound_holds(page: bytes) -> None:
    """What is called quick is quick, on a slow machine too."""
    assert worst(page) <= QUICK
    began = time.process_time()
    parse(page, "utf-8")
    assert time.process_time() - began < 10 * QUICK


def test_the_samples_are_secret() -> None:
    """Where a page is looked at changes from page to page."""
    assert len({next(markup._SAMPLES) for _ in range(1009)}) > 500
