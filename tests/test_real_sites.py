"""Thousands of real pages: Debian's documentation packages, served by nginx on loopback.

Run with ``pytest -m full tests/test_real_sites.py``; needs nginx, python3.11-doc, postgresql-doc-15 and openjdk-17-doc.
"""

import contextlib
import json
import os
import random
import re
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.test_processes import children

pytestmark = [pytest.mark.full, pytest.mark.timeout(600)]

ROOT = Path(__file__).parent.parent
SITES = {
    "python": "/usr/share/doc/python3.11-doc/html",
    "pg": "/usr/share/doc/postgresql-doc-15/html",
    "jdk": "/usr/share/doc/openjdk-17-jre-headless/api",
}
CONFIGURATION = """
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{
  include /etc/nginx/mime.types; default_type text/html; charset utf-8; access_log {log}; sendfile on; tcp_nopush on;
  keepalive_requests 1000000; client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
  uwsgi_temp_path {folder}; scgi_temp_path {folder};
  server {{ listen {port} backlog=1024; {locations} }}
}}
"""


@contextlib.contextmanager
def nginx(folder: Path, log: Path | None = None, configuration: str = CONFIGURATION) -> Iterator[int]:
    """nginx with the three sites at all loopback addresses; its port."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    locations = " ".join(f"location /{name}/ {{ alias {path}/; }}" for name, path in SITES.items())
    file = folder / "nginx.conf"
    file.write_text(configuration.format(folder=folder, port=port, locations=locations, log=log or "off"))
    server = subprocess.Popen(["nginx", "-e", str(folder / "error.log"), "-c", str(file)])
    deadline = time.monotonic() + 10
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            break
        except OSError:
            assert time.monotonic() < deadline, (folder / "error.log").read_text()
            time.sleep(0.05)
    yield port
    server.terminate()
    server.wait()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """nginx on a free port; its base URL."""
    with nginx(tmp_path_factory.mktemp("nginx")) as port:
        yield f"http://127.0.0.1:{port}"


class Floor:
    """The pages that a hand-written loop finds, and what one costs it."""

    def __init__(self, start: str, folder: Path) -> None:
        lines = folder / "floor.jsonl"
        command = [sys.executable, "-m", "benchmarks.floor", start, str(lines)]
        figures = json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout)
        self.cost: int = figures["cpu_us_per_page"]
        self.urls = {json.loads(line)["url"] for line in lines.read_text().splitlines()}


def crawl(folder: Path, *arguments: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "crawler", "crawl", *arguments, "-s", "delay=0", "-s", "concurrency_per_host=16"]
    return subprocess.Popen([*command, "--folder", str(folder)], cwd=ROOT, env={**os.environ, "COLUMNS": "100"})


def finished(process: subprocess.Popen[bytes]) -> tuple[int, float, int]:
    """Exit code, CPU seconds, and MiB: the peak RSS of supervisor and engine together."""
    memory = 0  # from /proc, since a child's ru_maxrss begins with that of the process it was forked from
    while True:
        with contextlib.suppress(OSError):
            memory = max(memory, sum(map(peak, [process.pid, *children(process.pid)])))
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            process.returncode = os.waitstatus_to_exitcode(status)
            return process.returncode, usage.ru_utime + usage.ru_stime, memory
        time.sleep(0.05)


def peak(pid: int) -> int:
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) >> 10 if found else 0


def urls_of(file: Path) -> list[str]:
    return [json.loads(line)["url"] for line in file.read_text().splitlines()]


@pytest.mark.parametrize("site", SITES)
def test_the_same_pages(server: str, site: str, tmp_path: Path) -> None:
    """`docs` finds exactly the pages that a hand-written loop finds, one item a page, in bounded memory."""
    start = f"{server}/{site}/index.html"
    floor = Floor(start, tmp_path)
    code, _, memory = finished(crawl(tmp_path, "docs", "-a", f"start={start}", "--job", "docs"))
    found = urls_of(tmp_path / "docs" / "run-0001" / "items.jsonl")
    assert code in {0, 3}
    assert len(found) == len(set(found))
    assert set(found) == floor.urls
    assert memory < 300


def test_no_spider_at_all(server: str, tmp_path: Path) -> None:
    """A bare URL crawls its site: the same pages, one item each."""
    floor = Floor(f"{server}/pg/index.html", tmp_path)
    code, _, _ = finished(crawl(tmp_path, f"{server}/pg/", "--job", "bare"))
    found = urls_of(tmp_path / "bare" / "run-0001" / "items.jsonl")
    assert code in {0, 3}
    assert len(found) == len(set(found))
    assert {url for url in found if url != f"{server}/pg/"} == floor.urls


def test_killed_and_resumed(server: str, tmp_path: Path) -> None:
    """Killed again and again, it ends with the items of an undisturbed run, none twice; the next time is a new run."""
    start = f"{server}/jdk/index.html"
    floor = Floor(start, tmp_path)
    arguments = ("docs", "-a", f"start={start}", "--job", "docs")
    rng, kills = random.Random(7), 0
    for _ in range(6):
        process = crawl(tmp_path, *arguments)
        time.sleep(rng.uniform(0.8, 2.5))  # somewhere in its work: that is what is tested
        process.send_signal(signal.SIGKILL)
        code = process.wait()
        kills += code == -signal.SIGKILL
    assert kills
    code, _, _ = finished(crawl(tmp_path, *arguments))
    assert code in {0, 3}
    found = urls_of(tmp_path / "docs" / "run-0001" / "items.jsonl")
    assert len(found) == len(set(found))
    assert set(found) == floor.urls
    process = crawl(tmp_path, *arguments, "--max-pages", "50")
    assert finished(process)[0] == 4
    assert len(urls_of(tmp_path / "docs" / "run-0002" / "items.jsonl")) <= 50


@pytest.fixture
def one_core() -> Iterator[None]:
    """What the test starts shares one core: two that are busy at once slow each other down."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    yield
    os.sched_setaffinity(0, before)


