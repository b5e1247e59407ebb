"""What the README and the docs say is run, not believed."""

import asyncio
import inspect
import json
import re
import shlex
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from crawler import Spider, demo
from crawler.spider import check
from crawler.testing import Site

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
SCREEN = 55  # lines


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def run(folder: Path, *arguments: str, code: int = 0) -> str:
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == code, done.stderr
    return done.stdout


def test_two_screens() -> None:
    """The README fits on two screens."""
    assert len(README.splitlines()) <= 2 * SCREEN


def test_two_commands() -> None:
    """Two commands do all the set-up, each by itself: one runs a crawl, one passes the tests."""
    commands = re.findall(r"^python3 -m venv .*$", README, re.MULTILINE)
    assert [shlex.split(command)[-1] for command in commands] == ["demo", "-q"]
    assert all("pip install" in command for command in commands)


def test_the_readmes_spider(tmp_path: Path) -> None:
    """The README's spider, put where it says, crawls the shop with the README's commands."""
    spider = next(block for block in blocks(README, "python") if "class Novels" in block)
    with demo.in_thread() as shop:
        (tmp_path / "spiders").mkdir()
        (tmp_path / "spiders" / "novels.py").write_text(spider.replace("https://books.toscrape.com/", f"{shop}/"))
        quick = ["-s", "delay=0", "--no-progress"]
        run(tmp_path, "-m", "crawler", "crawl", "novels", "--max-pages", "50", *quick, code=4)
        run(tmp_path, "-m", "crawler", "crawl", "novels", *quick)
        items = (tmp_path / "output" / "novels" / "run-0001" / "items.jsonl").read_text().splitlines()
        assert len(items) == len(set(items)) == 80
        assert set(json.loads(items[0])) == {"title", "price", "url"}
        run(tmp_path, "-m", "crawler", "crawl", "novels", "-o", "novels.csv.gz", *quick)
        assert (tmp_path / "novels.csv.gz").stat().st_size > 500
        run(tmp_path, "-m", "crawler", "crawl", f"{shop}/", *quick, "--max-pages", "20", code=4)
        assert "novels" in run(tmp_path, "-m", "crawler", "status")
        run(tmp_path, "-m", "crawler", "doctor", "novels")
        run(tmp_path, "-m", "crawler", "export", "novels", "-o", "all.csv")
        assert len((tmp_path / "all.csv").read_text().splitlines()) == 81


def test_the_readmes_programs(tmp_path: Path) -> None:
    """The README's lines for scripts and for asyncio programs do what they say."""
    spider = next(block for block in blocks(README, "python") if "class Novels" in block)
    program = next(block for block in blocks(README, "python") if "crawl(Novels()" in block)
    imports, script, loop = re.split(r"\n\n", program, maxsplit=2)
    with demo.in_thread() as shop:
        spider = spider.replace("https://books.toscrape.com/", f"{shop}/").replace(
            "    seeds =", "    settings = {'delay': 0}\n    seeds ="
        )
        (tmp_path / "script.py").write_text(f"{spider}\n{imports}\n{script}\nprint(summary.items)\n")
        assert run(tmp_path, "script.py") == "80\n"
        body = textwrap.indent(loop, "    ")
        main = f"import asyncio\n{spider}\n{imports}\nasync def main():\n{body}\nasyncio.run(main())\n"
        (tmp_path / "program.py").write_text(main)
        titles = run(tmp_path, "program.py").splitlines()
        assert len(titles) == len(set(titles)) == 80


def test_links_lead_somewhere() -> None:
    """Every file that the README and the docs point to is there."""
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_docs_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """The docs' code runs: its spiders are right, and its tests pass."""
    monkeypatch.syspath_prepend(str(ROOT))
    spiders, tests = [], []
    for block in blocks((ROOT / "docs" / "spiders.md").read_text(), "python"):
        names: dict[str, object] = {}
        exec(compile(block, "spiders.md", "exec"), names)
        for name, made in names.items():
            if isinstance(made, type) and issubclass(made, Spider) and made is not Spider:
                spiders.append(made().name)
                if "parse" in vars(made):  # others show a part of one
                    check(made(), has_seeds=True)
            if name.startswith("test_") and inspect.isfunction(made):
                tests.append(name)
                asyncio.run(made()) if inspect.iscoroutinefunction(made) else made()
    assert spiders == ["reports", "flights", "api", "members", "archive", "shop", "shop", "quotes", "titles"]
    assert tests == ["test_quotes", "test_titles"]


async def test_the_docs_report_spider(tmp_path: Path) -> None:
    """The docs' download example: the items know their files' paths beforehand."""
    from crawler import Crawl

    names: dict[str, type] = {}
    block = next(one for one in blocks((ROOT / "docs" / "spiders.md").read_text(), "python") if "Reports" in one)
    exec(compile(block, "spiders.md", "exec"), names)
    async with Site() as site:
        row = '<tr class="report"><td class="year">{0}</td><td><a href="/{0}.pdf">pdf</a></td></tr>'
        site.page("/reports", "<table>" + "".join(row.format(year) for year in (2025, 2026)) + "</table>")
        for year in (2025, 2026):
            site.file(f"/{year}.pdf", str(year).encode() * 100_000)
        spider = names["Reports"]()
        spider.seeds = [site.url("/reports")]
        async with Crawl(spider, folder=tmp_path, settings=site.settings) as crawl:
            items = [item async for item in crawl]
        for item in items:
            assert (crawl.folder / str(item["path"])).read_bytes() == str(item["year"]).encode() * 100_000
    assert sorted((item["year"] for item in items), key=str) == [2025, 2026]
