"""Hundreds of whole crawls in virtual time, each with misfortunes of its own; and that a broken engine is found out."""

import asyncio
import hashlib
import os
import random
import re
import subprocess
import sys
import time
from collections import Counter
from itertools import pairwise

import pytest

import crawler.simulation
from crawler import Scope, Spider, feeder, groups, politeness
from crawler.asking import Asker
from crawler.errors import ConfigError, ConnectionReset, ReadTimeout
from crawler.frontier import Committed, membership, queries
from crawler.frontier.sqlite import SqliteFrontier
from crawler.models import Link, Visit
from crawler.simulation import Answer, Fortune, Moment, Overload, Served, Simulated, Stalled
from crawler.simulation.journal import SharedLock
from crawler.testing import simulate
from crawler.visits import Visitor
from tests.simulated_plans import Plan, differences, planned

CHUNKS = 12  # for pytest-xdist to spread
REPLAY = "pytest tests/test_simulation.py -n 0 -k any_misfortune --seeds 1 --first-seed"


def failure(plan: Plan) -> str | None:
    """What goes wrong in a plan's crawl, in words."""
    try:
        wrong = "; ".join(differences(plan, plan.run()))
    except AssertionError as error:
        wrong = str(error) or "an assertion"
    return f"seed {plan.seed}: {wrong}\nto see it again: {REPLAY} {plan.seed}" if wrong else None


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_any_misfortune(chunk: int, pytestconfig: pytest.Config) -> None:
    """Whatever servers do and whenever engines die, pages end as they must, items are stored once, all laws hold."""
    first, count = pytestconfig.getoption("first_seed"), pytestconfig.getoption("seeds")
    seeds = range(first + chunk, first + count, CHUNKS)
    assert not [found for seed in seeds if (found := failure(planned(seed)))]


def test_no_host_is_overlooked(monkeypatch: pytest.MonkeyPatch) -> None:
    """The feeder looks at hosts to which something has happened: they are all that it has to feed or to give back."""
    refill = feeder.Feeder.refill
    overlooked: list[str] = []

    async def watched(self: feeder.Feeder) -> bool:
        bench, now = self._workbench, self._clock.monotonic()
        unchanged = [lane for lane in bench.lanes.values() if lane not in bench.changed]
        overlooked.extend(
            lane.origin for lane in unchanged if lane.is_hungry or lane.is_stuck or lane.may_part(now, feeder.HORIZON)
        )
        return await refill(self)

    monkeypatch.setattr(feeder.Feeder, "refill", watched)
    for seed in range(12):
        planned(seed).run()
        assert not overlooked, seed


def digest(log: object) -> str:
    return hashlib.sha256(repr(log).encode()).hexdigest()


def test_the_same_seed_is_the_same_crawl() -> None:
    """A seed gives the same requests at the same times, in another process too, where hashes differ."""
    seeds = range(7, 13)
    logs = [planned(seed).run().log for seed in seeds]
    assert logs == [planned(seed).run().log for seed in seeds]
    program = (
        "from tests.simulated_plans import planned; from tests.test_simulation import digest;"
        "print(digest([planned(seed).run().log for seed in range(7, 13)]))"
    )
    path = os.pathsep.join(sys.path)
    ran = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, "PYTHONHASHSEED": "5", "PYTHONPATH": path},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert ran.stdout.strip() == digest(logs)


def test_another_seed_is_another_crawl() -> None:
    """Seeds make a difference, and the plans have all that they are meant to have."""
    plans = [planned(seed) for seed in range(300)]
    assert len({digest(plan.pages) for plan in plans}) == 300
    ends = {end.partition(":")[0] for plan in plans[:30] for end in plan.run().states.values()}
    assert ends == {"done", "gone", "skipped", "failed"}
    assert {len(plan.origins) for plan in plans} == {1, 2, 3, 4}
    assert all(any(plan.engines == n for plan in plans) for n in (1, 2))
    assert {fortune.moment for plan in plans for fortune in plan.fortunes} == {"before", "within", "after"}
    assert any(plan.overloads for plan in plans)


# -- for authors of spiders


class Titles(Spider):
    seeds = ["http://shop.test/"]

    def parse(self, response):
        yield {"title": response.text("h1")}
        yield response.follow("a")


SHOP: dict[str, Served] = {
    "http://shop.test/": '<h1>Shop</h1> <a href="/pear">Pear</a> <a href="/plum">Plum</a>',
    "http://shop.test/pear": "<h1>Pear</h1>",
    "http://shop.test/plum": "<h1>Plum</h1>",
}


