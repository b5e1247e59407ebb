"""What a site can make us say is bounded, and what is left out is counted."""

import logging
from contextvars import ContextVar

import pytest

from crawler.cli.logs import to_stderr
from crawler.errors import ReadTimeout, TlsError
from crawler.floods import MOST_KINDS, Flood
from crawler.models import Page

NO_PAGE: ContextVar[Page | None] = ContextVar("NO_PAGE", default=None)
log = logging.getLogger("crawler.visits")


def test_ten_of_a_kind_in_a_minute() -> None:
    """The first ten of a kind are let through in each minute, and the others are counted."""
    flood = Flood()
    assert [flood.admits(("a",), at) for at in range(15)] == [True] * 10 + [False] * 5
    assert flood.admits(("b",), 15.0)
    assert list(flood.ended(59.0)) == []
    assert list(flood.ended(60.0)) == [(("a",), 5)]
    assert flood.admits(("a",), 61.0)


def test_memory_is_bounded() -> None:
    """However many kinds there are, few are remembered."""
    flood = Flood()
    for number in range(3 * MOST_KINDS):
        flood.admits((str(number),), 0.0)
        if not number % 1000:
            list(flood.ended(0.0))
    assert len(flood._kinds) <= MOST_KINDS + 1000


def test_a_log_is_not_flooded(capsys: pytest.CaptureFixture[str]) -> None:
    """Of each host and failure ten lines a minute are logged, then one that has the exact number of the others."""
    with to_stderr("info", "text", "job", NO_PAGE):
        for number in range(500):
            url = f"http://bad.test/{number}"
            log.warning("%s failed: %s", url, ReadTimeout("slow", url=url))
            if number < 3:
                log.warning("%s failed: %s", url, TlsError("old", url=url))
        log.warning("%s failed: %s", "http://good.test/", ReadTimeout("slow"))
    lines = capsys.readouterr().err.splitlines()
    assert len([line for line in lines if "ReadTimeout" in line and "bad.test" in line]) == 10
    assert len([line for line in lines if "TlsError" in line]) == 3
    assert len([line for line in lines if "good.test" in line]) == 1
    (summary,) = [line for line in lines if "left out" in line]
    assert "left out 490 more like this of bad.test" in summary
