import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import crawler
from crawler.__main__ import main
from crawler.cli import app, commands, display, report, words
from crawler.errors import ConfigError, CrawlerError, JournalVersionError, StorageFull, StoreUnavailable
from crawler.job import Progress, Summary
from crawler.models import Counts
from crawler.sinks import Taken

HEAVY = {"cyclopts", "rich", "aiohttp", "selectolax", "apsw", "asyncio", "msgspec"}


def seconds(*command: str) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, *command], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def test_help_is_quick() -> None:
    """The list of commands comes within twelve times of what it takes to start Python at all."""
    least = min(seconds("-c", "pass") for _ in range(5))
    assert min(seconds("-m", "crawler", "--help") for _ in range(5)) < 12 * least


def test_help_imports_nothing_heavy() -> None:
    """Neither network, parser, database nor display is loaded to list the commands."""
    code = "import sys; from crawler.__main__ import main; main(['--help']); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert not HEAVY & set(done.stderr.split())
    assert all(name in done.stdout for name in commands.COMMANDS)


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"]])
def test_the_commands_are_listed(capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    """Whoever types nothing, or asks for help, is shown what there is."""
    assert main(words) == 0
    assert "crawl       Crawl, or go on" in capsys.readouterr().out


@pytest.mark.parametrize("name", commands.COMMANDS)
def test_every_command_has_help(capsys: pytest.CaptureFixture[str], name: str) -> None:
    """Each command that is listed exists, and tells how it is used."""
    assert main([name, "--help"]) == 0
    assert f"Usage: crawler {name}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("crwl shop", "there is no command 'crwl'; did you mean crawl?"),
        ("fly", "there is no command 'fly'; there is crawl, list, new"),
        ("crawl", 'command "crawl" parameter SPIDER requires an argument'),
        ("crawl a b", "unexpected argument 'b'"),
        ("crawl a --max-page 3", "unknown option: --max-page. Did you mean --max-pages?"),
        ("crawl a --max-pages many", 'invalid value for --max-pages: unable to convert "many" into int'),
        ("crawl a --max-pages 0", "--max-pages must be more than 0, not 0"),
        ("crawl a --max-bytes much", "--max-bytes: 'much' is not a size such as 500k"),
        ("crawl a --max-time long", "--max-time: 'long' is not a duration such as 30s"),
        ("crawl a --log-level loud", 'invalid value "loud" for --log-level. Choose from: "debug"'),
        ("crawl quotes --append --overwrite", "--append and --overwrite exclude each other"),
        ("crawl quotes -a pages", "-a pages: expected name=value"),
        ("crawl quotes -s dely=1", "unknown setting 'dely' in -s; did you mean 'delay'?"),
        ("crawl quotes --seed nowhere", "the seed 'nowhere' is not an http or https URL"),
        ("crawl quotes -o items.xml", "the ending of items.xml names no format"),
        ("crawl quotas", "there is no spider 'quotas' in spiders; did you mean quotes?"),
        ("status nothing", "there is no job 'nothing' in output"),
        ("export nothing -o a.csv", "there is no job 'nothing' in output"),
        ("doctor nothing", "there is no job 'nothing' in output"),
        ("new 1st", "'1st' is no name for a spider"),
    ],
)
def test_a_mistake_is_told_in_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, typed: str, message: str
) -> None:
    """What a person typed wrong ends in exit code 2 and one line on stderr, never in a traceback."""
    monkeypatch.chdir(tmp_path)
    assert main(typed.split()) == 2
    out, err = capsys.readouterr()
    assert err.startswith("crawler: ")
    assert message in err
    assert err.count("\n") == 1
    assert not out


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("no"), 2),
        (StorageFull("no"), 75),
        (StoreUnavailable("no"), 75),
        (Taken("no"), 75),
        (JournalVersionError("no"), 1),
        (CrawlerError("no"), 1),
        (KeyboardInterrupt(), 130),
        (ExceptionGroup("of a task group", [ExceptionGroup("of another", [StorageFull("no")])]), 75),
    ],
)
def test_each_kind_of_error_has_its_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: BaseException, code: int
) -> None:
    """A script can tell by the exit code who must act."""

    def fail(_words: object) -> int:
        raise error

    monkeypatch.setattr(app, "_command", fail)
    assert main(["status"]) == code
    assert capsys.readouterr().err == ("" if code == 130 else "crawler: no\n")


@pytest.mark.parametrize(
    "error", [ZeroDivisionError("x"), ExceptionGroup("g", [ZeroDivisionError(), StorageFull("x")])]
)
def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """What nobody foresaw is raised as it is, with the wish that it be reported."""

    def fail(_words: object) -> int:
        raise error

    monkeypatch.setattr(app, "_command", fail)
    with pytest.raises(type(error)) as caught:
        main(["status"])
    assert "please report it" in caught.value.__notes__[0]


