"""Groups: limits that hold over several hosts, by address, by site, or for what requests name."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import pytest

import crawler
from crawler import Crawl, Response, Spider, stages
from crawler.__main__ import main
from crawler.asked import unpacked
from crawler.cookies import registered_site
from crawler.errors import ConfigError, HandlerError
from crawler.feeder import Feeder
from crawler.fetch import Fetcher
from crawler.frontier.checks import violations
from crawler.frontier.schema import readable
from crawler.frontier.sqlite import SqliteFrontier
from crawler.groups import IP, SITE, Group, are_by, group_pace, site_of
from crawler.lane import Lane
from crawler.models import Page, Request
from crawler.politeness import Pace
from crawler.requests import described
from crawler.robots import ALLOW_ALL
from crawler.settings import merged
from crawler.testing import Seen, Site
from crawler.workbench import Workbench
from tests.test_crawl import crawled
from tests.test_engine import everything, links_to, spider

pytestmark = pytest.mark.timeout(90)
TOLERANCE = 0.02  # timers, and the way of two requests through the network, are not the same
LATE = 0.06  # how late a server that shares a busy process with the test may see a request
SOURCE = str(Path(crawler.__file__).parent.parent)


def settings(groups: object, **others: object) -> crawler.settings.Settings:
    return merged(("a test", {"groups": groups, **others}))


# -- which groups there are, and what they allow


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ip:192.0.2.7", Pace(2.0, 128)),
        ("ip:198.51.100.1", Pace(0.0, 3)),
        ("ip:2001:db8::1", Pace(0.5, 128)),
        ("site:example.com", Pace(0.0, 128, 0.5, 4)),
        ("site:other.example", None),
        ("api-1", Pace(1.0, 1)),
        ("api-22", Pace(1.0, 1)),
        ("bpi", None),
    ],
)
def test_limits(name: str, expected: Pace | None) -> None:
    """A group has the limits of the first pattern of its kind that matches; what is left out is not limited."""
    groups = {
        "ip:192.0.2.*": {"delay": "2s"}, "ip:2001:db8::*": {"delay": 0.5}, "ip:*": {"concurrency": 3},
        "site:example.com": {"rate": 2, "burst": 4}, "api-*": {"delay": 1, "concurrency": 1},
    }  # fmt: skip
    assert group_pace(settings(groups), name) == expected


def test_a_pattern_is_of_one_kind() -> None:
    """What requests name is not meant by a pattern for addresses, nor the other way round."""
    assert group_pace(settings({"*": {"delay": 1}}), "ip:192.0.2.1") is None
    assert (are_by(settings({"*": {"delay": 1}}), IP), are_by(settings({"ip:*": {"delay": 1}}), IP)) == (False, True)
    assert not are_by(settings({"ip:*": {"delay": 1}}), SITE)


@pytest.mark.parametrize(
    ("groups", "told"),
    [
        ({"host:*": {"delay": 1}}, "neither ip:ADDRESS nor site:DOMAIN"),
        ({"ip:": {"delay": 1}}, "neither ip:ADDRESS nor site:DOMAIN"),
        ({"": {"delay": 1}}, "neither ip:ADDRESS nor site:DOMAIN"),
        ({"ip:*": {}}, "limits nothing"),
        ({"ip:*": {"burst": 3}}, "limits nothing"),
        ({"ip:*": {"concurrency": 0}}, "groups"),
        ({"ip:*": {"windows": ["22:00-06:00"]}}, "windows"),
    ],
)
def test_settings_that_cannot_be(groups: object, told: str) -> None:
    """A name of no kind, a group without a limit and an unknown limit are refused, and it is said why."""
    with pytest.raises(ConfigError, match=told):
        settings(groups)


@pytest.mark.parametrize(
    ("origin", "site"),
    [
        ("https://www.example.com", "site:example.com"),
        ("http://a.b.example.co.uk:8080", "site:example.co.uk"),
        ("https://co.uk", "site:co.uk"),
        ("http://localhost:8000", "site:localhost"),
        ("http://192.0.2.1:8000", "site:192.0.2.1"),
        ("http://[2001:db8::1]", "site:2001:db8::1"),
    ],
)
def test_sites(origin: str, site: str) -> None:
    """A site is what somebody has registered; an address, or what nobody can have registered, is one of its own."""
    assert site_of(origin) == site
    assert registered_site(site.partition(":")[2]) == site.partition(":")[2]


@pytest.mark.parametrize("name", ["", "a b", "ip:192.0.2.1", "x" * 101])
def test_names_that_cannot_be(name: str) -> None:
    """A request's group is a word without a colon, so that it is never taken for an address or a site."""
    with pytest.raises(HandlerError, match="group="):
        described({"group": name})


