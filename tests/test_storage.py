"""Full disks and sinks that fail, for real: small file systems, limits of the kernel, sinks that refuse."""

import asyncio
import gzip
import itertools
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

import crawler
from crawler import Crawl, Response, Spider, committer, export, job
from crawler.errors import ItemError, StorageFull, StoreUnavailable
from crawler.frontier import Committed
from crawler.frontier.checks import violations
from crawler.frontier.schema import readable
from crawler.models import StoredItem, Visit
from crawler.sinks import Position, sink_for
from crawler.testing import Site, filler
from tests.test_engine import everything, links_to, path_of, spider

pytestmark = pytest.mark.timeout(60)
SOURCE = str(Path(crawler.__file__).parent.parent)
MIB = 1 << 20
PAGES = 120
PATHS = sorted(f"/{n or ''}" for n in range(40))

LIMITED = """
import resource, sys
limit = int(sys.argv[1])
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
from crawler.__main__ import main
sys.exit(main(sys.argv[2:]))
"""

WORDY = """
from crawler import Spider

class Wordy(Spider):
    seeds = [{seed!r}]

    def parse(self, response):
        yield {{"url": response.url, "text": "x" * 10_000}}
        yield response.follow("a")
        for file in response.css("b::text").getall():
            yield response.download(file, to=self.saved)

    def saved(self, response):
        yield {{"url": response.url, "size": response.file.path.stat().st_size}}
"""


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A site whose items take more than a megabyte, and the spider for it."""
    with Site.in_thread() as site:
        site.tree(PAGES, 3)
        (tmp_path / "wordy.py").write_text(WORDY.format(seed=site.url("/")))
        yield site


@pytest.fixture
async def small() -> AsyncIterator[Site]:
    """A site of forty pages."""
    async with Site() as small:
        small.tree(40, 3)
        yield small


class Disk:
    """A folder with little room: a file system of its own where that may be mounted, else a limit on each file."""

    def __init__(self, folder: Path, size: int) -> None:
        self.folder = folder
        self.folder.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
        self.is_mounted = os.geteuid() == 0 and not subprocess.run(mount, capture_output=True, check=False).returncode
        self.limit = 0

    def leave(self, room: int) -> None:
        """Leave so many bytes of room."""
        if self.is_mounted:
            found = os.statvfs(self.folder)
            with (self.folder / "filler").open("wb", buffering=0) as file:
                os.posix_fallocate(file.fileno(), 0, found.f_bavail * found.f_frsize - room)
        else:
            self.limit = room

    def empty(self, process: "subprocess.Popen[str] | None" = None) -> None:
        """Have room again."""
        if self.is_mounted:
            (self.folder / "filler").unlink()
        elif process is not None:
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        self.limit = 0

    def close(self) -> None:
        if self.is_mounted:
            subprocess.run(["umount", "--lazy", str(self.folder)], check=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    disk = Disk(tmp_path / "disk", 20 * MIB)
    yield disk
    disk.close()


REACHING = ["-s", "resolve=*.test=127.0.0.1", "-s", "delay=0", "-s", "concurrency_per_host=4"]
ENVIRONMENT = os.environ | {"PYTHONPATH": SOURCE}


@contextmanager
def crawling(tmp_path: Path, limit: int, *options: str) -> Iterator["subprocess.Popen[str]"]:
    """The crawl as a process, each of its files at most `limit` bytes long, unless that is 0."""
    said = [sys.executable, "-c", LIMITED, str(limit), "crawl", str(tmp_path / "wordy.py"), *options]
    with subprocess.Popen([*said, *REACHING], stderr=subprocess.PIPE, text=True, env=ENVIRONMENT) as process:
        try:
            yield process
        finally:
            process.kill()


def heard(process: "subprocess.Popen[str]", words: str) -> str:
    """All that the process has said until a line with these words."""
    assert process.stderr is not None
    said = ""
    for line in process.stderr:
        said += line
        if words in line:
            return said
    raise AssertionError(said)


def ended(process: "subprocess.Popen[str]") -> tuple[int, str]:
    """The exit code, and what was still said."""
    _, said = process.communicate(timeout=40)
    return process.returncode, said


def crawl(tmp_path: Path, limit: int, *options: str) -> tuple[int, str]:
    with crawling(tmp_path, limit, *options) as process:
        return ended(process)


def urls_in(path: Path) -> list[str]:
    """The items of an output file by their URL, sorted; each line is whole."""
    return sorted(json.loads(line)["url"] for line in path.read_text().splitlines())


def all_urls(site: Site) -> list[str]:
    return sorted(site.url(f"/{n or ''}") for n in range(PAGES))


def is_sound(folder: Path) -> bool:
    """Whether the journal is whole, and says of each page that it is done exactly when its item is stored."""
    journal = readable(folder / "job.db")
    try:
        whole = journal.execute("SELECT integrity_check FROM pragma_integrity_check").get == "ok"
        done = "SELECT count(*) FROM pages WHERE state = 1 AND reason IS NOT 'start' AND request IS NULL"
        pages, items = journal.execute(done).get, journal.execute("SELECT count(*) FROM items").get
    finally:
        journal.close()
    return whole and bool(pages == items)


# -- the journal


@pytest.mark.parametrize("limit", [200_000, 700_000])
def test_a_journal_that_cannot_grow(tmp_path: Path, site: Site, limit: int) -> None:
    """When the journal cannot be written the crawl waits, and goes on once it can: every item is there, once."""
    options = ["--folder", str(tmp_path), "-s", "min_free_space=0"]
    with crawling(tmp_path, limit, *options) as process:
        heard(process, "the crawl waits: the journal cannot be written")
        unlimited = resource.RLIM_INFINITY
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (unlimited, unlimited))
        assert ended(process)[0] == 0
    assert urls_in(tmp_path / "wordy" / "run-0001" / "items.jsonl") == all_urls(site)


@pytest.mark.parametrize("limit", [200_000, 700_000])
def test_a_journal_that_stays_full(tmp_path: Path, site: Site, limit: int) -> None:
    """After its patience the crawl ends with 75; run again with room it does the rest, and no item is there twice."""
    options = ["--folder", str(tmp_path), "-s", "min_free_space=0", "-s", "store_patience=0.3"]
    code, said = crawl(tmp_path, limit, *options)
    assert (code, said.count("Traceback")) == (75, 0)
    assert "run the same command again" in said
    assert is_sound(tmp_path / "wordy")
    assert crawl(tmp_path, 0, *options)[0] == 0
    assert urls_in(tmp_path / "wordy" / "run-0001" / "items.jsonl") == all_urls(site)


def test_a_full_disk_from_the_start(tmp_path: Path, site: Site, disk: Disk) -> None:
    """Where not even a journal can be begun the crawl says so at once, without asking for anything."""
    disk.leave(4096)
    code, said = crawl(tmp_path, disk.limit, "--folder", str(disk.folder), "-s", "min_free_space=0")
    assert (code, said.count("Traceback"), site.paths()) == (75, 0, [])
    disk.empty()
    assert crawl(tmp_path, 0, "--folder", str(disk.folder), "-s", "min_free_space=0")[0] == 0
    assert urls_in(disk.folder / "wordy" / "run-0001" / "items.jsonl") == all_urls(site)


def test_a_disk_that_fills_up(tmp_path: Path, site: Site, disk: Disk) -> None:
    """A disk that is written full stops nothing for good: when there is room again all items are there, once."""
    disk.leave(600_000)
    with crawling(tmp_path, disk.limit, "--folder", str(disk.folder), "-s", "min_free_space=0") as process:
        heard(process, "wait")
        time.sleep(0.5)  # journal and sink are both tried again in vain
        disk.empty(process)
        assert ended(process)[0] == 0
    assert urls_in(disk.folder / "wordy" / "run-0001" / "items.jsonl") == all_urls(site)


def test_a_disk_that_stays_full(tmp_path: Path, site: Site, disk: Disk) -> None:
    """What could be stored of a crawl before the disk was full is not done again, and the rest is done with room."""
    options = ["--folder", str(disk.folder), "-s", "min_free_space=0", "-s", "store_patience=0.3"]
    disk.leave(600_000)
    code, said = crawl(tmp_path, disk.limit, *options)
    assert (code, said.count("Traceback")) == (75, 0), said
    disk.empty()
    assert is_sound(disk.folder / "wordy")
    assert crawl(tmp_path, 0, *options)[0] == 0
    assert urls_in(disk.folder / "wordy" / "run-0001" / "items.jsonl") == all_urls(site)


async def test_what_waits_for_the_journal(small: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What has ended and cannot be stored is bounded by its size: beyond it nothing more is asked for until it is."""
    asked, may_store = asyncio.Event(), asyncio.Event()

    def parse(self: Spider, response: Response) -> Iterator[object]:
        yield {"path": response.url, "text": "x" * 10_000}
        yield response.follow("a")

    def held_up(commit: Callable[[Sequence[Visit]], Awaitable[Committed]]) -> Callable[..., Awaitable[Committed]]:
        async def committed(visits: Sequence[Visit]) -> Committed:
            if any(visit.items and visit.page.request.depth for visit in visits):
                asked.set()
                await may_store.wait()
            return await commit(visits)

        return committed

    small.page("/", links_to(*PATHS))
    monkeypatch.setattr(committer, "MOST_UNCOMMITTED_BYTES", 50_000)
    settings = {**small.settings, "concurrency_per_host": 2}
    async with Crawl(spider(parse, small.url("/")), folder=tmp_path, settings=settings) as crawl:
        monkeypatch.setattr(crawl._frontier, "commit", held_up(crawl._frontier.commit))
        await asyncio.wait_for(asked.wait(), 20)
        await asyncio.sleep(0.5)
        assert len(small.seen) <= 2 + 6 + 2  # stored before, what fits, what was under way
        may_store.set()
        items = [item async for item in crawl]
    assert len({str(item["path"]) for item in items}) == len(items) == 40


