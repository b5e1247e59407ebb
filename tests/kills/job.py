"""One job through all its lives, and what must be true after each of them and in the end."""

import asyncio
import csv
import gzip
import hashlib
import io
import json
import socket
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple, TypedDict, Unpack
from urllib.parse import urlsplit

import apsw
from backports import zstd
from msgspec.structs import replace

from crawler.files import file_name
from crawler.frontier.checks import violations
from crawler.frontier.schema import readable
from crawler.testing import LOOPBACK, Seen, Site
from tests.kills.lives import KILLED, Life, Lives
from tests.kills.site import DATA_SIZE, EXTRA, NOTE, A, put_up

OUTPUTS = ("items.jsonl", "items.csv", "items.jsonl.gz", "items.jsonl.zst", "items.csv.gz")
BARRIER = "barrier.test"
TOLERANCE = 0.02  # seconds by which two requests may be closer than the delay
TICK = 0.005  # seconds between the server's looks at its clock

Url = tuple[str, str]  # host, path


class Result(NamedTuple):
    """What a run came to, whatever the order in which it came."""

    pages: list[tuple[object, ...]]
    items: list[str]
    rows: list[str]
    files: list[tuple[object, ...]]


class Chosen(TypedDict, total=False):
    """What may differ from life to life; see `Life`."""

    seeds: list[str]
    outputs: list[str]
    existing: str
    point: str
    passage: int
    kill_after: float
    fault: str | None


class World(NamedTuple):
    """A site in a thread, its seeds, and the process that forks lives."""

    site: Site
    seeds: list[str]
    lives: Lives
    late: list[tuple[float, float]]  # when the server looked at its clock, and how late that was, in seconds


@contextmanager
def world_of(site: Site, lives: Lives) -> Iterator[World]:
    """Put up the site. The server itself takes down how late it is, since a busy machine may not let it run at once."""
    late: list[tuple[float, float]] = []

    async def watch(_request: object) -> str:
        while True:
            began = time.monotonic()
            await asyncio.sleep(TICK)
            late.append((time.monotonic(), time.monotonic() - began - TICK))

    seeds = put_up(site)
    site.page("/", "", host=BARRIER)
    site.answer("/watch", watch, host=BARRIER)
    with socket.create_connection((LOOPBACK, site.port)) as connection:
        connection.sendall(f"GET /watch HTTP/1.1\r\nHost: {BARRIER}\r\n\r\n".encode())
        yield World(site, seeds, lives, late)


