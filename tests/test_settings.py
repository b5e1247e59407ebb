"""Settings: where they come from, what they may be, and what is said about those that are wrong."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import inspect

from crawler.errors import ConfigError
from crawler.settings import FIELDS, GIB, KIB, MIB, SECRET, HostSettings, Settings, merged, parse_duration, parse_size

UNTOUCHED = Settings()


def setting(name: str, value: object) -> object:
    """One setting as `merged` reads it."""
    return getattr(merged(("a test", {name: value})), name)


def refusal(name: str, value: object, source: str = "crawler.toml") -> str:
    """What is said of a wrong setting."""
    with pytest.raises(ConfigError) as raised:
        merged((source, {name: value}))
    return str(raised.value)


def test_defaults() -> None:
    """Without any layer, and with empty ones, every setting has its default."""
    assert merged() == merged(("spider", {}), ("crawler.toml", {})) == UNTOUCHED


def test_defaults_are_polite() -> None:
    """Who sets nothing obeys robots.txt, asks a host once a second, one request at a time, and checks certificates."""
    assert UNTOUCHED.obey_robots
    assert (UNTOUCHED.delay, UNTOUCHED.concurrency_per_host) == (1.0, 1)
    assert UNTOUCHED.insecure_hosts == []
    assert UNTOUCHED.product_token == "crawler"


@pytest.mark.parametrize(
    ("name", "most"),
    [
        ("connect_timeout", 10), ("header_timeout", 20), ("read_timeout", 20), ("total_timeout", 60),
        ("max_body_bytes", 10 << 20), ("max_file_bytes", 16 << 30), ("body_memory", 96 << 20), ("max_links", 50_000),
        ("max_redirects", 10), ("retries", 3), ("handler_timeout", 30), ("max_path_segments", 20),
        ("max_repeated_segments", 3), ("max_query_parameters", 10), ("max_same_pages", 20), ("max_barren_pages", 1000),
        ("backlog_bytes", 256 << 20),
    ],
)  # fmt: skip
def test_defaults_are_safe(name: str, most: int) -> None:
    """Who sets nothing has limits against all that a server or page can do to a crawl, none out of proportion."""
    assert getattr(UNTOUCHED, name) == most


def test_later_layers_win() -> None:
    """Each setting is that of the last layer which names it; the others stay."""
    found = merged(
        ("pyproject.toml", {"delay": 5.0, "retries": 1, "max_depth": 4}),
        ("the spider", {"delay": 2.0, "retries": 0}),
        ("CRAWLER_DELAY", {"delay": "500ms"}),
        ("-s", {"retries": "7"}),
    )
    assert (found.delay, found.retries, found.max_depth) == (0.5, 7, 4)
    assert found == Settings(delay=0.5, retries=7, max_depth=4)


def test_a_later_layer_can_give_back_the_default() -> None:
    """A default named outright wins over what an earlier layer set."""
    assert merged(("a", {"max_depth": 3, "delay": 0}), ("b", {"max_depth": None, "delay": 1.0})) == UNTOUCHED


def test_wrong_values_of_earlier_layers_are_named_too() -> None:
    """A value that another layer overrules is wrong all the same, and the layer that has it is the one named."""
    with pytest.raises(ConfigError, match=r"setting delay=-1 in the spider: Expected `float` >= 0\.0"):
        merged(("the spider", {"delay": -1}), ("-s", {"delay": 1}))


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("delay", "0", 0.0),
        ("delay", "2", 2.0),
        ("delay", "1.5h", 5400.0),
        ("read_timeout", " 15 m ", 900.0),
        ("commit_window", "50ms", 0.05),
        ("max_body_bytes", "65536", 65536),
        ("max_body_bytes", "10MiB", 10 * MIB),
        ("max_file_bytes", "4g", 4 * GIB),
        ("backlog_bytes", "1.5 KB", 1536),
        ("concurrency", "64", 64),
        ("retries", "0", 0),
        ("min_rate", "500", 500),
        ("max_depth", "3", 3),
        ("max_depth", "null", None),
        ("min_free_space", "50GiB", 50 << 30),
        ("min_free_space", "0", 0),
        ("min_free_space", "null", None),
        ("memory_limit", "500M", 500 << 20),
        ("obey_robots", "true", True),
        ("obey_robots", "yes", True),
        ("obey_robots", "On", True),
        ("obey_robots", "1", True),
        ("obey_robots", "FALSE", False),
        ("obey_robots", "No", False),
        ("obey_robots", "off", False),
        ("csv_formulas", "0", False),
        ("user_agent", "mybot/1.0", "mybot/1.0"),
        ("user_agent", "5", "5"),
        ("contact", "null", "null"),
        ("contact", "", ""),
        ("durability", "power", "power"),
        ("events", "all", "all"),
        ("insecure_hosts", "a.test, *.b.test ,", ["a.test", "*.b.test"]),
        ("insecure_hosts", "", []),
        ("resolve", "a.test=127.0.0.1, *.b.test = ::1", {"a.test": "127.0.0.1", "*.b.test": "::1"}),
        ("resolve", "a.test=b=c", {"a.test": "b=c"}),
        ("resolve", " , ", {}),
    ],
)
def test_text(name: str, text: str, value: object) -> None:
    """Text, as of a command line or an environment, becomes what the setting is."""
    found = setting(name, text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("name", "given", "value"),
    [
        ("delay", 2, 2.0),
        ("delay", 0.25, 0.25),
        ("max_body_bytes", 100, 100),
        ("max_depth", None, None),
        ("max_depth", 0, 0),
        ("obey_robots", False, False),
        ("insecure_hosts", ["a.test"], ["a.test"]),
        ("insecure_hosts", ("a.test",), ["a.test"]),
        ("resolve", {"a.test": "::1"}, {"a.test": "::1"}),
        ("hosts", {"*.a.test": {"delay": 3}}, {"*.a.test": HostSettings(delay=3.0)}),
        ("hosts", {"a.test": {"concurrency_per_host": 4}, "b.test": {}},
         {"a.test": HostSettings(concurrency_per_host=4), "b.test": HostSettings()}),
        ("hosts", {"a.test": HostSettings(delay=1.0)}, {"a.test": HostSettings(delay=1.0)}),
    ],
)  # fmt: skip
def test_values(name: str, given: object, value: object) -> None:
    """Values, as of a TOML file or a spider, are taken as they are where they fit."""
    found = setting(name, given)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("name", "value", "remedy"),
    [
        ("delay", -1, "Expected `float` >= 0.0"),
        ("delay", "-1", "is not a duration such as 30s, 15m or 2h"),
        ("delay", "soon", "is not a duration such as 30s, 15m or 2h"),
        ("delay", "", "is not a duration such as 30s, 15m or 2h"),
        ("delay", float("nan"), "Expected `float` >= 0.0"),
        ("delay", None, "Expected `float`, got `null`"),
        ("delay", True, "Expected `float`, got `bool`"),
        ("delay", [1], "Expected `float`, got `array`"),
        ("read_timeout", 0, "Expected `float` > 0.0"),
        ("read_timeout", "0s", "Expected `float` > 0.0"),
        ("max_body_bytes", "10 apples", "is not a size such as 500k, 10MiB or 4GiB"),
        ("max_body_bytes", "0", "Expected `int` >= 1"),
        ("max_body_bytes", 1.5, "Expected `int`, got `float`"),
        ("concurrency", 0, "Expected `int` >= 1"),
        ("concurrency", "many", "Expected `int`, got `str`"),
        ("concurrency", "1.5", "Expected `int`, got `str`"),
        ("concurrency", False, "Expected `int`, got `bool`"),
        ("retries", -1, "Expected `int` >= 0"),
        ("max_depth", "-1", "Expected `int` >= 0"),
        ("max_depth", "deep", "Expected `int | null`, got `str`"),
        ("obey_robots", "maybe", "Expected `bool`, got `str`"),
        ("obey_robots", 2, "Expected `bool`, got `int`"),
        ("user_agent", 5, "Expected `str`, got `int`"),
        ("durability", "fast", "Invalid enum value 'fast'"),
        ("durability", True, "Expected `str`, got `bool`"),
        ("insecure_hosts", ["a", 1], "Expected `str`, got `int` - at `$[1]`"),
        ("insecure_hosts", 5, "Expected `array`, got `int`"),
        ("resolve", "a.test", "expected name=value, got 'a.test'"),
        ("resolve", "a=b,c", "expected name=value, got 'c'"),
        ("resolve", {"a.test": 1}, "Expected `str`, got `int` - at `$[...]`"),
        ("hosts", {"a.test": {"delay": -1}}, "Expected `float` >= 0.0 - at `$[...].delay`"),
        ("hosts", {"a.test": {"dely": 1}}, "unknown field `dely` - at `$[...]`"),
        ("hosts", {"a.test": 5}, "Expected `object`, got `int` - at `$[...]`"),
    ],
)  # fmt: skip
def test_wrong_values(name: str, value: object, remedy: str) -> None:
    """A wrong value is refused with its setting, the layer it is in, and what would be right."""
    said = refusal(name, value, "crawler.toml")
    place, _, reason = said.partition(" in crawler.toml: ")
    assert place == f"setting {name}={value!r}"
    assert remedy in reason


@pytest.mark.parametrize("name", FIELDS)
def test_every_setting_is_checked(name: str) -> None:
    """There is no setting that takes just anything, and each refusal says which one it is and where."""
    said = refusal(name, object(), "CRAWLER_SOMETHING")
    assert said.startswith(f"setting {name}=")
    assert " in CRAWLER_SOMETHING: Expected `" in said


@pytest.mark.parametrize("name", FIELDS)
def test_every_default_is_itself_right(name: str) -> None:
    """A default would be taken from a file too, and is the same then."""
    default = getattr(UNTOUCHED, name)
    assert setting(name, default) == default


@pytest.mark.parametrize("name", [name for name in FIELDS if name not in {"hosts", "groups"}])
def test_every_setting_can_be_given_as_text(name: str) -> None:
    """A command line and an environment have text only: each setting but two tables can be said in it."""
    default = getattr(UNTOUCHED, name)
    text = "" if default in ([], {}) else "null" if default is None else str(default)
    text = ",".join(default) if isinstance(default, tuple) else text
    assert setting(name, text) == default


@pytest.mark.parametrize("name", FIELDS)
def test_every_setting_says_what_it_is(name: str) -> None:
    """Each setting has its help where it is defined, and a unit where it is a quantity of bytes or seconds."""
    known = FIELDS[name].type
    assert isinstance(known, inspect.Metadata)
    assert (known.extra_json_schema or {})["description"]
    unit = (known.extra or {}).get("unit")
    if name.endswith(("_timeout", "_delay", "_window")) or name == "delay":
        assert unit == "s"
    if "bytes" in name or "memory" in name:
        assert unit == "bytes"


def test_unknown_settings() -> None:
    """An unknown name is refused with its layer and the nearest known one; when none is near, with all of them."""
    with pytest.raises(ConfigError, match=r"^unknown setting 'dealy' in pyproject.toml; did you mean 'delay'\?$"):
        merged(("the spider", {"delay": 1}), ("pyproject.toml", {"dealy": 2}))
    assert "did you mean 'concurrency_per_host'?" in refusal("concurency_per_host", 1)
    assert "did you mean 'delay'?" in refusal("delays", 1)
    listed = refusal("zzz", 1, "-s")
    assert listed.startswith("unknown setting 'zzz' in -s; known are: ")
    assert listed.partition("known are: ")[2].split(", ") == sorted(FIELDS)


@settings(deadline=None)
@given(st.sampled_from(sorted(FIELDS)), st.text(max_size=30) | st.text("0123456789.kmgtibshd -=,", max_size=12))
def test_any_text_is_read_or_refused(name: str, text: str) -> None:
    """Whatever is typed, it becomes a checked setting or a ConfigError, and nothing else happens."""
    try:
        found = merged(("-s", {name: text}))
    except ConfigError as error:
        shown = "…" if name in SECRET else repr(text)
        assert str(error).startswith(f"setting {name}={shown} in -s: ")  # noqa: PT017  # either outcome is right
    else:
        assert merged(("again", {name: getattr(found, name)})) == found


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0), ("1", 1), ("65536", 65536), ("1b", 1), ("1k", KIB), ("1K", KIB), ("1KiB", KIB), ("1kib", KIB),
        ("10MB", 10 * MIB), ("10MiB", 10 * MIB), ("10 MiB", 10 * MIB), ("1.5k", 1536), ("0.5G", GIB // 2),
        ("4g", 4 * GIB), ("2TiB", 2048 * GIB), (" 7 ", 7),
    ],
)  # fmt: skip
def test_sizes(text: str, size: int) -> None:
    """Sizes are bytes, with letters for powers of 1,024."""
    assert parse_size(text) == size
    assert isinstance(parse_size(text), int)


@pytest.mark.parametrize(
    "text", ["", " ", "k", "MiB", "-1", "+1", "1e3", "1,5k", "1.k", ".5k", "1 0", "1kk", "1x", "inf", "nan", "0x10"]
)
def test_no_sizes(text: str) -> None:
    """What is no size is refused with examples."""
    with pytest.raises(ValueError, match="is not a size such as 500k, 10MiB or 4GiB"):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0), ("90", 90.0), ("90s", 90.0), ("1.5h", 5400.0), ("30m", 1800.0), ("30M", 1800.0), ("200ms", 0.2),
        ("0.2s", 0.2), ("2d", 172_800.0), (" 5 s ", 5.0), ("10 MS", 0.01),
    ],
)  # fmt: skip
def test_durations(text: str, seconds: float) -> None:
    """Durations are seconds unless they say milliseconds, minutes, hours or days."""
    assert parse_duration(text) == pytest.approx(seconds, rel=1e-12)
    assert isinstance(parse_duration(text), float)


@pytest.mark.parametrize(
    "text", ["", " ", "s", "-1", "+1", "1e3", "1:30", "1h30m", "1,5h", ".5h", "5 minutes", "inf", "nan", "1w"]
)
def test_no_durations(text: str) -> None:
    """What is no duration is refused with examples."""
    with pytest.raises(ValueError, match="is not a duration such as 30s, 15m or 2h"):
        parse_duration(text)


@settings(deadline=None)
@given(st.integers(0, 1 << 50))
def test_plain_sizes_are_exact(size: int) -> None:
    """A number of bytes is that number."""
    assert parse_size(str(size)) == size


@pytest.mark.parametrize(
    ("user_agent", "token"),
    [
        ("", "crawler"),
        ("mybot", "mybot"),
        ("mybot/1.0", "mybot"),
        ("mybot/1.0 (+https://a.test)", "mybot"),
        ("my-bot_x (hello)", "my-bot_x"),
        ("/1.0", "crawler"),
        (" mybot", "crawler"),
    ],
)
def test_product_token(user_agent: str, token: str) -> None:
    """robots.txt is asked for the User-Agent's first word, which is what its authors know."""
    assert Settings(user_agent=user_agent).product_token == token


