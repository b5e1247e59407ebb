"""The page on what happens when something fails names its proofs: they are there, and all steps are listed."""

import ast
import re
from pathlib import Path

import pytest

from tests.kills import points

TESTS = Path(__file__).parent
PAGE = (TESTS.parent / "docs" / "durability.md").read_text()
GROUPS = {
    "The job is opened": points.OPENING,
    "Hosts are taken over": points.TAKEOVER,
    "Seeds": points.SEEDS,
    "Hosts are leased": points.LEASES,
    "A page is asked for": points.ASKING,
    "Its handler": points.HANDLERS,
    "The commit": points.COMMIT,
    "Hosts are kept and given back": points.HOSTS,
    "Outputs": points.SINKS,
    "Downloads": points.DOWNLOADS,
    "The end": points.ENDING,
}


def proofs() -> list[str]:
    """What the last cells of the tables name, each once."""
    rows = re.findall(r"^\| .*\|$", PAGE.partition("## What each output holds")[0], re.MULTILINE)
    cells = [row.strip("|").rpartition("|")[2] for row in rows if not row.endswith("shown by |")]
    named = [re.findall(r"`([^`]+)`", cell) for cell in cells]
    assert all(named), "each line has a proof"
    return sorted({proof for row in named for proof in row})


@pytest.mark.parametrize("proof", proofs())
def test_what_is_named_exists(proof: str) -> None:
    """Every proof that the page names is a test, or a step at which processes are killed."""
    if "::" not in proof:
        assert proof in points.POINTS
        return
    file, name = proof.split("::")
    functions = ast.walk(ast.parse((TESTS / file).read_text()))
    assert name in {node.name for node in functions if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_all_steps_are_listed() -> None:
    """The page's list of steps is that of the tests, in its order; the number that it states is theirs."""
    assert [name for group in GROUPS.values() for name in group] == list(points.POINTS)
    listed = "\n".join(f"- {title}: {'; '.join(group)}." for title, group in GROUPS.items())
    assert f"<summary>All steps</summary>\n\n{listed}\n\n</details>" in PAGE
    assert f"({len(points.POINTS)} of them are listed" in PAGE
