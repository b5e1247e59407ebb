"""What failures mean, and how long everyone waits: tables."""

import time
from typing import Any

import pytest

from crawler.circuit import Circuit
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
    FREE_DEFERRALS,
    ROBOTS_TRIES,
    ROBOTS_TRIES_UNCONNECTED,
    UNREACHABLE,
    Pace,
    back_off,
    fate,
    is_of_host,
    next_at,
    owed_until,
    pace,
    retry_after,
    robots_fate,
    robots_lifetime,
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
    """429 and 503 make the whole host wait and cost the page none of its tries."""
    chosen = fate(status(code, 120.0), page(), Settings(), NOW)
    assert (chosen.state, chosen.charged, chosen.host_ready_at) == (State.PENDING, False, NOW + 120)
    assert fate(status(code), page(), Settings(), NOW).host_ready_at is not None
    many = fate(status(code), page(deferrals=99), Settings(), NOW, Circuit(in_a_row=5))
    assert (many.state, many.charged) == (State.PENDING, False)
    assert many.host_ready_at is not None
    assert NOW + 8 <= many.host_ready_at <= NOW + 24  # it waits for the host's failures in a row, not for the page's
    assert many.due_at == many.host_ready_at + 300


def test_overload_of_one_page() -> None:
    """A page that is put off again and again while its host answers others is charged for it, and fails."""
    alone = Circuit(in_a_row=1)
    for attempts in range(3):
        chosen = fate(status(503), page(attempts, FREE_DEFERRALS), Settings(), NOW, alone)
        assert (chosen.state, chosen.charged) == (State.PENDING, True)
    assert fate(status(503), page(3, FREE_DEFERRALS), Settings(), NOW, alone).state == State.FAILED
    assert not fate(status(503), page(3, FREE_DEFERRALS - 1), Settings(), NOW, alone).charged


def test_overload_without_end() -> None:
    """When patience with an overloaded host is over, what it puts off is charged, and fails in the end."""
    circuit = Circuit(in_a_row=10, opened_at=NOW - 3600, until=NOW, rests=6)
    assert fate(status(503), page(), Settings(), NOW, circuit).charged
    assert fate(status(503), page(attempts=3), Settings(), NOW, circuit).state == State.FAILED
    assert fate(status(503), page(deferrals=FREE_DEFERRALS), Settings(), NOW, circuit).state == State.FAILED
    assert not fate(status(503), page(), Settings(circuit_patience=3601), NOW, circuit).charged


def test_retries_keep_to_their_budget() -> None:
    """A host of whose requests more than a fifth led to retries has them wait a minute and longer."""
    minute = int(NOW // 60)
    for retries, least, most in ((9, 0.5, 1.5), (30, 60, 60), (60, 120, 120), (1000, 300, 300)):
        circuit = Circuit(minutes=((minute, 100, 0, retries),))
        wait = fate(ReadTimeout("slow"), page(), Settings(), NOW, circuit).due_at - NOW
        assert least <= wait <= most, retries


@pytest.mark.parametrize(
    ("error", "is_the_hosts"),
    [
        (ReadTimeout("slow"), True),
        (ConnectionReset("reset"), True),
        (DnsError("servfail"), True),
        (TlsError("expired"), True),
        (status(500), True),
        (status(503), True),
        (status(429), True),
        (status(404), False),
        (status(403), False),
        (TruncatedBody("cut off"), False),
        (ProtocolError("garbage"), False),
        (ResponseTooLarge("11 MiB"), False),
    ],
)
def test_whose_failure(error: FetchError, is_the_hosts: bool) -> None:
    """Who does not answer, or says that all is not well, is in trouble as a host; other failures are the page's."""
    assert is_of_host(error) is is_the_hosts


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
        ("301", 301.0),
        ("99999999999999999999", 86_400.0),
        ("315360000", 86_400.0),
        ("Sat, 14 Jul 2096 03:34:20 GMT", 86_400.0),
        ("Tue, 14 Jul 2026 03:34:20 -0000", 60.0),
        ("Tue Jul 14 03:34:20 2026", 60.0),  # asctime's form is in UTC, wherever this machine is
        ("Tuesday, 14-Jul-26 03:34:20 GMT", 60.0),
        ("Tue, 14 Jul 2026 05:34:20 +0200", 60.0),
        ("Tue, 14 Jul 2026 03:34:20 GMT", 60.0),
        ("-5", None),
        ("soon", None),
        ("", None),
        (None, None),
        ("Wed, 21 Oct 2015 07:28:00 GMT", None),
        ("Fri, 99 Foo 9999 99:99:99 GMT", None),
        ("1.5", None),
        ("1e9", None),
        ("inf", None),
        ("+60", None),
        ("60, 120", None),
        ("0x10", None),
        ("Thu, 01 Jan 0000 00:00:00 GMT", None),
        ("\x00", None),
        ("²", None),
    ],
)
def test_retry_after(value: str | None, wait: float | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both forms of Retry-After are read, up to a day; what is past, negative or no date is as if it were not there."""
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        assert retry_after(value, NOW) == wait
    finally:
        monkeypatch.undo()
        time.tzset()


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


@pytest.mark.parametrize(
    ("said", "lifetime"),
    [
        ("", 86_400),
        ("public, max-age=3600", 3600),
        ('Max-Age = "600"', 600),
        ("max-age=604800", 86_400),
        ("no-store, max-age=0", 60),
        ("max-age=59", 60),
        ("max-age=900, max-age=300", 300),
        ("s-maxage=300, x-max-age=300", 86_400),
        ("max-age, max-age=, max-age=-1, max-age=1e2, max-age=soon", 86_400),
        ("max-age=" + "9" * 5000, 86_400),
    ],
)
def test_lifetime_of_robots(said: str, lifetime: float) -> None:
    """A robots.txt holds for a day, or for its max-age if that is shorter, but for a minute at least."""
    assert robots_lifetime(said) == lifetime


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


@pytest.mark.parametrize(
    ("rate", "burst", "delay", "wished", "sent"),
    [
        (2.0, 1, 0.0, [0, 0, 0, 0], [0, 0.5, 1, 1.5]),
        (2.0, 3, 0.0, [0, 0, 0, 0, 0], [0, 0, 0, 0.5, 1]),
        (2.0, 3, 0.0, [0, 0, 0, 0, 10, 10, 10, 10], [0, 0, 0, 0.5, 10, 10, 10, 10.5]),
        (2.0, 3, 0.2, [0, 0, 0, 0, 0], [0, 0.2, 0.4, 0.6, 1]),
        (2.0, 3, 1.0, [0, 0, 0], [0, 1, 2]),
        (1e6, 1, 0.0, [0, 0], [0, 1e-6]),
    ],
)
def test_rate(rate: float, burst: int, delay: float, wished: list[float], sent: list[float]) -> None:
    """After a rest a burst may go at once, then the rate counts; the delay counts as well."""
    chosen = Pace(delay, 1, 1 / rate, burst)
    owed, ready_at, times = 0.0, 0.0, list[float]()
    for now in wished:
        times.append(max(now, ready_at))
        owed = owed_until(chosen, owed, times[-1])
        ready_at = next_at(chosen, owed, times[-1])
    assert times == pytest.approx(sent)
