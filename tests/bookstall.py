"""A small site where everything happens that a journal can hold, its spider, and how an old journal is made of both.

``python -m tests.bookstall`` crawls the site in a child process, kills it (SIGKILL) in the middle, and stores what it
left as ``tests/data/journal-<version>.tar.gz``: ``job.db``, the output file half way, the downloads, the dead engine's
lock file. To go on from it, a test puts the site up anew, which gives it another port: `moved` writes the new port into
the unpacked copy, and the new place of the output file.
"""

import dataclasses
import re
import signal
import sqlite3
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from crawler import Crawl, Limits, Response, Scope, Spider, crawl
from crawler.export import Existing
from crawler.frontier.schema import VERSION
from crawler.testing import Site

BOOKS = 60
OTHER = "other.test"
DATA = Path(__file__).parent / "data"
NAMES = ("job.db", "items.jsonl", "files")


@dataclasses.dataclass
class Book:
    """One book; its price is a number, or it goes into quarantine."""

    path: str
    price: int
    note: str


class Stall(Spider):
    """Every kind of page, item and end."""

    name = "stall"

    def parse(self, response: Response) -> Iterator[object]:
        """The shelves: books, a form, a download, and what goes wrong."""
        yield response.follow("a.shelf")
        yield response.follow("a.book", to=self.book)
        for path in response.css("a.broken::attr(href)").getall():
            yield response.request(path, to=self.broken)
        if response.url.endswith("/stock"):
            yield response.request("/search", to=self.found, json={"q": "pears"}, data="pears")
            yield response.request("/again?session=1", to=self.found, key="again", data={"asked": ["again"]})
            yield response.download("/catalogue.pdf", to=self.saved)

    def book(self, response: Response) -> Iterator[object]:
        """A book, sound or not."""
        number = int(re.sub(r"\D", "", response.requested.url.rpartition("/")[2]))
        price: object = "dear" if number % 13 == 5 else number
        yield Book(response.text("h1"), price, "é€😀" * (number % 7))  # type: ignore[arg-type]  # the point of it
        if number % 5 == 0:
            yield {"path": response.text("h1"), "leaf": list(range(number))}

    def found(self, response: Response) -> Iterator[object]:
        """What a form answers."""
        yield {"asked": response.data, "answer": response.text("h1")}

    def broken(self, response: Response) -> None:
        """A handler with a mistake."""
        raise LookupError("there is no shelf like this")

    def saved(self, response: Response) -> Iterator[object]:
        """A download's facts; not its path, which depends on the port."""
        assert response.file is not None
        yield {"sha256": response.file.sha256, "size": response.file.size}


