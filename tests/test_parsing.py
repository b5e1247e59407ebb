"""Pages that are built to choke a parser end as ParseLimit, and nobody else notices."""

import asyncio
import errno
import gc
import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen
from typing import Any

import pytest

from crawler import Crawl, Spider, parsing
from crawler.errors import ParseLimit, StoreUnavailable
from crawler.markup import LONGEST
from crawler.parsing import LARGE, Parser, Trial
from crawler.testing import Site
from crawler.wraps import Wrap
from tests.test_markup import ATTRIBUTES, COPIES
from tests.test_response import LISTING, page

LINES = b"".join(b'<p><a href="/page/%d">a line with a link</a></p>\n' % n for n in range(40_000))
SITES = (
    "/usr/share/doc/python3.11-doc/html",
    "/usr/share/doc/postgresql-doc-15/html",
    "/usr/share/doc/openjdk-17-jre-headless/api",
)
MIB = 1 << 20
LONG = b"<ul>" + b"<li><b>term</b> and <a href=/x>link</a>" * 9000 + b"</ul>"
SILENT = "import sys, time; sys.stdout.buffer.write(b'.'); sys.stdout.flush(); time.sleep(600)  # {path}"


class Titles(Spider):
    name = "titles"

    def __init__(self, *seeds: str) -> None:
        self.seeds = seeds

    def parse(self, response):
        yield {"url": response.url, "title": response.text("title", default="-"), "links": len(response.links())}


@contextmanager
def watched() -> Iterator[list[float]]:
    """The seconds for which the running loop did nothing else."""
    gaps: list[float] = []

    async def watch() -> None:
        while True:
            before = time.perf_counter()
            await asyncio.sleep(0.005)
            gaps.append(time.perf_counter() - before)

    task = asyncio.ensure_future(watch())
    try:
        yield gaps
    finally:
        task.cancel()


@pytest.fixture
def parser() -> Iterator[Parser]:
    parser = Parser()
    yield parser
    parser.close()


@pytest.fixture
def trial() -> Iterator[Trial]:
    trial = Trial()
    yield trial
    trial.close()


async def crawled(site: Site, *paths: str, **settings: object) -> tuple[dict[str, int], list[float], int]:
    """The outcomes of a crawl, how long it held up the loop, and the bytes of memory that it took."""
    spider = Titles(*(site.url("/", host=f"h{n}.test")[:-1] + path for n, path in enumerate(paths)))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with watched() as gaps:
        summary = await Crawl(spider, folder=None, settings={**site.settings, **settings}).run()
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    return dict(summary.counts.reasons), gaps, grown


@pytest.mark.parametrize(
    ("bomb", "outcome"),
    [
        (COPIES, "failed: ParseLimit"),
        (b"<div>" * 200_000, "failed: ParseLimit"),
        (b"<a " + ATTRIBUTES + b">", "failed: ParseLimit"),
        (b"<select>" + b"<option>x" * 16_000 + b"</select>", "done"),
        (b"x" * 50_000_000, "done"),
    ],
    ids=["29 KB of formatting", "200,000 divs", "100,000 attributes", "16,000 options", "50 MB on one line"],
)
async def test_a_parser_bomb_harms_nobody(bomb: bytes, outcome: str) -> None:
    """A page that would take minutes or gigabytes is refused or parsed; the loop goes on, and memory stays free."""
    async with Site() as site:
        site.page("/bomb", bomb, host="h0.test")
        site.page("/", LISTING, host="h1.test")
        outcomes, gaps, grown = await crawled(site, "/bomb", "/", max_body_bytes=64 * MIB, body_memory=256 * MIB)
    assert outcomes.get(outcome, 0) >= 1, outcomes
    assert sum(outcomes.values()) == 2
    assert max(gaps) < 1.0
    assert grown < 300 * MIB


async def test_a_long_page_does_not_hold_up_the_loop() -> None:
    """A page with 40,000 links is parsed, and its links are found and followed, while the loop has other work."""
    async with Site() as site:
        site.page("/", LINES, host="h0.test")
        outcomes, gaps, _ = await crawled(site, "/")
    assert outcomes == {"done": 1}
    assert sorted(gaps)[-2] < 0.1 + 0.1  # a tenth of a second, and as much for a machine that is shared


