"""Several programs at the same job, turn by turn: their records held against one another, what a page costs each."""

import json
import os
import re
import shutil
import statistics
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from msgspec import Struct

from benchmarks.process import Used, python, run
from benchmarks.results import Cell, installed, say

Records = set[tuple[str, str]]
LOOP = "hand-written loop"
OURS = "crawler"


class Contender(Struct, frozen=True):
    """A program: how it is called to do the job from a URL on, and the file below a folder where its records lie then.

    ``missing`` says what must be installed first, if anything. It has one core, or ``all_cores``.
    """

    name: str
    command: Callable[[str, Path], list[str]]
    file: str = "records.jsonl"
    codes: tuple[int, ...] = (0,)
    missing: str = ""
    all_cores: bool = False


class Cost(Struct, frozen=True):
    """What one crawl came to. ``cpu`` is µs a page beyond what a crawl of one page takes, so start-up is not in it."""

    records: Records
    cpu: float
    rate: float
    memory: int
    lag: float | None

    @property
    def pages(self) -> int:
        """How many pages it took down."""
        return len(self.records)


class Unequal(AssertionError):
    """Two programs did not do the same job, so nothing may be said of their speed."""


def ours(spider: str = "Titles", *settings: str, options: Sequence[str] = (), argument: str = "start") -> Contender:
    """Our own crawl from the command line, all defaults but the two without which it would wait."""
    chosen = [word for one in ("delay=0", "concurrency_per_host=16", *settings) for word in ("-s", one)]

    def command(start: str, folder: Path) -> list[str]:
        words = [
            "-m",
            "crawler",
            "crawl",
            f"benchmarks/spiders.py:{spider}",
            "-a",
            f"{argument}={start}",
            "--job",
            "job",
        ]
        return python(*words, "--no-progress", "--folder", str(folder), *chosen, *options)

    return Contender(OURS, command, "job/run-0001/items.jsonl", (0, 3))


def module(name: str, path: str, *, package: str = "", words: Sequence[str] = ()) -> Contender:
    """A program of ours that takes a URL and a file; it is missing if its package is."""

    def command(start: str, folder: Path) -> list[str]:
        return python("-m", f"benchmarks.{path}", start, str(folder / "records.jsonl"), *words)

    number = installed(package) if package else ""
    missing = "" if number is not None else f"{package} is not installed"
    return Contender(f"{name} {number}".strip(), command, missing=missing)


def loop() -> Contender:
    """The hand-written loop."""
    return module(LOOP, "floor")


def contest(contenders: Sequence[Contender], start: str, one: str, folder: Path, turns: int) -> dict[str, list[Cost]]:
    """The costs of each that is installed, one for each turn. `one` is a page by itself.

    Raises `Unequal` if records differ from those of the first.
    """
    costs: dict[str, list[Cost]] = {contender.name: [] for contender in contenders if not contender.missing}
    for contender in contenders:
        if not contender.missing:
            _once(contender, one, folder)  # so that nobody's first turn is the one that fills caches
    for turn in range(turns):
        for contender in contenders:
            if not contender.missing:
                say(f"  turn {turn + 1} of {turns}: {contender.name}")
                costs[contender.name].append(cost(contender, start, one, folder))
    first, *others = costs
    for name in others:
        compare(first, costs[first][0].records, name, costs[name][0].records)
    return costs


def cost(contender: Contender, start: str, one: str, folder: Path) -> Cost:
    """What a crawl costs, less what a crawl of one page does."""
    least = _once(contender, one, folder)
    used = _once(contender, start, folder)
    records = read(folder / contender.file)
    more = max(1, len(records) - 1)
    lag = re.search(r'"lag_ms": ([\d.]+)', used.out)
    return Cost(
        records, (used.cpu - least.cpu) / more * 1e6, more / (used.wall - least.wall), used.memory,
        float(lag[1]) if lag else None,
    )  # fmt: skip


def _once(contender: Contender, start: str, folder: Path) -> Used:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    on = set(range(os.cpu_count() or 1)) if contender.all_cores else None
    return run(contender.command(start, folder), codes=contender.codes, on=on)


def read(file: Path) -> Records:
    """A file's records: the URL, and the rest as text in which white space is single."""
    found = []
    for line in file.read_text().splitlines():
        record = json.loads(line)
        url = record.pop("url")
        found.append((url, " ".join(" ".join(str(value) for value in record.values()).split())))
    if len(found) != len(set(found)):
        raise Unequal(f"{file}: {len(found) - len(set(found))} records are there twice")
    return set(found)


def compare(one: str, ones: Records, other: str, others: Records) -> None:
    """Raises `Unequal` with examples unless both sides have the same pages and records."""
    if ones != others:
        more, fewer = sorted(others - ones)[:3], sorted(ones - others)[:3]
        raise Unequal(
            f"{one} has {len(ones)} records, {other} {len(others)}: only {other} has {more}, only {one} {fewer}"
        )


def median(costs: Sequence[Cost], figure: str) -> float:
    """The median of one of the figures."""
    return float(statistics.median(getattr(cost, figure) for cost in costs))


def ratio(ours: Sequence[Cost], theirs: Sequence[Cost], figure: str = "cpu") -> float:
    """How many times theirs ours is: the median over the pairs."""
    pairs = zip(ours, theirs, strict=True)
    return float(statistics.median(getattr(one, figure) / getattr(other, figure) for one, other in pairs))


COLUMNS = ["", "pages", "CPU µs/page", "crawler is at", "pages/s", "RSS MiB", "p99 lag ms"]


def profiled(start: str, folder: Path) -> tuple[str, float]:
    """What `crawler crawl --profile` tells of the job, which no turn has measured; and its p99 lag in ms."""
    crawl = ours(options=["--profile"])
    told = _once(crawl, start, folder).out
    lag = re.search(r"(\d+) ms late \(p99\)", told)
    assert lag, told
    lines = [line for line in told.splitlines() if line.startswith(("  profile:", "    "))]
    return "\n".join(lines), float(lag[1])


def rows(costs: Mapping[str, Sequence[Cost]], label: str = "", lag: float | None = None) -> list[list[Cell]]:
    """The table of a contest; the first, which is ours, against each of the others. `lag` is that of ours."""
    found: list[list[Cell]] = []
    mine = next(iter(costs.values()))
    for name, theirs in costs.items():
        lags = [cost.lag for cost in theirs if cost.lag is not None]
        shown = None if theirs is mine else f"{ratio(mine, theirs):.2f} × its CPU"
        figures = partial(median, theirs)
        found.append([
            f"{label}{name}", theirs[0].pages, round(figures("cpu")), shown, round(figures("rate")),
            round(figures("memory")), statistics.median(lags) if lags else lag if theirs is mine else None,
        ])  # fmt: skip
    return found
