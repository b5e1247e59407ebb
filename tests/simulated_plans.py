"""Random webs with random misfortunes, and what must come of each of their pages whatever happens."""

import random
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from crawler import Response, Scope, Spider
from crawler.errors import (
    ConnectionReset,
    ConnectTimeout,
    DnsError,
    ProtocolError,
    ReadTimeout,
    TruncatedBody,
)  # fmt: skip
from crawler.robots import parse
from crawler.simulation import MOMENTS, Answer, Fortune, Overload, Served, Simulated, simulate
from crawler.simulation.web import Web
from crawler.urls import canonical, split

OUTSIDE = "http://elsewhere.test/"
MOST_HOPS = 3
LIMITS: list[dict[str, float]] = [
    {"delay": 0.7}, {"delay": 2.0, "concurrency": 1}, {"concurrency": 2}, {"rate": 2.0, "burst": 3, "concurrency": 1},
]  # fmt: skip
STANDSTILLS = (3.0, 20.0, 40.0, 70.0)  # seconds
CHARGED: list[Served] = [ConnectionReset, ReadTimeout, ConnectTimeout, TruncatedBody, 500, 502, 504]
DEFERRED: list[Served] = [
    503, 429, Answer(429, headers={"Retry-After": "4"}), Answer(503, headers={"Retry-After": "1"}),
]  # fmt: skip
ROBOTS = "User-agent: *\nDisallow: /private/\n"


class Reader(Spider):
    """Takes one item or more of each page, fetches what the page says it must, and follows all links."""

    async def parse(self, response: Response) -> AsyncIterator[object]:
        group = response.css("u::text").get()
        for url in response.css("i::text").getall():
            yield {"url": response.url, "fetched": (await response.fetch(url, group=group)).status}
        for number in response.css("li::text").getall():
            yield {"url": response.url, "n": int(number)}
        if response.css("b").get() is not None:
            raise ValueError("as planned")
        yield response.follow("a", group=group)


@dataclass
class Plan:
    """A web, its misfortunes, and how the crawl of it must end."""

    seed: int
    pages: dict[str, Served] = field(default_factory=dict)
    faults: dict[str, list[Served]] = field(default_factory=dict)
    overloads: dict[str, Overload] = field(default_factory=dict)
    settings: dict[str, object] = field(default_factory=dict)
    seeds: list[str] = field(default_factory=list)
    fortunes: list[Fortune] = field(default_factory=list)
    engines: int = 1
    origins: list[str] = field(default_factory=list)
    links: dict[str, list[str]] = field(default_factory=dict)
    fetches: dict[str, str] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)

    def run(self) -> Simulated:
        spider = Reader()
        spider.seeds = self.seeds
        spider.scope = Scope(hosts=tuple(split(origin + "/")[0].partition("://")[2] for origin in self.origins))
        return simulate(
            spider, self.pages, seed=self.seed, faults=self.faults, overloads=self.overloads, settings=self.settings,
            engines=self.engines, fortunes=self.fortunes,
        )  # fmt: skip


def planned(seed: int) -> Plan:
    """The plan of a seed."""
    plan, chance = Plan(seed), random.Random(f"plan {seed}")
    plan.origins = [f"http://h{n}.test" for n in range(chance.choice((1, 1, 2, 3, 4)))]
    for origin in plan.origins:
        _put_robots(plan, origin, chance)
    urls = [f"{origin}/" for origin in plan.origins]
    for origin in plan.origins:
        folders = ("/", "/", "/", "/private/")
        urls += [f"{origin}{chance.choice(folders)}p{n}" for n in range(chance.randint(0, 9))]
    plan.seeds = [url for n, url in enumerate(urls[: len(plan.origins)]) if not n or chance.random() < 0.3]
    for number, url in enumerate(urls):
        _put_page(plan, url, urls[:number], chance)
    _put_links(plan, urls, chance)
    _put_rings(plan, chance)
    _render(plan)
    _put_misfortunes(plan, chance)
    _put_groups(plan, random.Random(f"groups {seed}"))
    return plan


def _put_robots(plan: Plan, origin: str, chance: random.Random) -> None:
    url = f"{origin}/robots.txt"
    text = ROBOTS + (f"Crawl-delay: {chance.choice((1, 2, 3.5))}\n" if chance.random() < 0.4 else "")
    fate = chance.random()
    if fate < 0.25:
        return
    plan.pages[url] = text
    if fate < 0.5:
        plan.faults[url] = chance.choices([500, ConnectionReset, ReadTimeout, *DEFERRED], k=chance.randint(1, 3))
    elif fate < 0.6:
        target = f"{chance.choice(plan.origins)}/robots-of-{split(origin + '/')[0][-7:]}.txt"
        plan.pages[url], plan.pages[target] = Answer(301, headers={"Location": target}), text
    elif fate < 0.68:
        plan.pages[url] = chance.choice((ConnectionReset, ConnectTimeout, DnsError))


