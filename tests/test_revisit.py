"""When a page is visited again, and how a server is asked whether it has changed."""

import pytest

from crawler.errors import ConfigError
from crawler.revisit import History, Revisit, conditions, digest, next_interval, policies, policy_for, validator
from crawler.settings import merged, parse_duration

HOUR, DAY = 3600.0, 86_400.0


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("", {}),
        ("1d", {"*": Revisit(DAY, DAY)}),
        ("90", {"*": Revisit(90, 90)}),
        (90, {"*": Revisit(90, 90)}),
        (1.5, {"*": Revisit(1.5, 1.5)}),
        ("1h-7d", {"*": Revisit(HOUR, 7 * DAY)}),
        ({"*/news/*": "10m", "*": 60}, {"*/news/*": Revisit(600, 600), "*": Revisit(60, 60)}),
        ("*/news/*=10m, *?id=1*=1h-2h", {"*/news/*": Revisit(600, 600), "*?id=1*": Revisit(HOUR, 2 * HOUR)}),
    ],
)
def test_policies(value: object, expected: dict[str, Revisit]) -> None:
    """A policy is written as a duration, or two for the bounds; for all pages, or by patterns."""
    assert policies(value, parse_duration) == expected
    assert merged(("a test", {"revisit": value})).revisit == expected


@pytest.mark.parametrize("value", ["soon", "0", "7d-1h", "-1h", "1h-", {"*": "never"}, True])
def test_wrong_policies(value: object) -> None:
    """What is no interval is refused by its name."""
    with pytest.raises(ConfigError, match="revisit"):
        merged(("a test", {"revisit": value}))


@pytest.mark.parametrize(
    ("url", "expected"),
    [("http://a.test/news/1", 1.0), ("http://a.test/", 2.0), ("http://b.test/", None), ("http://A.test/", None)],
)
def test_policy_for(url: str, expected: float | None) -> None:
    """The first pattern that matches counts; what none matches is visited once."""
    chosen = {"*/news/*": Revisit(1, 1), "http://a.test/*": Revisit(2, 2)}
    found = policy_for(chosen, url)
    assert (found and found.shortest) == expected


@pytest.mark.parametrize(
    ("before", "has_changed", "expected"),
    [
        (None, False, 6.0),  # between 4 and 9, on a scale of ratios
        (None, True, 6.0),
        (6.0, False, 9.0),
        (6.0, True, 4.0),  # three would be less than the shortest
        (8.0, True, 4.0),
        (5.0, None, 5.0),
        (9.0, False, 9.0),
        (50.0, None, 9.0),  # the bounds were others then
    ],
)
def test_adaptive(before: float | None, has_changed: bool | None, expected: float) -> None:
    """The interval shortens after a change, lengthens after none, and stays within its bounds."""
    assert next_interval(Revisit(4, 9), before, has_changed=has_changed) == pytest.approx(expected)


@pytest.mark.parametrize("before", [None, 1.0, 5.0, 99.0])
@pytest.mark.parametrize("has_changed", [True, False, None])
def test_fixed(before: float | None, has_changed: bool | None) -> None:
    """A fixed interval is the same whatever happens."""
    assert next_interval(Revisit(5, 5), before, has_changed=has_changed) == 5.0


@pytest.mark.parametrize(
    ("history", "expected"),
    [
        (None, {}),
        (History(b"x"), {}),
        (History(b"x", '"1"'), {"If-None-Match": '"1"'}),
        (History(b"x", None, "yesterday"), {"If-Modified-Since": "yesterday"}),
        (History(b"x", 'W/"1"', "yesterday"), {"If-None-Match": 'W/"1"', "If-Modified-Since": "yesterday"}),
        (History(b"", '"1"', "yesterday"), {}),
    ],
)
def test_conditions(history: History | None, expected: dict[str, str]) -> None:
    """Both validators are sent, but only where what they stand for is known."""
    assert conditions(history) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ('"1"', '"1"'),
        (' W/"a b" ', 'W/"a b"'),
        ("bare", "bare"),
        ("", None),
        ('"\xe9"', None),
        ('"\udce9"', None),
        ('"\t"', None),
        ("x" * 513, None),
    ],
)
def test_validator(value: str, expected: str | None) -> None:
    """A validator is kept as it came, unless it could not be sent back."""
    assert validator(value) == expected


def test_digest() -> None:
    """A body is told from others by 16 bytes."""
    assert digest(b"a") == digest(b"a") != digest(b"b")
    assert len(digest(b"")) == 16
