import asyncio
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pytest

import crawler
from crawler.__main__ import main
from crawler.testing import Handler, Site, in_thread

REACHING = ["-s", "resolve=*.test=127.0.0.1", "-s", "delay=0"]
SOURCE = str(Path(crawler.__file__).parent.parent)
TITLES = """
from crawler import Spider

class Titles(Spider):
    '''The titles of a small site.'''

    seeds = [{seed!r}]

    def parse(self, response):
        yield {{"title": response.text("title"), "url": response.url}}
        yield response.follow()
"""


@pytest.fixture
def site() -> Iterator[Site]:
    """A web site, served by a thread."""
    with in_thread(Site()) as opened:
        yield opened


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty project; what a spider's file adds to the process is taken away again."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    for name, module in list(sys.modules.items()):
        places = [*getattr(module, "__path__", ()), getattr(module, "__file__", None)]
        if any(str(place).startswith(str(tmp_path)) for place in places):
            del sys.modules[name]


@pytest.fixture
def titles(project: Path, site: Site) -> Site:
    """A spider for a site of ten pages."""
    site.tree(10, 2)
    (project / "spiders").mkdir()
    (project / "spiders" / "titles.py").write_text(TITLES.format(seed=site.url("/")))
    return site


def run(*typed: str) -> int:
    """The exit code of a command, run in a thread since an event loop of its own must not disturb pytest's."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(main, list(typed)).result()


def crawl(*typed: str) -> int:
    return run("crawl", *typed, *REACHING)


@contextmanager
def process(*typed: str, stderr: int = subprocess.PIPE) -> Iterator[subprocess.Popen[str]]:
    """The same command as a process of its own, which does not outlive the test."""
    command = [sys.executable, "-m", "crawler", "crawl", *typed, *REACHING]
    environment = os.environ | {"PYTHONPATH": SOURCE}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True, env=environment) as started:
        try:
            yield started
        finally:
            started.kill()


def lines(path: Path | str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def until(condition: Callable[[], bool], *, seconds: float = 20.0) -> None:
    """Wait for something another process or thread does."""
    ends_at = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends_at, "it did not happen"
        time.sleep(0.01)


def test_a_crawl_to_its_end(titles: Site, capsys: pytest.CaptureFixture[str]) -> None:
    """A spider by name: exit code 0, each page's item in the run's file, and a summary on stderr, nothing on stdout."""
    assert crawl("titles") == 0
    out, err = capsys.readouterr()
    assert not out
    assert sorted(item["title"] for item in lines("output/titles/run-0001/items.jsonl")) == sorted(
        f"Page {n}" for n in range(10)
    )
    assert "finished: " in err
    assert "10 items" in err
    assert "items: output/titles/run-0001/items.jsonl" in err


def test_a_bare_url_is_crawled(site: Site, project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A URL instead of a spider: each HTML page within the site, with its title and the length of its text."""
    site.page(
        "/", "<title>Home</title><body>four<a href='/a'></a><a href='http://other.test/'></a><a href='/b.json'></a>"
    )
    site.page("/a", "<p>two words", headers={"Last-Modified": "yesterday"})
    site.page("/b.json", "{}", content_type="application/json")
    assert crawl(site.url("/")) == 0
    items = sorted(lines(f"output/site.test-{site.port}/run-0001/items.jsonl"), key=lambda item: item["url"])
    assert items == [
        {"url": site.url("/"), "status": 200, "title": "Home", "text_length": 4},
        {"url": site.url("/a"), "status": 200, "title": None, "text_length": 9},
    ]
    assert not site.paths("other.test")


