"""Hours in which hosts may be asked: a table of times of the day, zones and clock changes; and a real server."""

import time
from datetime import datetime
from pathlib import Path

import pytest

from crawler import Crawl, Response, Spider
from crawler.errors import ConfigError
from crawler.politeness import pace
from crawler.settings import Settings, merged
from crawler.testing import Site
from crawler.windows import next_open

BERLIN = "Europe/Berlin"


def at(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


@pytest.mark.parametrize(
    ("windows", "now", "opens"),
    [
        ([], "2026-07-01T12:00Z", "2026-07-01T12:00Z"),
        (["22:00-06:00 UTC"], "2026-07-01T12:00Z", "2026-07-01T22:00Z"),
        (["22:00-06:00 UTC"], "2026-07-01T23:00Z", "2026-07-01T23:00Z"),
        (["22:00-06:00 UTC"], "2026-07-01T05:59:59Z", "2026-07-01T05:59:59Z"),
        (["22:00-06:00 UTC"], "2026-07-01T06:00Z", "2026-07-01T22:00Z"),
        (["09:00-17:00 UTC"], "2026-07-01T17:00Z", "2026-07-02T09:00Z"),
        (["09:00-17:00 UTC", "18:00-18:30 Z"], "2026-07-01T17:00Z", "2026-07-01T18:00Z"),
        (["00:00-24:00 UTC"], "2026-07-01T23:59:59Z", "2026-07-01T23:59:59Z"),
        ([f"22:00-06:00 {BERLIN}"], "2026-07-01T19:00Z", "2026-07-01T20:00Z"),
        ([f"22:00-06:00 {BERLIN}"], "2026-01-01T20:00Z", "2026-01-01T21:00Z"),
        ([f"22:00-06:00 {BERLIN}"], "2026-03-29T03:59Z", "2026-03-29T03:59Z"),  # the clocks went forward at 01:00 UTC
        ([f"22:00-06:00 {BERLIN}"], "2026-03-29T04:00Z", "2026-03-29T20:00Z"),
        ([f"02:10-02:50 {BERLIN}"], "2026-03-29T00:30Z", "2026-03-29T01:10Z"),  # those minutes do not exist: 03:10
        ([f"22:00-06:00 {BERLIN}"], "2026-10-25T04:59Z", "2026-10-25T04:59Z"),  # they went back at 01:00 UTC
    ],
)
def test_next_open(windows: list[str], now: str, opens: str) -> None:
    """The next time that a window is open is found across midnight, zones and clock changes."""
    assert next_open(windows, at(now)) == at(opens)


def test_local_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a zone the machine's own time counts."""
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        assert next_open(["09:00-10:00"], at("2026-07-01T01:00Z")) == at("2026-07-02T00:00Z")
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize(
    "text", ["", "22-06", "22:00", "25:00-06:00", "22:60-06:00", "22:00-24:01", "10:00-10:00", "22:00-06:00 Mars/North"]
)
def test_what_is_no_window(text: str) -> None:
    """What cannot be an hour of the day is refused at the start, in general and for a host."""
    with pytest.raises(ConfigError, match="windows"):
        merged(("test", {"windows": [text]}))
    with pytest.raises(ConfigError, match="hosts"):
        merged(("test", {"hosts": {"a.test": {"windows": [text]}}}))


def test_a_host_has_its_own() -> None:
    """A host's windows, rate and burst count before the general ones; an empty list is all day."""
    own = {"a.test": {"windows": [], "rate": 4, "burst": 3}}
    settings = merged(("test", {"windows": "22:00-06:00,12:00-13:00 UTC", "rate": "0.5", "hosts": own}))
    assert pace(settings, "http://a.test", None).windows == ()
    assert pace(settings, "http://b.test", None).windows == ("22:00-06:00", "12:00-13:00 UTC")
    assert (pace(settings, "http://a.test", None).interval, pace(settings, "http://a.test", None).burst) == (0.25, 3)
    assert pace(settings, "http://b.test", None).pause == 2.0
    assert pace(Settings(), "http://b.test", None).interval == 0


class Pages(Spider):
    def parse(self, response: Response):
        yield response.follow("a")


async def test_out_of_hours_nothing_is_asked(tmp_path: Path) -> None:
    """Of a host whose hours begin in three hours nothing is asked, not even a connection; the run is parked."""
    hour = (time.gmtime().tm_hour + 3) % 24
    async with Site() as site:
        spider = Pages()
        spider.seeds = [site.url("/"), site.url("/", host="open.test")]
        shut = {"site.test": {"windows": [f"{hour:02}:00-{hour:02}:30 UTC"]}}
        summary = await Crawl(spider, folder=tmp_path, settings={**site.settings, "hosts": shut}).run()
        assert (summary.outcome, summary.exit_code, summary.counts.pending) == ("parked", 4, 2)  # robots.txt is one
        assert site.paths("site.test") == []
        assert site.paths("open.test") == ["/robots.txt", "/"]


async def test_rate_and_burst(tmp_path: Path) -> None:
    """A rate with a burst is kept, as the server sees it: never more than the burst beyond the rate."""
    async with Site() as site:
        site.tree(12, 12)
        spider = Pages()
        spider.seeds = [site.url("/")]
        fast = {**site.settings, "rate": 10, "burst": 4, "concurrency_per_host": 4}
        await Crawl(spider, folder=tmp_path, settings=fast).run()
        times = [seen.at for seen in site.seen]
        assert len(times) == 13
        for n, first in enumerate(times):
            for more, last in enumerate(times[n + 4 :]):
                assert last - first >= 0.1 * (more + 1) - 0.02