def _put_page(plan: Plan, url: str, before: list[str], chance: random.Random) -> None:
    fate = chance.random() if before else 1.0
    plain = [other for other in before if other in plan.links or isinstance(plan.pages.get(other), int)]
    if fate < 0.06:
        plan.pages[url] = chance.choice((404, 410))
    elif fate < 0.11:
        plan.pages[url] = chance.choice((500, ConnectionReset, ReadTimeout, 403))
    elif fate < 0.14:
        plan.pages[url] = Answer(body="PK", headers={"Content-Type": "application/zip"})
    elif fate < 0.26:
        target = chance.choice([*plain, OUTSIDE])
        plan.pages[url] = Answer(chance.choice((301, 302, 303, 307, 308)), headers={"Location": target})
    else:
        plan.links[url] = []
        if fate < 0.30:
            plan.broken.add(url)
        elif fate < 0.36:
            plan.fetches[url] = f"{chance.choice(plan.origins)}/data"
        if fate < 0.6:
            plan.faults[url] = _faults(chance)


def _faults(chance: random.Random) -> list[Served]:
    """No more than a page has tries."""
    if chance.random() < 0.1:
        return [ProtocolError]
    charged = chance.choices(CHARGED, k=chance.randint(0, 3))
    deferred = chance.choices(DEFERRED, k=chance.randint(0, 2))
    faults = [*charged, *deferred]
    chance.shuffle(faults)
    return faults


def _put_links(plan: Plan, urls: list[str], chance: random.Random) -> None:
    good = [url for url in plan.links if url not in plan.broken]
    for url in good:
        plan.links[url] = [
            chance.choice((other, other + "#part", split(other)[1] if split(other)[0] == split(url)[0] else other))
            for other in chance.choices([*urls, OUTSIDE, f"{plan.origins[0]}/nowhere"], k=chance.randint(0, 6))
        ]
    for number, url in enumerate(urls):
        parents = [other for other in urls[:number] if other in good]
        if parents and chance.random() < 0.9:
            plan.links[chance.choice(parents)].append(url)


def _put_rings(plan: Plan, chance: random.Random) -> None:
    """Redirects in a circle, or too many: each begins at a page that only one link leads to."""
    good = [url for url in plan.links if url not in plan.broken]
    if not good or chance.random() < 0.6:
        return
    count, closes = (chance.randint(1, 3), True) if chance.random() < 0.5 else (6, False)
    ring = [f"{chance.choice(plan.origins)}/ring{n}" for n in range(count)]
    for here, there in zip(ring, [*ring[1:], ring[0] if closes else OUTSIDE], strict=True):
        plan.pages[here] = Answer(302, headers={"Location": there})
    plan.links[chance.choice(good)].append(ring[0])


def _render(plan: Plan) -> None:
    for url, links in plan.links.items():
        anchors = "".join(f'<a href="{link}">x</a>' for link in links)
        fetched = f"<i>{plan.fetches[url]}</i>" if url in plan.fetches else ""
        plan.pages[url] = f"{anchors}{fetched}<li>0<li>1{'<b>' if url in plan.broken else ''}"
    plan.pages |= dict.fromkeys(plan.fetches.values(), "data")


def _put_misfortunes(plan: Plan, chance: random.Random) -> None:
    for origin in plan.origins:
        if chance.random() < 0.15:
            begins_at = chance.uniform(0.0, 10.0)
            ends_at = begins_at + chance.uniform(3.0, 30.0)
            plan.overloads[origin] = Overload(begins_at, ends_at, chance.choice((None, 2, 7)))
    for url in [url for url in plan.faults if url in plan.links and chance.random() < 0.1]:
        plan.faults[url] = [Answer(body=str(plan.pages[url]), stale=True)]
    plan.settings = {
        "delay": chance.choice((0.0, 0.3, 1.0)), "concurrency_per_host": chance.choice((1, 1, 3)),
        "concurrency": chance.choice((1, 2, 8)), "commit_window": chance.choice((0.0, 0.05)),
        "max_redirects": MOST_HOPS,
    }  # fmt: skip
    if chance.random() < 0.2:
        plan.settings["hosts"] = {"h0.test": {"delay": 2.5}}
    _put_limits(plan, random.Random(f"limits {plan.seed}"))
    plan.engines = chance.choice((1, 1, 2))
    plan.fortunes = [_fortune(chance) for _ in range(chance.choice((0, 1, 1, 2, 3)))]


def _put_limits(plan: Plan, chance: random.Random) -> None:
    """Rates beside delays, and hours; virtual time begins at 01:46:40 UTC."""
    if chance.random() < 0.2:
        plan.settings |= {"rate": chance.choice((0.5, 2.0)), "burst": chance.choice((1, 3, 5)), "delay": 0.0}
    if chance.random() < 0.1:
        early, late = "01:00-01:47 UTC", "01:48-01:00 UTC"
        plan.settings["windows"] = chance.choice(([early, late], [late]))


