"""The floor plan in `crawler/__init__.py`, and the size of every room, are kept."""

import ast
import re
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import crawler

PACKAGE = Path(crawler.__file__).parent
ROW = re.compile(r"^ {4}(?:(\d) \w+ +| {13})(\w+(?: \w+)*)(?:  |$)", re.MULTILINE)
FORBIDDEN_NAMES = {"utils", "util", "helpers", "common", "core", "manager", "base", "misc"}
LINES, ENGINE_LINES, MEDIAN_LINES, FUNCTION_LINES, PARAMETERS = 400, 300, 150, 50, 10

WORLD = {
    "asyncio",
    "concurrent",
    "http",
    "os",
    "pathlib",
    "socket",
    "sqlite3",
    "ssl",
    "subprocess",
    "tempfile",
    "threading",
}
DOORS = {"cli", "__main__"}
MAY_IMPORT = {  # foreign packages, and who knows them; msgspec is everybody's
    "ada_url": {"urls"},
    "aiofiles": {"files"},
    "aiohttp": {"fetch", "testing", "demo"},
    "apsw": {"frontier"},
    "backports": {"decoding", "sinks"},
    "brotli": {"decoding", "sinks"},
    "brotlicffi": {"decoding", "sinks"},
    "charset_normalizer": {"charset"},
    "compression": {"decoding", "sinks"},
    "cyclopts": DOORS,
    "isal": {"decoding", "sinks"},
    "multidict": {"fetch", "simulation"},
    "publicsuffixlist": {"cookies"},
    "rensa": {"likeness"},
    "rich": DOORS,
    "selectolax": {"html", "tree"},
    "uvloop": {"job"},
    "yarl": {"fetch"},
}


def floors() -> dict[str, int]:
    """The floor of every room, as the plan in the package's docstring has it; the entrance is on the highest."""
    plan = {"__init__": 4, "__main__": 4}
    floor = 0
    for number, rooms in ROW.findall(crawler.__doc__ or ""):
        floor = int(number or floor)
        plan |= dict.fromkeys(rooms.split(), floor)
    return plan


FLOORS = floors()


def room_of(path: Path) -> str:
    return path.parts[0].removesuffix(".py")