def titles(crawl: Simulated) -> list[object]:
    return sorted((item["title"] for item in crawl.items), key=str)


def test_the_example() -> None:
    """The example in the docstring does what it says."""
    text = (crawler.simulation.__doc__ or "").partition("::\n\n")[2].partition("\n\nThere are")[0]
    program = re.sub("^ {4}", "", text, flags=re.MULTILINE)
    names: dict[str, object] = {"Spider": Spider, "simulate": simulate, "ConnectionReset": ConnectionReset}
    exec(program, names)
    crawl = names["crawl"]
    assert isinstance(crawl, Simulated)
    assert len(crawl.items) == 2


def test_an_hour_is_a_moment() -> None:
    """Virtual time costs none, and is told: half an hour of Crawl-delay is over at once."""
    began = time.monotonic()
    links = "".join(f'<a href="/{n}">x</a>' for n in range(40))
    pages: dict[str, Served] = {
        "http://shop.test/": f"<h1>x</h1>{links}",
        "http://shop.test/robots.txt": "User-agent: *\nCrawl-delay: 45",
    }
    crawl = simulate(Titles(), pages)
    assert crawl.seconds > 1800
    assert time.monotonic() - began < 20
    assert crawl.states["http://shop.test/7"].startswith("gone")


def test_faults_come_in_order() -> None:
    """Each request of a URL meets the next of its faults, then what it always answers."""
    plum: list[Served] = [500, ReadTimeout, Answer(503, headers={"Retry-After": "9"})]
    crawl = simulate(Titles(), SHOP, faults={"http://shop.test/plum": plum})
    asked = [one for one in crawl.log if one.url == "http://shop.test/plum"]
    assert [one.status for one in asked] == [500, 0, 503, 200]
    assert asked[3].at - asked[2].ended_at >= 9
    assert titles(crawl) == ["Pear", "Plum", "Shop"]


def test_states_say_how_pages_ended() -> None:
    """Each page's end stands in the result, with its reason."""
    pages: dict[str, Served] = SHOP | {
        "http://shop.test/plum": ConnectionReset,
        "http://shop.test/robots.txt": "User-agent: *\nDisallow: /pear",
    }
    states = simulate(Titles(), pages).states
    assert states == {
        "http://shop.test/": "done",
        "http://shop.test/pear": "skipped: robots",
        "http://shop.test/plum": "failed: ConnectionReset: as planned",
    }


@pytest.mark.parametrize("moment", ["before", "within", "after"])
def test_killed_at_each_transaction(moment: Moment) -> None:
    """Killed before, within or after any transaction at all, the crawl has all items once."""
    processes = set()
    for last in range(1, 40):
        crawl = simulate(Titles(), SHOP, fortunes=[Fortune(last_transaction=last, moment=moment)])
        assert titles(crawl) == ["Pear", "Plum", "Shop"], last
        processes.add(crawl.processes)
    assert processes == {1, 2}


def test_two_engines_share() -> None:
    """Two engines at once on one journal both work, and nothing is done twice."""
    pages: dict[str, Served] = {f"http://h{n}.test/": "<h1>x</h1>" for n in range(4)}
    pages["http://h0.test/"] = "<h1>x</h1>" + "".join(f'<a href="{url}">x</a>' for url in pages)

    class Wide(Titles):
        seeds = ["http://h0.test/"]
        scope = crawler.Scope(hosts=("*.test",))

    crawls = [simulate(Wide(), pages, seed=seed, engines=2) for seed in range(20)]
    assert all(len(crawl.items) == 4 for crawl in crawls)
    assert any({one.process for one in crawl.log} == {1, 2} for crawl in crawls)


def test_the_world_is_left_as_it_was() -> None:
    """A simulation seeds the random numbers of the engine, and of nobody else."""
    random.seed(3)
    state = random.getstate()
    simulate(Titles(), SHOP, seed=9)
    assert random.getstate() == state


def test_downloads_are_refused() -> None:
    """A simulation has no disk, and says so."""

    class Files(Spider):
        seeds = ["http://shop.test/"]

        def parse(self, response):
            yield response.download("/file")

    with pytest.raises(ExceptionGroup) as raised:
        simulate(Files(), SHOP)
    assert raised.group_contains(ConfigError, match="has no disk")


