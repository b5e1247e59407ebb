"""The cases, by the names that the command line has for them."""

from collections.abc import Callable
from importlib import import_module

from benchmarks.bench import Bench
from benchmarks.results import Result

CASES = (
    "manuals", "peers", "wget2", "small_pages", "processes", "frontier", "memory", "schedule", "tls", "download",
    "gzip", "latency", "startup",
)  # fmt: skip


def case(name: str) -> Callable[[Bench], Result]:
    """What runs a case."""
    run: Callable[[Bench], Result] = import_module(f"benchmarks.cases.{name}").run
    return run