def put_up(site: Site, slow: float = 0.0, books: int = BOOKS) -> None:
    """The stall on `site`; the second half of its books takes `slow` seconds each."""
    site.robots("User-agent: *\nDisallow: /private\n")
    site.redirect("/", "/stock")
    shelves = [f'<a class="shelf" href="/shelf/{n}">{n}</a>' for n in range(books // 10)]
    odd = [f'<a class="shelf" href="{path}">x</a>' for path in ("/private", "/gone", "/picture", "/moved")]
    far = f'<a class="shelf" href="http://{OTHER}:{site.port}/">other</a><a class="broken" href="/broken">b</a>'
    site.page("/stock", "".join([*shelves, *odd, far]))
    for n in range(books // 10):
        listed = (f'<a class="book" href="/book/{n * 10 + k}">book</a>' for k in range(10))
        site.page(f"/shelf/{n}", "".join(listed))
    for n in range(books):
        site.page(f"/book/{n}", f"<h1>Book {n}</h1>", after=slow if n >= books // 2 else 0.0)
    site.page("/picture", b"\x89PNG", content_type="image/png")
    site.page("/broken", "<h1>broken</h1>")
    site.redirect("/moved", "/book/3")
    site.page("/search", "<h1>two pears</h1>")
    site.page("/again", "<h1>once more</h1>")
    site.file("/catalogue.pdf", b"%PDF" + bytes(range(256)) * 8, etag="v1")
    site.page("/", '<a class="shelf" href="/late">late</a>', host=OTHER)
    site.page("/late", "<h1>late</h1>", host=OTHER, after=slow)


def stall(url: str) -> Stall:
    """The spider for a stall that stands at `url`; both of its hosts are in scope."""
    spider = Stall()
    spider.seeds = [url]
    port = url.rpartition(":")[2].strip("/")
    spider.scope = Scope(hosts=(f"site.test:{port}", f"{OTHER}:{port}"))
    return spider


def going_on(
    folder: Path,
    site: Site,
    *,
    output: str = "items.jsonl",
    existing: Existing = "refuse",
    limits: Limits | None = None,
    **settings: object,
) -> Crawl:
    """The crawl of the stall whose job lies in `folder`, its items in `output` beside the journal."""
    return Crawl(
        stall(site.url("/")), output=str(folder / output), job=folder.name, folder=folder.parent,
        settings={**site.settings, **settings}, existing=existing, limits=limits,
    )  # fmt: skip


def unpacked(name: str, folder: Path) -> Path:
    """A stored job, in `folder`."""
    with tarfile.open(DATA / name) as archive:
        archive.extractall(folder, filter="data")
    return folder


def moved(folder: Path, port: int) -> None:
    """Let a stored job know the port of its site of today, wherever a URL stands, and where its output file lies."""
    db = sqlite3.connect(folder / "job.db")
    (origin,) = db.execute("SELECT origin FROM hosts WHERE origin LIKE 'http://site.test:%'").fetchone()
    old, new = f".test:{origin.rpartition(':')[2]}", f".test:{port}"
    with db:
        for table, column in (("hosts", "origin"), ("pages", "reason"), ("pages", "request"), ("events", "detail")):
            db.execute(f"UPDATE {table} SET {column} = replace({column}, ?, ?)", (old, new))
        for (target,) in db.execute("SELECT target FROM sinks").fetchall():
            db.execute("UPDATE sinks SET target = ? WHERE target = ?", (str(folder / Path(target).name), target))
    db.close()


def _is_half_way(journal: Path) -> bool:
    if not journal.exists():
        return False
    db = sqlite3.connect(f"file:{journal}?mode=ro", uri=True)
    try:
        states = {state for (state,) in db.execute("SELECT state FROM pages")}
        (sunk,) = db.execute("SELECT coalesce(max(seq), 0) FROM sinks").fetchone()
        (files,) = db.execute("SELECT count(*) FROM files").fetchone()
        (last,) = db.execute("SELECT coalesce(max(seq), 0) FROM items WHERE quarantine IS NULL").fetchone()
    except sqlite3.OperationalError:
        return False
    finally:
        db.close()
    return states == {0, 1, 2, 3, 4} and 10 < sunk < last and bool(files)


def _killed(folder: Path) -> None:
    """Crawl in a child until half of it is done, then kill it."""
    with Site.in_thread() as site:
        put_up(site, slow=3.0)
        child = subprocess.Popen([sys.executable, "-m", "tests.bookstall", str(folder), str(site.port)])
        while not _is_half_way(folder / "job.db"):
            time.sleep(0.001)
        child.send_signal(signal.SIGKILL)
        child.wait()


def _stored(folder: Path) -> Path:
    """Put what a killed crawl left into the archive, without the place where it was made."""
    db = sqlite3.connect(folder / "job.db")
    db.execute("UPDATE sinks SET target = 'items.jsonl'")
    db.commit()
    db.execute("VACUUM INTO ?", (str(folder / "clean.db"),))
    db.close()
    (folder / "clean.db").replace(folder / "job.db")
    archive = DATA / f"journal-{VERSION}.tar.gz"
    with tarfile.open(archive, "w:gz", compresslevel=9) as packed:
        for name in (*NAMES, *(found.name for found in folder.glob("engine-*.lock"))):
            packed.add(folder / name, name, filter=_anonymous)
    return archive


def _anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = entry.mtime = 0
    entry.uname = entry.gname = ""
    return entry


def _child(folder: Path, port: int) -> None:
    settings = {"resolve": {"*.test": "127.0.0.1"}, "delay": 0.0, "concurrency_per_host": 2}
    spider = stall(f"http://site.test:{port}/")
    crawl(spider, output=str(folder / "items.jsonl"), job=folder.name, folder=folder.parent, settings=settings)


if __name__ == "__main__":
    if sys.argv[1:]:
        _child(Path(sys.argv[1]), int(sys.argv[2]))
    else:
        with tempfile.TemporaryDirectory() as made:
            _killed(Path(made) / "stall")
            sys.stdout.write(f"{_stored(Path(made) / 'stall')}\n")
