"""From SPIDER, as it is typed, to the spider's class."""

import difflib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import crawler
from crawler.cli import loading
from crawler.errors import ConfigError, escaped
from crawler.spider import Spider

_URL = re.compile(r"https?://", re.IGNORECASE)
_CLASS = re.compile(r"(.+):([A-Za-z_]\w*)")


class Found(NamedTuple):
    """One spider that a name leads to; ``problem`` says why its file gave none."""

    file: Path
    spider: type[Spider] | None
    problem: str = ""


def is_url(text: str) -> bool:
    """Whether SPIDER is the address of a site, for the built-in spider."""
    return _URL.match(text) is not None


def examples() -> Path:
    """The folder of the spiders that come with this package: beside it in the source, within it when installed."""
    package = Path(crawler.__file__).parent
    return next(filter(Path.is_dir, (package / "examples", package.parent / "spiders")), package / "examples")


def folders(spiders: Path) -> tuple[Path, ...]:
    """Where names are looked up, first to last."""
    bundled = examples()
    return (spiders,) if spiders.absolute() == bundled.absolute() else (spiders, bundled)


def spider_class(text: str, spiders: Path) -> type[Spider]:
    """The class that a name, ``file.py[:Class]`` or ``package.module[:Class]`` means.

    Raises ConfigError when it is none, or not one, naming what there is.
    """
    place, wanted = match.groups() if (match := _CLASS.fullmatch(text)) else (text, None)
    if place.endswith(".py"):
        return _one(loading.from_file(Path(place)), wanted, place)
    named = [] if wanted else list(_named(text, folders(spiders)))
    if named:
        return _only(named, text)
    if "." in place or wanted:
        return _one(loading.from_module(place), wanted, place)
    raise ConfigError(_unknown(text, folders(spiders)))


def spiders_in(folder: Path) -> Iterator[Found]:
    """The spiders of a folder's files; a file that cannot be run is one of them, with its problem."""
    for file in sorted(folder.glob("*.py")):
        if file.name.startswith("_"):
            continue
        try:
            classes = _runnable(loading.from_file(file))
        except ConfigError as error:
            yield Found(file, None, str(error))
            continue
        yield from (Found(file, spider) for spider in classes)


def _named(name: str, places: Sequence[Path]) -> Iterator[type[Spider]]:
    """The spiders of the first folder that has some of that name, by their file or by themselves."""
    for folder in places:
        file = folder / f"{name}.py"
        if file.is_file() and (classes := loading.from_file(file)):
            ours = [spider for spider in classes if spider.name == name]
            yield from ours or [_one(classes, None, str(file))]
            return
        matching = [found.spider for found in spiders_in(folder) if found.spider and found.spider.name == name]
        if matching or file.is_file():
            yield from matching or [_one([], None, str(file))]
            return


def _only(named: list[type[Spider]], name: str) -> type[Spider]:
    if len(named) > 1:
        places = ", ".join(map(loading.where, named))
        raise ConfigError(f"{len(named)} spiders are called {escaped(name)!r}: {places}; say which with FILE.py:CLASS")
    return named[0]


def _one(classes: list[type[Spider]], wanted: str | None, place: str) -> type[Spider]:
    names = [spider.__name__ for spider in classes]
    if not classes:
        raise ConfigError(f"{escaped(place)} has no Spider class: write one as 'class Mine(Spider): ...'")
    if wanted:
        if wanted not in names:
            raise ConfigError(f"{escaped(place)} has no spider {wanted}{_near(wanted, names)}")
        return classes[names.index(wanted)]
    if len(runnable := _runnable(classes)) > 1:
        choice = ", ".join(f"{place}:{spider.__name__}" for spider in runnable)
        raise ConfigError(f"{escaped(place)} has {len(runnable)} spiders: choose one of {escaped(choice, 1000)}")
    return runnable[0]


def _runnable(classes: list[type[Spider]]) -> list[type[Spider]]:
    """Those with seeds or a start of their own, unless none has; the others are there to be derived from."""
    return [spider for spider in classes if spider.seeds or spider.start is not Spider.start] or classes


def _unknown(name: str, places: Sequence[Path]) -> str:
    found = [found for folder in places for found in spiders_in(folder)]
    names = {found.spider.name for found in found if found.spider} | {found.file.stem for found in found}
    broken = "".join(f"\n{found.problem}" for found in found if found.problem)
    looked = loading.shown(places[0])
    if not names:
        return f"there is no spider {escaped(name)!r}: {looked} has none; 'crawler new {escaped(name)}' writes one"
    return f"there is no spider {escaped(name)!r} in {looked}{_near(name, sorted(names))}{broken}"


def _near(name: str, names: Sequence[str]) -> str:
    if near := difflib.get_close_matches(name, names, n=1):
        return f"; did you mean {near[0]}?"
    return f"; there is {', '.join(names)}"
