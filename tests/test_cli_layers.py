from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from crawler.cli import layers
from crawler.errors import ConfigError
from crawler.settings import Settings

LAYERS: dict[str, Any] = {
    "spider": {"delay": 1.5},
    "pyproject": "[tool.crawler]\ndelay = 2.5\n",
    "crawler.toml": "delay = 3.5\n",
    "environment": {"CRAWLER_DELAY": "4.5"},
    "-s": ["delay=5.5"],
}


def chosen(
    tmp_path: Path,
    *,
    spider: Mapping[str, object] | None = None,
    pyproject: str = "",
    toml: str = "",
    environment: Mapping[str, str] | None = None,
    assignments: Sequence[str] = (),
) -> Settings:
    if pyproject:
        (tmp_path / "pyproject.toml").write_text(pyproject)
    if toml:
        (tmp_path / "crawler.toml").write_text(toml)
    project = layers.project(environment or {}, tmp_path)
    return layers.settings(("Mine.settings", spider or {}), project.layers, assignments)


@pytest.mark.parametrize(
    ("present", "delay"),
    [
        ([], 1.0),
        *[(list(LAYERS)[: n + 1], n + 1.5) for n in range(5)],
        (["spider", "-s"], 5.5),
        (["spider", "environment"], 4.5),
    ],
)
def test_later_layers_win(tmp_path: Path, present: list[str], delay: float) -> None:
    """The command line goes before the environment, then crawler.toml, pyproject.toml, the spider and the default."""
    given = {name: LAYERS[name] for name in present}
    found = chosen(
        tmp_path,
        spider=given.get("spider"),
        pyproject=given.get("pyproject", ""),
        toml=given.get("crawler.toml", ""),
        environment=given.get("environment"),
        assignments=given.get("-s", ()),
    )
    assert found.delay == delay


@pytest.mark.parametrize(
    ("given", "parts"),
    [
        ({"spider": {"dely": 1}}, ["'dely' in Mine.settings", "did you mean 'delay'?"]),
        ({"pyproject": "[tool.crawler]\ndely = 1\n"}, ["'dely' in [tool.crawler] in pyproject.toml", "'delay'?"]),
        ({"pyproject": "[tool]\ncrawler = 1\n"}, ["'crawler' in pyproject.toml is no table"]),
        ({"toml": "dely = 1\n"}, ["'dely' in crawler.toml", "'delay'?"]),
        ({"toml": "delay = \n"}, ["crawler.toml cannot be read", "line 1"]),
        ({"toml": "delay = -1\n"}, ["setting delay=-1 in crawler.toml", ">= 0"]),
        ({"toml": "folder = 3\n"}, ["folder=3 in crawler.toml", "path of a folder"]),
        ({"environment": {"CRAWLER_DELY": "1"}}, ["'dely' in the environment variable CRAWLER_DELY", "'delay'?"]),
        ({"environment": {"CRAWLER_DELAY": "soon"}}, ["CRAWLER_DELAY", "'soon' is not a duration"]),
        ({"assignments": ["dely=1"]}, ["'dely' in -s", "'delay'?"]),
        ({"assignments": ["delay"]}, ["-s delay: expected name=value"]),
        ({"assignments": ["=1"]}, ["-s =1: expected name=value"]),
        ({"assignments": ["folder=x"]}, ["unknown setting 'folder' in -s"]),
    ],
)
def test_a_mistake_names_its_layer(tmp_path: Path, given: dict[str, Any], parts: list[str]) -> None:
    """An unknown or impossible setting is refused with the file, variable or option it stands in."""
    with pytest.raises(ConfigError) as caught:
        chosen(tmp_path, **given)
    assert all(part in str(caught.value) for part in parts), str(caught.value)


def test_places_are_no_settings(tmp_path: Path) -> None:
    """Where spiders and jobs lie stands beside the settings in the files and the environment; later layers win."""
    (tmp_path / "pyproject.toml").write_text("[tool.crawler]\nspiders = 'bots'\nfolder = 'a'\nretries = 1\n")
    (tmp_path / "crawler.toml").write_text("folder = 'b'\n")
    project = layers.project({"CRAWLER_FOLDER": "c", "CRAWLER_RETRIES": ""}, tmp_path)
    assert (project.spiders, project.folder) == (tmp_path / "bots", tmp_path / "c")
    assert layers.settings(("Mine.settings", {}), project.layers, ()).retries == 1


def test_hosts_are_a_table(tmp_path: Path) -> None:
    """``[hosts."*.example.com"]`` in crawler.toml sets what differs for some hosts."""
    found = chosen(tmp_path, toml='[hosts."*.example.com"]\ndelay = 9\n')
    assert found.for_host("https://a.example.com", "a.example.com").delay == 9


def test_a_project_of_another_kind_is_left_alone(tmp_path: Path) -> None:
    """A pyproject.toml without our table changes nothing."""
    assert chosen(tmp_path, pyproject="[tool.other]\ndelay = 9\n").delay == 1.0
