"""When a host that fails is left alone, for how long, and when it is asked again: tables, and a real server."""

import asyncio
from pathlib import Path

import pytest

from crawler import Crawl, Response, Spider
from crawler.circuit import (
    CLOSED,
    FIRST_REST,
    LONGEST_REST,
    Circuit,
    is_hopeless,
    moved,
    noted,
    packed,
    retried,
    retry_rest,
    unpacked,
)
from crawler.testing import Site

NOW = 1_784_000_000.0 // 60 * 60


def after(outcomes: str, every: float = 1.0, circuit: Circuit = CLOSED) -> Circuit:
    """The circuit after attempts at NOW and then `every` so many seconds; "x" failed."""
    for n, outcome in enumerate(outcomes):
        at = NOW + n * every
        circuit = noted(circuit, failed=outcome == "x", began_at=at, now=at)
    return circuit


@pytest.mark.parametrize(
    ("outcomes", "every", "is_open"),
    [
        ("", 1, False),
        ("xxxxxxxxx", 1, False),
        ("xxxxxxxxxx", 1, True),
        ("xxxxx.....", 1, False),
        ("x.x.x.x.xx", 1, True),
        (".x.x.x.x.x.x.x.x.x", 1, False),
        ("..........xxxxxxxxxx", 1, True),
        (".........." + "x" * 9, 1, False),
        ("." * 60 + "x" * 9, 6, False),
        ("." * 12 + "xxxxxx" + "xxxx", 60, True),  # however long they took
        ("x" * 9 + "." + "x" * 9, 120, False),
        ("x.xx.xx.xx.", 60, False),  # never ten within five minutes
    ],
)
def test_when_it_opens(outcomes: str, every: float, is_open: bool) -> None:
    """It opens when more than half of ten or more attempts of the last minutes failed, or ten in a row."""
    assert after(outcomes, every).is_open is is_open


def test_probes() -> None:
    """A failing probe doubles the rest up to a cap; one that succeeds closes the circuit, with nothing remembered."""
    circuit = after("x" * 10)
    opened_at, rests = circuit.opened_at, [circuit.until - circuit.opened_at]
    for _ in range(7):
        at = circuit.until
        circuit = noted(circuit, failed=True, began_at=at, now=at + 1)
        rests.append(circuit.until - at - 1)
    assert rests == [60, 120, 240, 480, 960, 1800, 1800, 1800]
    assert (rests[0], rests[-1]) == (FIRST_REST, LONGEST_REST)
    assert circuit.opened_at == opened_at
    assert noted(circuit, failed=False, began_at=circuit.until, now=circuit.until + 1) == CLOSED


def test_what_was_under_way() -> None:
    """What was asked before the circuit opened neither closes it nor makes the rest longer."""
    circuit = after("x" * 10)
    for failed in (True, False):
        assert noted(circuit, failed=failed, began_at=circuit.opened_at - 1, now=circuit.until + 5) == circuit


def test_patience() -> None:
    """A host is hopeless when it has been left alone for as long as one is ready to wait."""
    circuit = after("x" * 10)
    assert not is_hopeless(circuit, 3600, circuit.opened_at + 3599)
    assert is_hopeless(circuit, 3600, circuit.opened_at + 3600)
    assert not is_hopeless(CLOSED, 0, NOW)


def test_retry_budget() -> None:
    """Retries wait once they are more than ten and a fifth of the host's requests of the last five minutes."""
    circuit = after("." * 100, 0.1)
    for _ in range(29):
        circuit = retried(circuit, NOW + 10)
    assert retry_rest(circuit) == 0
    assert retry_rest(retried(circuit, NOW + 10)) == 60
    assert retry_rest(retried(circuit, NOW + 400)) == 0
    assert retry_rest(CLOSED) == 0


def test_it_is_kept() -> None:
    """A circuit comes back from the journal as it was, and goes along when the clock is set."""
    for circuit in (CLOSED, after("x.x"), after("x" * 10)):
        assert unpacked(packed(circuit)) == circuit
    assert packed(CLOSED) == ""
    circuit = moved(after("x" * 10), 3600)
    assert (circuit.opened_at, circuit.until) == (NOW + 9 + 3600, NOW + 9 + 3660)
    assert moved(CLOSED, 3600) == CLOSED


class Pages(Spider):
    def parse(self, response: Response):
        yield {"url": response.url}
        yield response.follow("a")


async def test_a_server_that_fails_is_left_alone(tmp_path: Path) -> None:
    """A server that fails is asked for ten pages at most before it is left alone, and whoever comes next knows."""
    async with Site() as site:
        for n in range(30):
            site.page(f"/{n}", "", status=500)
        site.page("/", "".join(f'<a href="/{n}">x</a>' for n in range(30)))
        spider = Pages()
        spider.seeds = [site.url("/")]
        for _ in range(2):
            async with Crawl(spider, folder=tmp_path, settings=site.settings) as crawl:
                asyncio.get_running_loop().call_later(1.5, crawl.stop)
                await crawl.ended()
        assert len(site.seen) == 11  # robots.txt, the first page, and nine that failed: ten attempts


async def test_out_of_patience(tmp_path: Path) -> None:
    """A host that one has no patience with is put off for a day, the run ends as parked, and its pages are pending."""
    async with Site() as site:
        for n in range(30):
            site.page(f"/{n}", "", status=503, headers={"Retry-After": "0"})
        site.page("/", "".join(f'<a href="/{n}">x</a>' for n in range(30)))
        spider = Pages()
        spider.seeds = [site.url("/")]
        patient = {**site.settings, "circuit_patience": 0, "concurrency_per_host": 16}
        summary = await Crawl(spider, folder=tmp_path, settings=patient).run()
        assert (summary.outcome, summary.exit_code) == ("parked", 4)
        assert (summary.counts.pending, summary.counts.failed) == (30, 0)


@pytest.mark.parametrize(("wait", "outcome"), [("7200", "parked"), ("999999999999", "parked"), ("0", "finished")])
async def test_a_long_retry_after(wait: str, outcome: str, tmp_path: Path) -> None:
    """A host that asks for hours has them, and the run ends as parked; one that asks for none is no busy loop."""
    async with Site() as site:
        site.page("/", "", status=503, headers={"Retry-After": wait}, times=2)
        site.page("/", "")
        spider = Pages()
        spider.seeds = [site.url("/")]
        summary = await Crawl(spider, folder=tmp_path, settings=site.settings).run()
        assert summary.outcome == outcome
        assert len(site.seen) == (2 if outcome == "parked" else 4)
        assert all(gap >= 0.95 for gap in site.gaps()[1:])