async def test_addresses() -> None:
    """The addresses of a host are those that it is reached by: fixed ones, its own name, none by way of a proxy."""
    chosen = merged(
        ("a test", {"resolve": {"*.test": "127.0.0.9"}, "proxies": {"far.example": ["http://127.0.0.1:9"]}})
    )
    async with Fetcher(chosen) as fetcher:
        assert await fetcher.addresses("http://a.test:81/x") == ("127.0.0.9",)
        assert await fetcher.addresses("http://192.0.2.1/") == ("192.0.2.1",)
        assert await fetcher.addresses("http://[2001:db8::1]:8/") == ("2001:db8::1",)
        assert await fetcher.addresses("http://far.example/") == ()


# -- pace


def test_spacing_counts_from_the_request_that_is_written() -> None:
    """While one request of a group is on its way to be written no other is begun; its pause begins then."""
    group = Group("key", Pace(2.0, 2))
    assert group.free_at == 0.0
    group.start()
    assert group.free_at == float("inf")
    group.sent(10.0)
    assert group.free_at == 12.0
    group.start()
    group.sent(12.0)
    assert group.free_at == float("inf")  # two are under way
    group.done(was_sent=True)
    assert group.free_at == 14.0
    group.left(12.1)
    assert group.free_at == 14.1, "it had lain about before it left"
    group.start()
    group.done(was_sent=False)
    assert group.free_at == 14.1


def test_a_burst_is_not_had_twice() -> None:
    """Whoever takes a group over does not know what is left of its burst, and takes it that nothing is."""
    group = Group("key", Pace(0.0, 9, 1.0, 3))
    group.taken_over(100.0)
    times = []
    now = 100.0
    for _ in range(3):
        now = max(now, group.free_at)
        group.start()
        group.sent(now)
        group.done(was_sent=True)
        times.append(now)
    assert times == [100.0, 101.0, 102.0]


Bench = Workbench[str]
PACES = {"ip:192.0.2.1": Pace(1.0, 9), "slow": Pace(5.0, 9), "fast": Pace(0.0, 9), "one": Pace(0.0, 1)}


def bench_of(
    hosts: int, pages: Sequence[str | None], *groups: str, delay: float = 0.0
) -> tuple[Bench, list[Lane[str]]]:
    """A workbench with hosts in these groups, each with pages that name a group of their own, or none."""
    bench: Bench = Workbench(PACES.get)
    lanes = []
    for host in range(1, hosts + 1):
        lane: Lane[str] = Lane(host, f"http://h{host}.test", 1, Pace(delay, 4), 0.0, ALLOW_ALL)
        bench.open(lane)
        bench.enter(lane, groups)
        requests = [Request(f"http://h{host}.test/{n}", group=group) for n, group in enumerate(pages)]
        bench.put(lane, [Page(host * 100 + n, host, one) for n, one in enumerate(requests)], complete=True)
        lanes.append(lane)
    return bench, lanes


def taken(bench: Bench, until: float, took: float = 0.0) -> list[tuple[float, int, str | None]]:
    """Ask whatever is due, each request taking `took` seconds: when, which host, and the group that it names."""
    asked: list[tuple[float, int, str | None]] = []
    ends: list[tuple[float, Lane[str], str | None]] = []
    for tick in range(round(until / 0.1) + 1):
        now = tick / 10
        for end in [one for one in ends if one[0] <= now]:
            ends.remove(end)
            bench.done(end[1], end[2], was_sent=True)
        while turn := bench.take(now):
            lane, page = turn
            bench.sent(lane, now, page.request.group)
            asked.append((now, lane.host, page.request.group))
            ends.append((now + took, lane, page.request.group))
        for end in [one for one in ends if one[0] <= now]:
            ends.remove(end)
            bench.done(end[1], end[2], was_sent=True)
    return asked


