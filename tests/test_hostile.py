"""Each way to misbehave ends as it should."""

import json
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from crawler import Crawl
from crawler.processes.spawn import ONE_HEAP
from tests.hostile import ROWS
from tests.hostile.crawl import Wanderer, expected, led
from tests.hostile.server import DOMAIN, Server, serving

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """One crawl of the whole misbehaving web, in a process of its own, and what its server saw of it."""
    command = [sys.executable, "-m", "tests.hostile"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin
        assert server.stdout
        port = int(server.stdout.readline())
        crawl = [*command[:2], "tests.hostile.crawl", str(port), str(tmp_path_factory.mktemp("whole"))]
        environment = {**os.environ, **ONE_HEAP}  # as an engine has
        ran = subprocess.run(crawl, cwd=ROOT, check=True, capture_output=True, text=True, timeout=150, env=environment)
        asked = Request(f"http://127.0.0.1:{port}/asked", headers={"Host": f"index.{DOMAIN}:{port}"})
        with urlopen(asked) as answer:
            seen = {(host, path): times for host, path, times in json.load(answer)}
        server.stdin.close()
    return {**json.loads(ran.stdout), "port": port, "asked": seen, "log": ran.stderr}


def test_the_whole_web(whole: dict[str, Any]) -> None:
    """In one crawl with default settings, but shorter timeouts, each page ends as its row says, after so many tries."""
    wanted = expected(whole["port"])
    assert len(wanted) > 240
    found = whole["ends"]
    assert {url: found.get(url) for url, end in wanted.items() if not found.get(url, "").startswith(end)} == {}
    asked = {name: whole["asked"].get((f"{name}.{DOMAIN}", "/"), 0) for name in ROWS}
    assert {name: asked[name] for name, row in ROWS.items() if row.tries not in {None, asked[name]}} == {}
    assert not {path for _, path in whole["asked"]} & {"/inside", "/poison", "/secret"}
    assert not [host for host, _ in whole["asked"] if not host.endswith(DOMAIN)]


def test_what_redirects_lead_to(whole: dict[str, Any]) -> None:
    """What a redirect leads to ends as it should, wherever that is."""
    wanted = led(whole["port"])
    found = {url: whole["ends"].get(url) for url in wanted}
    assert {url: end for url, end in found.items() if not str(end).startswith(wanted[url])} == {}


def test_what_is_good_is_kept(whole: dict[str, Any]) -> None:
    """Amid all that misbehaves, each page of each host that does not is stored, once."""
    kept = Counter(item["url"] for item in whole["items"])
    for number in range(10):
        at = f"http://good-{number}.pages.{DOMAIN}:{whole['port']}"
        assert [kept[f"{at}/{page}"] for page in ("", 1, 2, 3, 4)] == [1] * 5
    assert max(kept.values()) == 1
    done = {url for url, end in whole["ends"].items() if end == "done "}
    assert done == set(kept)


def test_what_it_costs(whole: dict[str, Any]) -> None:
    """It takes under two minutes and 300 MB, and no turn of the loop computes for a tenth of a second."""
    assert whole["seconds"] < 120
    assert whole["memory"] < 300e6
    assert whole["blocked"] < 0.1


def test_nothing_leaks_into_the_log(whole: dict[str, Any]) -> None:
    """What servers sent reaches the log without its control characters, and no line has the inner address of a name."""
    assert not [line for line in whole["log"].splitlines() if not line.isprintable()]
    assert not [line for line in whole["log"].splitlines() if "BlockedAddress" in line and "10.1.2.3" in line]


async def seconds(server: Server, bad: list[str]) -> float:
    """How long a good host's five pages take, four paced ones after the first, beside bad ones."""
    spider = Wanderer()
    spider.seeds = [server.url("good-0.pages"), *(server.url(name) for name in bad)]
    began, pages = time.monotonic(), 0
    settings: dict[str, object] = {"resolve": {f"*.{DOMAIN}": "127.0.0.1"}, "delay": 0.5, "min_free_space": 0}
    settings |= {"adaptive": False, "header_timeout": 3, "read_timeout": 3, "total_timeout": 4}  # longer than all takes
    async with Crawl(spider, folder=None, settings=settings) as crawl:
        async for item in crawl:
            pages += "good-0" in str(item["url"])
            if pages == 5:
                return time.monotonic() - began
    raise AssertionError("its pages did not come")


async def test_no_host_takes_anothers_speed() -> None:
    """Hosts that are slow or endless, all at once, cost another one at most a twentieth of its speed."""
    bad = ["mute.pace", "headers-in-drops.pace", "body-in-drops.pace", "body-without-end.pace"]
    async with serving(ROWS) as server:
        alone = await seconds(server, [])
        beside = await seconds(server, bad)
        if beside > 1.05 * alone:  # this machine may have had something else to do
            beside = await seconds(server, bad)
    assert beside <= 1.05 * alone