def test_a_bare_url_and_its_sitemaps(site: Site, project: Path) -> None:
    """`-a sitemaps=true` adds the pages that sitemaps name; the URL of a sitemap is where to begin, too."""
    site.page("/", "home")
    site.page("/hidden", "nobody links here")
    site.page("/sitemap.xml", f"<urlset><url><loc>{site.url('/hidden')}</loc></url></urlset>")
    for name, typed, pages in [
        ("map", ["/sitemap.xml"], ["/hidden"]),
        ("both", ["/", "-a", "sitemaps=true"], ["/", "/hidden"]),
        ("new", ["/", "-a", "sitemaps=yes", "-a", "sitemap_since=7d"], ["/", "/hidden"]),
        ("site", ["/"], ["/"]),
    ]:
        assert crawl(site.url(typed[0]), *typed[1:], "--job", name) == 0
        assert sorted(item["url"] for item in lines(f"output/{name}/run-0001/items.jsonl")) == [*map(site.url, pages)]


def test_a_limit_stops_and_the_same_command_goes_on(titles: Site, capsys: pytest.CaptureFixture[str]) -> None:
    """A limit ends with exit code 4; the same command says how far the run is, and ends it with every item once."""
    assert crawl("titles", "--max-pages", "4") == 4
    assert "stopped: max-pages" in capsys.readouterr().err
    assert crawl("titles") == 0
    assert "resuming run 1 of job titles: " in capsys.readouterr().err
    assert len({item["url"] for item in lines("output/titles/run-0001/items.jsonl")}) == 10
    assert len(lines("output/titles/run-0001/items.jsonl")) == 10


def test_failed_pages_are_an_exit_code_of_their_own(titles: Site, capsys: pytest.CaptureFixture[str]) -> None:
    """A run whose pages failed ends with 3, and says how to see which."""
    titles.page("/3", "sorry", status=500)
    assert crawl("titles", "-s", "retries=0") == 3
    assert "see what failed with: crawler status titles" in capsys.readouterr().err
    assert run("status", "titles") == 0
    assert titles.url("/3") in capsys.readouterr().out


def test_data_goes_to_stdout_alone(titles: Site, capfd: pytest.CaptureFixture[str]) -> None:
    """``-o -`` writes the items to standard output and everything else to stderr."""
    assert crawl("titles", "-o", "-") == 0
    out, err = capfd.readouterr()
    assert len([json.loads(line)["title"] for line in out.splitlines()]) == 10
    assert "finished: " in err


@pytest.mark.parametrize("name", ["a/b", "/tmp/a", "..", "a\\b", "a\nb", "caf\udce9"])
def test_a_job_name_that_names_no_folder(titles: Site, capsys: pytest.CaptureFixture[str], name: str) -> None:
    """A job lies in one folder below that of all jobs, where its name finds it; other names are refused."""
    assert crawl("titles", "--job", name) == 2
    assert "does not name a folder" in capsys.readouterr().err


def test_an_output_whose_name_is_no_text(titles: Site, capsys: pytest.CaptureFixture[str]) -> None:
    """A file name that the journal cannot hold is refused in one line, before anything is fetched."""
    assert crawl("titles", "-o", "caf\udce9.jsonl") == 2
    assert "caf\\udce9.jsonl" in capsys.readouterr().err
    assert titles.seen == []


