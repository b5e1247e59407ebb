"""The page on what the web may do names its proofs: they are there."""

from tests.hostile import ROWS
from tests.proofs import TESTS, missing, named

PAGE = (TESTS.parent / "docs" / "hostile.md").read_text()


def test_what_is_named_exists() -> None:
    """Every proof that the page names is a test, or a row of the misbehaving web."""
    assert missing(named(PAGE), ROWS) == []


def test_what_is_not_there_is_found() -> None:
    """A test or row that is not there is told; so is a line without a proof."""
    assert missing(["mute.pace", "mute.speed", "test_hostile_docs.py::test_nothing", "test_none.py::test_x"], ROWS) == [
        "mute.speed", "test_hostile_docs.py::test_nothing", "test_none.py::test_x",
    ]  # fmt: skip
