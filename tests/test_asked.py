"""What hosts were asked, as the journal tells it: minutes and sums as tables, and the server's own log beside them."""

import asyncio
import re
from pathlib import Path

import apsw
import pytest

from crawler import Crawl, Response, Spider
from crawler.asked import Minute, account, counted, packed, unpacked
from crawler.cli.app import run as main
from crawler.politeness import Pace
from crawler.testing import Site

ORIGIN = "http://a.test"
NOW = 1_784_000_040.0 // 60 * 60


def minutes(times: list[float], delay: float = 1.0, at_once: int = 1) -> list[Minute]:
    """The minutes of requests at these times, in seconds after NOW."""
    found: list[Minute] = []
    for at in times:
        minute = counted(found[-1] if found else None, ORIGIN, Pace(delay, 1), at_once, NOW + at)
        found = [*(found if minute.requests == 1 else found[:-1]), minute]
    return found


@pytest.mark.parametrize(
    ("times", "requests", "gaps"),
    [
        ([0], [1], [0]),
        ([0, 1, 3], [3], [1]),
        ([0, 2, 3, 59], [4], [1]),
        ([58, 59, 60, 63, 65], [2, 3], [1, 2]),
        ([0, 60, 180], [1, 1, 1], [0, 0, 0]),
    ],
)
def test_minutes(times: list[float], requests: list[int], gaps: list[float]) -> None:
    """Requests are counted by minutes of the calendar, with the shortest gap within each."""
    found = minutes(times)
    assert [one.requests for one in found] == requests
    assert [one.gap for one in found] == gaps
    assert [unpacked(packed(one)) for one in found] == found


@pytest.mark.parametrize(
    ("times", "at_once", "gap", "too_fast"),
    [
        ([0], 1, None, 0),
        ([0, 1, 2, 3], 1, 1.0, 0),
        ([0, 0.985], 1, 0.985, 0),
        ([0, 0.97], 1, 0.97, 1),
        ([59.5, 60.1], 1, 0.6, 1),  # between two minutes
        ([0, 0.5, 1, 60, 60.5], 1, 0.5, 2),
        ([0, 1], 2, 1.0, 1),
    ],
)
def test_account(times: list[float], at_once: int, gap: float | None, too_fast: int) -> None:
    """The sum tells the shortest gap of all, between minutes too, and how often a limit was not kept."""
    found = account(reversed(minutes(times, at_once=at_once)))
    assert found.requests == len(times)
    assert found.gap == pytest.approx(gap)
    assert found.too_fast == too_fast


def test_a_delay_that_grows() -> None:
    """Each gap is held against the delay of its moment."""
    early = counted(None, ORIGIN, Pace(1.0, 1), 1, NOW)
    middle = counted(early, ORIGIN, Pace(1.0, 1), 1, NOW + 1)
    late = counted(middle, ORIGIN, Pace(5.0, 1), 1, NOW + 6)
    assert (account([late]).too_fast, account([late]).delay, account([late]).gap) == (0, 5.0, 1.0)
    assert account([counted(late, ORIGIN, Pace(5.0, 1), 1, NOW + 10)]).too_fast == 1


class Pages(Spider):
    def parse(self, response: Response):
        yield response.follow("a")


@pytest.mark.parametrize(("delay", "places"), [(0.15, 1), (0.1, 3), (0, 4)])
async def test_as_the_server_saw_it(
    delay: float, places: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the journal tells of requests, gaps and places is what the server's own log has."""
    async with Site() as site:
        for path in site.tree(10, 10):
            site.page(path, "".join(f'<a href="/{n}">x</a>' for n in range(1, 10)), after=0.12)
        spider = Pages()
        spider.seeds = [site.url("/")]
        settings = {**site.settings, "delay": delay, "concurrency_per_host": places, "adaptive": False, "events": "all"}
        for stopped in (True, False):  # two invocations make one account
            crawl = Crawl(spider, folder=tmp_path, settings=settings, job="it")
            async with crawl:
                while stopped and len(site.seen) < 4:  # noqa: ASYNC110  # the server tells nobody
                    await asyncio.sleep(0.01)
                if stopped:
                    crawl.stop()
                await crawl.ended()
        assert main(["politeness", "it", "--folder", str(tmp_path)]) == 0
        told = capsys.readouterr().out
        requests, peak = int(re.findall(r"(\d+) requests", told)[0]), int(re.findall(r"at most (\d+) at once", told)[0])
        gap = float(re.findall(r"shortest gap ([\d.]+) s", told)[0])
        assert requests == len(site.seen) == 11
        assert gap == pytest.approx(min(site.gaps()), abs=0.03)
        assert site.peak() <= peak <= places
        assert f"allowed {delay:g} s" in told
        assert "kept" in told
        db = apsw.Connection(str(tmp_path / "it" / "job.db"), flags=apsw.SQLITE_OPEN_READONLY)
        asked = db.execute("SELECT detail FROM events WHERE kind = 'request'").fetchall()
        db.close()
        assert sorted(str(url).partition(str(site.port))[2] for (url,) in asked) == sorted(site.paths())


async def test_too_fast_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A host that was asked faster than allowed is told, with exit code 1; a job that asked nothing has no account."""
    async with Site() as site:
        site.page("/", "")
        spider = Pages()
        spider.seeds = [site.url("/")]
        await Crawl(spider, folder=tmp_path, settings=site.settings, job="it").run()
    db = apsw.Connection(str(tmp_path / "it" / "job.db"))
    for _ in db.execute("UPDATE events SET detail = json_set(detail, '$.spare', -0.5) WHERE kind = 'minute'"):
        pass
    assert main(["politeness", "it", "--folder", str(tmp_path)]) == 1
    assert "TOO FAST 1 time" in capsys.readouterr().out
    for _ in db.execute("DELETE FROM events"):
        pass
    db.close()
    assert main(["politeness", "it", "--folder", str(tmp_path)]) == 2
    assert "on record" in capsys.readouterr().err
