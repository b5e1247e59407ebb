"""What failures mean, and how long everyone waits: tables."""

from typing import Any

import pytest

from crawler.errors import (
    ConnectionReset,
    DnsError,
    FetchError,
    HttpError,
    ProtocolError,
    ReadTimeout,
    ResponseTooLarge,
    TlsError,
    TruncatedBody,
)
from crawler.models import Page, Request, RobotsRecord, State
from crawler.politeness import (
    MOST_DEFERRALS,
    ROBOTS_TRIES,
    ROBOTS_TRIES_UNCONNECTED,
    UNREACHABLE,
    back_off,
    fate,
    pace,
    retry_after,
    robots_fate,
    verdict,
)
from crawler.robots import parse
from crawler.settings import Settings, merged

NOW = 1_784_000_000.0


def page(attempts: int = 0, deferrals: int = 0, **request: Any) -> Page:
    return Page(1, 1, Request("http://a.test/", **request), attempts, deferrals)


def status(code: int, wait: float | None = None) -> HttpError:
    error = HttpError(f"status {code}", status=code)
    error.retry_after = wait
    return error


@pytest.mark.parametrize(
    ("error", "tries", "ends"),
    [
        (ReadTimeout("slow"), 3, State.FAILED),
        (ConnectionReset("reset"), 3, State.FAILED),
        (TruncatedBody("cut off", status=200), 3, State.FAILED),
        (DnsError("servfail"), 3, State.FAILED),
        (DnsError("nxdomain", permanent=True), 0, State.FAILED),
        (ProtocolError("garbage"), 1, State.FAILED),
        (TlsError("expired"), 0, State.FAILED),
        (ResponseTooLarge("11 MiB"), 0, State.FAILED),
        (status(500), 3, State.FAILED),
        (status(502), 3, State.FAILED),
        (status(403), 0, State.FAILED),
        (status(404), 0, State.GONE),
        (status(410), 0, State.GONE),
        (status(304), 0, State.FAILED),
    ],
)
def test_tries(error: FetchError, tries: int, ends: State) -> None:
    """Each failure is worth its number of further tries, charged to the page, and no more."""
    for attempts in range(tries):
        chosen = fate(error, page(attempts), Settings(), NOW)
        assert chosen.state == State.PENDING
        assert chosen.charged
        assert NOW + 0.5 * 2**attempts <= chosen.due_at <= NOW + 1.5 * 2**attempts
    assert fate(error, page(tries), Settings(), NOW).state == ends


@pytest.mark.parametrize("code", [429, 503])
def test_overload_is_the_hosts(code: int) -> None:
    """429 and 503 make the whole host wait and cost the page none of its tries; yet not for ever."""
    chosen = fate(status(code, 120.0), page(), Settings(), NOW)
    assert (chosen.state, chosen.charged, chosen.host_ready_at) == (State.PENDING, False, NOW + 120)
    assert fate(status(code), page(), Settings(), NOW).host_ready_at is not None
    assert fate(status(code), page(deferrals=MOST_DEFERRALS), Settings(), NOW).state == State.FAILED


def test_what_may_change_things_is_not_repeated() -> None:
    """A POST is asked again only if its author says that it may be."""
    assert fate(ReadTimeout("slow"), page(method="POST"), Settings(), NOW).state == State.FAILED
    assert fate(ReadTimeout("slow"), page(method="POST", retry=True), Settings(), NOW).state == State.PENDING


def test_no_retries() -> None:
    """The setting `retries` bounds every failure."""
    assert fate(ReadTimeout("slow"), page(), Settings(retries=0), NOW).state == State.FAILED


@pytest.mark.parametrize(
    ("value", "wait"),
    [
        ("120", 120.0),
        (" 7 ", 7.0),
        ("0", 0.0),
        ("99999999999999999999", 999_999_999.0),
        ("Tue, 14 Jul 2026 03:34:20 GMT", 60.0),
        ("-5", None),
        ("soon", None),
        ("", None),
        (None, None),
        ("Wed, 21 Oct 2015 07:28:00 GMT", None),
        ("Fri, 99 Foo 9999 99:99:99 GMT", None),
        ("1.5", None),
        ("²", None),
    ],
)
def test_retry_after(value: str | None, wait: float | None) -> None:
    """Both forms of Retry-After are read; what is past, negative or no date is as if it were not there."""
    assert retry_after(value, NOW) == wait


@pytest.mark.parametrize(("tries", "low", "high"), [(0, 0.5, 1.5), (1, 1, 3), (2, 2, 6), (10, 60, 60), (10**6, 60, 60)])
def test_back_off(tries: int, low: float, high: float) -> None:
    """Waits double, vary by half, and never pass a minute."""
    assert all(low <= back_off(tries) <= high for _ in range(50))


def test_pace() -> None:
    """A host's own settings count before the general ones, and Crawl-delay before both where it is longer."""
    settings = merged(("t", {"delay": 2.0, "hosts": {"fast.test": {"delay": 0, "concurrency_per_host": 4}}}))
    slow = parse(b"User-agent: *\nCrawl-delay: 7", "crawler")
    assert pace(settings, "http://a.test", None).delay == 2.0
    assert pace(settings, "http://fast.test:81", None) == type(pace(settings, "x", None))(0.0, 4)
    assert pace(settings, "http://fast.test", slow).delay == 7.0
    assert pace(merged(("t", {"obey_robots": False, "delay": 0.0})), "http://a.test", slow).delay == 0.0


@pytest.mark.parametrize(
    ("code", "allowed"), [(200, False), (204, False), (404, True), (403, True), (301, True), (0, False)]
)
def test_robots_verdict(code: int, allowed: bool) -> None:
    """A robots.txt that is there is obeyed, one that is not allows all, one that cannot be had forbids all."""
    found = verdict(RobotsRecord(code, b"User-agent: *\nDisallow: /", NOW, NOW + 1), "crawler")
    assert found is not None
    assert found.allows("/x") is allowed
    assert (found is UNREACHABLE) == (code == 0)
    assert verdict(None, "crawler") is None


def test_robots_are_waited_for() -> None:
    """A failing robots.txt holds its host back for hours; an address where nobody answers for half a minute."""
    waits = [robots_fate(status(500), page(deferrals=n), NOW) for n in range(ROBOTS_TRIES)]
    assert all(w.state == State.PENDING and not w.charged and w.host_ready_at == w.due_at for w in waits)
    assert 6 * 3600 < sum(w.due_at - NOW for w in waits) < 18 * 3600
    assert max(w.due_at - NOW for w in waits) <= 1800
    assert robots_fate(status(500), page(deferrals=ROBOTS_TRIES), NOW).state == State.FAILED
    refused = ConnectionReset("refused")
    assert robots_fate(refused, page(attempts=ROBOTS_TRIES_UNCONNECTED - 1, deferrals=20), NOW).state == State.PENDING
    assert robots_fate(refused, page(attempts=ROBOTS_TRIES_UNCONNECTED), NOW).state == State.FAILED
    assert robots_fate(DnsError("no such name", permanent=True), page(), NOW).state == State.FAILED
