from pathlib import Path

import pytest

from crawler.__main__ import main
from crawler.cli.settings import as_markdown
from crawler.settings import FIELDS, parse_size

DOCS = Path(__file__).parent.parent / "docs" / "settings.md"


def test_the_docs_have_every_setting() -> None:
    """docs/settings.md holds the table that 'crawler settings --markdown' prints, as it is now."""
    assert as_markdown() in DOCS.read_text(encoding="utf-8")


@pytest.mark.parametrize("options", [[], ["--markdown"]])
def test_every_setting_is_shown_with_its_meaning(capsys: pytest.CaptureFixture[str], options: list[str]) -> None:
    """The table has a row for each setting, and none is without help."""
    assert main(["settings", *options]) == 0
    rows = capsys.readouterr().out.splitlines()
    assert len(rows) == len(FIELDS) + (2 if options else 1)
    assert all(any(row.strip("|` ").startswith(name) for row in rows) for name in FIELDS)
    assert not any("|  |" in row[-6:] for row in rows)


def test_sizes_are_shown_as_they_may_be_written() -> None:
    """A size in the table is one that a setting takes."""
    sizes = [row.split("`")[3] for row in as_markdown().splitlines() if "` | bytes |" in row]
    assert sizes
    assert all(parse_size(size) > 0 for size in sizes)
