import gzip
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from crawler.__main__ import main
from crawler.frontier import Cursor, JobFacts, Want
from crawler.frontier.sqlite import SqliteFrontier
from crawler.models import FileRecord, Item, Lease, Link, State, Visit
from crawler.urls import Fingerprints

ORIGIN = "http://site.test"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


async def begun(folder: Path, pages: int = 4) -> tuple[SqliteFrontier, Lease]:
    """A job of so many pages, its first run begun; and what is leased."""
    folder.mkdir(parents=True)
    frontier = SqliteFrontier(folder / "job.db")
    run = await frontier.begin(JobFacts("quotes", {"tag": "love"}), fresh=False)
    fingerprints = Fingerprints(run.key)
    await frontier.add([Link(ORIGIN, fingerprints.of(f"/{n}"), f"/{n}", 0, 0) for n in range(pages)])
    (lease,) = (await frontier.lease(Want(1, pages, 10.0))).leases
    return frontier, lease


def ended(lease: Lease, n: int, **facts: Any) -> Visit:
    return Visit(lease.pages[n], lease.token, **({"state": State.DONE, "size": 1024, "ended_at": 1.0} | facts))


def items(*bodies: object) -> list[Item]:
    return [Item("dict", json.dumps(body)) for body in bodies]


async def half_done(folder: Path) -> None:
    """Two pages done with three items, one failed, one pending; nobody works on it."""
    frontier, lease = await begun(folder)
    failed = {
        "state": State.FAILED,
        "reason": "ReadTimeout: 20 s",
        "trace": "ReadTimeout: \x1b[2J20 s (http://site.test/2)",
    }
    await frontier.commit(
        [
            ended(lease, 0, items=items({"a": 1}, {"a": 2})),
            ended(lease, 1, items=[*items({"b": "=3"}), Item("dict", "{}", "no title")]),
            ended(lease, 2, **failed),
        ]
    )
    await frontier.close()


async def finished(folder: Path, target: Path) -> None:
    """One page, one item, one download; its sink has followed."""
    frontier, lease = await begun(folder, pages=1)
    (folder / "files").mkdir()
    (folder / "files" / "a.pdf").write_bytes(b"12345")
    file = FileRecord("files/a.pdf", 5, "00")
    await frontier.commit([ended(lease, 0, items=items({"a": 1}), file=file)])
    target.write_text('{"a": 1}\n')
    await frontier.follow(str(target), 1, Cursor(1, 10, {"offset": target.stat().st_size}))
    await frontier.finish("finished")
    await frontier.close()


