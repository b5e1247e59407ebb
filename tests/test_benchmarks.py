"""The benchmarks' own promises: equal work is compared, a missed target is told, the page says what was measured."""

import functools
import re
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import msgspec
import pytest

from benchmarks import page
from benchmarks.bench import Bench
from benchmarks.cases import CASES, case
from benchmarks.contest import COLUMNS, LOOP, OURS, Contender, Unequal, compare, contest, loop, ours, read, rows
from benchmarks.generated import SHAPES, generate, name
from benchmarks.picture import drawn
from benchmarks.process import Failed, python, run
from benchmarks.results import Bars, Lines, Result, Target, kept, stamped
from benchmarks.results import read as results

PAGES = 25


class Quiet(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def site(tmp_path: Path) -> Iterator[str]:
    """A small generated site; its base URL."""
    generate(SHAPES["pg"], tmp_path / "site" / "all", PAGES)
    (tmp_path / "site" / "one").mkdir()
    (tmp_path / "site" / "one" / "index.html").write_text("<title>one</title>")
    handler = functools.partial(Quiet, directory=tmp_path / "site")
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_contest(site: str, tmp_path: Path) -> None:
    """Our crawl and the hand-written loop fetch the same pages of a generated site, and each has its figures."""
    contenders = [ours(), loop(), Contender("absent", lambda *_: [], missing="absent is not installed")]
    costs = contest(contenders, f"{site}/all/index.html", f"{site}/one/index.html", tmp_path / "out", 1)
    assert list(costs) == [OURS, LOOP]
    urls = {url for url, _ in costs[LOOP][0].records}
    assert urls == {f"{site}/all/{name(number)}" for number in range(PAGES)}
    assert costs[OURS][0].records == costs[LOOP][0].records
    assert all(one.memory > 10 for both in costs.values() for one in both)
    table = rows(costs, "small: ")
    assert [row[:2] for row in table] == [[f"small: {OURS}", PAGES], [f"small: {LOOP}", PAGES]]
    assert all(len(row) == len(COLUMNS) for row in table)


def test_unequal_work_is_no_contest(tmp_path: Path) -> None:
    """Records that only one side has, or that are there twice, end the benchmark."""
    with pytest.raises(Unequal, match=r"loop has 1 records, other 2: only other has \[\('b'"):
        compare("loop", {("a", "1")}, "other", {("a", "1"), ("b", "2")})
    (tmp_path / "twice.jsonl").write_text('{"url": "a"}\n{"url": "a"}\n')
    with pytest.raises(Unequal, match="1 records are there twice"):
        read(tmp_path / "twice.jsonl")


def test_a_generated_site_is_always_the_same(tmp_path: Path) -> None:
    """Its pages come from a committed seed."""
    for folder in ("one", "two"):
        generate(SHAPES["jdk"], tmp_path / folder, 5)
    pages = [sorted((file.name, file.read_text()) for file in (tmp_path / of).iterdir()) for of in ("one", "two")]
    assert pages[0] == pages[1]
    assert len(pages[0]) == 5


def test_a_program_is_measured() -> None:
    """CPU and memory are those of a program and its children; what it prints is kept."""
    child = "sum(range(4_000_000)); b = bytearray(40 << 20); b[::4096] = b'x' * len(b[::4096]); print('done')"
    used = run(python("-c", f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}], check=True)"))
    assert used.out == "done\n"
    assert 0.02 < used.cpu < 20
    assert used.wall > 0.02
    with pytest.raises(Failed, match="ended with 3"):
        run(python("-c", "raise SystemExit(3)"))


@pytest.mark.parametrize(
    ("measured", "sense", "bound", "verdict"),
    [
        (0.9, "≤", 0.9, "met"),
        (0.91, "≤", 0.9, "MISSED"),
        (12.0, "≥", 12, "met"),
        (11.9, "≥", 12, "MISSED"),
        (80, "<", 80, "MISSED"),
        (79, "<", 80, "met"),
        (None, "≥", 12, "not measured: Scrapy is not installed"),
    ],
)
def test_verdicts(measured: float | None, sense: str, bound: float, verdict: str) -> None:
    """A target is met, missed, or not measured for a reason."""
    facts = {"what": "cpu", "measured": measured, "sense": sense, "bound": bound, "why_not": "Scrapy is not installed"}
    assert msgspec.convert(facts, Target).verdict == verdict


def test_the_page(tmp_path: Path) -> None:
    """What was missed stands in the page as missed, and so do machine, versions, table and picture."""
    result = Result(
        case="manuals",
        title="A title",
        how="How it is done.",
        columns=["", "µs"],
        rows=[["crawler", 1234], ["loop", None]],
        targets=[Target("CPU of the loop", 1.204, "≤", 0.9)],
        picture=Bars("µs", {"crawler": 1234, "loop <1>": 1}),
    )
    kept(stamped(result, "quick"), tmp_path)
    found = results(tmp_path, list(CASES))
    assert [one.case for one in found] == ["manuals"]
    page.write(found, tmp_path / "benchmarks.md")
    text = (tmp_path / "benchmarks.md").read_text()
    assert "| crawler | 1,234 |\n| loop | - |" in text
    assert re.search(r"CPU of the loop: 1\.2 ., to be ≤ 0\.9 .: MISSED", text)
    assert "quick" in text
    assert "loop &lt;1&gt;" in (tmp_path / "benchmarks" / "manuals.svg").read_text()
    assert "MISSED" in page.printed(found[0])


def test_a_picture_of_lines() -> None:
    """Lines go from the least to the most of what was measured."""
    assert 'points="70.0,' in drawn(Lines("seconds", "MiB", {"crawler": [(0, 10), (5, 20)]}))


def test_every_case_is_there() -> None:
    """Each name of the command line has its module, with all sizes."""
    assert all(callable(case(one)) for one in CASES)
    assert [Bench(Path(), scale).by_scale(1, 2, 3) for scale in ("quick", "usual", "whole")] == [1, 2, 3]
