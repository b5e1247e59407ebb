"""Links that a machine makes without end are told from the paths of honest pages."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crawler.scope import Gate, Scope
from crawler.settings import Settings, merged
from crawler.traps import PARAMETERS, REPEATED, SEGMENTS, SETTING_OF, TrapLimits


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/", None),
        ("/a/b/c/d.html?x=1&y=2", None),
        ("/" + "/".join(map(str, range(20))), None),
        ("/" + "/".join(map(str, range(20))) + "/", None),
        ("/" + "/".join(map(str, range(21))), SEGMENTS),
        ("/" + "/".join(map(str, range(21))) + "/", SEGMENTS),
        ("/a/a/a/b", None),
        ("/a/a/a/a", REPEATED),
        ("/a/a/a/a?x=1", REPEATED),
        ("/a/x/a/y/a/z/a/", REPEATED),
        ("/a/b/a/b/a/b/c", None),
        ("/a/b/a/b/a/b/a", REPEATED),
        ("/x?to=/a/a/a/a/a", None),
        ("/x////////y", None),
        ("/x?" + "&".join(map(str, range(10))), None),
        ("/x?" + "&".join(map(str, range(11))), PARAMETERS),
        ("/r&d&r&d&r&d&r&d&r&d&r&d", None),
        ("/x?", None),
    ],
)
def test_traps(path: str, reason: str | None) -> None:
    """What goes beyond a limit is a trap, for the reason that is told; what reaches it is not."""
    assert TrapLimits().trap("http://a.test" + path) == reason


def test_limits_are_settings() -> None:
    """Each reason can be overruled by the setting that it names."""
    wide = merged(("test", dict.fromkeys(SETTING_OF.values(), 1000)))
    url = "http://a.test/" + "a/" * 50 + "?" + "x&" * 50
    assert TrapLimits().trap(url) == SEGMENTS
    assert wide.trap_limits.trap(url) is None
    assert TrapLimits(max_repeated_segments=1).trap("http://a.test/a/a") == REPEATED
    assert TrapLimits(max_path_segments=1, max_repeated_segments=1).trap("http://a.test/a/b") == SEGMENTS
    assert TrapLimits(max_query_parameters=1).trap("http://a.test/?a&b") == PARAMETERS


def test_the_gate_keeps_traps_out() -> None:
    """A trap is refused like what is out of scope, and what is out of scope is told as that."""
    gate = Gate(Scope(), seed_hosts=["http://a.test"], limits=Settings().trap_limits)
    assert gate.refusal("http://a.test/b/b/b/b/") == REPEATED
    assert gate.refusal("http://b.test/b/b/b/b/") == "scope: host"
    assert gate.refusal("http://a.test/b/b/b/") is None


@settings(max_examples=500)
@given(st.text(st.sampled_from("ab/&?="), max_size=40), st.integers(1, 4), st.integers(1, 4), st.integers(1, 4))
def test_the_quick_look_misses_nothing(path: str, segments: int, repeated: int, parameters: int) -> None:
    """What is counted first lets through only what a closer look lets through as well."""
    limits = TrapLimits(segments, repeated, parameters)
    url = "http://a.test/" + path
    folders, _, query = ("/" + path).partition("?")
    parts = folders[1:].split("/")
    is_trap = (
        len(parts) - (not parts[-1]) > segments
        or any(parts.count(part) > repeated for part in parts if part)
        or bool(query and query.count("&") + 1 > parameters)
    )
    assert (limits.trap(url) is not None) == is_trap