def test_an_output_file_is_not_replaced_unasked(titles: Site, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that is not this run's own is refused with exit code 2, unless --append or --overwrite says what to do."""
    Path("mine.jsonl").write_text('{"old": 1}\n')
    assert crawl("titles", "-o", "mine.jsonl") == 2
    assert "mine.jsonl exists and is not of this run" in capsys.readouterr().err
    assert crawl("titles", "-o", "mine.jsonl", "--append") == 0
    assert len(lines("mine.jsonl")) == 11
    assert crawl("titles", "-o", "mine.jsonl", "--overwrite", "--fresh", "--yes") == 0
    assert len(lines("mine.jsonl")) == 10


def test_fresh_is_refused_where_nobody_can_be_asked(
    titles: Site, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a terminal --fresh deletes nothing unless --yes is there too; without a job it asks nothing."""
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    assert crawl("titles", "--fresh", "--max-pages", "4") == 4
    assert crawl("titles", "--fresh") == 2
    assert "--fresh deletes " in capsys.readouterr().err
    assert crawl("titles", "--fresh", "--yes") == 0
    assert len(lines("output/titles/run-0001/items.jsonl")) == 10


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("YES\n", 0), ("n\n", 2), ("\n", 2), ("", 2)])
def test_fresh_asks_on_a_terminal(
    titles: Site, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, answer: str, code: int
) -> None:
    """On a terminal --fresh says what would be deleted, and takes only a yes for one."""

    class Terminal:
        isatty = staticmethod(lambda: True)
        readline = staticmethod(lambda: answer)

    assert crawl("titles", "--max-items", "4") == 4
    capsys.readouterr()
    monkeypatch.setattr(sys, "stdin", Terminal())
    assert crawl("titles", "--fresh") == code
    err = capsys.readouterr().err
    assert " and 4 items of job titles; sure? [y/N]" in err
    assert ("nothing was deleted" in err) == (code == 2)


def test_json_logs_are_json_to_the_last_line(titles: Site, capsys: pytest.CaptureFixture[str]) -> None:
    """With --log-format json every line of stderr is an object with the job's name, the summary too."""
    titles.page("/3", "sorry", status=404)
    titles.page("/4", "sorry", status=500)
    assert crawl("titles", "--log-format", "json", "-s", "retries=0") == 3
    records = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert {record["job"] for record in records} == {"titles"}
    assert "finished: " in records[-1]["message"]
    failed = [record for record in records if record["level"] == "WARNING"]
    assert [record["url"] for record in failed] == [titles.url("/4")]
    assert failed[0]["host"] == f"site.test:{titles.port}"


@pytest.mark.parametrize(
    ("options", "shown"), [([], True), (["--no-progress"], False), (["--log-level", "error"], False)]
)
def test_a_pipe_sees_lines_of_progress(
    titles: Site, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, options: list[str], shown: bool
) -> None:
    """Where stderr is no terminal, progress is a log line now and then, unless it is not wanted."""
    monkeypatch.setattr("crawler.cli.view.LINE_EVERY", 0.05)
    titles.page("/", "<title>Late", after=0.3)
    assert crawl("titles", *options) == 0
    assert (" INFO 0 done, 1 pending, 0 failed, 0 items, " in capsys.readouterr().err) == shown


def test_a_slow_handler_is_named(project: Path, site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    """--debug says which handler held up the loop, and on which page."""
    site.page("/", "<title>Home")
    slow = TITLES.format(seed=site.url("/")).replace(
        "yield response", "import time; time.sleep(0.15)\n        yield response"
    )
    Path("slow.py").write_text(slow)
    assert crawl("slow.py", "--debug") == 0
    told = [line for line in capsys.readouterr().err.splitlines() if "Executing" in line]
    assert any(line.endswith(f"(in parse of {site.url('/')})") for line in told)


@pytest.mark.parametrize(
    ("source", "options", "parts"),
    [
        ("class A(Spider): pass", [], ["bad.py:2: A has nowhere to begin"]),
        ("class A(Spider): seeds = 'http://a/'", [], ["bad.py:2: A.seeds is 'http://a/'", "a list of URLs"]),
        ("class A(Spider): seeds = ['a.com']", [], ["bad.py:2:", "did you mean 'https://a.com/'?"]),
        ("class A(Spider): seeds = ['http://a/']; pipeline = [3]", [], ["bad.py:2: A.pipeline is [3]"]),
        (
            "class A(Spider):\n seeds, settings = ['http://a/'], {'dely': 1}\n def parse(self, page): pass",
            [],
            ["'dely' in A.settings", "'delay'?"],
        ),
        ("class A(Spider): seeds = ['http://a/']", ["-a", "x=1"], ["bad.py:2: A takes no argument 'x'"]),
        ("class A(Spider): seeds = ['http://a/']; pages: int = 1", ["-a", "pages=x"], ["bad.py:2: argument pages='x'"]),
        ("class A(Spider):\n  def __init__(self): 1 / 0", [], ["bad.py:3: ZeroDivisionError: division by zero"]),
        ("class A(Spider): seeds = ['http://a/']", ["-j", "2"], ["-j needs a supervisor"]),
        ("x = A", [], ["bad.py:2: NameError: name 'A' is not defined"]),
    ],
)
def test_a_spider_that_cannot_work_is_one_line(
    project: Path, capsys: pytest.CaptureFixture[str], source: str, options: list[str], parts: list[str]
) -> None:
    """What is wrong with a spider is said with its file and line, with exit code 2 and no traceback."""
    Path("bad.py").write_text(f"from crawler import Spider\n{source}\n")
    assert crawl("bad.py", *options) == 2
    err = capsys.readouterr().err
    assert all(part in err for part in parts), err
    assert err.count("\n") == 1
    assert not Path("output").exists()


def test_settings_of_the_project_reach_the_crawl(titles: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment and crawler.toml set what a crawl does, and where it lies."""
    Path("crawler.toml").write_text("folder = 'kept'\nmax_depth = 5\n")
    monkeypatch.setenv("CRAWLER_MAX_DEPTH", "0")
    assert crawl("titles") == 0
    assert len(lines("kept/titles/run-0001/items.jsonl")) == 1


def test_what_new_writes_runs(project: Path, site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    """The spider that 'crawler new' writes crawls as it is, and is listed with its first line."""
    quote = "<div class=quote><span class=text>{0}</span><small class=author>A</small></div>"
    site.page("/", quote.format("one") + "<ul><li class=next><a href='/2'>2</a></ul>")
    site.page("/2", quote.format("two"))
    assert run("new", "my_quotes") == 0
    file = Path("spiders/my_quotes.py")
    file.write_text(file.read_text().replace("https://quotes.toscrape.com/", site.url("/")))
    assert run("list") == 0
    assert "my_quotes  spiders/my_quotes.py  " in capsys.readouterr().out.replace("   ", " ").replace("   ", " ")
    assert crawl("my_quotes") == 0
    assert lines("output/my_quotes/run-0001/items.jsonl") == [
        {"text": "one", "author": "A"},
        {"text": "two", "author": "A"},
    ]


def test_the_demo_shows_what_it_does(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``crawler demo`` ends with exit code 0, shows three items and what to try next, and does so again."""
    for _ in range(2):
        assert run("demo") == 0
        out = capsys.readouterr().out
        assert "the first items of " in out
        assert len([line for line in out.splitlines() if line.startswith('  {"title":')]) == 3
        assert "crawler status demo" in out
        assert len(lines("output/demo/run-0001/items.jsonl")) == 80


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_and_the_same_command_goes_on(titles: Site, number: int) -> None:
    """A first SIGINT or SIGTERM ends with exit code 4; what is in flight is kept, and nothing is lost or doubled."""
    for path in ("/", *(f"/{n}" for n in range(1, 10))):
        titles.answer(path, slowly(path))
    with process("titles") as crawling:
        until(lambda: len(titles.seen) > 4)
        crawling.send_signal(number)
        _, err = crawling.communicate(timeout=20)
    assert crawling.returncode == 4, err
    assert "stopping: what is in flight has ten seconds" in err
    assert "run the same command again to go on" in err
    assert "Traceback" not in err
    assert crawl("titles") == 0
    assert sorted(item["url"] for item in lines("output/titles/run-0001/items.jsonl")) == sorted(
        titles.url(path) for path in ("/", *(f"/{n}" for n in range(1, 10)))
    )


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_second_signal_leaves_at_once(titles: Site, number: int, code: int) -> None:
    """A second signal ends the process at once, though a page is in flight; the run is still resumable."""
    titles.page("/", "<title>Late", after=8.0, times=1)
    with process("titles") as crawling:
        until(lambda: "/" in titles.paths())
        crawling.send_signal(number)
        assert "stopping" in stream(crawling.stderr).readline()
        began = time.monotonic()
        crawling.send_signal(number)
        assert crawling.wait(timeout=5) == code
    assert time.monotonic() - began < 2
    assert crawl("titles") == 0
    assert len(lines("output/titles/run-0001/items.jsonl")) == 10


def test_a_second_signal_leaves_even_if_the_loop_is_held_up(project: Path, site: Site) -> None:
    """A handler that never returns cannot keep the process from being ended."""
    site.page("/", "<title>Home")
    stuck = TITLES.format(seed=site.url("/")).replace("yield response.follow()", "print('stuck', flush=True)")
    stuck += "        while True: pass\n"
    Path("stuck.py").write_text(stuck)
    with process("stuck.py") as crawling:
        assert stream(crawling.stdout).readline() == "stuck\n"
        crawling.send_signal(signal.SIGINT)
        time.sleep(0.1)  # two signals of a kind that come at once are one
        crawling.send_signal(signal.SIGINT)
        assert crawling.wait(timeout=5) == 130


def test_a_reader_that_leaves_ends_the_crawl_cleanly(titles: Site) -> None:
    """``crawler crawl … -o - | head -1`` gives one line and no traceback, and the job can be resumed."""
    for path in ("/", *(f"/{n}" for n in range(1, 10))):
        titles.answer(path, slowly(path))
    with process("titles", "-o", "-") as crawling:
        head = subprocess.run(["head", "-1"], stdin=crawling.stdout, capture_output=True, text=True, check=True)
        stream(crawling.stdout).close()
        err = stream(crawling.stderr).read()
        assert crawling.wait(timeout=20) == 4
    assert json.loads(head.stdout)["title"] == "Page 0"
    assert err.endswith("stopped: nobody reads standard output any more; run the same command again to go on\n")
    assert crawl("titles", "-o", "all.jsonl") == 0
    assert len(lines("all.jsonl")) == 10


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals there")
@pytest.mark.parametrize(("signals", "code"), [(0, 0), (2, 130)])
def test_a_terminal_sees_a_live_display(titles: Site, signals: int, code: int) -> None:
    """On a terminal progress is drawn in place, and the cursor is back at the end, also after a second signal."""
    import pty

    titles.page("/", "<title>Late", after=4.0 if signals else 0.5)
    ours, theirs = pty.openpty()
    with process("titles", stderr=theirs) as crawling:
        os.close(theirs)
        drawn = read_until(ours, b"limited by ")
        until(lambda: "/" in titles.paths())
        for _ in range(signals):
            crawling.send_signal(signal.SIGINT)
            time.sleep(0.1)  # two signals of a kind that come at once are one
        drawn += read_until(ours, None)
        os.close(ours)
        assert crawling.wait(timeout=20) == code
    assert drawn.rindex(b"\x1b[?25h") > drawn.rindex(b"\x1b[?25l")


def stream(pipe: IO[str] | None) -> IO[str]:
    """A pipe that is there."""
    assert pipe is not None
    return pipe


def read_until(terminal: int, wanted: bytes | None) -> bytes:
    """What a terminal shows, until something is shown; or until nobody writes there any more."""
    shown = b""
    while wanted is None or wanted not in shown:
        try:
            piece = os.read(terminal, 4096)
        except OSError:  # Linux says so when the last writer has gone
            piece = b""
        if not piece:
            assert wanted is None, shown
            break
        shown += piece
    return shown


def slowly(path: str) -> Handler:
    """An answer like that of `Site.tree`, a fifth of a second late."""
    number = int(path.strip("/") or 0)
    links = "".join(f'<a href="/{n}">{n}</a>' for n in (2 * number + 1, 2 * number + 2) if n < 10)

    async def answer(_request: object) -> str:
        await asyncio.sleep(0.2)
        return f"<title>Page {number}</title>{links}"

    return answer