async def test_status_tells_of_all_jobs(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``crawler status`` has a line for each job: its run, pages by outcome with reasons, and items."""
    await half_done(project / "output" / "quotes")
    assert main(["status"]) == 0
    assert capsys.readouterr().out == (
        "quotes: run 1 stopped before its end, 2 done, 1 failed (ReadTimeout), 1 pending, 3 items\n"
    )


async def test_status_tells_of_one_job(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``crawler status JOB`` also names the spider, the last failures with reasons, and what to do next."""
    await half_done(project / "output" / "quotes")
    assert main(["status", "quotes"]) == 0
    told = capsys.readouterr().out
    assert "job quotes: spider quotes tag=love\n" in told
    assert "run 1: stopped before its end, began " in told
    assert "run 1: 2 done, 1 failed (ReadTimeout), 1 pending\n" in told
    assert "3 items, 3.0 KiB received, 1 item quarantined\n" in told
    assert "http://site.test/2\n    ReadTimeout: \\x1b[2J20 s" in told
    assert told.endswith("the same command goes on\n")


async def test_status_works_while_a_crawl_runs(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Status reads beside a running engine, and says which process it is."""
    frontier, _ = await begun(project / "output" / "quotes")
    await frontier.renew()
    assert main(["status", "quotes"]) == 0
    await frontier.close()
    told = capsys.readouterr().out
    assert "run 1: running (process " in told
    assert "4 pending" in told
    assert told.endswith("it is running; Ctrl-C or SIGTERM stops it, and the same command goes on\n")


async def test_status_of_a_finished_job(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A finished run is told as such, with its sink and what comes next."""
    await finished(project / "output" / "quotes", project / "items.jsonl")
    assert main(["status", "quotes"]) == 0
    told = capsys.readouterr().out
    assert "run 1: finished after " in told
    assert f"items: {project / 'items.jsonl'}\n" in told
    assert told.endswith("finished: the same command starts the next run\n")


async def test_status_looks_in_another_folder(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``--folder`` says where jobs lie, and a job that is not there is told with the likeliest that is."""
    await half_done(project / "elsewhere" / "quotes")
    assert main(["status", "--folder", "elsewhere"]) == 0
    assert capsys.readouterr().out.startswith("quotes: ")
    assert main(["status", "quots", "--folder", "elsewhere"]) == 2
    assert "there is no job 'quots' in elsewhere; did you mean quotes?" in capsys.readouterr().err


async def test_export_writes_any_format(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``crawler export`` writes a run's good items from the journal, in order, to whatever the ending names."""
    await half_done(project / "output" / "quotes")
    assert main(["export", "quotes", "-o", "a.jsonl"]) == 0
    assert [json.loads(line) for line in (project / "a.jsonl").read_text().splitlines()] == [
        {"a": 1},
        {"a": 2},
        {"b": "=3"},
    ]
    assert capsys.readouterr().err == "3 items of run 1 of quotes written to a.jsonl\n"
    assert main(["export", "quotes", "-o", "a.csv.gz"]) == 0
    assert gzip.decompress((project / "a.csv.gz").read_bytes()) == b"a,b\r\n1,\r\n2,\r\n,'=3\r\n"
    (project / "crawler.toml").write_text("csv_formulas = true\n")
    assert main(["export", "quotes", "-o", "b.csv"]) == 0
    assert (project / "b.csv").read_bytes().endswith(b",=3\r\n")


async def test_export_begins_again_for_a_late_column(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A column that a later batch brings stands in every row, and no item is written twice."""
    monkeypatch.setattr("crawler.cli.export.BATCH", 1)
    await half_done(project / "output" / "quotes")
    assert main(["export", "quotes", "-o", "a.csv"]) == 0
    assert (project / "a.csv").read_bytes() == b"a,b\r\n1,\r\n2,\r\n,'=3\r\n"
    assert capsys.readouterr().err.startswith("3 items ")


async def test_exported_ids_are_those_of_the_crawl(project: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """An item on standard output has the same id whoever writes it."""
    await half_done(project / "output" / "quotes")
    frontier = SqliteFrontier(project / "output" / "quotes" / "job.db")
    await frontier.begin(JobFacts("quotes", {"tag": "love"}), fresh=False)
    stored = await frontier.items(1, 0, 10)
    await frontier.close()
    assert main(["export", "quotes", "-o", "-"]) == 0
    assert [json.loads(line)["_id"] for line in capfd.readouterr().out.splitlines()] == [item.id for item in stored]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-o", "there.jsonl"], "there.jsonl exists: name another file, or pass --overwrite"),
        (["-o", "a.jsonl", "--run", "7"], "job quotes has no run 7; there is 1"),
        (["-o", "a.xls"], "the ending of a.xls names no format"),
        (["-o", "s3://bucket/a.jsonl"], "no sink for URLs of this kind"),
    ],
)
async def test_export_refuses_what_it_must(
    project: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    """No file is replaced unasked, and what cannot be exported is said."""
    await half_done(project / "output" / "quotes")
    (project / "there.jsonl").write_text("precious\n")
    assert main(["export", "quotes", *options]) == 2
    assert message in capsys.readouterr().err
    assert (project / "there.jsonl").read_text() == "precious\n"


async def test_export_overwrites_when_told(project: Path) -> None:
    """``--overwrite`` replaces the file."""
    await half_done(project / "output" / "quotes")
    (project / "there.jsonl").write_text("old\n")
    assert main(["export", "quotes", "-o", "there.jsonl", "--overwrite"]) == 0
    assert len((project / "there.jsonl").read_text().splitlines()) == 3


async def test_doctor_finds_nothing_wrong(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A sound job is told so, with exit code 0, whether it is finished or not."""
    await finished(project / "output" / "done", project / "items.jsonl")
    await half_done(project / "output" / "half")
    assert main(["doctor", "done"]) == 0
    assert main(["doctor", "half"]) == 0
    assert "as they should be" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda job: (job.parent.parent / "items.jsonl").unlink(), "items.jsonl is gone: 'crawler export' writes"),
        (lambda job: (job.parent.parent / "items.jsonl").write_text("x"), "shorter by 8 bytes than what was written"),
        (lambda job: (job.parent.parent / "items.jsonl").write_text("x" * 99), "is longer by 90 bytes"),
        (lambda job: (job / "files" / "a.pdf").unlink(), "a.pdf is gone: the next run fetches it again"),
        (lambda job: (job / "files" / "a.pdf").write_text("x"), "a.pdf has another size than when it was downloaded"),
        (lambda job: edit(job, "UPDATE sinks SET seq = 0"), "lacks 1 item of a finished run"),
        (lambda job: edit(job, "UPDATE runs SET pending = 3"), "a run whose count of pending pages is wrong: 1, 3"),
        (lambda job: (job / "job.db").write_text("this is no journal" * 500), "put back a copy of"),
    ],
)
async def test_doctor_says_what_is_wrong(
    project: Path, capsys: pytest.CaptureFixture[str], damage: Callable[[Path], object], message: str
) -> None:
    """Damage to the journal, the output or the downloads is found, and what to do is said, with exit code 1."""
    await finished(project / "output" / "done", project / "items.jsonl")
    damage(project / "output" / "done")
    assert main(["doctor", "done"]) == 1
    told = capsys.readouterr().out
    assert message in told
    assert all(line.startswith("wrong: ") for line in told.splitlines())


async def test_a_short_file_of_an_unfinished_run_mends_itself(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file that lost its end is written anew by the same command, so that is the advice."""
    folder = project / "output" / "half"
    frontier, _ = await begun(folder)
    await frontier.follow(str(project / "gone.jsonl"), 1, Cursor(0, 0, {"offset": 10}))
    await frontier.close()
    assert main(["doctor", "half"]) == 1
    assert "gone.jsonl is gone: the same crawl command writes it anew" in capsys.readouterr().out


def edit(job: Path, statement: str) -> None:
    with sqlite3.connect(job / "job.db") as db:
        db.execute(statement)
    db.close()