@pytest.mark.usefixtures("one_core")
def test_cost(server: str, tmp_path: Path) -> None:
    """On one core, a page more costs at most 1.4 times the CPU of the hand-written loop, with journal and export on."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    spider = tmp_path / "titles.py"
    spider.write_text(TITLES)
    start, alone = f"{server}/jdk/index.html", f"{server}/jdk/java.se/module-summary.html"
    ratios = []
    for turn in range(3):
        floor = Floor(start, tmp_path)
        code, cpu, _ = finished(crawl(tmp_path, str(spider), "-a", f"start={start}", "--job", f"titles-{turn}"))
        assert code in {0, 3}
        found = urls_of(tmp_path / f"titles-{turn}" / "run-0001" / "items.jsonl")
        assert set(found) == floor.urls
        _, started, _ = finished(crawl(tmp_path, str(spider), "-a", f"start={alone}", "--job", f"one-{turn}"))
        begun = Floor(alone, tmp_path)
        assert len(begun.urls) == 1
        ratios.append((cpu - started) * 1e6 / (floor.cost * len(found) - begun.cost))
    assert sorted(ratios)[1] <= 1.4, ratios


def test_two_processes(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> None:
    """Two engines on one journal cost and take no more than two crawls of half the hosts each that share nothing.

    That is the floor: whatever the machine has left for two of them, with the server beside them.
    """
    (tmp_path / "broad.py").write_text(BROAD)
    costs, times = [], []
    with nginx(tmp_path_factory.mktemp("broad")) as port:
        for turn in range(3):
            words = [str(tmp_path / "broad.py"), "-a", f"port={port}", "--job", "broad"]
            halves = [[*words, "-a", "hosts=100", "-a", f"first={first}"] for first in (0, 100)]
            apart = broad_crawls([(tmp_path / f"{turn}-{half[-1]}", half) for half in halves])
            together = broad_crawls([(tmp_path / f"{turn}", [*words, "-j", "2"])])
            assert apart.pages == together.pages
            costs.append(together.cpu / apart.cpu)
            times.append(together.seconds / apart.seconds)
    assert sorted(costs)[1] <= 1.15, costs
    assert sorted(times)[1] <= 1.15, times


class Broadly(NamedTuple):
    """What crawls at the same time cost in all, how long they took, and what they found."""

    cpu: float
    seconds: float
    pages: list[str]


def broad_crawls(crawls: list[tuple[Path, list[str]]]) -> Broadly:
    began = time.monotonic()
    ends = [finished(process) for process in [crawl(folder, *words) for folder, words in crawls]]
    seconds = time.monotonic() - began
    assert {code for code, _, _ in ends} <= {0, 3}
    found = [url for folder, _ in crawls for url in urls_of(folder / "broad" / "run-0001" / "items.jsonl")]
    return Broadly(sum(cpu for _, cpu, _ in ends), seconds, sorted(found))


BROAD = """
from crawler import Scope, Spider


class Broad(Spider):
    def __init__(self, port: int, hosts: int = 200, first: int = 0) -> None:
        super().__init__()
        hosts = [f"http://127.1.{n // 250}.{n % 250 + 1}:{port}" for n in range(first, first + hosts)]
        self.seeds = [f"{host}/python/c-api/index.html" for host in hosts]
        self.scope = Scope(include=["*/python/c-api/*"])

    def parse(self, response):
        yield {"url": response.url, "title": response.text("title", default=None)}
        yield response.follow("a")
"""
TITLES = """
from crawler import Scope, Spider


class Titles(Spider):
    def __init__(self, start: str) -> None:
        super().__init__()
        self.seeds = [start]
        self.scope = Scope.below(start)

    def parse(self, response):
        if response.headers.get("Content-Type", "").startswith("text/html"):
            yield {"url": response.url, "title": response.text("title", default=None)}
            yield response.follow("a")
"""