class Job:
    """A job in a folder of its own."""

    def __init__(self, world: World, folder: Path, **settings: object) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.world = world
        self.folder = folder
        self.outputs = [str(folder / name) for name in OUTPUTS]
        self.settings = {**world.site.settings, "concurrency_per_host": 2, "commit_window": 0.01, **settings}
        self.kills = 0
        self.in_flight = 0  # pages that were asked for and not committed, when a life was killed
        world.site.seen.clear()

    def life(self, **chosen: Unpack[Chosen]) -> Life:
        """A life of this job, with all its outputs and of natural death unless something else is chosen."""
        return replace(Life(str(self.folder), self.world.seeds, self.settings, self.outputs), **chosen)

    def live(self, **chosen: Unpack[Chosen]) -> bool:
        """Let a life be lived, examine what it left, and say whether it was killed."""
        committed, born = self.committed(), len(self.log)
        was_killed = self._was_killed(self.world.lives.live(self.life(**chosen)))
        asked = self._asked_since(born)
        assert {url for url, times in asked.items() if times > 1} == set(), "asked for twice in one life"
        self._examine(asked, committed)
        self.in_flight += len(asked.keys() - self.committed())
        return was_killed

    def live_together(self, other: Lives, one: Chosen, another: Chosen) -> list[bool]:
        """Let two lives be lived at once, and so on; whether each was killed."""
        committed, born = self.committed(), len(self.log)
        self.world.lives.start(self.life(**one))
        other.start(self.life(**another))
        was_killed = [self._was_killed(code) for code in (self.world.lives.wait(), other.wait())]
        asked = self._asked_since(born)
        assert max(asked.values(), default=0) <= 1 + sum(was_killed), "asked for by both"
        self._examine(asked, committed)
        return was_killed

    def _was_killed(self, code: int) -> bool:
        assert code in {0, KILLED}, f"a life ended with code {code}:\n{self.last_words()}"
        self.kills += code == KILLED
        return code == KILLED

    def last_words(self) -> str:
        """What the lives wrote to standard error."""
        return (self.folder / "log").read_text(errors="replace")[-6000:]

    def _asked_since(self, born: int) -> Counter[Url]:
        """How often each page was asked for by the life that has just ended."""
        self._quiesce()
        asked = Counter((seen.host, seen.path_qs) for seen in self.log[born:])
        del asked[A, EXTRA]  # a part of another page
        return asked

    def _quiesce(self) -> None:
        """Wait until the server has seen what the dead sent: sockets are served in the order in which they came."""
        with socket.create_connection((LOOPBACK, self.world.site.port)) as connection:
            connection.sendall(f"GET / HTTP/1.1\r\nHost: {BARRIER}\r\nConnection: close\r\n\r\n".encode())
            while connection.recv(4096):
                pass

    def _examine(self, asked: Counter[Url], committed: set[Url]) -> None:
        assert asked.keys() & committed == set(), "asked for again though it was committed"
        assert self.violations() == []

    @property
    def log(self) -> list[Seen]:
        """The requests that the lives have sent."""
        return [seen for seen in self.world.site.seen if seen.host != BARRIER]

    # -- the journal

    def query(self, sql: str) -> list[tuple[object, ...]]:
        """Rows of the journal; none if there is no journal yet."""
        if not (journal := self.journal()):
            return []
        rows = list(journal.execute(sql))
        journal.close()
        return rows

    def journal(self) -> apsw.Connection | None:
        """The journal, if it has been made."""
        path = self.folder / "job" / "job.db"
        # killed while SQLite turned a new file into one with a write-ahead log: only a writer can make it good
        is_half_made = path.with_name("job.db-journal").exists()
        if is_half_made or not path.exists():
            return None
        journal = readable(path)
        if journal.pragma("user_version"):
            return journal
        journal.close()
        return None

    def violations(self) -> list[str]:
        """What contradicts the journal's invariants."""
        if not (journal := self.journal()):
            return []
        found = violations(journal)
        journal.close()
        return found

    def is_finished(self) -> bool:
        """Whether the run has ended: another life would begin the next one."""
        return bool(self.query("SELECT 1 FROM runs WHERE number = 1 AND finished_at IS NOT NULL"))

    def committed(self) -> set[Url]:
        """The pages that have come to their end."""
        rows = self.query("SELECT url FROM urls WHERE state <> 'pending'")
        return {_place(str(url)) for (url,) in rows}

    @staticmethod
    def items_in(output: Path) -> list[str]:
        """The items in an output, in any order; none if there is no file."""
        return _lines(output) if output.exists() else []

    # -- the end

    def examine_end(self, undisturbed: Result) -> None:
        """Whether all is as if nothing had happened."""
        compare(self.result(self.outputs), undisturbed)
        assert self.refetches() <= self.in_flight
        assert self.query("SELECT count(*), max(number) FROM runs") == [(1, 1)]

    def refetches(self) -> int:
        """The requests for pages beyond the first of each."""
        return sum(times - 1 for times in self._asked_since(0).values())

    def result(self, outputs: Sequence[str]) -> Result:
        """What the run has come to. All outputs hold the same items, each file is whole under its name."""
        # what is left of a download comes as 206, or as 416 if nothing is left
        status = "CASE WHEN status IN (206, 416) THEN 200 ELSE status END"
        pages = self.query(f"SELECT url, state, reason, {status} FROM urls")
        items = [_lines(Path(output)) for output in outputs if ".jsonl" in output]
        rows = [_rows(Path(output)) for output in outputs if ".csv" in output]
        for one in items:
            _alike("items of one output and another", one, items[0])
        for one in rows:
            _alike("rows of one output and another", one, rows[0])
        return Result(pages, items[0], rows[0], self._files())

    def _files(self) -> list[tuple[object, ...]]:
        root = self.folder / "job"
        records = self.query(
            "SELECT url, path, files.size, sha256 FROM files JOIN urls ON urls.seq = files.page ORDER BY url"
        )
        for url, path, size, digest in records:
            content = (root / str(path)).read_bytes()
            assert (len(content), hashlib.sha256(content).hexdigest()) == (size, digest)
            assert Path(str(path)).name == file_name(str(url))
        assert sorted(str(size) for _, _, size, _ in records) == sorted([str(DATA_SIZE), str(len(NOTE))])
        names = [str(path.relative_to(root)) for path in (root / "files" / "0001").iterdir()]
        assert sorted(names) == sorted(str(path) for _, path, _, _ in records), "only finished files are left"
        return records

    def examine_gaps(self, delays: dict[str, float]) -> None:
        """Whether each host had its pause between any two requests, across all lives."""
        for host, delay in delays.items():
            for before, after in pairwise(seen for seen in self.log if seen.host == host):
                gap = after.at - before.at + self._lateness(before.at)
                assert gap >= delay - TOLERANCE, f"{host} was asked {gap:.3f} s after its last request"

    def _lateness(self, at: float) -> float:
        """By how much the server may have taken down too late what came at that time."""
        return max((late for looked, late in self.world.late if at - TICK <= looked <= at + 4 * TICK), default=0.0)


def compare(found: Result, undisturbed: Result) -> None:
    """Whether what was found is what an undisturbed run finds."""
    _alike("pages", found.pages, undisturbed.pages)
    _alike("items", found.items, undisturbed.items)
    _alike("rows", found.rows, undisturbed.rows)
    _alike("files", found.files, undisturbed.files)


def _alike(what: str, found: Iterable[object], expected: Iterable[object]) -> None:
    """The same things as often, in any order."""
    difference = Counter(found)
    difference.subtract(expected)
    unequal = {one: times for one, times in difference.items() if times}
    assert not unequal, f"{what} differ, too often or, below zero, too seldom: {unequal}"


def _place(url: str) -> Url:
    parts = urlsplit(url)
    return parts.hostname or "", parts.path


def _content(path: Path) -> bytes:
    """The whole file, unpacked to its end."""
    content = path.read_bytes()
    if path.suffix == ".gz":
        return gzip.decompress(content)
    return zstd.decompress(content) if path.suffix == ".zst" else content


def _lines(path: Path) -> list[str]:
    lines = _content(path).decode().splitlines(keepends=True)
    assert all(line.endswith("\n") for line in lines)
    return sorted(json.dumps(json.loads(line), sort_keys=True) for line in lines)


def _rows(path: Path) -> list[str]:
    reader = csv.DictReader(io.StringIO(_content(path).decode(), newline=""), strict=True)
    rows = [{name: cell for name, cell in row.items() if cell != ""} for row in reader]
    assert all(None not in row and None not in row.values() for row in rows), "a row is as long as its header"
    return sorted(json.dumps(row, sort_keys=True) for row in rows)