async def test_large_pages_are_parsed_before_they_are_asked_for(parser: Parser) -> None:
    """A small page is parsed when its handler reads it, a large one before, and not by the loop."""
    small, large = page(LISTING), page(LINES)
    assert len(LINES) > LARGE
    for response in (small, large):
        await parser.parsed(response)
    assert small._tree is None
    assert large._tree is not None
    assert len(large._links or ()) == 40_000


async def test_what_is_no_html_is_left_alone(parser: Parser) -> None:
    """Nothing is parsed of a long answer that is no page."""
    response = page(LINES, content_type="application/json")
    await parser.parsed(response)
    assert response._tree is None


def test_a_bomb_that_calls_itself_text_is_refused_when_it_is_read() -> None:
    """Whatever its type, a body is not parsed if it is a bomb: whoever reads it has a ParseLimit instead."""
    with pytest.raises(ParseLimit, match="structure") as caught:
        page(COPIES, content_type="text/plain").css("p")
    assert caught.value.status == 200


def test_encodings_hide_nothing() -> None:
    """A bomb in UTF-16 is one, though its bytes look otherwise."""
    bomb = page(COPIES.decode().encode("utf-16"), content_type="text/html; charset=utf-16")
    with pytest.raises(ParseLimit):
        _ = bomb.html


async def test_a_parse_without_end_is_given_up(parser: Parser, monkeypatch: pytest.MonkeyPatch) -> None:
    """If nothing foresaw it, a page is given up after a while, and its thread is waited for by nobody."""
    monkeypatch.setattr(parsing, "PATIENCE", -0.8)
    response = page(b"word " * LARGE)
    monkeypatch.setattr(type(response), "parse", lambda _self, **_links: time.sleep(1.0))
    with pytest.raises(ParseLimit, match="not parsed after"):
        await parser.parsed(response)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit of memory or CPU time for a process")
@pytest.mark.parametrize("bomb", [COPIES, b"<div>" * 200_000])
def test_the_trial_ends_in_time(trial: Trial, bomb: bytes) -> None:
    """A process that tries a page dies by itself of what is too much, and the next page has another."""
    began = time.process_time() + time.monotonic()
    assert not trial.survives(bomb)
    assert trial.survives(LONG)
    assert time.process_time() + time.monotonic() - began < 20


def test_the_trial_lets_long_pages_live(trial: Trial) -> None:
    """Pages with more tags than are cleared at once pass if they are harmless, all in one process."""
    assert page(LONG).worst > LONGEST
    assert trial.survives(LONG)
    first = trial._process
    assert all(trial.survives(LONG) for _ in range(40))
    assert trial._process is first