# -- free space


def short_of_space(disk: Disk) -> list[str]:
    """Options with which there is too little space: the default on a small disk, else more than there is is wanted."""
    if disk.is_mounted:
        disk.leave(MIB // 2)  # of 20 MiB, so that less than 5 % is free
        return ["--folder", str(disk.folder), "-s", "min_free_space=null"]
    with (disk.folder / "filler").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, 64 * MIB)
    found = os.statvfs(disk.folder)
    return ["--folder", str(disk.folder), "-s", f"min_free_space={found.f_bavail * found.f_frsize + 32 * MIB}"]


def test_too_little_space_and_no_patience(tmp_path: Path, site: Site, disk: Disk) -> None:
    """With too little free nothing is asked for; it is said with folder and figures, and the crawl ends with 75."""
    code, said = crawl(tmp_path, 0, *short_of_space(disk), "-s", "store_patience=0.5")
    assert (code, said.count("Traceback"), site.paths()) == (75, 0, [])
    assert said.count("nothing is fetched until there is more room") == 1
    assert f"{disk.folder / 'wordy'} has " in said
    assert "(min_free_space); free some space and run the same command again" in said


def test_space_comes_back(tmp_path: Path, site: Site, disk: Disk) -> None:
    """A crawl that waits for space goes on by itself when there is some."""
    with crawling(tmp_path, 0, *short_of_space(disk)) as process:
        heard(process, "nothing is fetched until there is more room")
        time.sleep(1.2)
        assert site.paths() == []
        (disk.folder / "filler").unlink()
        code, said = ended(process)
    assert code == 0
    assert "free again: the crawl goes on" in said
    assert urls_in(disk.folder / "wordy" / "run-0001" / "items.jsonl") == all_urls(site)


