"""Where the time goes: each stage has its seconds, the verdict names what would help, nobody pays who did not ask."""

import asyncio
import gzip
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from crawler import Crawl, Spider, stages
from crawler.cli import report
from crawler.handling import Stepped, timed
from crawler.profile import Profile, merged, verdict
from crawler.stages import WAITS, WORK, Stages
from crawler.stats import Watch
from crawler.testing import Site, in_thread
from tests.test_fetch import fetcher, get, wire

KEPT = "the loop is kept waiting for 60% of the time"
FULL = "the loop computes for 90% of the time"


@pytest.fixture
def measured() -> Iterator[Stages]:
    """Stages that whatever runs in the test adds to, and nothing after it."""
    yield stages.begin()
    stages._wanted.set(None)


def spin(seconds: float) -> None:
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        pass


def profile(**changes: Any) -> Profile:
    none = dict.fromkeys((*WAITS, *WORK), (0.0, 0))
    usual: dict[str, Any] = {
        "stages": none | changes.pop("spent", {}), "lag": (0.002, 0.03), "busy": 0.1, "limits": {}, "hosts": 4,
    }  # fmt: skip
    return Profile(**(usual | changes))


def test_nothing_is_done_for_nobody() -> None:
    """Unless somebody has asked, a stage is the same empty context each time, and work is left as it is."""
    assert stages.current() is None
    assert stages.work("parse") is stages.work("links") is stages.wait("DNS")
    nothing = asyncio.sleep(0)
    assert timed("handler", nothing) is nothing
    nothing.close()


def test_work_within_work_counts_once(measured: Stages) -> None:
    """What is parsed within a handler is the parser's time, not the handler's."""
    with stages.work("handler"):
        spin(0.02)
        with stages.work("parse"):
            spin(0.05)
    assert 0.05 <= measured.seconds["parse"] < 0.2
    assert 0.02 <= measured.seconds["handler"] < measured.seconds["parse"]
    assert measured.times["handler"] == measured.times["parse"] == 1


async def test_a_handler_that_waits_does_not_work(measured: Stages) -> None:
    """Of an async handler the steps count, and not what it waits for between them, nor what others do meanwhile."""

    async def waits() -> str:
        spin(0.01)
        await asyncio.sleep(0.2)
        return "done"

    found = await asyncio.gather(timed("handler", waits()), timed("pipeline", Stepped(waits(), stages.work("links"))))
    assert list(found) == ["done", "done"]
    assert 0.01 <= measured.seconds["handler"] < 0.15
    assert measured.seconds["pipeline"] < 0.005 <= measured.seconds["links"] < 0.15
    assert measured.times["handler"] == 1


async def test_a_loop_that_stood_still_is_seen() -> None:
    """The latest look tells for how long nobody else came to his turn."""
    watch = Watch(Stages(), lambda: (2, 3), lambda: "politeness of 2 hosts")
    asyncio.get_running_loop().call_later(0.05, spin, 0.3)
    await watch.pause(0.6)
    found = watch.profile(0.6)
    assert 0.25 < found.lag[1] < 2
    assert found.lag[0] <= found.lag[1]
    assert 0.2 < found.late < 0.95
    assert found.hosts == 3
    assert set(found.limits) == {"politeness of 2 hosts"}
    assert found.stages["politeness"][0] > 0.5


@pytest.mark.parametrize(
    ("found", "cores", "expected"),
    [
        (
            {"limits": {"politeness of 3 hosts": 6, "politeness of 2 hosts": 3, "the network": 1}},
            2,
            "limited by politeness of 3 hosts, 90% of the time",
        ),
        (
            {"limits": {"the network": 1}, "spent": {"first byte": (3.5, 10), "body": (1.0, 10)}},
            2,
            "limited by the network, most of all by first byte (350 ms each), 100% of the time",
        ),
        ({"limits": {"a sink": 1}}, 2, "limited by a sink, 100% of the time"),
        (
            {"busy": 0.9, "spent": {"parse": (3.0, 10), "handler": (1.0, 10)}},
            2,
            f"limited by parsing: {FULL}; try -j 2",
        ),
        (
            {"busy": 0.9, "hosts": 1, "spent": {"handler": (3.0, 10)}},
            2,
            f"limited by handlers: {FULL}; a host is one engine's, so take what is heavy to in_process",
        ),
        (
            {"busy": 0.9, "engines": 2, "spent": {"links": (3.0, 10)}},
            2,
            f"limited by links: {FULL} on all cores",
        ),
        (
            {"busy": 0.5, "late": 0.6, "limits": {"the network": 1}},
            2,
            f"limited by this machine: {KEPT}, and computes for 50%; others take its core",
        ),
        ({}, 2, "too short to tell what limited it"),
    ],
)
def test_verdicts(found: dict[str, Any], cores: int, expected: str) -> None:
    """The verdict says in words what would have to change for the crawl to be faster."""
    assert verdict(profile(**found), cores) == expected


