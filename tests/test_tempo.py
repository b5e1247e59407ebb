"""Hosts that are slow, or say that it is too much, are asked more slowly: tables, and real servers."""

from pathlib import Path

import pytest

from crawler import Crawl, Response, Spider
from crawler.politeness import Pace
from crawler.tempo import Tempo, adapted, heard
from crawler.testing import Site


@pytest.mark.parametrize(
    ("delay", "interval", "latency", "slowness", "wished"),
    [
        (1.0, 0.0, 0.3, 1.0, 1.0),
        (1.0, 0.0, 3.0, 1.0, 3.0),
        (1.0, 0.0, 3.0, 2.0, 6.0),
        (1.0, 0.0, 0.0, 4.0, 4.0),
        (0.0, 0.5, 0.1, 1.0, 0.0),
        (0.0, 0.5, 2.0, 1.0, 2.0),
        (0.0, 0.0, 5.0, 64.0, 0.0),
        (2.0, 0.0, 0.0, 64.0, 60.0),
        (90.0, 0.0, 0.0, 2.0, 90.0),
    ],
)
def test_adapted(delay: float, interval: float, latency: float, slowness: float, wished: float) -> None:
    """A pause is no shorter than the host's latency, and longer after overload, up to a minute; no pause stays none."""
    pace = Pace(delay, 4, interval, 3, ("22:00-06:00",))
    found = adapted(pace, Tempo(latency, slowness))
    assert (found.delay, found.concurrency, found.interval, found.burst) == (wished, 4, interval, 3)
    assert found.windows == pace.windows


def test_heard() -> None:
    """Latency is smoothed, overload doubles the pauses, and each good answer takes a quarter off again."""
    tempo = heard(Tempo(), 200, 2.0)
    assert tempo == Tempo(2.0, 1.0)
    assert heard(tempo, 200, 1.0).latency == pytest.approx(1.8)
    for status in (429, 503):
        assert heard(tempo, status, 0.0) == Tempo(2.0, 2.0)
    for _ in range(20):
        tempo = heard(tempo, 429, 0.0)
    assert tempo.slowness == 64
    answers = 0
    while tempo.slowness > 1:
        tempo, answers = heard(tempo, 404, 2.0), answers + 1
    assert answers == 15


class Pages(Spider):
    def parse(self, response: Response):
        yield response.follow("a")


@pytest.mark.parametrize(
    ("delay", "adaptive", "least", "most"), [(0.05, True, 0.2, 9), (0.05, False, 0.04, 0.2), (0, True, 0, 0.2)]
)
async def test_a_slow_server(delay: float, adaptive: bool, least: float, most: float, tmp_path: Path) -> None:
    """A server that takes its time is asked no faster than it answers, though it has places; unless told otherwise."""
    async with Site() as site:
        site.page("/", "".join(f'<a href="/{n}">x</a>' for n in range(8)), after=0.3)
        for n in range(8):
            site.page(f"/{n}", "", after=0.3)
        spider = Pages()
        spider.seeds = [site.url("/")]
        settings = {**site.settings, "delay": delay, "adaptive": adaptive, "concurrency_per_host": 8}
        await Crawl(spider, folder=tmp_path, settings=settings).run()
        gaps = site.gaps()[2:]  # behind robots.txt, and the page with all the links
        assert len(gaps) == 7
        assert least <= sorted(gaps)[3] <= most


async def test_after_too_much(tmp_path: Path) -> None:
    """After a 429 the pauses are twice as long, and shrink again."""
    async with Site() as site:
        site.page("/", "".join(f'<a href="/{n}">x</a>' for n in range(8)), status=429, times=1)
        site.page("/", "".join(f'<a href="/{n}">x</a>' for n in range(8)))
        for n in range(8):
            site.page(f"/{n}", "")
        spider = Pages()
        spider.seeds = [site.url("/")]
        await Crawl(spider, folder=tmp_path, settings={**site.settings, "delay": 0.2}).run()
        gaps = site.gaps()[2:]
        assert gaps[0] >= 0.28  # 0.2 s x 2 x 0.75
        assert 0.18 <= min(gaps[5:]) <= 0.3
