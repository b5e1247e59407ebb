"""Several engines under a supervisor: real processes, real signals, pages that kill, handlers that never return."""

import contextlib
import csv
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import crawler
from crawler.__main__ import main
from crawler.cli.watch import ENGINE
from crawler.frontier.checks import violations
from crawler.frontier.liveness import marks
from crawler.frontier.schema import readable
from crawler.processes.engine import EngineProcess
from crawler.processes.messages import Begun, Role, Said
from crawler.processes.spawn import spawn
from crawler.processes.supervisor import Supervisor
from crawler.progress import Progress
from crawler.testing import Site

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.skipif(sys.platform == "win32", reason="there an engine runs in the process that was started"),
]

SOURCE = str(Path(crawler.__file__).parent.parent)
SPIDER = """
import os, signal, sys, time
from crawler import Scope, Spider

class Titles(Spider):
    seeds = {seeds!r}
    scope = Scope(hosts=["*.test:{port}"])

    def parse(self, response):
        path = response.url.rpartition("/")[2]
        if path.startswith("segv"):
            os.kill(os.getpid(), signal.SIGSEGV)
        if path.startswith("exit"):
            os._exit(int(path[4:] or 7))
        if path.startswith("quit"):
            sys.exit("enough")
        if path.startswith("print"):
            sys.stderr.write("caf\\udce9\\n")
        while path.startswith("loop"):
            pass
        time.sleep({pause})
        yield {{"url": response.url}}
        yield response.follow("a")
"""


@pytest.fixture
def site() -> Iterator[Site]:
    with Site.in_thread() as site:
        yield site


class Job:
    """A crawl command in a folder of its own, with a spider for a site."""

    def __init__(self, folder: Path, site: Site, *seeds: str, pause: float = 0.0) -> None:
        self.folder, self.site = folder, site
        (folder / "titles.py").write_text(SPIDER.format(seeds=list(seeds), pause=pause, port=site.port))

    def start(self, *words: str, own_group: bool = False, stderr: int = subprocess.PIPE) -> "subprocess.Popen[str]":
        settings = ["-s", "resolve=*.test=127.0.0.1", "-s", "delay=0.01", "-s", "retries=0"]
        return subprocess.Popen(
            [sys.executable, "-m", "crawler", "crawl", "titles.py", *settings, *words],
            cwd=self.folder, env=os.environ | {"PYTHONPATH": SOURCE}, stderr=stderr, stdout=subprocess.PIPE,
            text=True, start_new_session=own_group,
        )  # fmt: skip

    def run(self, *words: str) -> tuple[int, str]:
        """Exit code, and what was said on stderr."""
        process = self.start(*words)
        try:
            _, told = process.communicate(timeout=90)
        finally:
            process.kill()
        return process.returncode, told

    def rows(self, question: str) -> list[tuple[Any, ...]]:
        with contextlib.closing(readable(self.folder / "output" / "titles" / "job.db")) as journal:
            return list(journal.execute(question))

    def urls(self, output: str = "output/titles/run-0001/items.jsonl") -> list[str]:
        return [json.loads(line)["url"] for line in (self.folder / output).read_text().splitlines()]

    def check(self) -> None:
        with contextlib.closing(readable(self.folder / "output" / "titles" / "job.db")) as journal:
            assert violations(journal) == []
        assert list((self.folder / "output" / "titles").glob("engine-*.lock")) == []


def links(*urls: str) -> str:
    return "".join(f'<a href="{url}">x</a>' for url in urls)


def many_hosts(site: Site, hosts: int, pages: int) -> list[str]:
    """So many hosts of so many pages, all of them linked from the first; their URLs."""
    found = []
    for host in range(hosts):
        name = f"h{host}.test"
        paths = [f"/{n}" for n in range(pages)]
        for n, path in enumerate(paths):
            site.page(path, links(*paths[n + 1 : n + 3]), host=name)
        found += [site.url(path, host=name) for path in paths]
    site.page("/", links(*(site.url("/0", host=f"h{host}.test") for host in range(hosts))))
    return [site.url("/"), *found]


def children(pid: int) -> list[int]:
    """The processes that a process has started and that live."""
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in found if is_alive(int(child))]


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_for(condition: Any, seconds: float = 20.0) -> None:
    ends_at = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends_at, "it did not happen"
        time.sleep(0.01)


# -- pages that kill