# -- what simulated crawls have found


def test_told_to_wait_while_connecting() -> None:
    """A request whose connection is made while its host answers 429 is not sent: it comes back when it may."""
    faults: dict[str, list[Served]] = {
        f"http://shop.test/{name}": [Answer(429, headers={"Retry-After": "4"})] for name in ("pear", "plum")
    }
    settings = {"delay": 0, "concurrency_per_host": 3}
    for seed in range(40):
        assert len(simulate(Titles(), SHOP, seed=seed, faults=faults, settings=settings).items) == 3


@pytest.mark.parametrize("seed", [0, 95, 113, 115, 168, 286, 494, 557, 1260, 1672])
def test_found_before(seed: int) -> None:
    """Crawls that have gone wrong once do not again."""
    assert failure(planned(seed)) is None


# -- hosts that fail

WIDE: dict[str, Served] = {
    "http://shop.test/": "<h1>x</h1>" + "".join(f'<a href="/{n}">x</a>' for n in range(40)),
    **{f"http://shop.test/{n}": f"<h1>{n}</h1>" for n in range(40)},
}


def test_a_host_that_fails_is_left_alone() -> None:
    """A host down for ten minutes is asked a few times only, and no page is lost but by its own tries."""
    crawl = simulate(Titles(), WIDE, overloads={"http://shop.test": Overload(5.0, 605.0)})
    assert len(crawl.items) == 41
    assert sum(5 <= one.at < 605 for one in crawl.log) < 25
    assert crawl.states["http://shop.test/39"] == "done"


def test_a_host_that_fails_three_times_in_ten() -> None:
    """A flaky host is asked on and on: each page is tried four times before it has failed, and all others are had."""
    chance = random.Random(30)
    pages: dict[str, Served] = WIDE | {
        "http://shop.test/": "<h1>x</h1>" + "".join(f'<a href="/{n}">x</a>' for n in range(400))
    }
    pages |= {f"http://shop.test/{n}": f"<h1>{n}</h1>" for n in range(400)}
    ways: list[Served] = [500, 502, ConnectionReset, ReadTimeout]
    faults = {url: list(iter(lambda: chance.random() < 0.3 and chance.choice(ways), False)) for url in pages}
    crawl = simulate(Titles(), pages, faults=faults, settings={"delay": 0.1})
    hopeless = {url for url in pages if len(faults[url]) > 3}
    assert len(hopeless) in range(1, 10)
    assert {url for url, state in crawl.states.items() if state.startswith("failed")} == hopeless
    assert len(crawl.items) == len(pages) - len(hopeless)
    tries = Counter(one.url for one in crawl.log)
    assert all(tries[url] == min(len(faults[url]) + 1, 4) for url in pages)


@pytest.mark.parametrize(
    ("said", "delay", "times"),
    [("", 10.0, [1]), ("max-age=100", 10.0, [4, 5]), ("max-age=0", 10.0, [6, 7, 8]), ("max-age=0", 100.0, [41, 42])],
)
def test_a_robots_txt_that_runs_out(said: str, delay: float, times: list[int]) -> None:
    """robots.txt is asked for again when its max-age is over, but not before a page was asked for under it."""
    robots = Answer(404, headers={"Cache-Control": said})
    pages: dict[str, Served] = WIDE | {"http://shop.test/robots.txt": robots}
    for kills in (0, 2):
        crawl = simulate(Titles(), pages, settings={"delay": delay}, kills=kills)
        assert len(crawl.items) == 41
        asked = sum(one.kind == "robots" for one in crawl.log)
        assert asked - kills <= times[-1]
        assert kills or asked in times


def test_a_redirect_keeps_the_law_of_where_it_leads() -> None:
    """What a redirect leads to is asked only if the robots.txt of its own host allows it, and at that host's pace."""
    robots = "User-agent: *\nCrawl-delay: 7\nDisallow: /private"
    pages: dict[str, Served] = {"http://mall.test/robots.txt": robots, "http://mall.test/private": "<h1>x</h1>"}
    links = [f"http://shop.test/{n}" for n in range(4)]
    for n, url in enumerate(links):
        pages |= {
            url: Answer(302, headers={"Location": f"http://mall.test/{n}"}),
            f"http://mall.test/{n}": "<h1>x</h1>",
        }
    links.append("http://shop.test/inside")
    pages[links[-1]] = Answer(302, headers={"Location": "http://mall.test/private"})
    pages["http://shop.test/"] = "<h1>x</h1>" + "".join(f'<a href="{url}">x</a>' for url in links)
    spider = Titles()
    spider.scope = Scope(hosts=("shop.test", "mall.test"))
    crawl = simulate(spider, pages)
    asked = [one for one in crawl.log if one.url.startswith("http://mall.test/")]
    assert [one.url.rpartition("/")[2] for one in asked] == ["robots.txt", "0", "1", "2", "3"]
    assert all(later.at - earlier.at >= 7 for earlier, later in pairwise(asked[1:]))
    assert crawl.states["http://mall.test/private"] == "skipped: robots"


