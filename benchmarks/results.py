"""What a case found: its table, its targets with their verdicts, its picture; and how that is kept."""

import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

ROOT = Path(__file__).parent.parent
SHOWN_PACKAGES = ("aiohttp", "apsw", "selectolax", "uvloop", "scrapy", "silkworm-rs", "crawlee", "requests")
Cell = str | int | float | None


class Target(Struct, frozen=True):
    """What a figure should be. ``measured`` is None where it could not be measured, for the reason ``why_not``."""

    what: str
    measured: float | None
    sense: Literal["≤", "<", "≥"]
    bound: float
    unit: str = "×"
    why_not: str = ""

    @property
    def is_met(self) -> bool | None:
        """Whether it is; None if nobody knows."""
        if self.measured is None:
            return None
        if self.sense == "≥":
            return self.measured >= self.bound
        return self.measured < self.bound if self.sense == "<" else self.measured <= self.bound

    @property
    def verdict(self) -> str:
        """In words: met, MISSED, or not measured and why."""
        return {True: "met", False: "MISSED", None: f"not measured: {self.why_not}"}[self.is_met]


class Bars(Struct, frozen=True, tag=True):
    """A picture of figures beside one another."""

    unit: str
    bars: Mapping[str, float]


class Lines(Struct, frozen=True, tag=True):
    """A picture of figures over something."""

    across: str
    unit: str
    lines: dict[str, list[tuple[float, float]]]


class Result(Struct, kw_only=True):
    """All that a case has to say. Each row has a cell for each of the columns."""

    case: str
    title: str
    how: str
    columns: list[str]
    rows: list[list[Cell]]
    targets: list[Target] = []
    picture: Bars | Lines | None = None
    text: str = ""
    scale: str = ""
    measured_on: str = ""
    machine: str = ""
    versions: dict[str, str] = {}


def stamped(result: Result, scale: str) -> Result:
    """The result with where, when and of what it was measured."""
    stamps = {"scale": scale, "machine": machine(), "versions": versions(), "measured_on": f"{datetime.now(UTC):%F}"}
    return msgspec.structs.replace(result, **stamps)


def machine() -> str:
    """The machine in a line: its processor, its cores, its memory."""
    model = platform.machine()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 30
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.partition(": ")[2] for line in lines if line.startswith("model name")), model)
    version = ".".join(platform.release().split(".")[:2])
    return f"{model}, {os.cpu_count()} cores, {memory} GiB, {platform.system()} {version}"


def versions() -> dict[str, str]:
    """The commit that was measured, Python, and the packages that matter, as far as they are installed."""
    found = {"commit": _commit(), "Python": platform.python_version()}
    for name in SHOWN_PACKAGES:
        if (number := installed(name)) is not None:
            found[name] = number
    return found


def installed(package: str) -> str | None:
    """A package's version; None if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def kept(result: Result, folder: Path) -> Path:
    """Write a result to its file in the folder; the file."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{result.case}.json"
    file.write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=1) + b"\n")
    return file


def read(folder: Path, cases: list[str]) -> list[Result]:
    """The results of these cases, as far as they have been measured."""
    files = [folder / f"{case}.json" for case in cases]
    return [msgspec.json.decode(file.read_bytes(), type=Result) for file in files if file.exists()]


def say(text: str) -> None:
    """Tell whoever waits what is being done."""
    sys.stderr.write(f"{text}\n")
