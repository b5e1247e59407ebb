"""The command: ``python -m benchmarks [case …]``."""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import page
from benchmarks.bench import Bench, Scale
from benchmarks.cases import CASES, case
from benchmarks.process import Failed
from benchmarks.results import ROOT, Result, kept, read, say, stamped

KEPT, PASSING = ROOT / "benchmarks" / "results", ROOT / "output" / "benchmarks"


def main() -> int:
    """Run what was asked for; 1 if a case failed or a target was missed, so that a script can tell."""
    parser = argparse.ArgumentParser("python -m benchmarks", description="Measure; see benchmarks/__init__.py.")
    parser.add_argument("cases", nargs="*", metavar="case", help=", ".join(CASES))
    scale = parser.add_mutually_exclusive_group()
    scale.add_argument("--quick", action="store_const", const="quick", dest="scale", help="small sizes, two minutes")
    scale.add_argument("--whole", action="store_const", const="whole", dest="scale", help="the largest sizes, hours")
    parser.add_argument("--results", type=Path, help="folder of the results")
    parser.add_argument(
        "--page", action="store_true", help="measure nothing, make the page from results that are there"
    )
    given = parser.parse_args()
    if unknown := set(given.cases) - set(CASES):
        parser.error(f"no case {', '.join(sorted(unknown))}; there are {', '.join(CASES)}")
    chosen: Scale = given.scale or "usual"
    folder: Path = given.results or (PASSING if chosen == "quick" else KEPT)
    found = [] if given.page else [_measured(name, chosen, folder) for name in given.cases or CASES]
    has_failed = None in found
    document = ROOT / "docs" / "benchmarks.md" if folder == KEPT else folder / "benchmarks.md"
    page.write(read(folder, list(CASES)), document)
    say(f"written: {folder}, {document}")
    return int(has_failed or any(target.is_met is False for result in found if result for target in result.targets))


def _measured(name: str, scale: Scale, folder: Path) -> Result | None:
    """A case's result, printed and kept; None if its sides did not do the same, or a program failed."""
    say(f"{name} …")
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as temporary:
        try:
            result = stamped(case(name)(Bench(Path(temporary), scale)), scale)
        except (AssertionError, Failed) as error:
            print(f"{name}: FAILED: {error}", flush=True)
            return None
    kept(result, folder)
    print(page.printed(result), flush=True)
    say(f"  {time.monotonic() - began:.0f} s")
    return result


if __name__ == "__main__":
    sys.exit(main())