def test_a_probe_is_another_page() -> None:
    """Two pages that always fail do not keep the others of their host waiting."""
    pages = WIDE | {f"http://shop.test/{n}": 500 for n in range(4)}
    crawl = simulate(Titles(), pages)
    assert len(crawl.items) == 37
    assert [state for state in crawl.states.values() if state != "done"] == ["failed: HttpError: status 500"] * 4


def test_a_page_that_is_always_busy() -> None:
    """A page that answers 503 for ever fails in the end, and holds the others of its host up for a minute at most."""
    crawl = simulate(Titles(), WIDE | {"http://shop.test/3": 503})
    assert len(crawl.items) == 40
    assert crawl.states["http://shop.test/3"] == "failed: HttpError: status 503"
    assert max(one.at for one in crawl.log if one.status == 200) < 150


def test_circuits_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine that goes on asking a host that fails is found out."""
    monkeypatch.setattr(Asker, "note", lambda *_, **__: None)
    with pytest.raises(AssertionError, match="though its host had failed"):
        simulate(Titles(), WIDE | {f"http://shop.test/{n}": 500 for n in range(40)})


# -- a simulation that cannot fail proves nothing


def found_out(seeds: range) -> bool:
    """Whether one of these crawls shows that something is wrong."""
    for seed in seeds:
        try:
            if failure(planned(seed)):
                return True
        except (ExceptionGroup, Stalled):
            return True
    return False


def test_a_crawl_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A crawl in which nothing ends any more is found out, and is no hang."""

    async def never(*_arguments: object) -> None:
        await asyncio.get_running_loop().create_future()

    monkeypatch.setattr(SqliteFrontier, "commit", never)
    monkeypatch.setattr(crawler.simulation, "DEADLINE", 600.0)
    with pytest.raises(Stalled):
        simulate(Titles(), SHOP)


def test_pace_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine that does not keep the delay is found out."""
    monkeypatch.setattr(feeder, "pace", lambda *_: politeness.Pace(0.0, 1))
    with pytest.raises(AssertionError, match=r"after http://shop\.test/"):
        simulate(Titles(), SHOP)


def test_too_many_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine that asks a host too much at once is found out."""
    monkeypatch.setattr(feeder, "pace", lambda *_: politeness.Pace(0.0, 9))
    with pytest.raises(AssertionError, match="2 requests at once"):
        [simulate(Titles(), SHOP, seed=seed, settings={"delay": 0}) for seed in range(20)]


def test_retry_after_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine that does not wait as long as it was told is found out."""
    monkeypatch.setattr(Asker, "hold_back", lambda *_: None)
    with pytest.raises(AssertionError, match="left alone"):
        simulate(Titles(), SHOP, overloads={"http://shop.test": Overload(2.0, 30.0, 10)})


def test_robots_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine that asks for what robots.txt forbids is found out."""
    monkeypatch.setattr(Visitor, "is_forbidden", lambda *_: False)
    with pytest.raises(AssertionError, match=r"against robots\.txt"):
        simulate(Titles(), SHOP | {"http://shop.test/robots.txt": "User-agent: *\nDisallow: /plum"})


def test_a_link_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """A link that does not reach the journal is found out."""
    add = SqliteFrontier._add

    def forgetful(self: SqliteFrontier, links: list[Link]) -> object:
        return add(self, [link for link in links if not link.path.endswith("3")])

    monkeypatch.setattr(SqliteFrontier, "_add", forgetful)
    assert found_out(range(20))


def test_the_dead_not_buried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A crawl that leaves alone what a dead engine held is found out: it does not end."""
    monkeypatch.setattr(queries, "BURY", "UPDATE hosts SET owner = owner WHERE ?1 = ''")
    monkeypatch.setattr(crawler.simulation, "DEADLINE", 600.0)
    with pytest.raises(Stalled):
        simulate(Titles(), SHOP, fortunes=[Fortune(dies_at=1.5)])


def test_hosts_of_the_living_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine that takes hosts from the living is found out."""
    monkeypatch.setattr(SharedLock, "is_free", lambda *_: True)
    assert found_out(range(30))


