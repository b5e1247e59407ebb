"""The page on security names settings and pages that are there."""

import re
from pathlib import Path

import pytest

from crawler.settings import Settings

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "docs" / "security.md", ROOT / "SECURITY.md"]


def test_settings_exist() -> None:
    """Each word in the last cells of the table of what is defended is a setting."""
    table = PAGES[0].read_text().split("## What is defended")[1].split("##")[0]
    cells = [row.strip("|").rpartition("|")[2] for row in re.findall(r"^\| .*\|$", table, re.MULTILINE)[1:]]
    named = {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}
    assert len(named) > 20
    assert named <= set(Settings.__struct_fields__)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """Each link to a page, and each file of tests that is named, is there."""
    text = page.read_text()
    for target in re.findall(r"\]\(([^)#]+)", text):
        assert (page.parent / target).resolve().is_file(), target
    for name in re.findall(r"`(tests/[\w/.]+)`", text):
        assert (ROOT / name).exists(), name