def test_a_message_cannot_send_escapes(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """An error's text may hold what a server sent, so it is escaped, but for its own line breaks."""

    def fail(_words: object) -> int:
        raise ConfigError("first \x1b[2J\u202e\nsecond")

    monkeypatch.setattr(app, "_command", fail)
    main(["status"])
    assert capsys.readouterr().err == "crawler: first \\x1b[2J\\u202e\nsecond\n"


def test_a_reader_that_leaves_ends_the_command_cleanly(tmp_path: Path) -> None:
    """``crawler list | head -1`` prints no error."""
    command = f"{sys.executable} -m crawler settings | head -1"
    shell = ["bash", "-o", "pipefail", "-c", command]
    environment = os.environ | {"PYTHONPATH": str(Path(crawler.__file__).parent.parent)}
    done = subprocess.run(shell, cwd=tmp_path, capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.startswith("setting")
    assert not done.stderr


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (words.size(0), "0 bytes"),
        (words.size(1023), "1023 bytes"),
        (words.size(1024), "1.0 KiB"),
        (words.size(5 << 40), "5.0 TiB"),
        (words.size(5 << 50), "5120.0 TiB"),
        (words.duration(0.04), "0.0 s"),
        (words.duration(59.7), "1 min 0 s"),
        (words.duration(3599.6), "1 h 0 min"),
        (words.duration(360_000), "100 h 0 min"),
        (words.count(1, "page"), "1 page"),
        (words.count(1234, "page"), "1,234 pages"),
        (words.listed([]), ""),
        (words.listed(["a"]), "a"),
        (words.listed(["a", "b", "c"]), "a, b and c"),
    ],
)
def test_numbers_are_told_as_people_say_them(said: str, expected: str) -> None:
    """Sizes, times and counts are short and exact enough."""
    assert said == expected


def progress(**changes: Any) -> Progress:
    usual: dict[str, Any] = {
        "counts": Counts(pending=30, done=1120, failed=2, items=118), "elapsed": 61.0, "pages": 122, "items": 118,
        "bytes": 5000, "pages_per_second": 12.34, "bytes_per_second": 2048.0, "in_flight": 3, "hosts": 1,
        "downloads": (), "limited_by": "politeness of 1 host",
    }  # fmt: skip
    return Progress(**(usual | changes))


def test_progress_is_one_line() -> None:
    """What a pipe sees every ten seconds says how far the crawl is and what limits it."""
    expected = "1,120 done, 30 pending, 2 failed, 118 items, 12.3 pages/s, limited by politeness of 1 host"
    assert report.line(progress()) == expected


def test_the_picture_is_plain_text() -> None:
    """The live display shows downloads and engines too, and no text from outside can draw on the terminal."""
    shown = display.picture(
        "quotes",
        progress(
            downloads=(("a\x1b[2J.pdf", 512, 1024), ("[red]b.pdf", 10, None)),
            engines=2,
            replaced=1,
        ),
    ).plain.splitlines()
    assert shown[0] == "quotes  1 min 1 s, 12.3 pages/s, 2.0 KiB/s, limited by politeness of 1 host"
    assert shown[1] == "1,120 done, 30 pending, 2 failed, 0 skipped, 0 gone, 118 items"
    assert shown[2] == "3 requests in flight, 1 host, 4.9 KiB received, 2 engines, 1 replaced"
    assert shown[3:] == ["download: a\\x1b[2J.pdf 512 bytes of 1.0 KiB (50%)", "download: [red]b.pdf 10 bytes"]


def summary(**changes: Any) -> Summary:
    usual: dict[str, Any] = {
        "job": "quotes", "run": 2, "resumed": False, "outcome": "finished", "counts": Counts(done=90, items=80),
        "pages": 90, "items": 80, "bytes": 2048, "elapsed": 10.0, "folder": "output/quotes",
        "outputs": ("output/quotes/run-0002/items.jsonl",),
    }  # fmt: skip
    return Summary(**(usual | changes))


@pytest.mark.parametrize(
    ("changes", "advice"),
    [
        ({}, "run the same command again for the next run"),
        ({"outcome": "stopped: max-pages"}, "run the same command again to go on"),
        ({"outcome": "parked"}, "run the same command again later to go on; see why with: crawler status quotes"),
        ({"counts": Counts(failed=1)}, "see what failed with: crawler status quotes"),
        ({"counts": Counts(quarantined=1)}, "see what failed with: crawler status quotes"),
    ],
)
def test_the_end_says_what_to_do_next(changes: dict[str, Any], advice: str) -> None:
    """However a crawl ends, its last line is a command, or says that there is nothing to do."""
    assert report.advice(summary(**changes)) == advice


def test_the_end_says_how_it_went() -> None:
    """The summary has the outcome, pages with reasons, items, bytes, time, rate and output files."""
    counts = Counts(
        pending=5, done=90, items=100, quarantined=2,
        reasons={"done": 88, "done: redirected": 2, "skipped: robots": 3, "failed: ReadTimeout": 1, "gone": 0},
    )  # fmt: skip
    assert report.lines(summary(counts=counts, resumed=True), "go on") == [
        "finished: 90 pages (9.0/s), 80 items, 2.0 KiB in 10 s",
        "  run 2 of quotes: 90 done (2 redirected), 3 skipped (robots), 1 failed (ReadTimeout), 5 pending",
        "  2 items quarantined: they did not fit their type",
        "  100 items in all since the run began",
        "  items: output/quotes/run-0002/items.jsonl",
        "  go on",
    ]


def test_the_supervisor_imports_nothing_heavy() -> None:
    """What ends an engine must not end its supervisor: that has neither the network nor the parser nor the journal."""
    heavy = "{'aiohttp', 'apsw', 'selectolax', 'uvloop', 'cyclopts', 'rich', 'asyncio', 'crawler.engine'}"
    code = f"import sys, crawler.cli.supervise; print(sorted({heavy} & {{*sys.modules}}))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