def test_hosts_of_a_group_take_turns() -> None:
    """The pause of a group is between any two requests to its hosts, and each of them has its turn."""
    bench, _ = bench_of(3, [None] * 4, "ip:192.0.2.1")
    asked = taken(bench, 8.0)
    assert [at for at, _, _ in asked] == [float(n) for n in range(9)]
    assert [host for _, host, _ in asked] == [1, 2, 3] * 3


def test_who_waits_for_a_group_holds_up_nobody() -> None:
    """Pages whose own group has to wait are passed over; the others of their host go on."""
    bench, _ = bench_of(1, ["slow", "slow", None, "fast"])
    assert taken(bench, 6.0) == [(0.0, 1, "slow"), (0.0, 1, None), (0.0, 1, "fast"), (5.0, 1, "slow")]


def test_places_of_a_group() -> None:
    """No more requests of a group are under way than it has places, whichever hosts they go to."""
    bench, _ = bench_of(3, ["one", "one"])
    assert [at for at, _, _ in taken(bench, 4.0, took=0.5)] == [0.0, 0.5, 1.0, 1.5, 2.0, 2.5]


def test_urgent_requests_wait_for_their_group_too() -> None:
    """What a handler fetches goes before pages, but not before its group may be asked."""
    bench, (lane,) = bench_of(1, ["slow"])
    assert len(taken(bench, 0.0)) == 1
    bench.hurry(lane, "fetch", "slow")
    assert bench.take_ticket(4.9) is None
    assert bench.next_at == 5.0
    assert bench.take_ticket(5.0) == (lane, "fetch", "slow")


def test_new_groups_hold_when_nothing_is_under_way() -> None:
    """A host enters further groups between two requests, so that each that is under way is counted where it began."""
    bench, (lane,) = bench_of(1, [None, None, None])
    turn, other = bench.take(0.0), bench.take(0.0)
    assert turn is not None
    assert other is not None
    lane.entering, lane.is_bound = ["ip:192.0.2.1"], False
    assert bench.take(0.0) is None
    bench.sent(lane, 0.0)
    bench.done(lane, was_sent=True)
    assert not lane.groups
    bench.done(lane, was_sent=False)
    assert lane.groups["ip:192.0.2.1"].in_flight == 0
    assert bench.take(0.0) is not None
    assert lane.groups["ip:192.0.2.1"].in_flight == 1


def test_a_host_waits_with_its_groups() -> None:
    """Hosts whose group is to be left alone for long are given back, and with the last of them the group."""
    bench, (one, other) = bench_of(2, [None], "slow", "ip:192.0.2.1")
    bench.changed = {}
    bench.join(one, {"ip:192.0.2.1": 100.0})
    assert list(bench.changed) == [one, other]
    assert bench.take(0.0) is None
    assert one.may_part(0.0, 10.0)
    assert other.may_part(0.0, 10.0)
    bench.close(one)
    assert other.rests_until() == 100.0
    bench.close(other)
    again = bench_of(1, [None], "ip:192.0.2.1")[1][0]
    assert again.rests_until() == 0.0


def test_hosts_that_share_a_group_are_not_given_away() -> None:
    """An engine gives up hosts that another could have, and none whose group it keeps."""
    bench, lanes = bench_of(4, [None] * 3, delay=1.0)
    bench.enter(lanes[0], ["ip:192.0.2.1"])
    bench.enter(lanes[1], ["ip:192.0.2.1"])
    assert bench.surplus(1) == lanes[2:]


# -- on the wire


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with Site() as site:
        yield site


def gaps(seen: Iterable[Seen]) -> list[float]:
    return [after.at - before.at for before, after in pairwise(sorted(seen, key=lambda one: one.at))]


def peak(seen: Sequence[Seen]) -> int:
    return max(sum(other.at <= one.at < other.ended_at for other in seen) for one in seen)


def hosts_on(site: Site, hosts: int, pages: int, after: float = 0.0, domain: str = "test") -> list[str]:
    """So many hosts of so many pages; the URLs of their first ones."""
    for host in range(hosts):
        for n in range(pages):
            body = links_to(f"/{n + 1}") if n + 1 < pages else "x"
            site.page(f"/{n or ''}", body, host=f"h{host}.{domain}", after=after)
    return [site.url("/", host=f"h{host}.{domain}") for host in range(hosts)]