@pytest.mark.parametrize("processes", ["1", "2"])
def test_pages_that_kill(tmp_path: Path, site: Site, processes: str) -> None:
    """A page that ends or hangs its process three times has failed, with the reason; all others come to their end."""
    bad = ["/segv", "/exit", "/exit2", "/loop"]
    good = [f"/{n}" for n in range(20)]
    site.page("/", links(*good[:10], *bad, *good[10:]))
    for path in [*good, *bad]:
        site.page(path, "x")
    job = Job(tmp_path, site, site.url("/"))
    code, told = job.run("-j", processes, "-s", "stall_timeout=1", "-s", "concurrency_per_host=4")
    assert code == 3, told
    assert sorted(job.urls()) == sorted(site.url(path) for path in ["/", *good])
    failed = job.rows("SELECT url, reason FROM urls WHERE state = 'failed' ORDER BY url")
    assert failed == [(site.url(path), "killed the process") for path in sorted(bad)]
    assert "stood still" in told
    assert "in parse" in told  # where it hung
    job.check()


def test_a_handler_that_exits(tmp_path: Path, site: Site) -> None:
    """sys.exit() in a handler is a failure of its page like any other, and ends no process."""
    site.page("/", links("/quit", "/good"))
    site.page("/quit", "x")
    site.page("/good", "x")
    job = Job(tmp_path, site, site.url("/"))
    code, told = job.run()
    assert code == 3, told
    assert "SystemExit: enough" in told
    assert "another takes its place" not in told
    assert len(job.urls()) == 2


def test_engines_that_end_for_no_page(tmp_path: Path, site: Site) -> None:
    """An error that is no page's is not taken for one: the supervisor gives up after a few engines."""
    job = Job(tmp_path, site, site.url("/"))
    spider = (tmp_path / "titles.py").read_text()
    (tmp_path / "titles.py").write_text(
        spider + "    async def start(self):\n        raise KeyboardInterrupt\n        yield\n"
    )
    code, told = job.run()
    assert code == 1
    assert told.count("another takes its place") == 5


def test_an_engine_that_dies_at_once(tmp_path: Path, site: Site) -> None:
    """When engines die again and again and no page ends between them, the supervisor gives up and says so."""
    job = Job(tmp_path, site, site.url("/"))
    spider = (tmp_path / "titles.py").read_text()
    (tmp_path / "titles.py").write_text(spider + "    async def start(self):\n        os._exit(1)\n        yield\n")
    code, told = job.run()
    assert code == 1
    assert told.count("another takes its place") == 5
    assert "no page ended between them" in told
    (tmp_path / "titles.py").write_text(spider)
    site.page("/", "x")
    assert job.run()[0] == 0
    assert job.urls() == [site.url("/")]


# -- engines that are killed


def test_engines_killed_at_random(tmp_path: Path, site: Site) -> None:
    """Whichever engine is killed, another takes its place and its hosts: each item once, no page fetched in vain."""
    pages = many_hosts(site, 8, 12)
    job = Job(tmp_path, site, site.url("/"), pause=0.01)
    process = job.start("-j", "2", "-o", "all.jsonl", "-o", "all.csv")
    kills = 0
    for seen in range(8, 80, 18):
        wait_for(lambda seen=seen: len(site.seen) > seen or process.poll() is not None)
        if engines := children(process.pid):
            os.kill(victim := engines[seen % len(engines)], signal.SIGKILL)
            kills += 1
            wait_for(lambda victim=victim: not is_alive(victim))  # so that it is not killed twice
    _, told = process.communicate(timeout=60)
    assert process.returncode == 0, told
    assert kills >= 3
    assert told.count("was killed by SIGKILL: another takes its place") == kills
    with (tmp_path / "all.csv").open() as file:
        assert sorted(row["url"] for row in csv.DictReader(file)) == sorted(pages)
    assert sorted(job.urls("all.jsonl")) == sorted(pages)
    asked = Counter((seen.host, seen.path_qs) for seen in site.seen if seen.path_qs != "/robots.txt")
    assert sum(asked.values()) - len(asked) <= kills * 8 * 2
    job.check()


def test_all_killed_and_started_again(tmp_path: Path, site: Site) -> None:
    """A killed supervisor takes its engines with it; the same command goes on within a second or so."""
    pages = many_hosts(site, 4, 12)
    job = Job(tmp_path, site, site.url("/"), pause=0.02)
    for seen in (10, 25):
        process = job.start("-j", "2")
        wait_for(lambda seen=seen: len(site.seen) > seen)
        engines = children(process.pid)
        process.kill()
        process.communicate()
        killed_at = time.monotonic()
        wait_for(lambda engines=engines: not any(map(is_alive, engines)), 2)
    process = job.start("-j", "2")
    before = len(site.seen)
    wait_for(lambda: len(site.seen) > before)
    assert site.seen[before].at - killed_at < 5  # a loaded machine takes seconds to start three processes
    _, told = process.communicate(timeout=60)
    assert process.returncode == 0, told
    assert sorted(job.urls()) == sorted(pages)
    job.check()


