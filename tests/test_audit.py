"""What the source itself shows: no code comes from data, nothing listens, nothing is written past the escaper."""

import ast
import importlib
import re
import string
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, TypeAlias

import pytest

import crawler

PACKAGE = Path(crawler.__file__).parent
SOURCES = {path.relative_to(PACKAGE).as_posix(): ast.parse(path.read_text()) for path in PACKAGE.rglob("*.py")}

CODE_FROM_DATA = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "code", "codeop", "pdb", "xmlrpc"}
RUNS_DATA = {"eval", "exec", "compile", "__import__", "exec_module", "import_module", "load_extension", "execfile"}
MAY_RUN = {  # where a name or file is turned into code, and who has named it
    "__init__.py": {"import_module"},  # our own public names, from a table
    "decoding.py": {"import_module"},  # the decompressors, from a table
    "cli/loading.py": {"import_module", "exec_module"},  # the spider, from the command line
}
LISTENS = {"bind", "listen", "create_server", "start_server", "start_unix_server", "create_unix_server", "TCPSite"}
MAY_LISTEN = {"testing.py", "demo/__init__.py"}  # web sites for tests and for the demonstration, on loopback
MAY_WRITE = {"cli/stdout.py", "cli/logs.py", "__main__.py", "sinks/stdout.py"}
WRITES = {"sys.stdout.write", "sys.stderr.write", "print", "sys.stdout.writelines", "sys.stderr.writelines"}


