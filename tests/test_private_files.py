"""What a crawl leaves on the disk is no other user's to read, where cookies may be in it."""

import csv
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from crawler import Crawl, Spider
from crawler.frontier.repairs import copied
from crawler.testing import Site
from tests.test_login import Club, member

pytestmark = pytest.mark.skipif(os.name == "nt", reason="access is another matter there")
SECRET = b"session-1"  # the cookie of the first login


@pytest.fixture(autouse=True)
def _carefree() -> Iterator[None]:
    """A user who gives access to all files to everybody."""
    before = os.umask(0)
    yield
    os.umask(before)


def modes(folder: Path) -> dict[str, int]:
    """Who may do what with each file below a folder, and with itself."""
    return {str(path.relative_to(folder.parent)): stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*")}


def holders(folder: Path) -> set[str]:
    """The files in which the session's cookie stands."""
    return {path.name for path in folder.rglob("*") if path.is_file() and SECRET in path.read_bytes()}


@pytest.mark.parametrize("is_open_to_all", [False, True])
async def test_a_job(tmp_path: Path, *, is_open_to_all: bool) -> None:
    """The journal, its log and engines' files are the owner's alone, during a crawl and after it, in any folder."""
    folder = tmp_path / "member"
    if is_open_to_all:
        folder.mkdir()
    async with Site() as site:
        Club(site)
        async with Crawl(member(site), folder=tmp_path, settings=site.settings) as crawl:
            seen = [modes(folder) async for _item in crawl]
        during = {name for found in seen for name in found}
        assert {"member/job.db", "member/job.db-wal", "member/job.db-shm"} <= during
        for found in [*seen, modes(folder)]:
            assert {
                name: mode for name, mode in found.items() if "job.db" in name or "engine" in name if mode & 0o77
            } == {}
    assert stat.S_IMODE(folder.stat().st_mode) == (0o777 if is_open_to_all else 0o700)
    assert holders(tmp_path) <= {"job.db", "job.db-wal"}


async def test_a_copy_before_a_repair(tmp_path: Path) -> None:
    """It is as private as the journal that it is a copy of."""
    async with Site() as site:
        Club(site)
        async with Crawl(member(site), folder=tmp_path, settings=site.settings) as crawl:
            await crawl.ended()
    copy = copied(tmp_path / "member" / "job.db")
    assert SECRET in copy.read_bytes()
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600


async def test_the_cache(tmp_path: Path) -> None:
    """Replies to somebody who is logged in are kept in files of the owner's alone."""
    async with Site() as site:
        Club(site)
        async with Crawl(member(site), folder=tmp_path, settings={**site.settings, "cache_for": 60}) as crawl:
            await crawl.ended()
    kept = [path for path in tmp_path.rglob("*") if path.is_file() and "member" not in path.parts]
    assert holders(tmp_path) & {path.name for path in kept}
    assert {stat.S_IMODE(path.stat().st_mode) for path in kept} == {0o600}
    assert {stat.S_IMODE(path.parent.stat().st_mode) for path in kept} == {0o700}


class Titles(Spider):
    """Keeps what a page says."""

    def parse(self, response):
        yield {response.text("title"): response.text("title")}


@pytest.mark.parametrize(("chosen", "cell"), [({}, "'=1+1"), ({"csv_formulas": True}, "=1+1")])
async def test_a_page_writes_no_formula(tmp_path: Path, chosen: dict[str, bool], cell: str) -> None:
    """What a page says is no formula in a crawl's CSV file, neither as a cell nor as a column, unless that is set."""
    async with Site() as site:
        site.page("/", "<title>=1+1</title>")
        spider = Titles()
        spider.seeds = [site.url("/")]
        output = tmp_path / "items.csv"
        await Crawl(spider, folder=tmp_path, output=str(output), settings={**site.settings, **chosen}).run()
    with output.open(newline="") as file:
        assert list(csv.reader(file)) == [[cell], [cell]]