def test_settings_of_a_host() -> None:
    """The first pattern that matches a host's name or its origin decides, whole."""
    found = merged(
        (
            "a test",
            {
                "hosts": {
                    "http://a.test:81": {"delay": 1},
                    "*.b.test": {"delay": 2},
                    "c.b.test": {"delay": 3, "concurrency_per_host": 3},
                    "a.test": {"concurrency_per_host": 4},
                    "::1": {"delay": 5},
                    "https://*": {"delay": 6},
                }
            },
        )
    )
    assert found.for_host("http://a.test:81", "a.test") == HostSettings(delay=1.0)
    assert found.for_host("http://a.test", "a.test") == HostSettings(concurrency_per_host=4)
    assert found.for_host("https://c.b.test", "c.b.test") == HostSettings(delay=2.0)
    assert found.for_host("http://b.test", "b.test") == HostSettings()
    assert found.for_host("http://[::1]:81", "::1") == HostSettings(delay=5.0)
    assert found.for_host("https://d.test", "d.test") == HostSettings(delay=6.0)
    assert UNTOUCHED.for_host("http://a.test", "a.test") == HostSettings()


@pytest.mark.parametrize("name", ["max_body_bytes", "max_file_bytes"])
def test_impossible_sizes(name: str) -> None:
    """A size beyond all bounds is a wrong setting like any other."""
    with pytest.raises(ConfigError, match=f"setting {name}="):
        merged(("-s", {name: "9" * 400}))