def test_an_engine_that_is_stopped(tmp_path: Path, site: Site) -> None:
    """An engine that was stopped by SIGSTOP is replaced; woken again, it sends nothing and stores nothing."""
    pages = many_hosts(site, 4, 20)
    job = Job(tmp_path, site, site.url("/"), pause=0.03)
    process = job.start("-j", "2", "-s", "stall_timeout=1")
    wait_for(lambda: len(site.seen) > 20)
    stopped = children(process.pid)[0]
    os.kill(stopped, signal.SIGSTOP)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 0, told
    assert "stood still" in told
    assert sorted(job.urls()) == sorted(pages)
    job.check()


def test_hosts_are_shared_out(tmp_path: Path, site: Site) -> None:
    """An engine that comes later gets hosts of one that holds more than its share, though they are busy."""
    many_hosts(site, 2, 150)
    job = Job(tmp_path, site, site.url("/"))
    spider = (tmp_path / "titles.py").read_text()
    (tmp_path / "titles.py").write_text(
        spider.replace('"url": response.url', '"url": response.url, "engine": os.getpid()')
    )
    process = job.start("-j", "2", "-s", "delay=0.02", "-s", "concurrency_per_host=4")
    _, told = process.communicate(timeout=60)
    assert process.returncode == 0, told
    rows = (tmp_path / "output" / "titles" / "run-0001" / "items.jsonl").read_text().splitlines()
    engines = Counter(json.loads(row)["engine"] for row in rows)
    assert len(engines) == 2
    assert min(engines.values()) > 30


# -- limits and signals


@pytest.mark.parametrize("option", ["--max-pages", "--max-items"])
def test_limits_hold_for_all_engines_together(tmp_path: Path, site: Site, option: str) -> None:
    """A limit is exact however many engines there are, also when one is killed; the next invocation goes on."""
    pages = many_hosts(site, 8, 10)
    job = Job(tmp_path, site, site.url("/"), pause=0.005)
    process = job.start("-j", "3", option, "30")
    wait_for(lambda: len(site.seen) > 12 or process.poll() is not None)
    if engines := children(process.pid):
        os.kill(engines[0], signal.SIGKILL)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 4, told
    assert re.search(rf"stopped: {option.removeprefix('--')}", told)
    assert job.rows("SELECT count(*) FROM pages WHERE state = 1 AND reason = ''") == [(30,)]
    assert len(job.urls()) == 30
    code, told = job.run("-j", "2")
    assert code == 0, told
    assert sorted(job.urls()) == sorted(pages)
    job.check()


def test_bytes_are_counted_together(tmp_path: Path, site: Site) -> None:
    """``--max-bytes`` is about what all engines receive: at most a chunk each beyond it."""
    many_hosts(site, 6, 1)
    for host in range(6):
        site.page("/0", "x" * 100_000, host=f"h{host}.test")
    job = Job(tmp_path, site, site.url("/"))
    code, told = job.run("-j", "2", "--max-bytes", "350k")
    assert code == 4, told
    assert "stopped: max-bytes" in told
    done = job.rows("SELECT count(*) FROM pages WHERE state = 1 AND size = 100000")[0][0]
    assert done <= 3


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_all_engines_stop(tmp_path: Path, site: Site, number: int) -> None:
    """A first signal stops all engines, which keep what was in flight; nothing is lost or doubled."""
    pages = many_hosts(site, 6, 10)
    job = Job(tmp_path, site, site.url("/"), pause=0.01)
    process = job.start("-j", "2")
    wait_for(lambda: len(site.seen) > 20)
    process.send_signal(number)
    _, told = process.communicate(timeout=30)
    assert process.returncode == 4, told
    assert "another takes its place" not in told
    assert len(job.urls()) == job.rows("SELECT items FROM runs")[0][0]
    assert job.run("-j", "2")[0] == 0
    assert sorted(job.urls()) == sorted(pages)
    job.check()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_all_are_told_before_the_crawl_has_begun(tmp_path: Path, site: Site, number: int) -> None:
    """A signal that comes to all processes at once, as from a terminal, ends those that only start without a fuss."""
    job = Job(tmp_path, site, site.url("/"))
    process = job.start("-j", "2", own_group=True)
    wait_for(lambda: children(process.pid))
    os.killpg(process.pid, number)
    _, told = process.communicate(timeout=30)
    assert process.returncode == 128 + number, told
    assert "Traceback" not in told
    assert site.paths() == []