SLOW: dict[str, Served] = SHOP | {"http://shop.test/": Answer(body=str(SHOP["http://shop.test/"]), after=3.0)}


def stood_still() -> list[list[object]]:
    """Crawls of two engines of which one stands still for long with a page in its hands, and then goes on."""
    fortunes = [Fortune(freezes_at=2.5, frozen_for=100.0)]
    return [titles(simulate(Titles(), SLOW, seed=seed, engines=2, fortunes=fortunes)) for seed in range(10)]


def test_who_stood_still_is_refused() -> None:
    """What an engine brings after its hosts were taken over is not stored a second time."""
    assert stood_still() == [["Pear", "Plum", "Shop"]] * 10


def test_visits_of_strangers_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    """A journal that does not compare tokens is found out."""
    commit = SqliteFrontier._commit

    def trusting(self: SqliteFrontier, visits: list[Visit]) -> Committed:
        assert isinstance(self._lock, SharedLock)
        for visit in visits:
            row = (self._lock.number, visit.token, visit.page.host)
            self._journal.execute("UPDATE hosts SET owner = ?, token = ? WHERE id = ?", row)
        return commit(self, visits)

    monkeypatch.setattr(SqliteFrontier, "_commit", trusting)
    with pytest.raises(ExceptionGroup):
        stood_still()


def test_rates_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine that forgets how much a host was asked is found out."""
    monkeypatch.setattr("crawler.workbench.owed_until", lambda *_: 0.0)
    with pytest.raises(AssertionError, match="requests within"):
        simulate(Titles(), WIDE, settings={"rate": 0.5, "burst": 2, "delay": 0})


KEYED = WIDE | {f"http://h{n}.test/": WIDE["http://shop.test/"] for n in range(3)}
SHARED = {"delay": 0.2, "resolve": {"*.test": "192.0.2.1"}, "groups": {"ip:192.0.2.1": {"delay": 2.0}}}


class Shared(Titles):
    seeds = [f"http://h{n}.test/" for n in range(3)]
    scope = crawler.Scope(hosts=("*.test",))


def shared(seeds: range) -> list[Simulated]:
    """Crawls of hosts that share an address, by two engines of which one dies twice."""
    return [simulate(Shared(), KEYED, seed=seed, settings=SHARED, engines=2, kills=2) for seed in seeds]


def test_hosts_that_share_an_address() -> None:
    """The limits of an address hold whoever of two engines asks its hosts, and whenever one dies."""
    for crawl in shared(range(10)):
        asked = sorted(one.at for one in crawl.log if one.kind != "robots")
        assert min(later - earlier for earlier, later in pairwise(asked)) >= 2.0 - 0.02
        assert len(crawl.items) == len(KEYED) - 1 - 40
        assert crawl.processes == 4


async def _at_once(_feeder: feeder.Feeder, lane: feeder.HostLane, *_: object) -> bool:
    lane.is_bound = True
    return True


@pytest.mark.parametrize(
    ("where", "name", "instead", "told"),
    [
        (feeder.Feeder, "join", _at_once, "ip:192.0.2.1: http"),
        (groups, "next_at", lambda _pace, _owed_until, sent_at: sent_at, "s after http"),
        (
            queries,
            "BURY_GROUPS",
            "UPDATE groups SET owner = NULL FROM jsonb_each(?) WHERE owner = value->>0",
            "s after",
        ),
        (membership, "_ARE_ANOTHERS", "SELECT 1 FROM groups WHERE ? = ?", "was asked by"),
    ],
)
def test_groups_ignored(where: object, name: str, instead: object, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine or a journal that does not keep to the groups is found out."""
    monkeypatch.setattr(where, name, instead)
    with pytest.raises((AssertionError, ExceptionGroup), match=told):
        shared(range(40))


def test_hours_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine that does not look at the time of day is found out."""
    monkeypatch.setattr(Asker, "keep_hours", lambda *_: None)
    with pytest.raises(AssertionError, match="out of hours"):
        simulate(Titles(), WIDE, settings={"windows": ["01:00-01:47 UTC", "01:48-01:00 UTC"]})