@settings(deadline=None)
@given(st.integers(0, (1 << 63) - 1))
def test_all_sizes_are_exact(size: int) -> None:
    """A number of bytes is that number, however large."""
    assert parse_size(str(size)) == size


@pytest.mark.parametrize("value", [float("inf"), "9" * 400])
@pytest.mark.parametrize("name", ["delay", "read_timeout"])
def test_endless_durations(name: str, value: object) -> None:
    """A wait without end is a wrong setting."""
    with pytest.raises(ConfigError, match=f"setting {name}="):
        merged(("crawler.toml", {name: value}))


@pytest.mark.parametrize(("name", "choices"), [("durability", ["process", "power"]), ("events", ["failures", "all"])])
def test_choices_are_told(name: str, choices: list[str]) -> None:
    """Where one of a few words is wanted, the message has them all."""
    with pytest.raises(ConfigError) as raised:
        merged(("-s", {name: "x"}))
    assert all(choice in str(raised.value) for choice in choices)


def test_durations_of_hosts() -> None:
    """A host's delay may be text with a unit, as the delay of all may."""
    assert merged(("t", {"hosts": {"a": {"delay": "500ms"}}})).hosts == {"a": HostSettings(delay=0.5)}
    with pytest.raises(ConfigError, match="setting hosts="):
        merged(("t", {"hosts": {"a": {"delay": "soon"}}}))
