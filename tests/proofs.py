"""What the tables of a page of the manual name as proofs, in their last column, and whether it is there."""

import re
from collections.abc import Collection
from functools import cache
from pathlib import Path

TESTS = Path(__file__).parent


def named(page: str) -> set[str]:
    """All that stands between backticks in the last cells of a page's tables. Each line of a table has a proof."""
    cells = [row.strip("|").rpartition("|")[2] for row in re.findall(r"^\| .*\|$", page, re.MULTILINE)]
    found = [set(re.findall(r"`([^`]+)`", cell)) for cell in cells if cell.strip() != "shown by"]
    assert found
    assert all(found), "each line has a proof"
    return set[str]().union(*found)


def missing(proofs: Collection[str], others: Collection[str]) -> list[str]:
    """Those proofs that are no tests (``test_file.py::test_name``), nor among the others."""
    return sorted(proof for proof in proofs if proof not in others and not _is_test(proof))


def _is_test(proof: str) -> bool:
    file, _, name = proof.partition("::")
    return name in _tests(file)


@cache
def _tests(file: str) -> frozenset[str]:
    path = TESTS / file
    written = path.read_text() if path.suffix == ".py" and path.is_file() else ""
    return frozenset(re.findall(r"^ *(?:async )?def (test_\w+)\(", written, re.MULTILINE))