# -- sinks


def test_a_sink_on_a_full_disk(tmp_path: Path, site: Site, disk: Disk) -> None:
    """While a sink is full the crawl goes on, and its items wait in the journal; then they are all there, once."""
    output = disk.folder / "items.jsonl"
    options = ["--folder", str(tmp_path), "-o", str(output), "-s", "min_free_space=0"]
    disk.leave(300_000)
    with crawling(tmp_path, disk.limit, *options) as process:
        heard(process, "wait")
        while disk.is_mounted and len(site.seen) < PAGES + 1:  # a limit meets the journal as well
            time.sleep(0.02)
        disk.empty(process)
        assert ended(process)[0] == 0
    assert urls_in(output) == all_urls(site)


def test_standard_output_that_is_full(tmp_path: Path, site: Site) -> None:
    """A full standard output ends the crawl with 75, not with an error of the interpreter; the items come later."""
    command = [
        sys.executable,
        "-m",
        "crawler",
        "crawl",
        str(tmp_path / "wordy.py"),
        "--folder",
        str(tmp_path),
        "-o",
        "-",
    ]
    command += [*REACHING, "-s", "store_patience=0.3"]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT, check=False)
    assert done.returncode == 75, done.stderr
    assert "Traceback" not in done.stderr
    assert "cannot write to standard output: No space left on device" in done.stderr
    again = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, check=False)
    assert again.returncode == 0
    assert sorted(json.loads(line)["url"] for line in again.stdout.splitlines()) == all_urls(site)


