"""The page on what happens when something fails names its proofs: they are there, and all steps are listed."""

from tests.kills import points
from tests.proofs import TESTS, missing, named

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


def test_what_is_named_exists() -> None:
    """Every proof that the page names is a test, or a step at which processes are killed."""
    assert missing(named(PAGE.partition("## What each output holds")[0]), points.POINTS) == []


def test_all_steps_are_listed() -> None:
    """The page's list of steps is that of the tests, in its order; the number that it states is theirs."""
    assert [name for group in GROUPS.values() for name in group] == list(points.POINTS)
    listed = "\n".join(f"- {title}: {'; '.join(group)}." for title, group in GROUPS.items())
    assert f"<summary>All steps</summary>\n\n{listed}\n\n</details>" in PAGE
    assert f"({len(points.POINTS)} of them are listed" in PAGE
