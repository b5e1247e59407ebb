r"""Whole crawls in virtual time: the real engine and journal, on a web that is a table, with all that can go wrong.

An hour of waiting takes milliseconds, and the same seed gives the same crawl. So a test can let servers fail, and kill
the crawl at any moment, a hundred times over::

    class Titles(Spider):
        seeds = ["http://shop.test/"]

        def parse(self, response):
            yield {"title": response.text("h1")}
            yield response.follow("a")

    pages = {
        "http://shop.test/": '<h1>Shop</h1> <a href="/pear">Pear</a>',
        "http://shop.test/pear": "<h1>Pear</h1>",
        "http://shop.test/robots.txt": "User-agent: *\nCrawl-delay: 5",
    }
    for seed in range(20):
        crawl = simulate(Titles(), pages, seed=seed, kills=2, faults={"http://shop.test/pear": [503, ConnectionReset]})
        assert sorted(item["title"] for item in crawl.items) == ["Pear", "Shop"]

There are no sockets, threads, disks and child processes: downloads and `Spider.compute` are not simulated.
"""

import random
from collections.abc import Mapping, Sequence

import msgspec
from msgspec import Struct

from crawler.models import Json, State
from crawler.settings import merged
from crawler.simulation.crawls import Fortune, SimulatedCrawl
from crawler.simulation.journal import Journal, Moment
from crawler.simulation.laws import breaches
from crawler.simulation.virtual import Stalled, virtual_loop
from crawler.simulation.web import Answer, Asked, Overload, Served, Web
from crawler.spider import Spider, check

__all__ = ["MOMENTS", "Answer", "Asked", "Fortune", "Moment", "Overload", "Served", "Simulated", "Stalled", "simulate"]

DEADLINE = 4 * 3600.0
MOMENTS: tuple[Moment, ...] = ("before", "within", "after")


class Simulated(Struct, frozen=True):
    """How a simulated crawl went. `states` are pages by URL, as in the journal: "done", "failed: HttpError" and so on.

    `items` are in commit order; `log` has every request; `seconds` are virtual, `processes` were started.
    """

    items: list[dict[str, Json]]
    log: list[Asked]
    states: dict[str, str]
    seconds: float
    processes: int


def simulate(
    spider: Spider,
    pages: Mapping[str, Served],
    *,
    seed: int = 0,
    faults: Mapping[str, Sequence[Served]] | None = None,
    overloads: Mapping[str, Overload] | None = None,
    settings: Mapping[str, object] | None = None,
    engines: int = 1,
    kills: int = 0,
    fortunes: Sequence[Fortune] | None = None,
) -> Simulated:
    """Crawl `pages` with `spider` to the end, in virtual time, and check that every law of crawling was kept.

    `pages`: by URL, what is served: HTML text, a status, a class of `FetchError`, or an `Answer`; all else is a 404.
    `faults`: by URL, what is served first, one for each request. `overloads`: by origin, times of answering 429.
    `seed` decides how long everything takes, and when `kills` processes die; `engines` share the work. `fortunes`: what
    happens to each process that is started, instead of `kills`. `settings` go over the spider's.

    Raises AssertionError, with the seed, for a law that was broken (pace, robots.txt, leases, each page and item once),
    `Stalled` for a crawl that does not end within four virtual hours, ConfigError as a crawl does.
    """
    check(spider, has_seeds=False)
    few = {"concurrency": 8}  # workers; each costs time to start
    chosen = merged(("", few), (f"{type(spider).__name__}.settings", spider.settings), ("settings=", settings or {}))
    chance = random.Random(seed)  # noqa: S311  # the same in each replay is what it is for
    befalls = [_death(chance) for _ in range(kills)] if fortunes is None else list(fortunes)
    web = Web(pages, faults or {}, overloads or {}, chance)
    journal = Journal(seed)
    before = random.getstate()
    random.seed(seed)  # the engine's own jitter
    try:
        with virtual_loop(DEADLINE) as loop:
            crawl = SimulatedCrawl(spider, chosen, web, loop, chance, journal)
            loop.run_until_complete(crawl.run(engines, befalls))
            seconds = loop.time()
        found = breaches(crawl, chosen)
        assert not found, f"seed {seed}: " + "; ".join(found[:10])
        return _simulated(crawl, seconds)
    finally:
        random.setstate(before)
        journal.close()


def _death(chance: random.Random) -> Fortune:
    absent_for = chance.choice((0.0, 0.5, 3.0, 20.0))
    if chance.random() < 0.5:
        return Fortune(dies_at=chance.uniform(0.0, 30.0), absent_for=absent_for)
    return Fortune(last_transaction=chance.randint(1, 60), moment=chance.choice(MOMENTS), absent_for=absent_for)


def _simulated(crawl: SimulatedCrawl, seconds: float) -> Simulated:
    items = [msgspec.json.decode(body) for body in crawl.journal.items()]
    states = {url: _state(State(state), reason) for url, state, reason in crawl.journal.pages()}
    return Simulated(items, crawl.web.log, states, seconds, len(crawl.processes))


def _state(state: State, reason: str) -> str:
    return state.name.lower() + (f": {reason}" if reason else "")