def test_a_torn_line_on_standard_output(tmp_path: Path) -> None:
    """Where standard output takes a part of a line, the rest of that line comes first when it takes more."""
    out = tmp_path / "out"
    script = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (50, resource.RLIM_INFINITY))
from crawler.errors import StorageFull
from crawler.models import StoredItem
from crawler.sinks import sink_for
sink, items = sink_for("-"), [StoredItem(n, str(n), "", '{"a":%d}' % n) for n in range(5)]
for _ in range(2):
    try:
        sink.write(items)
    except StorageFull as error:
        print(error, file=sys.stderr)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
sink.write(items[2:])
"""
    with out.open("wb") as file:
        command = [sys.executable, "-c", script]
        done = subprocess.run(command, stdout=file, stderr=subprocess.PIPE, env=ENVIRONMENT, check=False)
    assert done.stderr.count(b"File too large") == 2, done.stderr
    assert [json.loads(line)["a"] for line in out.read_text().splitlines()] == [0, 1, 2, 2, 3, 4]


class Moody:
    """A sink that keeps items in memory, and has its moods: `mood` is called before each batch, and may raise."""

    target = "moody.jsonl"

    def __init__(self, mood: Callable[[Sequence[StoredItem]], None]) -> None:
        self._mood = mood
        self.held: list[str] = []

    def open(self, position: Position | None) -> None:
        self.held = []

    def write(self, items: Sequence[StoredItem]) -> Position:
        if items:
            self._mood(items)
        self.held += [json.loads(item.body)["path"] for item in items]
        return {"count": len(self.held)}

    def close(self) -> None:
        pass


def with_moody(sink: Moody, small: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **settings: object) -> Crawl:
    """A crawl with such a sink beside a file."""
    file = sink_for
    monkeypatch.setattr(
        job, "sink_for", lambda target, *, formulas: sink if target == sink.target else file(target, formulas=formulas)
    )
    outputs = [sink.target, str(tmp_path / "items.jsonl")]
    made = spider(everything, small.url("/"))
    return Crawl(made, folder=tmp_path, output=outputs, settings={**small.settings, **settings})


async def test_a_sink_that_fails_one_time_in_three(
    small: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A sink that fails now and then has every item in the end, once."""
    turns = itertools.count(1)

    def mood(_items: Sequence[StoredItem]) -> None:
        if next(turns) % 3 == 1:
            raise StoreUnavailable("moody.jsonl is not in the mood")

    sink = Moody(mood)
    monkeypatch.setattr(export, "BATCH", 4)
    summary = await with_moody(sink, small, tmp_path, monkeypatch).run()
    assert sorted(sink.held) == PATHS
    assert (summary.exit_code, "items wait in the journal: moody.jsonl" in caplog.text) == (0, True)


