import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from crawler.cli import find, loading
from crawler.cli.starter import site
from crawler.errors import ConfigError
from crawler.spider import Spider

SPIDER = "from crawler import Spider\n\nclass {name}(Spider):\n    seeds = ['http://site.test/']\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A project of its own, with an empty folder for spiders; what it imports is forgotten."""
    (tmp_path / "spiders").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    for name, module in list(sys.modules.items()):
        places = [*getattr(module, "__path__", ()), getattr(module, "__file__", None)]
        if any(str(place).startswith(str(tmp_path)) for place in places):
            del sys.modules[name]


def write(file: str, text: str) -> None:
    Path(file).parent.mkdir(parents=True, exist_ok=True)
    Path(file).write_text(text)


def found(text: str) -> type[Spider]:
    return find.spider_class(text, Path("spiders"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("shop", "Books"),
        ("books", "Books"),
        ("spiders/shop.py", "Books"),
        ("spiders/two.py:Second", "Second"),
        ("second", "Second"),
        ("spiders/family.py", "Child"),
        ("parts.deep", "Deep"),
        ("parts.deep:Deep", "Deep"),
        ("spiders.shop", "Books"),
    ],
)
def test_a_spider_is_found_by_every_way_of_naming_it(folder: Path, text: str, expected: str) -> None:
    """A spider's own name, its file's name, a file with or without a class, and a module all lead to the class."""
    write("spiders/shop.py", SPIDER.format(name="Books"))
    write("spiders/two.py", SPIDER.format(name="First") + SPIDER.format(name="Second"))
    write(
        "spiders/family.py",
        "from crawler import Spider\nclass Base(Spider): pass\n" + "class Child(Base): seeds = [1]\n",
    )
    write("parts/__init__.py", "")
    write("parts/deep.py", SPIDER.format(name="Deep"))
    assert found(text).__name__ == expected


@pytest.mark.parametrize(
    ("text", "source", "parts"),
    [
        ("spiders/bad.py", "class X(:\n", ["spiders/bad.py:1: SyntaxError: invalid syntax"]),
        ("bad", "\n\nimport nothing_of_that_name\n", ["spiders/bad.py:3:", "No module named 'nothing_of_that_name'"]),
        ("bad", "x = 1\ny = x / 0\n", ["spiders/bad.py:2: ZeroDivisionError: division by zero"]),
        ("bad", "import sys\nsys.exit('\x1b[2J away')\n", ["spiders/bad.py:2: SystemExit: \\x1b[2J away"]),
        ("spiders/bad.py", "x = 1\n", ["spiders/bad.py has no Spider class", "class Mine(Spider)"]),
        ("bad", "x = 1\n", ["spiders/bad.py has no Spider class"]),
        ("spiders/bad.py:Nine", SPIDER.format(name="Books"), ["has no spider Nine", "there is Books"]),
        ("spiders/bad.py:Bokks", SPIDER.format(name="Books"), ["has no spider Bokks", "did you mean Books?"]),
        (
            "spiders/bad.py",
            SPIDER.format(name="A") + SPIDER.format(name="B"),
            ["has 2 spiders", "spiders/bad.py:A, spiders/bad.py:B"],
        ),
        ("bad", SPIDER.format(name="A") + SPIDER.format(name="B"), ["has 2 spiders", "bad.py:A"]),
        ("spiders/gone.py", "", ["there is no file spiders/gone.py"]),
        ("quotas", SPIDER.format(name="Quotas1"), ["there is no spider 'quotas'", "did you mean quotas1?"]),
        ("no.such.module", "", ["no.such.module: there is no such module"]),
        ("spiders.nothing", "", ["spiders.nothing: there is no such module"]),
    ],
)
def test_what_is_wrong_with_a_spider_is_said_in_one_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch, text: str, source: str, parts: list[str]
) -> None:
    """Each mistake in a spider's file or name is one ConfigError that names file and line, or what there is."""
    monkeypatch.setattr(find, "examples", lambda: folder / "none")
    write("spiders/bad.py", source)
    with pytest.raises(ConfigError) as caught:
        found(text)
    message = str(caught.value)
    assert all(part in message for part in parts), message
    assert "\n" not in message
    assert "Traceback" not in message