def imported(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Each import's line and the full name of what it brings."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.lineno, f"{'.' * node.level}{node.module or ''}.{alias.name}") for alias in node.names)


def wrong_import(path: Path, name: str) -> str | None:
    """Why a file may not import a name; None if it may."""
    room = room_of(path)
    package, _, rest = name.partition(".")
    if package == "crawler":
        target = rest.partition(".")[0]
        target = target if target in FLOORS or (PACKAGE / f"{target}.py").exists() else "__init__"
        if FLOORS.get(target, 9) > FLOORS[room]:
            return f"{target} is on a higher floor"
        if FLOORS[target] == FLOORS[room] == 2 and target != room:
            return f"{target} is another port"
    elif package in WORLD and FLOORS[room] == 0:
        return "the rules are plain functions: no I/O"
    elif package not in {*sys.stdlib_module_names, "msgspec"} and room not in MAY_IMPORT.get(package, ()):
        return f"only {' and '.join(sorted(MAY_IMPORT[package]))} may" if package in MAY_IMPORT else "nobody may"
    return None


def functions_over_budget(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or 0) - node.lineno + 1
            if lines > FUNCTION_LINES:
                yield node.lineno, f"{node.name} has {lines} lines, of {FUNCTION_LINES}"
            names = [one.arg for one in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
            count = len(names) - (names[:1] in (["self"], ["cls"]))
            if count > PARAMETERS:
                yield node.lineno, f"{node.name} has {count} parameters, of {PARAMETERS}"


def faults(path: Path, source: str) -> Iterator[str]:
    """What is wrong with a file of the package, by file and line; `path` is relative to the package."""
    tree, lines = ast.parse(source), source.count("\n")
    most = ENGINE_LINES - 1 if path.name == "engine.py" else LINES
    if FORBIDDEN_NAMES & {part.removesuffix(".py") for part in path.parts}:
        yield f"{path}:1: the name says nothing"
    if lines > most:
        yield f"{path}:{lines}: {lines} lines, of {most}"
    yield from (f"{path}:{line}: {what}" for line, what in functions_over_budget(tree))
    if room_of(path) not in FLOORS:
        yield f"{path}:1: on no floor of the plan"
        return
    for line, name in imported(tree):
        if why := wrong_import(path, name):
            yield f"{path}:{line}: imports {name}: {why}"


FILES = {path.relative_to(PACKAGE): path.read_text() for path in sorted(PACKAGE.rglob("*.py"))}


def test_every_file_keeps_to_the_plan() -> None:
    """A file imports from its own floor and lower, knows the foreign packages that are its business, and is small."""
    found = [fault for path, source in FILES.items() for fault in faults(path, source)]
    assert not found, "\n" + "\n".join(found)


def test_every_room_is_there() -> None:
    """The plan in the docstring draws no room that is not built."""
    assert set(FLOORS) == {room_of(path) for path in FILES}
    assert set(FLOORS.values()) == {0, 1, 2, 3, 4}


def test_most_files_are_small() -> None:
    """Half of all files can be read at one sitting."""
    assert statistics.median(source.count("\n") for source in FILES.values()) < MEDIAN_LINES


@pytest.mark.parametrize(
    ("path", "source", "fault"),
    [
        ("urls.py", "import ada_url\nfrom crawler.errors import X\nimport re\nimport msgspec.json", None),
        ("html.py", "from crawler import charset", None),
        ("fetch/body.py", "from crawler.fetch import X\nimport aiohttp.web\nimport asyncio", None),
        ("cli/run.py", "import crawler\nfrom crawler import Spider, job", None),
        ("urls.py", "\nfrom crawler.html import X", "urls.py:2: imports crawler.html.X: html is on a higher floor"),
        (
            "urls.py",
            "def f():\n  import crawler.cli.run",
            "urls.py:2: imports crawler.cli.run: cli is on a higher floor",
        ),
        ("job.py", "from crawler import Spider", "job.py:1: imports crawler.Spider: __init__ is on a higher floor"),
        ("job.py", "from crawler import testing", "job.py:1: imports crawler.testing: testing is on a higher floor"),
        ("files.py", "import crawler.fetch", "files.py:1: imports crawler.fetch: fetch is another port"),
        ("sinks/x.py", "import crawler.files", "sinks/x.py:1: imports crawler.files: files is another port"),
        ("fetch/x.py", "import selectolax", "fetch/x.py:1: imports selectolax: only html and tree may"),
        ("html.py", "from requests import get", "html.py:1: imports requests.get: nobody may"),
        ("fetch/x.py", "from . import body", "fetch/x.py:1: imports ..body: nobody may"),
        (
            "urls.py",
            "import asyncio.events",
            "urls.py:1: imports asyncio.events: the rules are plain functions: no I/O",
        ),
        ("fetch/utils.py", "", "fetch/utils.py:1: the name says nothing"),
        ("core/x.py", "", "core/x.py:1: the name says nothing"),
        ("other.py", "", "other.py:1: on no floor of the plan"),
        ("job.py", "#\n" * 400, None),
        ("job.py", "#\n" * 401, "job.py:401: 401 lines, of 400"),
        ("engine.py", "#\n" * 299, None),
        ("engine.py", "#\n" * 300, "engine.py:300: 300 lines, of 299"),
        ("job.py", "async def f():\n" + " 1\n" * 49, None),
        ("job.py", "class A:\n def f():\n" + "  1\n" * 50, "job.py:2: f has 51 lines, of 50"),
        ("job.py", "def f(self, a, b, c, d, e, /, f, g, h, *x, i, j, **y): 1", None),
        ("job.py", "def f(a, b, c, d, e, /, f, g, h, *, i, j, k): 1", "job.py:1: f has 11 parameters, of 10"),
    ],
)
def test_faults_are_found(path: str, source: str, fault: str | None) -> None:
    """Each rule finds what breaks it, in the file and line where it stands, and nothing else."""
    found = list(faults(Path(path), source))
    assert found[:1] == ([] if fault is None else [fault])