def test_a_trial_that_does_not_answer_is_ended(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that says nothing of a page for too long is killed, and its page did not pass."""
    monkeypatch.setattr(parsing, "CHILD", SILENT)
    monkeypatch.setattr(parsing, "PATIENCE", 0.2)
    assert not trial.survives(LONG)


@dataclass
class Short:
    """A machine that has no process, or no thread for parsing, so many times."""

    monkeypatch: pytest.MonkeyPatch
    times: int
    refusals: int = 0

    def processes(self, error: OSError) -> None:
        self._refuse(subprocess, "Popen", error, lambda *_args: True)

    def threads(self, kind: type[threading.Thread]) -> None:
        error = RuntimeError("can't start new thread")
        self._refuse(threading.Thread, "start", error, lambda one: type(one) is kind and "journal" not in one.name)

    def _refuse(self, owner: object, name: str, error: Exception, concerns: Callable[..., bool]) -> None:
        start: Callable[..., Any] = getattr(owner, name)

        def started(*args: Any, **options: Any) -> Any:
            if self.refusals == self.times or not concerns(*args):
                return start(*args, **options)
            self.refusals += 1
            raise error

        self.monkeypatch.setattr(owner, name, started)


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN])
def test_a_trial_that_cannot_be_started(trial: Trial, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """A machine that has no process to give is no fault of the page's, which passes when there is one."""
    short = Short(monkeypatch, times=1)
    short.processes(OSError(number, os.strerror(number)))
    with pytest.raises(StoreUnavailable, match=f"no process .*{os.strerror(number)}"):
        trial.survives(LONG)
    assert short.refusals == 1
    assert trial.survives(LONG)


def test_a_trial_that_nobody_can_end(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a thread that would end it in time no page is tried, and no process is left behind."""
    short = Short(monkeypatch, times=1)
    short.threads(threading.Timer)
    with pytest.raises(StoreUnavailable, match="can't start new thread"):
        trial.survives(LONG)
    assert short.refusals == 1
    assert trial._process is None
    assert trial.survives(LONG)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not limit open files")
def test_a_trial_without_file_descriptors(trial: Trial) -> None:
    """With every file descriptor in use the page is not judged; it is when there are some again."""
    usual = resource.getrlimit(resource.RLIMIT_NOFILE)
    with Path(os.devnull).open("rb") as spare:
        resource.setrlimit(resource.RLIMIT_NOFILE, (spare.fileno() + 1, usual[1]))
        try:
            with pytest.raises(StoreUnavailable, match=os.strerror(errno.EMFILE)):
                trial.survives(LONG)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, usual)
    assert trial.survives(LONG)


@pytest.mark.parametrize("child", ["raise SystemExit(1)", "import time; time.sleep(600)"], ids=["dies", "hangs"])
def test_a_trial_that_dies_before_it_has_the_page(trial: Trial, monkeypatch: pytest.MonkeyPatch, child: str) -> None:
    """A process that ends, or hangs, while it starts has said nothing of the page: the page is not judged by it."""
    with monkeypatch.context() as broken:
        broken.setattr(parsing, "CHILD", child + "  # {path}")
        broken.setattr(parsing, "PATIENCE", 0.5)
        with pytest.raises(StoreUnavailable, match="it ended before it had one"):
            trial.survives(LONG)
    assert trial.survives(LONG)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit of memory or CPU time for a process")
def test_a_trial_with_less_memory_than_it_may_have(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the machine allows less than the trial's own limits, those of the machine hold, and pages are tried."""
    limited = "import resource; resource.setrlimit(resource.RLIMIT_AS, (1 << 28, 1 << 28)); "
    monkeypatch.setattr(parsing, "CHILD", limited + "resource.setrlimit(resource.RLIMIT_CPU, (1, 1)); " + parsing.CHILD)
    trial = Trial()
    assert trial.survives(LONG)
    trial.close()


async def wrapped(request, fetch):
    return await fetch(request)


class Doubtful(Titles):
    async def parse(self, response):
        if "reads" in response.url:
            with suppress(Exception):  # an author may catch everything
                await response.fetch("/long")
        yield {"url": response.url}


@pytest.mark.parametrize(("what", "wraps"), [("processes", []), ("threads", [wrapped])])
async def test_a_crawl_that_cannot_try_a_page(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, what: str, wraps: list[Wrap]
) -> None:
    """A doubtful page waits while there is no process or thread for it; that is said once, and no page is lost."""
    short = Short(monkeypatch, times=2)
    async with Site() as site:
        site.page("/", "x", host="h0.test")
        site.page("/reads", "x", host="h1.test")
        site.page("/long", LONG, host="h1.test")
        site.page("/long", LONG, host="h2.test")
        spider = Doubtful(
            site.url("/", host="h0.test"), site.url("/reads", host="h1.test"), site.url("/long", host="h2.test")
        )
        spider.wrap = wraps
        if what == "processes":
            short.processes(BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN)))
        else:
            short.threads(threading.Thread)
        summary = await Crawl(spider, folder=None, settings=site.settings).run()
    assert short.refusals == 2
    assert (summary.outcome, dict(summary.counts.reasons), summary.items) == ("finished", {"done": 3}, 3)
    assert caplog.text.count("can be started for large pages, which wait") == 1


async def test_a_crawl_leaves_no_trial_behind() -> None:
    """When a crawl is over, so is the process in which it tried its pages."""
    async with Site() as site:
        site.page("/", LONG, host="h0.test")
        outcomes, _, _ = await crawled(site, "/")
    assert outcomes == {"done": 1}
    gc.collect()
    assert not [one for one in gc.get_objects() if isinstance(one, Popen) and one.poll() is None]


@pytest.mark.full
@pytest.mark.parametrize("site", SITES)
async def test_no_real_page_is_refused(parser: Parser, site: str) -> None:
    """Every page of three large documentation sites is parsed."""
    files = sorted(Path(site).resolve().rglob("*.html"))
    assert len(files) > 500
    for file in files:
        response = page(file.read_bytes())
        await parser.parsed(response)
        assert response.html.root is not None