def test_a_broken_file_hides_no_other(folder: Path) -> None:
    """A file that cannot be run is listed with its problem, and the others are found all the same."""
    write("spiders/a_broken.py", "import nothing_of_that_name\n")
    write("spiders/shop.py", SPIDER.format(name="Books"))
    broken, good = find.spiders_in(Path("spiders"))
    assert "nothing_of_that_name" in broken.problem
    assert good.spider is not None
    assert good.spider.name == "books"
    assert found("books").__name__ == "Books"


def test_an_unknown_name_tells_of_broken_files(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The spider that is not found may be in the file that cannot be run, so that is said too."""
    monkeypatch.setattr(find, "examples", lambda: folder / "none")
    write("spiders/a_broken.py", "import nothing_of_that_name\n")
    with pytest.raises(ConfigError, match=r"(?s)no spider 'books'.*a_broken.py:1.*nothing_of_that_name"):
        found("books")


def test_a_file_imports_its_neighbours(folder: Path) -> None:
    """A spider's file may import modules that lie beside it."""
    write("spiders/shared_parts.py", "SEEDS = ['http://site.test/']\n")
    write(
        "spiders/shop.py", "from shared_parts import SEEDS\n" + SPIDER.format(name="Books").replace("['", "SEEDS + ['")
    )
    assert len(found("shop").seeds) == 2


def test_a_file_in_a_package_imports_from_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the folder is a package, its files may import from it as ``from . import``, and its __init__ is run."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "spiders"]:
        monkeypatch.delitem(sys.modules, name)  # other tests import the project's own folder of that name
    write("spiders/__init__.py", "SEEDS = ['http://site.test/']\n")
    write("spiders/shop.py", "from . import SEEDS\n" + SPIDER.format(name="Books"))
    assert found("shop").__module__ == "spiders.shop"


def test_a_file_called_like_a_library_hides_nothing(folder: Path) -> None:
    """``spiders/json.py`` is a spider, and ``import json`` is still the standard library's."""
    write("spiders/json.py", SPIDER.format(name="Books"))
    assert found("json").__name__ == "Books"
    import json

    assert hasattr(json, "dumps")
    assert sys.path[0] != str(folder / "spiders")


def test_the_first_folder_wins(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A spider of the project goes before a bundled one of the same name."""
    write("spiders/shop.py", SPIDER.format(name="Mine"))
    write("bundled/shop.py", SPIDER.format(name="Theirs"))
    write("bundled/other.py", SPIDER.format(name="Other"))
    monkeypatch.setattr(find, "examples", lambda: folder / "bundled")
    assert found("shop").__name__ == "Mine"
    assert found("other").__name__ == "Other"


def test_two_spiders_of_one_name_are_not_guessed(folder: Path) -> None:
    """Where two files define the same name, neither is run: the message names both places."""
    write("spiders/a.py", SPIDER.format(name="Books"))
    write("spiders/b.py", SPIDER.format(name="Books"))
    with pytest.raises(ConfigError, match=r"2 spiders are called 'books': spiders/a.py:3, spiders/b.py:3"):
        found("books")


def test_a_place_is_shown_relative_and_escaped(folder: Path) -> None:
    """Paths below the working directory are shown as the person types them, and no path can send escapes."""
    assert loading.shown(folder / "spiders" / "a.py") == str(Path("spiders/a.py"))
    assert loading.shown("/x/\x1b[2J.py") == "/x/\\x1b[2J.py"


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://Docs.Example.com/", "docs.example.com"),
        ("http://127.0.0.1:8080/a/b.html?q=1", "127.0.0.1-8080-a-b.html"),
        ("https://example.com/Über uns/", "example.com-c3-9cber-20uns"),
    ],
)
def test_a_site_has_a_name_of_host_port_and_path(url: str, name: str) -> None:
    """The built-in spider's job is named after what it crawls, so that two sites are two jobs."""
    spider = site(url)
    assert spider.name == name
    assert len(spider.seeds) == 1


def test_a_site_needs_a_url() -> None:
    """A URL that cannot be crawled is refused with itself in the message."""
    with pytest.raises(ConfigError, match="http://a b/ is not a URL"):
        site("http://a b/")