def test_engines_are_added_up() -> None:
    """Of several engines the seconds are added up, and the loop that was late is told."""
    one = profile(limits={"a sink": 1}, spent={"parse": (1.0, 2)}, busy=0.2)
    other = profile(limits={"a sink": 2}, spent={"parse": (2.0, 3)}, busy=0.4, lag=(0.001, 0.5))
    both = merged([one, None, other])
    assert both is not None
    assert both.stages["parse"] == (3.0, 5)
    assert (both.lag, both.limits, both.hosts, both.engines) == ((0.002, 0.5), {"a sink": 3}, 8, 2)
    assert both.busy == pytest.approx(0.3)
    assert merged([None]) is None
    assert merged([None, one]) is one


async def test_tls_and_decoding_are_told_apart(measured: Stages) -> None:
    """A handshake and what is unpacked have stages of their own beside connection and body."""
    body = gzip.compress(b"hello" * 100_000)
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body)
    async with wire(head + body, tls=True) as server, fetcher(insecure_hosts=["*"]) as opened:
        assert len((await get(opened, server.url(scheme="https", host="localhost"))).body) == 500_000
    seconds = measured.seconds
    assert {stage for stage, times in measured.times.items() if times} == {
        "DNS", "connect", "TLS", "first byte", "body", "decode"
    }  # fmt: skip
    assert measured.times["TLS"] == measured.times["decode"] == 1
    assert 0 < seconds["DNS"] + seconds["TLS"] < seconds["connect"]
    assert 0 < seconds["decode"] < seconds["body"]


async def test_a_name_that_is_looked_up_in_advance(measured: Stages) -> None:
    """What it takes to learn a host's addresses is taken from no connection, which is made without it later."""
    async with fetcher() as opened:
        assert await opened.addresses("http://localhost/")
    assert measured.times["DNS"] == 1
    assert measured.seconds["connect"] >= measured.seconds["DNS"] > 0


class Slow(Spider):
    """Computes for a while at each page."""

    def parse(self, response):
        spin(0.05)
        yield {"url": response.url, "title": response.text("title")}
        yield response.follow("a")

    async def _checked(self, item):
        spin(0.01)
        return item

    def __init__(self) -> None:
        super().__init__()
        self.pipeline = [self._checked]


async def test_a_crawl_is_measured(measured: Stages, tmp_path: Path) -> None:
    """Every stage that a crawl went through has its seconds, in its progress and in its summary."""
    async with Site() as site:
        for number in range(8):
            site.page(f"/{number}", f"<title>{number}</title><a href='/{number + 1}'>next</a>")
        spider = Slow()
        spider.seeds = [site.url("/0")]
        async with Crawl(spider, folder=tmp_path, settings=site.settings) as crawl:
            summary = await crawl.ended()
            shown = crawl.progress().profile
    assert summary.items == 8
    found = summary.profile
    assert found is not None
    assert shown is not None
    assert found.stages["handler"][1] == 8
    assert found.stages["handler"][0] >= 0.4
    assert found.stages["pipeline"][0] >= 0.08
    assert {name for name in WORK if found.stages[name][1]} == {"parse", "links", "handler", "pipeline"}
    assert all(found.stages[name][0] > 0 for name in ("connect", "first byte", "body", "commit", "export"))
    assert shown.stages["handler"] == found.stages["handler"]
    told = report.stages(found)
    assert told[0].startswith("  profile: limited by ")
    assert len(told) == 2 + len(WAITS) + len(WORK)


async def test_a_crawl_that_nobody_measures(tmp_path: Path) -> None:
    """Without being asked, a crawl has no profile."""
    async with Site() as site:
        site.page("/", "<title>one</title>")
        spider = Slow()
        spider.seeds = [site.url("/")]
        summary = await Crawl(spider, folder=tmp_path, settings=site.settings).run()
    assert summary.profile is None
    assert report.at_a_glance(summary.profile) == report.stages(summary.profile) == []


def test_the_command(tmp_path: Path) -> None:
    """`crawl --profile` ends with the verdict and the stages, of all engines together."""
    with in_thread(Site()) as site:
        site.tree(10, 2)
        words = ["crawl", site.url("/"), "--profile", "-j", "2", "--folder", str(tmp_path), "-s", "delay=0.05"]
        command = [sys.executable, "-m", "crawler", *words, "-s", "resolve=*.test=127.0.0.1"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode in {0, 3}, done.stderr
    told = done.stderr.splitlines()
    assert sum(line.startswith("  profile: ") for line in told) == 1
    (parse,) = (line for line in told if line.startswith("    work parse"))
    assert "10 times" in parse


def test_what_is_shown_meanwhile() -> None:
    """The display has the waits and the work that took time, in a line each."""
    found = profile(spent={"politeness": (12.0, 3), "parse": (1.5, 10)})
    waits, work = report.at_a_glance(found)
    assert waits == "waits: politeness 12 s"
    assert work == "work: parse 1.5 s, loop 10% busy, 2 ms late (p99), 30 ms at most"
