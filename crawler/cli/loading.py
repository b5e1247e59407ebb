"""From a file or a module's name to the spider classes in it. What goes wrong is one line with file and line number."""

import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, TracebackType

from crawler.errors import ConfigError, CrawlerError, escaped
from crawler.spider import Spider


def from_file(path: Path) -> list[type[Spider]]:
    """The spider classes defined in a file, in its order; none if there is none.

    The file may import its neighbours and, where its folder is a package, from that. The folder is searched last, so
    that a spider called ``json.py`` hides nothing. Raises ConfigError when the file cannot be read or run.
    """
    if not path.is_file():
        raise ConfigError(f"there is no file {escaped(str(path))}")
    package = list(_packages(path.parent.absolute()))
    root = package[0].parent if package else path.parent.absolute()
    _search_last(root)
    _search_last(path.parent.absolute())
    name = ".".join([*(folder.name for folder in package), path.stem])
    with AuthorsCode(partial(shown, path), path.parent):
        return _defined_in(_run(name, path))


def from_module(name: str) -> list[type[Spider]]:
    """The spider classes defined in a module that Python can import from here. Raises ConfigError if it cannot."""
    _search_last(Path().absolute())
    with AuthorsCode(partial(escaped, name), Path(*name.split(".")[:-1])):
        if _found(name) is None:
            raise ConfigError("there is no such module")
        return _defined_in(importlib.import_module(name))


def where(spider: type[Spider]) -> str:
    """File and line of a class, as an error names it."""
    try:
        return f"{shown(inspect.getfile(spider))}:{inspect.getsourcelines(spider)[1]}"
    except (OSError, TypeError):
        return spider.__module__


def folder_of(spider: type[Spider]) -> Path:
    """The folder of the file that a class stands in."""
    return Path(sys.modules[spider.__module__].__file__ or "").parent


def shown(path: Path | str) -> str:
    """A path as people know it: relative to the working directory when it lies below it."""
    path = Path(path).absolute()
    return escaped(str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path), 1000)


class AuthorsCode(AbstractContextManager[None]):
    """Runs code that may raise anything, and says so in one line: a ConfigError naming file and line.

    The line is the last one reached in `folder`; where there is none, what `place` gives stands for it.
    """

    def __init__(self, place: Callable[[], str], folder: Path) -> None:
        self._place, self._folder = place, folder.absolute()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None or isinstance(error, KeyboardInterrupt):
            return
        what = escaped(getattr(error, "msg", None) or str(error), 1000)
        name = "" if isinstance(error, CrawlerError) else f"{type(error).__name__}: "
        raise ConfigError(f"{self._line(error)}: {name}{what}") from error

    def _line(self, error: BaseException) -> str:
        if isinstance(error, SyntaxError) and error.filename:
            return f"{shown(error.filename)}:{error.lineno}"
        files = [(Path(frame.filename), frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
        near = [f"{shown(file)}:{number}" for file, number in files if file.absolute().parent == self._folder]
        return near[-1] if near else self._place()


def _packages(folder: Path) -> Iterator[Path]:
    """The packages that a folder is in, outermost first; itself last."""
    if (folder / "__init__.py").is_file() and folder != folder.parent:
        yield from _packages(folder.parent)
        yield folder


def _search_last(folder: Path) -> None:
    if str(folder) not in sys.path:
        sys.path.append(str(folder))


def _run(name: str, path: Path) -> ModuleType:
    """Import the file under its own name, or under one of its own if another module is found by that name."""
    known = sys.modules.get(name)
    if known is not None and _is_from(getattr(known, "__file__", None), path):
        return known
    spec = _found(name) if known is None else None
    if spec is not None and _is_from(spec.origin, path):
        return importlib.import_module(name)
    return _run_apart(f"spider_file_{name.replace('.', '_')}", path)


def _found(name: str) -> ModuleSpec | None:
    importlib.invalidate_caches()
    try:
        return importlib.util.find_spec(name)
    except ModuleNotFoundError as error:
        if error.name is not None and name.startswith(error.name):
            return None  # what it would be in is missing, or no package
        raise


def _is_from(origin: str | None, path: Path) -> bool:
    return origin is not None and Path(origin).absolute() == path.absolute()


def _run_apart(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None, "a file that ends in .py"
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickle look a class's module up there
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _defined_in(module: ModuleType) -> list[type[Spider]]:
    return [
        found
        for found in vars(module).values()
        if inspect.isclass(found) and issubclass(found, Spider) and found.__module__ == module.__name__
    ]
