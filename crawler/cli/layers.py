"""Where a crawl's settings come from, least to most: the spider, two TOML files, the environment, the command line.

``spiders`` and ``folder`` stand beside the settings in all of them but the spider; they say where things lie.
"""

import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from crawler.errors import ConfigError
from crawler.settings import Settings, merged

PREFIX = "CRAWLER_"
PLACES = {"spiders": "spiders", "folder": "output"}

Layer = tuple[str, Mapping[str, object]]


class Project(NamedTuple):
    """What the folder's files and the environment say; the paths are relative to that folder."""

    spiders: Path
    folder: Path
    layers: tuple[Layer, ...]


def project(environment: Mapping[str, str], root: Path = Path()) -> Project:
    """What pyproject.toml, crawler.toml and the environment say. Raises ConfigError naming the file or variable."""
    found = [*_files(root), *_variables(environment)]
    places = dict(PLACES)
    layers: list[Layer] = []
    for source, values in found:
        places |= {name: _place(name, values[name], source) for name in PLACES if name in values}
        layers.append((source, {name: value for name, value in values.items() if name not in PLACES}))
    return Project(root / places["spiders"], root / places["folder"], tuple(layers))


def settings(spider: Layer, layers: Iterable[Layer], assignments: Iterable[str]) -> Settings:
    """The settings of all layers; `assignments` are the ``setting=value`` of ``-s``. Raises ConfigError."""
    return merged(spider, *layers, ("-s", dict(pairs(assignments, "-s"))))


def pairs(assignments: Iterable[str], option: str) -> Iterable[tuple[str, str]]:
    """Name and value of each ``name=value``. Raises ConfigError naming the option."""
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not (name and equals):
            raise ConfigError(f"{option} {assignment}: expected name=value")
        yield name.strip(), value


def _files(root: Path) -> Iterable[Layer]:
    tool = _table(_toml(root / "pyproject.toml"), "tool", "pyproject.toml")
    yield "[tool.crawler] in pyproject.toml", _table(tool, "crawler", "pyproject.toml")
    yield "crawler.toml", _toml(root / "crawler.toml")


def _toml(path: Path) -> dict[str, object]:
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:  # a TOMLDecodeError names line and column
        raise ConfigError(f"{path} cannot be read: {error}") from error


def _table(parent: Mapping[str, object], name: str, file: str) -> Mapping[str, object]:
    found = parent.get(name, {})
    if not isinstance(found, dict):
        raise ConfigError(f"{name!r} in {file} is no table")
    return found


def _variables(environment: Mapping[str, str]) -> Iterable[Layer]:
    for variable in sorted(environment):
        if variable.startswith(PREFIX) and environment[variable]:
            name = variable.removeprefix(PREFIX).lower()
            yield f"the environment variable {variable}", {name: environment[variable]}


def _place(name: str, value: object, source: str) -> str:
    if not isinstance(value, str) or not value:
        raise ConfigError(f"{name}={value!r} in {source}: expected the path of a folder")
    return value
