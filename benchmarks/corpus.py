"""The sites that are crawled: real manuals where their Debian packages are installed, else sites made after them."""

from pathlib import Path

from msgspec import Struct

from benchmarks.generated import SHAPES, generate


class Site(Struct, frozen=True):
    """A folder of pages. ``start`` is where it begins, ``small`` where a small part of it does; all below it counts."""

    name: str
    title: str
    folder: Path
    start: str
    small: str
    is_real: bool = True


DOC = Path("/usr/share/doc")
REAL = (
    Site("jdk", "JDK 17 API", DOC / "openjdk-17-jre-headless/api", "index.html", "java.xml/module-summary.html"),
    Site("pg", "PostgreSQL 15 manual", DOC / "postgresql-doc-15/html", "index.html", "index.html"),
    Site("python", "Python 3.11 manual", DOC / "python3.11-doc/html", "index.html", "index.html"),
)


def sites(folder: Path, *, pages: int | None = None) -> list[Site]:
    """The three sites; those that are not installed are generated into `folder`, with `pages` pages if given."""
    return [site if (site.folder / site.start).exists() else made(site, folder, pages) for site in REAL]


def made(site: Site, folder: Path, pages: int | None = None) -> Site:
    """A site of the same sizes and numbers of links."""
    shape = SHAPES[site.name]
    generate(shape, folder / site.name, pages or shape.pages)
    title = f"like the {site.title}"
    return Site(site.name, title, folder / site.name, "index.html", "index.html", is_real=False)