def test_all_stand_still(tmp_path: Path, site: Site) -> None:
    """After Ctrl-Z, which stops all of them, nobody is taken for dead: the same engines go on."""
    pages = many_hosts(site, 4, 20)
    job = Job(tmp_path, site, site.url("/"), pause=0.03)
    process = job.start("-j", "2", "-s", "stall_timeout=1", own_group=True)
    wait_for(lambda: len(site.seen) > 20)
    os.killpg(process.pid, signal.SIGSTOP)
    time.sleep(1.7)
    os.killpg(process.pid, signal.SIGCONT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 0, told
    assert "another takes its place" not in told
    assert sorted(job.urls()) == sorted(pages)
    job.check()


def test_the_same_command_joins(tmp_path: Path, site: Site) -> None:
    """The same command beside a running one works on the same run; one file has all items, each once."""
    pages = many_hosts(site, 8, 15)
    job = Job(tmp_path, site, site.url("/"), pause=0.05)
    first = job.start()
    wait_for(lambda: len(site.seen) > 5)
    second = job.start()
    assert second.stderr is not None
    assert second.stderr.readline().startswith("joining run 1 of job titles: ")
    before = len(site.seen)
    wait_for(lambda: len(site.seen) > before + 5)
    first.kill()
    first.communicate()
    _, told = second.communicate(timeout=60)
    assert second.returncode == 0, told
    assert sorted(job.urls()) == sorted(pages)
    assert job.rows("SELECT count(*) FROM runs") == [(1,)]
    job.check()


def test_standard_output_has_all_items(tmp_path: Path, site: Site) -> None:
    """With several engines one of them writes to standard output, and writes everything."""
    pages = many_hosts(site, 6, 6)
    process = Job(tmp_path, site, site.url("/")).start("-j", "3", "-o", "-")
    out, told = process.communicate(timeout=60)
    assert process.returncode == 0, told
    assert sorted(json.loads(line)["url"] for line in out.splitlines()) == sorted(pages)


def test_one_host_and_several_engines(tmp_path: Path, site: Site) -> None:
    """More engines than there is work for are told of at the end."""
    site.tree(5, 2)
    code, told = Job(tmp_path, site, site.url("/")).run("-j", "3")
    assert code == 0
    assert "3 engines, but never more than one host with work at once" in told


def test_an_interrupt_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while the supervisor itself is being loaded ends it without a traceback."""

    def interrupted(_words: list[str]) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("crawler.cli.watch.watch", interrupted)
    monkeypatch.setattr("sys.argv", ["crawler", "crawl", "titles.py"])
    assert main() == 130


@pytest.mark.parametrize("closed", ["0<&-", "2>&-", "0<&- 1>&- 2>&-"])
def test_closed_streams(tmp_path: Path, site: Site, closed: str) -> None:
    """A crawl that was started with closed standard streams crawls, and its files hold nothing but what is theirs."""
    site.tree(5, 2)
    job = Job(tmp_path, site, site.url("/"))
    command = f"{sys.executable} -m crawler crawl titles.py -s resolve=*.test=127.0.0.1 -s delay=0.01 {closed}"
    code = subprocess.run(
        command, shell=True, cwd=tmp_path, env=os.environ | {"PYTHONPATH": SOURCE}, check=False
    ).returncode
    assert code == 0
    assert len(job.urls()) == 5
    job.check()


def test_what_a_spider_writes_beside_the_display(tmp_path: Path, site: Site) -> None:
    """What a spider writes to stderr reaches a terminal, though no text that could be encoded."""
    site.page("/", links("/print"))
    site.page("/print", "x")
    job = Job(tmp_path, site, site.url("/"))
    terminal, theirs = os.openpty()
    process = job.start(stderr=theirs)
    os.close(theirs)
    told = b""
    with contextlib.suppress(OSError):  # so the end is told
        while data := os.read(terminal, 1 << 16):
            told += data
    os.close(terminal)
    process.communicate(timeout=30)
    assert process.returncode == 0, told
    assert b"caf\\udce9" in told


FLOOD = """
import socket, sys
line = socket.socket(fileno=int(sys.argv[1]))
line.recv(1000)
while True:
    line.sendall(b'{"type":"Said","text":"x"}\\n' * 1000)
"""


HEAPS = """
import os, socket, sys
line = socket.socket(fileno=int(sys.argv[1]))
line.sendall(b'{"type":"Said","text":"%s"}\\n' % os.environb[b"MALLOC_ARENA_MAX"])
line.recv(1)
"""


@pytest.mark.parametrize("chosen", [None, "4"])
def test_engines_have_one_heap(monkeypatch: pytest.MonkeyPatch, chosen: str | None) -> None:
    """Threads that parse leave no heaps of their own behind, unless whoever runs the crawl wants it so."""
    if chosen:
        monkeypatch.setenv("MALLOC_ARENA_MAX", chosen)
    with tempfile.TemporaryFile() as file:
        engine = EngineProcess(spawn([sys.executable, "-c", HEAPS], file.fileno()), Role(0, None, 0.0, file.fileno()))
        try:
            heard: list[object] = []
            while not heard:
                heard += engine.messages()
        finally:
            engine.kill()
    assert heard == [Said(chosen or "1")]


COLLECTED = """
import gc
from crawler import Spider

class Titles(Spider):
    seeds = {seeds!r}

    def parse(self, response):
        looks = []
        gc.callbacks.append(lambda phase, info: looks.append(info["generation"]))
        kept = [[] for _ in range(100_000)]
        yield {{"url": response.url, "looks": looks.count(2), "passed_over": gc.get_freeze_count() > 10_000}}
"""


def test_what_lives_long_is_seldom_looked_at(tmp_path: Path, site: Site) -> None:
    """A hundred thousand objects that stay have no engine look at all that there is, as Python alone would by then."""
    site.page("/", "<p>one</p>")
    job = Job(tmp_path, site)
    (tmp_path / "titles.py").write_text(COLLECTED.format(seeds=[site.url("/")]))
    assert job.run("--no-progress")[0] == 0
    found = [json.loads(line) for line in (tmp_path / "output/titles/run-0001/items.jsonl").read_text().splitlines()]
    assert found == [{"url": site.url("/"), "looks": 0, "passed_over": True}]


def test_a_flood_of_words() -> None:
    """An engine that never stops talking does not keep its supervisor from all else."""
    with tempfile.TemporaryFile() as file:
        engine = EngineProcess(spawn([sys.executable, "-c", FLOOD], file.fileno()), Role(0, None, 0.0, file.fileno()))
        try:
            heard: list[object] = []
            while len(heard) < 10_000:
                heard += engine.messages()
        finally:
            engine.kill()
    assert set(heard) == {Said("x")}


def test_an_engine_that_hangs_when_all_are_stopped(tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine that does not end when it should is ended, and its page is not to blame for that."""
    site.page("/", links("/loop"))
    site.page("/loop", "x")
    Job(tmp_path, site, site.url("/"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("crawler.processes.supervisor.LAST_WORDS", 0.5)
    words = ["crawl", "titles.py", "-s", "resolve=*.test=127.0.0.1", "-s", "delay=0.01"]
    command = [sys.executable, "-c", ENGINE.format(path=[SOURCE, *sys.path]), *words]
    signals: list[int] = []

    def stop() -> None:
        wait_for(lambda: "/loop" in site.paths())
        signals.append(signal.SIGINT)

    threading.Thread(target=stop).start()
    with tempfile.TemporaryFile() as file:
        number = file.fileno()
        supervisor = Supervisor(lambda role: EngineProcess(spawn(command, number), role), Face(), number, signals)
        assert supervisor.run() == (130, None)
    (left,) = (tmp_path / "output" / "titles").glob("engine-*.lock")
    assert marks(left) == []


class Face:
    """Nobody looks."""

    def begin(self, begun: Begun) -> None: ...
    def show(self, progress: Progress) -> None: ...
    def tell(self, text: str) -> None: ...
    def say(self, text: str) -> None: ...


@pytest.mark.parametrize(("words", "message"), [(["-j", "0"], "-j must be at least 1"), (["-a", "x=1"], "argument")])
def test_a_mistake_is_told_once(tmp_path: Path, site: Site, words: list[str], message: str) -> None:
    """What is wrong with the command is one line, and exit code 2, though an engine found it."""
    code, told = Job(tmp_path, site, site.url("/")).run(*words)
    assert (code, len(told.splitlines())) == (2, 1), told
    assert message in told