async def test_a_crawl_without_groups(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no group has limits, no request asks for its groups, nor for an address to know them by."""

    def never(*_: object) -> None:
        raise AssertionError("nobody wants to know")

    for where, name in ((Feeder, "join"), (Feeder, "_enter_known"), (Fetcher, "addresses"), (SqliteFrontier, "join")):
        monkeypatch.setattr(where, name, never)
    found = await crawled(spider(everything, *hosts_on(site, 2, 3)), site)
    assert len(found.items) == 6


async def test_who_waits_for_a_group_is_shown(site: Site) -> None:
    """A profile counts hosts that wait for their group as those that wait for themselves."""
    stages.begin()
    try:
        seeds = hosts_on(site, 3, 3)
        found = await crawled(spider(everything, *seeds), site, groups={"ip:*": {"delay": 0.15}}, obey_robots=False)
    finally:
        stages._wanted.set(None)
    assert found.summary.profile is not None
    assert found.summary.profile.stages["politeness"][0] > 0.5


async def test_further_visits_wait_for_their_group(site: Site, tmp_path: Path) -> None:
    """Pages that are visited again keep the pause of their hosts' group, as at their first visits."""
    seeds = hosts_on(site, 3, 1)
    chosen = {**site.settings, "groups": {"ip:*": {"delay": 0.1}}, "revisit": "0.05", "obey_robots": False}
    async with Crawl(spider(everything, *seeds), folder=tmp_path, settings=chosen, job="it") as crawl:
        async with asyncio.timeout(30):
            while len(site.seen) < 9:  # noqa: ASYNC110  # nobody tells
                await asyncio.sleep(0.01)
        crawl.stop()
        await crawl.ended()
    assert min(gaps(site.seen)) >= 0.1 - TOLERANCE
    assert all(sum(seen.host == f"h{n}.test" for seen in site.seen) > 1 for n in range(3))


async def test_hosts_of_one_address(site: Site) -> None:
    """Requests to the hosts of one address keep its delay, robots.txt included; no address is known in advance."""
    seeds = hosts_on(site, 4, 3)
    found = await crawled(spider(everything, *seeds), site, groups={"ip:127.0.0.1": {"delay": 0.1}})
    assert len(found.items) == 12
    assert len(site.seen) == 16
    assert min(gaps(site.seen)) >= 0.1 - TOLERANCE


async def test_hosts_of_two_addresses(site: Site) -> None:
    """Each address has limits of its own: hosts of two are asked side by side."""
    seeds = hosts_on(site, 4, 3, after=0.1)
    resolve = {"h0.test": "127.0.0.1", "h1.test": "127.0.0.1", "*.test": "127.0.0.2"}
    async with crawler.testing.listening(site._respond, "127.0.0.2", site.port):
        await crawled(
            spider(everything, *seeds), site, resolve=resolve, concurrency_per_host=2,
            groups={"ip:*": {"concurrency": 1}},
        )  # fmt: skip
    first = [seen for seen in site.seen if seen.host in {"h0.test", "h1.test"}]
    assert (peak(first), peak([seen for seen in site.seen if seen not in first]), peak(site.seen)) == (1, 1, 2)


async def test_hosts_of_one_site(site: Site) -> None:
    """The hosts of one registered site share its places, those of another have theirs."""
    seeds = [*hosts_on(site, 3, 3, after=0.05, domain="one.test"), *hosts_on(site, 3, 3, after=0.05, domain="two.test")]
    groups = {"site:one.test": {"concurrency": 2}, "site:two.test": {"concurrency": 1}}
    found = await crawled(spider(everything, *seeds), site, groups=groups)
    assert len(found.items) == 18
    assert peak([seen for seen in site.seen if "one" in seen.host]) == 2
    assert peak([seen for seen in site.seen if "two" in seen.host]) == 1


async def test_requests_that_name_a_group(site: Site) -> None:
    """What requests name has limits of its own, over hosts and handlers' fetches; what has none is not held up."""
    for host in ("a.test", "b.test"):
        site.page("/", links_to(*(f"/{n}" for n in range(4))), host=host)
        site.page("/key", "x", host=host)
        site.file("/file", 1000, host=host)
        for n in range(4):
            site.page(f"/{n}", "x", host=host)

    async def parse(self: Spider, response: Response) -> AsyncIterator[object]:
        if response.url.endswith("/"):
            yield response.follow("a", group="key" if "a.test" in response.url else None, to="parse")
            await response.fetch("/key", group="key")
            yield response.download("/file", group="key")
        yield {"url": response.url}

    seeds = site.url("/", host="a.test"), site.url("/", host="b.test")
    groups = {"key": {"delay": 0.15}}
    found = await crawled(spider(parse, *seeds), site, groups=groups, concurrency_per_host=4)
    assert len(found.items) == 10
    own = [one for one in site.seen if one.path_qs[1:].isdigit()]
    named = [one for one in site.seen if one.path_qs in {"/key", "/file"}] + [
        one for one in own if one.host == "a.test"
    ]
    assert len(named) == 8
    assert min(gaps(named)) >= 0.15 - TOLERANCE
    free = [one for one in own if one.host == "b.test"]
    assert free[-1].at - free[0].at < 0.15


async def test_a_group_without_limits_is_a_slip(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """A request that names a group of which nothing is set fails its page, and says what to do."""

    def parse(self: Spider, response: Response) -> Iterator[object]:
        yield response.follow("a", group="kye")

    site.page("/", links_to("/a"))
    found = await crawled(spider(parse, site.url("/")), site, groups={"key": {"delay": 1}})
    assert found.counts.failed == 1
    assert "group 'kye' has no limits: give it some in the setting groups" in caplog.text


async def test_spacing_over_runs(site: Site, tmp_path: Path) -> None:
    """The next start of a job waits for a group's pause as well, though it begins with another host."""
    first, second = hosts_on(site, 2, 1)
    chosen = {**site.settings, "groups": {"ip:*": {"delay": 1.0}}, "obey_robots": False}
    for seed in (first, second):
        await Crawl(spider(everything, seed), folder=tmp_path, settings=chosen, job="it").run()
    assert [seen.host for seen in site.seen] == ["h0.test", "h1.test"]
    assert gaps(site.seen)[0] >= 1.0 - TOLERANCE


@pytest.mark.parametrize("limit", [{"delay": 0.1}, {"concurrency": 2}, {"rate": 10, "burst": 3}])
async def test_the_account_of_groups(
    limit: dict[str, float], site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """'crawler politeness' tells of groups what it tells of hosts, and as the server saw it."""
    seeds = hosts_on(site, 3, 4, after=0.05)
    chosen = {**site.settings, "groups": {"ip:*": limit}, "concurrency_per_host": 2, "adaptive": False}
    await Crawl(spider(everything, *seeds), folder=tmp_path, settings=chosen, job="it").run()
    assert main(["politeness", "it", "--folder", str(tmp_path)]) == 0
    told = capsys.readouterr().out
    assert "ip:127.0.0.1: kept\n  15 requests" in told
    with contextlib.closing(readable(tmp_path / "it" / "job.db")) as journal:
        minutes = [unpacked(detail) for (detail,) in journal.execute("SELECT detail FROM events WHERE kind = 'minute'")]
    own = [one for one in minutes if one.origin == "ip:127.0.0.1"]
    assert sum(one.requests for one in own) == len(site.seen) == 15
    assert peak(site.seen) <= max(one.at_once for one in own) <= limit.get("concurrency", 6)


# -- engines

SPIDER = """
from crawler import Scope, Spider

class Titles(Spider):
    seeds = {seeds!r}
    scope = Scope(hosts=["*.test:{port}"])

    def parse(self, response):
        yield {{"url": response.url}}
        yield response.follow("a"{group})
"""
KINDS = {"ip:127.0.0.1": "", "key": ', group="key"'}


class Job:
    """A crawl command whose hosts share a group."""

    def __init__(self, folder: Path, site: Site, kind: str, limit: dict[str, float], seeds: list[str]) -> None:
        self.folder = folder
        group = KINDS[kind]
        (folder / "titles.py").write_text(SPIDER.format(seeds=seeds, port=site.port, group=group))
        rows = "\n".join(f"{name} = {value}" for name, value in limit.items())
        (folder / "crawler.toml").write_text(
            f'delay = 0.0\nmin_free_space = 0\n[resolve]\n"*.test" = "127.0.0.1"\n[groups."{kind}"]\n{rows}\n'
        )

    def start(self, *words: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-m", "crawler", "crawl", "titles.py", *words], cwd=self.folder,
            env=os.environ | {"PYTHONPATH": SOURCE}, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def check(self, pages: int) -> None:
        folder = self.folder / "output" / "titles"
        lines = (folder / "run-0001" / "items.jsonl").read_text().splitlines()
        assert len({json.loads(line)["url"] for line in lines}) == len(lines) == pages
        with contextlib.closing(readable(folder / "job.db")) as journal:
            assert violations(journal) == []


def in_group(site: Site, kind: str) -> list[Seen]:
    """The requests that a group is about: all, or those that a page's handler has named it for."""
    return [seen for seen in site.seen if kind != "key" or seen.path_qs[1:].isdigit()]


@pytest.fixture
def served() -> Iterator[Site]:
    with Site.in_thread() as site:
        with contextlib.suppress(urllib.error.HTTPError):  # the first answer takes long, and would be seen late
            urllib.request.urlopen(site.url("/warm", host="127.0.0.1"))
        site.seen.clear()
        yield site


def wait_for_requests(site: Site, count: int, process: "subprocess.Popen[str]") -> None:
    ends_at = time.monotonic() + 30
    while len(site.seen) < count and process.poll() is None:
        assert time.monotonic() < ends_at, "the crawl asks nothing"
        time.sleep(0.01)


@pytest.mark.skipif(sys.platform == "win32", reason="there an engine runs in the process that was started")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("limit", [{"delay": 0.12}, {"concurrency": 2}])
def test_two_engines(tmp_path: Path, served: Site, kind: str, limit: dict[str, float]) -> None:
    """The limits of a group hold with two engines, and when one of them is killed; no page is lost."""
    job = Job(tmp_path, served, kind, limit, hosts_on(served, 6, 4, after=0.02))
    process = job.start("-j", "2")
    for count in (9, 18):
        wait_for_requests(served, count, process)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        if children and process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(children[count // 9 % len(children)]), signal.SIGKILL)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 0, told
    job.check(24)
    seen = in_group(served, kind)
    assert min(gaps(seen)) >= limit.get("delay", 0.0) - LATE
    assert peak(seen) <= limit.get("concurrency", 99)
    assert main(["politeness", "titles", "--folder", str(tmp_path / "output")]) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_killed_and_started_again(tmp_path: Path, served: Site, kind: str) -> None:
    """After a SIGKILL of the whole crawl the same command waits for the group's pause before it asks its first page."""
    job = Job(tmp_path, served, kind, {"delay": 0.5}, hosts_on(served, 2, 3))
    for count in (3, 6):
        process = job.start()
        wait_for_requests(served, count, process)
        process.kill()
        process.communicate()
    process = job.start()
    _, told = process.communicate(timeout=60)
    assert process.returncode == 0, told
    job.check(6)
    assert min(gaps(in_group(served, kind))) >= 0.5 - LATE


async def test_groups_go_to_one_engine(site: Site, tmp_path: Path) -> None:
    """Two engines on one journal never ask one address at once, and share out the addresses."""
    names = [f"h{n}.test" for n in range(12)]
    for name in names:
        for n in range(4):
            site.page(f"/{n or ''}", links_to(f"/{n + 1}") if n < 3 else "x", host=name, after=0.05)
    resolve = {name: f"127.0.1.{n % 3 + 1}" for n, name in enumerate(names)}
    chosen = {
        **site.settings, "resolve": resolve, "concurrency_per_host": 2, "groups": {"ip:*": {"concurrency": 1}},
        "obey_robots": False,
    }  # fmt: skip
    both = asyncio.Event()

    async def start(self: Spider) -> AsyncIterator[str]:
        await both.wait()
        for name in names:
            yield site.url("/", host=name)

    def crawl(output: str) -> Crawl:
        made, target = spider(everything, start=start), str(tmp_path / f"{output}.jsonl")
        return Crawl(made, folder=tmp_path, settings=chosen, output=target, job="it")

    async with contextlib.AsyncExitStack() as stack:
        for n in range(3):
            await stack.enter_async_context(crawler.testing.listening(site._respond, f"127.0.1.{n + 1}", site.port))
        one, other = await stack.enter_async_context(crawl("a")), await stack.enter_async_context(crawl("b"))
        both.set()
        await asyncio.gather(one.ended(), other.ended())
        assert await one._frontier.violations() == []
    assert sorted(f"{seen.host}{seen.path_qs}" for seen in site.seen) == sorted(
        f"{name}/{n or ''}" for name in names for n in range(4)
    )
    for address in set(resolve.values()):
        assert peak([seen for seen in site.seen if resolve[seen.host] == address]) == 1