async def test_a_sink_that_is_away(small: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a sink is away the crawl goes on until its backlog is full, then waits, and does the rest with the sink."""
    asked: list[int] = []

    def mood(_items: Sequence[StoredItem]) -> None:
        asked.append(len(small.seen))
        if len(asked) <= 4:  # 1.5 s in all
            raise StorageFull("moody.jsonl is full")

    sink = Moody(mood)
    crawl = with_moody(sink, small, tmp_path, monkeypatch, backlog_bytes=100, concurrency=2, commit_window=0)
    summary = await crawl.run()
    assert sorted(sink.held) == PATHS
    assert asked[3] == asked[4] < 20  # nothing more was asked for while it waited
    assert summary.exit_code == 0


async def test_a_sink_that_stays_away(small: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sink that takes nothing for longer than the patience ends the crawl; the same job goes on later, with all."""
    moods: list[Exception] = [StoreUnavailable("moody.jsonl does not answer")]

    def mood(_items: Sequence[StoredItem]) -> None:
        if moods:
            raise moods[0]

    sink = Moody(mood)
    with pytest.raises(StoreUnavailable, match="does not answer"):
        await with_moody(sink, small, tmp_path, monkeypatch, store_patience=0.2).run()
    moods.clear()
    summary = await with_moody(sink, small, tmp_path, monkeypatch).run()
    assert (sorted(sink.held), summary.exit_code) == (PATHS, 0)


@pytest.mark.parametrize("refused", [["/7"], ["/", "/1", "/39"], PATHS], ids=["one", "some", "all"])
async def test_items_that_a_sink_refuses(
    small: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: list[str]
) -> None:
    """What a sink cannot take goes to the quarantine with the reason and counts as such; it has the others, once."""

    def mood(items: Sequence[StoredItem]) -> None:
        for item in items:
            if json.loads(item.body)["path"] in refused:
                raise ItemError(f"item {item.id} is not to its taste")

    sink = Moody(mood)
    crawl = with_moody(sink, small, tmp_path, monkeypatch, backlog_bytes=250, concurrency=1, commit_window=0)
    summary = await crawl.run()
    assert sorted(sink.held) == [path for path in PATHS if path not in refused]  # which are no backlog either
    assert (summary.exit_code, summary.counts.quarantined) == (3, len(refused))
    assert summary.counts.items == len(PATHS) - len(refused)
    journal = readable(crawl.folder / "job.db")
    reasons = journal.execute("SELECT body, quarantine FROM items WHERE quarantine IS NOT NULL").fetchall()
    assert violations(journal) == []
    journal.close()
    assert sorted(json.loads(str(body))["path"] for body, _ in reasons) == refused
    assert all("moody.jsonl: item" in str(reason) and "not to its taste" in str(reason) for _, reason in reasons)


# -- downloads


def files_below(folder: Path) -> dict[str, int]:
    """Names and sizes of what lies under a download's own name."""
    found = (path for path in (folder / "files").rglob("*") if path.is_file() and ".part" not in path.name)
    return {path.name: path.stat().st_size for path in found if not path.name.endswith(".new")}


def test_a_download_without_room(tmp_path: Path, site: Site, disk: Disk) -> None:
    """A download that finds no room leaves no file under its name, and its page waits for room; then it goes on."""
    site.page("/", "<b>/big.zip</b>")
    site.file("/big.zip", 8 * MIB, etag="v1")
    folder = disk.folder / "wordy"
    options = ["--folder", str(disk.folder), "-s", "min_free_space=0"]
    disk.leave(4 * MIB)
    with crawling(tmp_path, disk.limit, *options) as process:
        heard(process, "a download waits: no room for")
        assert files_below(folder) == {}
        disk.empty(process)
        code, said = ended(process)
    assert (code, said.count("failed")) == (0, 0), said
    assert sorted(files_below(folder).values()) == [8 * MIB, 8 * MIB]  # under its name and its content's
    assert next((folder / "files" / "0001").iterdir()).read_bytes() == filler(8 * MIB)
    ranges = [seen.headers.get("Range", "") for seen in site.seen if seen.path_qs == "/big.zip"]
    assert ranges[0] == ""
    assert int(ranges[-1].removeprefix("bytes=").rstrip("-")) > MIB


def test_a_download_that_never_finds_room(tmp_path: Path, site: Site, disk: Disk) -> None:
    """A disk that stays full for a download ends the crawl with 75; with room the same command has the file."""
    site.page("/", "<b>/big.zip</b>")
    site.file("/big.zip", 8 * MIB, etag="v1")
    options = ["--folder", str(disk.folder), "-s", "min_free_space=0", "-s", "store_patience=0.5"]
    disk.leave(4 * MIB)
    code, said = crawl(tmp_path, disk.limit, *options)
    assert (code, said.count("Traceback")) == (75, 0), said
    assert files_below(disk.folder / "wordy") == {}
    disk.empty()
    assert crawl(tmp_path, 0, *options)[0] == 0
    assert sorted(files_below(disk.folder / "wordy").values()) == [8 * MIB, 8 * MIB]
    assert len(urls_in(disk.folder / "wordy" / "run-0001" / "items.jsonl")) == 2


def test_two_items_and_one_file(tmp_path: Path, site: Site) -> None:
    """Two pages that name one file have one download of it, under one path."""
    site.page("/", '<b>/small.zip</b><a href="/1">x</a>')
    site.page("/1", "<b>/small.zip</b>")
    site.file("/small.zip", 1000)
    assert crawl(tmp_path, 0, "--folder", str(tmp_path))[0] == 0
    assert site.paths().count("/small.zip") == 1
    assert len(list((tmp_path / "wordy" / "files" / "0001").iterdir())) == 1


# -- memory


LITTLE_MEMORY = """
import logging, resource, sys
resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[3]) << 20,) * 2)
from crawler import Spider
from crawler.job import crawl

class All(Spider):
    seeds = [sys.argv[1]]
    settings = {
        "resolve": {"*.test": "127.0.0.1"}, "delay": 0, "concurrency_per_host": 64, "min_free_space": 0,
        **eval(sys.argv[4]),
    }

    def parse(self, response):
        yield {"url": response.url, "title": response.text("title", default="")}
        yield response.follow("a")

summary = crawl(All(), folder=sys.argv[2])
print(summary.outcome, summary.items, summary.counts.failed, len(summary.counts.reasons))
"""


@pytest.mark.parametrize(
    ("limit", "settings", "said"),
    [
        (512, {}, "concurrency is "),
        (256, {}, "body_memory is "),
        (512, {"memory_limit": 40 * MIB}, "more than 40 (memory_limit)"),
    ],
)
def test_little_memory(tmp_path: Path, limit: int, settings: dict[str, object], said: str) -> None:
    """Large pages and bombs among many small ones do not end a crawl in little memory: less is done at once."""
    bomb = gzip.compress(bytes(100 * MIB), 1)
    with Site.in_thread() as site:
        site.tree(600, 4)
        large, bombs = [f"/large{n}" for n in range(10)], [f"/bomb{n}" for n in range(5)]
        site.page("/", links_to("/1", "/2", "/3", "/4", *large, *bombs))
        for path in large:
            site.page(path, "<title>large</title>" + "x " * (9 * MIB // 2))
        for path in bombs:
            site.page(path, bomb, headers={"Content-Encoding": "gzip"})
        command = [sys.executable, "-c", LITTLE_MEMORY, site.url("/"), str(tmp_path), str(limit), repr(settings)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False, env=ENVIRONMENT)
    assert done.stdout.split() == ["finished", "610", "5", "2"], done.stderr
    assert done.stderr.count(said) == 1, done.stderr


@pytest.mark.parametrize(("times", "items"), [(1, 40), (1_000, 39)])
async def test_a_page_that_finds_no_memory(small: Site, tmp_path: Path, times: int, items: int) -> None:
    """A page for which there was no memory is tried again; only one that has all of it to itself fails, it alone."""
    left = [times]

    def parse(self: Spider, response: Response) -> Iterator[object]:
        if path_of(response) == "/7" and left[0]:
            left[0] -= 1
            raise MemoryError
        yield from everything(self, response)

    made = spider(parse, small.url("/"))
    settings = {**small.settings, "concurrency_per_host": 8}
    summary = await Crawl(made, folder=tmp_path, settings=settings).run()
    assert (summary.outcome, summary.items, summary.counts.failed) == ("finished", items, 40 - items)
    assert summary.counts.reasons.get("failed: ResponseTooLarge", 0) == 40 - items