def _put_groups(plan: Plan, chance: random.Random) -> None:
    """Hosts that share an address, and pages whose links share a key."""
    groups: dict[str, object] = {}
    if chance.random() < 0.25:
        groups["ip:*"] = chance.choice(LIMITS)
        names = [origin.partition("://")[2] for origin in plan.origins]
        plan.settings["resolve"] = {name: chance.choice(("192.0.2.1", "192.0.2.2")) for name in names}
    if chance.random() < 0.25:
        groups |= {"key-1": chance.choice(LIMITS), "key-2": chance.choice(LIMITS)}
        for url in plan.links:
            plan.pages[url] = f"{plan.pages[url]}<u>{chance.choice(('key-1', 'key-2'))}</u>"
    if groups:
        plan.settings["groups"] = groups


def _fortune(chance: random.Random) -> Fortune:
    absent_for = chance.choice((0.0, 0.5, 3.0, 20.0))
    fate = chance.random()
    if fate < 0.15:
        return Fortune(freezes_at=chance.uniform(0.0, 15.0), frozen_for=chance.choice(STANDSTILLS))
    if fate < 0.5:
        return Fortune(dies_at=chance.uniform(0.0, 20.0), absent_for=absent_for)
    if fate < 0.95:
        return Fortune(last_transaction=chance.randint(1, 50), moment=chance.choice(MOMENTS), absent_for=absent_for)
    return Fortune()


# -- what must come of it


def expected(plan: Plan) -> dict[str, str]:
    """How each page that can be reached must end: the beginning of its state and reason."""
    web = Web(plan.pages, {}, {}, random.Random(0))
    ends: dict[str, str] = {}
    ahead: list[tuple[str, int, bool]] = [(url, 0, True) for url in plan.seeds]
    while ahead:
        url, hops, is_seed = ahead.pop()
        if url in ends or not (is_seed or split(url)[0] in plan.origins):
            continue
        ends[url], more = _end(plan, web, url, hops)
        ahead += more
    return ends


def _end(plan: Plan, web: Web, url: str, hops: int) -> tuple[str, list[tuple[str, int, bool]]]:
    origin, path = split(url)
    robots = web.robots_text(origin)
    answer = web.standing(url)
    if robots is None:
        return _without_robots(web, origin), []
    if not parse(robots, "crawler").allows(path):
        return "skipped: robots", []
    if answer.error is not None:
        return f"failed: {answer.error.__name__}", []
    if "Location" in answer.headers:
        return _moved(plan, url, answer.headers["Location"], hops)
    if answer.status == 200 and "Content-Type" not in answer.headers:
        return _handled(plan, web, url)
    return {200: "skipped: content type", 404: "gone", 410: "gone"}.get(answer.status, "failed: HttpError"), []


def _moved(plan: Plan, url: str, location: str, hops: int) -> tuple[str, list[tuple[str, int, bool]]]:
    if "/ring" in url and (location.endswith("/ring0") or hops >= MOST_HOPS):
        return "failed: TooManyRedirects", []
    if split(location)[0] not in plan.origins:
        return "skipped: scope", []
    return f"done: redirected: {location}", [(location, hops + 1, False)]


def _handled(plan: Plan, web: Web, url: str) -> tuple[str, list[tuple[str, int, bool]]]:
    if url in plan.fetches and web.robots_text(origin := split(plan.fetches[url])[0]) is None:
        return _without_robots(web, origin), []
    if url in plan.broken:
        return "failed: HandlerError", []
    found = [canonical(link, url) for link in plan.links.get(url, ())]
    return "done", [(link, 0, False) for link in found if link is not None]


def _without_robots(web: Web, origin: str) -> str:
    """Why pages of a host without a robots.txt to be had end: a name that does not exist is no matter of robots."""
    answer = web.standing(f"{origin}/robots.txt")
    while location := answer.headers.get("Location"):
        answer = web.standing(location)
    return "failed: DnsError" if answer.error is DnsError else "failed: RobotsUnreachable"


def differences(plan: Plan, crawl: Simulated) -> list[str]:
    """What is not as it must be: pages, items, requests."""
    ends = expected(plan)
    found = [f"{url} was not to be a page: {crawl.states[url]}" for url in crawl.states.keys() - ends.keys()]
    for url, end in ends.items():
        if not (state := crawl.states.get(url, "missing")).startswith(end) or (end == "done" and state != end):
            found.append(f"{url} was to be {end!r}, and is {state!r}")
    items = sorted((str(item["url"]), str(item.get("n")), str(item.get("fetched"))) for item in crawl.items)
    good = [url for url, end in ends.items() if end == "done"]
    wanted = [(url, str(n), "None") for url in good for n in (0, 1)]
    wanted += [(url, "None", "200") for url in good if url in plan.fetches]
    if items != sorted(wanted):
        found.append(f"items differ: {set(items) ^ set(wanted) or 'some stand twice'}")
    return sorted(found) + _waste(plan, crawl)


def _waste(plan: Plan, crawl: Simulated) -> list[str]:
    """Pages that were fetched again though nobody had died or stood still."""
    times = Counter(one.url for one in crawl.log if one.is_final and one.kind == "page" and one.status == 200)
    most = 1 + len(plan.fortunes)  # a page whose handler fetches may have been put off as well
    return [f"{url} was fetched {n} times" for url, n in times.items() if n > most and url not in plan.fetches]