def calls(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """The name that each call ends in, and the whole of it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute):
            whole = ast.unparse(node.func)
            yield ("re.compile" if whole == "re.compile" else whole.rpartition(".")[2]), whole


def wrong(path: str, tree: ast.AST) -> Iterator[str]:
    """What a file of the package may not do."""
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        yield from (f"imports {name}" for name in names if name.partition(".")[0] in CODE_FROM_DATA)
    for name, whole in calls(tree):
        if name in RUNS_DATA - MAY_RUN.get(path, set()):
            yield f"calls {whole}"
        if name in LISTENS and path not in MAY_LISTEN:
            yield f"listens: {whole}"
        if whole in WRITES and path not in MAY_WRITE:
            yield f"writes past the escaper: {whole}"


def test_the_package_keeps_to_it() -> None:
    """No pickle, no eval, no import by a name from the network or the journal, no port, one way to the terminal."""
    assert len(SOURCES) > 80
    found = [f"{path}: {what}" for path, tree in SOURCES.items() for what in wrong(path, tree)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("source", "what"),
    [
        ("import pickle", "imports pickle"),
        ("from marshal import loads", "imports marshal"),
        ("eval(x)", "calls eval"),
        ("importlib.import_module(name)", "calls importlib.import_module"),
        ("db.load_extension('x')", "calls db.load_extension"),
        ("await asyncio.start_server(f)", "listens: asyncio.start_server"),
        ("print(title)", "writes past the escaper: print"),
        ("sys.stderr.write(title)", "writes past the escaper: sys.stderr.write"),
        ("re.compile('a')", None),
    ],
)
def test_what_is_wrong_is_found(source: str, what: str | None) -> None:
    """The audit finds each of these in any file."""
    assert list(wrong("x.py", ast.parse(source))) == ([] if what is None else [what])


# -- regular expressions


Pattern: TypeAlias = "re.Pattern[str] | re.Pattern[bytes]"


class Used(NamedTuple):
    """A pattern, and the methods by which it is used."""

    pattern: Pattern
    methods: set[str]


def patterns() -> dict[str, Used]:
    """Every pattern of the package: those that its modules hold, and those that stand within functions."""
    found: dict[str, Used] = {}
    for path, tree in SOURCES.items():
        if path.endswith("__main__.py"):
            continue
        name = "crawler." + path.removesuffix(".py").replace("/", ".").removesuffix(".__init__")
        module = importlib.import_module("crawler" if path == "__init__.py" else name)
        for known, value in vars(module).items():
            if isinstance(value, re.Pattern):
                found[f"{path}: {known}"] = Used(value, (SEARCHING & used(path, known) and {"search"}) or {"fullmatch"})
        for node in ast.walk(tree):
            called = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            if isinstance(node, ast.Call) and called in INLINE and node.args:
                written = node.args[0]
                if isinstance(written, ast.Constant) and isinstance(written.value, str | bytes):
                    flags = [word.value for word in node.keywords if word.arg == "flags"] + node.args[1:]
                    text = " ".join(ast.unparse(flag) for flag in flags)
                    chosen = sum(
                        (
                            flag
                            for flag in (re.IGNORECASE, re.DOTALL, re.VERBOSE, re.MULTILINE)
                            if f"re.{flag.name}" in text
                        ),
                        re.NOFLAG,
                    )
                    method = "search" if called.removeprefix("re.") in SEARCHING else "fullmatch"
                    found[f"{path}:{node.lineno}"] = Used(re.compile(written.value, chosen), {method})
    return found


SEARCHING = {"search", "findall", "finditer", "sub", "subn", "split"}
INLINE = {f"re.{method}" for method in (*SEARCHING, "match", "fullmatch")}
LONG = 100_000
ATOMS = (
    "a",
    "A",
    "0",
    " ",
    "\t",
    "\n",
    "<",
    ">",
    "=",
    '"',
    "'",
    "/",
    "\\",
    "-",
    "(",
    ",",
    ";",
    ".",
    "#",
    "%",
    "é",
    ":",
)
PAIRS = (
    'a="',
    "a=",
    " a",
    "<a ",
    "<!--",
    "--",
    '\\"',
    "a,",
    "0.",
    "1e",
    "; a=",
    "<b x=",
    "::",
    "a:",
    "//",
    "a/",
    "()",
    "=",
)


def hostile(pattern: Pattern, size: int) -> Iterator[str]:
    """Texts of repetitions, alone and after what the pattern begins with, each with an end that spoils a match."""
    written = pattern.pattern if isinstance(pattern.pattern, str) else pattern.pattern.decode("latin-1")
    literal = re.split(r"[\[(\\.*+?{|^$]", written)[0].strip()
    units = dict.fromkeys((*ATOMS, *PAIRS, *(c for c in written if c in string.printable)))
    for unit in units:
        for head in {"", literal}:
            yield head + unit * (size // len(unit)) + "\x00"


def used(path: str, name: str) -> set[str]:
    """By which methods a file uses a pattern of its module."""
    found = re.findall(rf"\b{name}\.(\w+)\(", (PACKAGE / path).read_text())
    return {method for method in found if hasattr(re.Pattern, method)}


def seconds(pattern: Pattern, text: str, methods: Iterable[str] = ("match", "fullmatch")) -> float:
    """How long these ways to use a pattern take."""
    subject = text.encode("utf-8", "replace") if isinstance(pattern.pattern, bytes) else text
    began = time.process_time()
    for method in methods:
        getattr(pattern, method)(subject)
    return time.process_time() - began


def grows(pattern: Pattern, methods: Iterable[str] = ("match", "fullmatch"), size: int = LONG) -> str:
    """A text for which ten times as long takes far more than ten times the time; 40 is for a busy machine."""
    for short, long in zip(hostile(pattern, size // 10), hostile(pattern, size), strict=True):
        first = seconds(pattern, short, methods)
        if first > 0.5:
            return f"{short[:20]!r}: {first:.1f} s"
        took = seconds(pattern, long, methods)
        if took > 0.02 and min(took, seconds(pattern, long, methods)) > 40 * min(
            first, seconds(pattern, short, methods)
        ):
            return f"{short[:20]!r}: {first * 1e3:.1f} ms, then {took * 1e3:.0f} ms"
    return ""


PATTERNS = patterns()


def test_patterns_are_found() -> None:
    """The audit looks at those in modules and at those in functions."""
    assert len(PATTERNS) > 30
    assert any(name.startswith("robots.py") for name in PATTERNS)
    assert any(re.search(r":\d+$", name) for name in PATTERNS)
    assert any("search" in used.methods for used in PATTERNS.values())


@pytest.mark.parametrize("name", PATTERNS)
def test_every_pattern_is_linear(name: str) -> None:
    """No pattern takes more time than in proportion to a text of 100 KB, however it is made and used."""
    assert not grows(PATTERNS[name].pattern, PATTERNS[name].methods)


@pytest.mark.parametrize("written", [r"\s*\s*x", r"a*b?a*c", r"(?:0*1?0*2|0+x)"])
def test_what_is_not_linear_is_found(written: str) -> None:
    """The audit finds patterns that try the same again and again."""
    assert grows(re.compile(written), size=LONG // 5)
