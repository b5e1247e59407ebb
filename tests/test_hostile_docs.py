"""The page on what the web may do names its proofs: they are there."""

import ast
import re
from pathlib import Path

import pytest

from tests.hostile import ROWS

TESTS = Path(__file__).parent
PAGE = (TESTS.parent / "docs" / "hostile.md").read_text()


def proofs() -> list[str]:
    """What the last cells of the tables name, each once."""
    rows = [row for row in re.findall(r"^\| .*\|$", PAGE, re.MULTILINE) if not row.endswith("shown by |")]
    named = [re.findall(r"`([^`]+)`", row.strip("|").rpartition("|")[2]) for row in rows]
    assert rows
    assert all(named), "each line has a proof"
    return sorted({proof for row in named for proof in row})


@pytest.mark.parametrize("proof", proofs())
def test_what_is_named_exists(proof: str) -> None:
    """Every proof that the page names is a test, or a row of the misbehaving web."""
    if "::" not in proof:
        assert proof in ROWS
        return
    file, name = proof.split("::")
    functions = ast.walk(ast.parse((TESTS / file).read_text()))
    assert name in {node.name for node in functions if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
