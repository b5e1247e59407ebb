"""Downloads on disk: over real sockets, cut in the middle, beside other writers, on full and booby-trapped disks."""

import asyncio
import fcntl
import os
import signal
import sys
import threading
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from email.utils import formatdate
from hashlib import sha256
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest
from aiohttp import web

from crawler.errors import CrawlerError, HttpError, StorageFull, StoreUnavailable, TruncatedBody
from crawler.fetch import Fetcher
from crawler.files import Answer, FileStore, file_name, part
from crawler.files.folder import lock
from crawler.files.part import BLOCK_SIZE, HashedFile
from crawler.models import FileRecord, Request
from crawler.settings import Settings

DATA = bytes(range(251)) * (3 * BLOCK_SIZE // 251)
OTHER = DATA[::-1]
HOUR_AGO = formatdate(1_700_000_000 - 3600, usegmt=True)
NOW = formatdate(1_700_000_000, usegmt=True)


class Source:
    """A file on a server, which does with ranges what the test says."""

    def __init__(self) -> None:
        self.url = ""
        self.data = DATA
        self.headers = {"ETag": '"v1"'}
        self.cut: int | None = None  # the next answer stops after so many bytes
        self.ranges = "right"
        self.failing: set[int] = set()  # the numbers of requests that end in a 503
        self.pause = 0.0  # after each 64 KiB
        self.seen: list[Mapping[str, str]] = []

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        self.seen.append(request.headers)
        if len(self.seen) in self.failing:
            return web.Response(status=503)
        start = self._start(request.headers)
        if start is None:
            return web.Response(status=416, headers={"Content-Range": f"bytes */{len(self.data)}"})
        response = web.StreamResponse(status=206 if start else 200, headers=self.headers)
        if start:
            shown = 0 if self.ranges == "wrong" else start
            response.headers["Content-Range"] = f"bytes {shown}-{len(self.data) - 1}/{len(self.data)}"
        end = len(self.data) if self.cut is None else self.cut
        if start and self.ranges == "short":
            end = (start + end) // 2
        response.content_length = (len(self.data) if self.cut else end) - start
        if self.ranges == "chunked":
            response.content_length = None
        await response.prepare(request)
        cut, self.cut = self.cut, None
        for at in range(start, end, 1 << 16):
            await response.write(self.data[at : min(at + (1 << 16), end)])
            await asyncio.sleep(self.pause)
        if cut is not None:
            assert request.transport is not None
            request.transport.close()
        return response

    def _start(self, headers: Mapping[str, str]) -> int | None:
        asked = headers.get("Range")
        same = headers.get("If-Range") in {self.headers.get("ETag"), self.headers.get("Last-Modified")}
        if asked is None or self.ranges == "none" or not (same or self.ranges == "careless"):
            return None if self.ranges == "never" else 0
        start = int(asked.removeprefix("bytes=").removesuffix("-"))
        return start if start < len(self.data) and self.ranges != "never" else None


@pytest.fixture
async def source() -> AsyncIterator[Source]:
    served = Source()
    runner = web.ServerRunner(web.Server(served.answer))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    served.url = f"http://127.0.0.1:{runner.addresses[0][1]}/report.pdf"
    yield served
    await runner.cleanup()


class Job:
    """A job's folder and its downloads over the real network."""

    def __init__(self, folder: Path, fetcher: Fetcher) -> None:
        self.folder = folder
        self.store = FileStore(folder / "files")
        self._fetcher = fetcher

    async def get(self, url: str, run: int = 1, **more: object) -> FileRecord:
        def ask(headers: Mapping[str, str]) -> AbstractAsyncContextManager[Answer]:
            return self._fetcher.stream(Request(url), headers=headers, before_send=lambda: None)

        return await self.store.receive(url, run, ask, **more)  # type: ignore[arg-type]  # only `progress` is passed

    def path(self, url: str, run: int = 1, more: str = "") -> Path:
        return self.folder / (self.store.path_for(run, url) + more)

    def names(self, run: int = 1) -> list[str]:
        return _names(self.folder / f"files/{run:04}")


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
async def job(tmp_path: Path) -> AsyncIterator[Job]:
    async with Fetcher(Settings(read_timeout=2, private_hosts=["127.0.0.1"])) as fetcher:
        yield Job(tmp_path, fetcher)


# Names


@pytest.mark.parametrize(
    ("path", "extension"),
    [
        ("a.pdf", ".pdf"),
        ("A.PDF?b=.exe", ".pdf"),
        ("a.tar.gz", ".tar.gz"),
        ("a.b.gz", ".gz"),
        (".csv", ".csv"),
        ("a.pdf.exe", ""),
        ("a.html", ""),
        ("a.svg", ""),
        ("a", ""),
        ("", ""),
        ("?a.pdf", ""),
        ("a.pdf/", ""),
        ("..%2F..%2Fetc%2Fpasswd", ""),
        ("a.pdf%00.sh", ""),
        ("a.p\N{LATIN SMALL LETTER D WITH CARON}f", ""),
    ],
)
def test_names_are_harmless(path: str, extension: str) -> None:
    """A name is made of the URL's hash and an extension from the table, whatever the URL says."""
    url = f"https://a.example/{path}"
    assert file_name(url) == sha256(url.encode()).hexdigest()[:32] + extension


def test_names_stay_the_same() -> None:
    """A name is for ever: items of earlier runs hold it."""
    assert file_name("https://a.example/report.pdf") == "d621d9326a210f3b9ed045817f88a638.pdf"


# Whole files


async def test_download(source: Source, job: Job) -> None:
    """A download lies under the path that was known before, whole, with its size and hash, and nothing beside it."""
    foretold = job.store.path_for(1, source.url)
    told: list[int] = []
    record = await job.get(source.url, progress=told.append)
    assert record == FileRecord(foretold, len(DATA), sha256(DATA).hexdigest())
    assert (job.folder / foretold).read_bytes() == DATA
    assert job.names() == [file_name(source.url)]
    assert told == sorted(told)
    assert told[-1] == len(DATA)
    assert source.seen[0]["Accept-Encoding"] == "identity"


@pytest.mark.parametrize("size", [0, 1, BLOCK_SIZE - 1, BLOCK_SIZE, BLOCK_SIZE + 1])
async def test_sizes(size: int, source: Source, job: Job) -> None:
    """Files of every size around that of a block are stored whole, the empty one too."""
    source.data = DATA[:size]
    record = await job.get(source.url)
    assert (record.size, record.sha256) == (size, sha256(DATA[:size]).hexdigest())
    assert job.path(source.url).read_bytes() == DATA[:size]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the system is left to it")
async def test_long_file_goes_to_the_disk_as_it_comes(
    source: Source, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What comes of a long file is sent to the disk by and by and leaves the memory; a short one is left alone."""
    settled: list[tuple[int, int]] = []

    def recorded(file: int, start: int, size: int, advice: int) -> None:
        assert advice == os.POSIX_FADV_DONTNEED
        assert os.fstat(file).st_size == start + size
        settled.append((start, start + size))

    monkeypatch.setattr(os, "posix_fadvise", recorded)
    await job.get(source.url)
    assert settled == []
    monkeypatch.setattr(part, "SETTLED_EVERY", BLOCK_SIZE // 2)
    source.data = OTHER
    await job.get(source.url, run=2)
    assert settled[0][0] == 0
    assert settled[-1][1] >= len(OTHER) - BLOCK_SIZE
    assert all(later[0] <= earlier[1] for earlier, later in pairwise(settled))
    assert job.path(source.url, run=2).read_bytes() == OTHER


async def test_same_bytes_are_stored_once(source: Source, job: Job) -> None:
    """Two URLs with the same bytes, and two runs of one, share a file on disk."""
    for url, run in [(source.url, 1), (source.url + "?again", 1), (source.url, 2)]:
        await job.get(url, run)
    assert job.path(source.url).samefile(job.path(source.url + "?again"))
    assert job.path(source.url).samefile(job.path(source.url, 2))
    assert job.path(source.url).stat().st_nlink == 4
    assert _names(job.folder / "files/objects") == [sha256(DATA).hexdigest()]


async def test_earlier_run_keeps_its_bytes(source: Source, job: Job) -> None:
    """When the file has changed by the next run, each run's path has the bytes of its time."""
    await job.get(source.url, 1)
    source.data, source.headers = OTHER, {"ETag": '"v2"'}
    await job.get(source.url, 2)
    assert job.path(source.url, 1).read_bytes() == DATA
    assert job.path(source.url, 2).read_bytes() == OTHER


async def test_again_in_the_same_run(source: Source, job: Job) -> None:
    """A download that was finished but not recorded may be done again, and again replaced."""
    await job.get(source.url)
    await job.get(source.url)
    assert job.path(source.url).read_bytes() == DATA
    assert job.names() == [file_name(source.url)]
    source.data, source.headers = OTHER, {"ETag": '"v2"'}
    await job.get(source.url)
    assert job.path(source.url).read_bytes() == OTHER
    assert job.names() == [file_name(source.url)]


@pytest.mark.parametrize("known", [False, True])
async def test_without_hard_links(source: Source, job: Job, monkeypatch: pytest.MonkeyPatch, *, known: bool) -> None:
    """Where there are no hard links, or too many to one file, a download still lies whole under its name."""
    if known:
        await job.get(source.url + "?first")

    def refuse(*names: object, **folders: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    await job.get(source.url)
    assert job.path(source.url).read_bytes() == DATA
    assert [name for name in job.names() if name.startswith(file_name(source.url)[:32])] == [file_name(source.url)]


async def test_damaged_object_is_replaced(source: Source, job: Job) -> None:
    """Bytes that somebody has cut short are not handed out as those of another download."""
    await job.get(source.url)
    os.truncate(job.folder / "files/objects" / sha256(DATA).hexdigest(), 10)
    await job.get(source.url, 2)
    assert job.path(source.url, 2).read_bytes() == DATA


# Resuming


@pytest.mark.parametrize("cut", [1, 70_000, BLOCK_SIZE, BLOCK_SIZE + 1, len(DATA) - 1])
async def test_resume(cut: int, source: Source, job: Job) -> None:
    """A cut download goes on from where it was: only the rest is asked for, and only of the same version."""
    source.cut = cut
    with pytest.raises(TruncatedBody):
        await job.get(source.url)
    assert not job.path(source.url).exists()
    assert job.path(source.url, more=".part").stat().st_size == cut
    record = await job.get(source.url)
    assert source.seen[1]["Range"] == f"bytes={cut}-"
    assert source.seen[1]["If-Range"] == '"v1"'
    assert record.sha256 == sha256(DATA).hexdigest()
    assert job.path(source.url).read_bytes() == DATA
    assert job.names() == [file_name(source.url)]


async def test_resume_again_and_again(source: Source, job: Job) -> None:
    """A download that is cut many times still comes together."""
    for cut in [1000, 300_000, 2_000_000]:
        source.cut = cut
        with pytest.raises(TruncatedBody):
            await job.get(source.url)
    await job.get(source.url)
    assert [headers.get("Range") for headers in source.seen[1:]] == [
        "bytes=1000-",
        "bytes=300000-",
        "bytes=2000000-",
    ]
    assert job.path(source.url).read_bytes() == DATA


async def _cut(source: Source, job: Job, cut: int = 1_500_000) -> None:
    source.cut = cut
    with pytest.raises(TruncatedBody):
        await job.get(source.url)


CHANGES = {
    "changed": ("right", '"v2"', 2),
    "server without ranges": ("none", '"v1"', 2),
    "changed, and the server does not look": ("careless", '"v2"', 3),
    "wrong range": ("wrong", '"v1"', 3),
}


@pytest.mark.parametrize("name", CHANGES)
async def test_start_over(name: str, source: Source, job: Job) -> None:
    """Where the server cannot go on with the same version the file is got anew, and no bytes of two are mixed."""
    ranges, etag, requests = CHANGES[name]
    await _cut(source, job)
    source.ranges, source.headers, source.data = ranges, {"ETag": etag}, OTHER
    record = await job.get(source.url)
    assert len(source.seen) == requests
    assert record.sha256 == sha256(OTHER).hexdigest()
    assert job.path(source.url).read_bytes() == OTHER


async def test_range_beyond_the_end_starts_over_once(source: Source, job: Job) -> None:
    """When the file has become shorter than what there is of it, it is got anew, by one more request."""
    await _cut(source, job)
    source.data = OTHER[:1000]
    await job.get(source.url)
    assert "Range" not in source.seen[2]
    assert len(source.seen) == 3
    assert job.path(source.url).read_bytes() == OTHER[:1000]


async def test_part_that_is_of_no_use_is_forgotten(source: Source, job: Job) -> None:
    """What the server cannot go on with is dropped, even if the request for all of it then fails."""
    await _cut(source, job)
    source.data, source.failing = OTHER[:1000], {3}
    with pytest.raises(HttpError):
        await job.get(source.url)
    await job.get(source.url)
    assert ["Range" in headers for headers in source.seen] == [False, True, False, False]
    assert job.path(source.url).read_bytes() == OTHER[:1000]


async def test_range_that_is_cut_short(source: Source, job: Job) -> None:
    """A server that gives less than was asked for, and says so, is asked for the rest by the next try."""
    await _cut(source, job)
    source.ranges = "short"
    with pytest.raises(TruncatedBody, match=f"of {len(DATA)} bytes"):
        await job.get(source.url)
    source.ranges = "right"
    await job.get(source.url)
    assert job.path(source.url).read_bytes() == DATA


async def test_range_that_is_always_refused(source: Source, job: Job) -> None:
    """A server that answers 416 to everything has failed, after two requests."""
    await _cut(source, job)
    source.ranges = "never"
    with pytest.raises(HttpError) as caught:
        await job.get(source.url)
    assert caught.value.status == 416
    assert len(source.seen) == 3


async def test_end_that_was_missed(source: Source, job: Job) -> None:
    """When all bytes had come but not their end, the server's word that there are no more finishes the file."""
    source.ranges = "chunked"
    await _cut(source, job, len(DATA))
    record = await job.get(source.url)
    assert len(source.seen) == 2
    assert record.sha256 == sha256(DATA).hexdigest()
    assert job.path(source.url).read_bytes() == DATA


@pytest.mark.parametrize(
    ("headers", "resumed"),
    [
        ({"ETag": '"v1"', "Last-Modified": NOW, "Date": NOW}, '"v1"'),
        ({"ETag": 'W/"v1"', "Last-Modified": HOUR_AGO, "Date": NOW}, None),
        ({"Last-Modified": HOUR_AGO, "Date": NOW}, HOUR_AGO),
        ({"Last-Modified": NOW, "Date": NOW}, None),
        ({"Last-Modified": "yesterday", "Date": NOW}, None),
        ({}, None),
    ],
)
async def test_only_strong_validators_resume(
    headers: dict[str, str], resumed: str | None, source: Source, job: Job
) -> None:
    """Without a validator that changes with every byte the file is got anew (RFC 9110 section 13.1.5)."""
    source.headers = headers
    await _cut(source, job)
    await job.get(source.url)
    assert source.seen[1].get("If-Range") == resumed
    assert ("Range" in source.seen[1]) is (resumed is not None)
    assert job.path(source.url).read_bytes() == DATA


@pytest.mark.parametrize(
    "notes", [b"", b"{", b'{"url":"https://b.example/","validator":"\\"v1\\""}', b"\xff" * 100_000, None]
)
async def test_part_of_unknown_origin_is_not_used(notes: bytes | None, source: Source, job: Job) -> None:
    """What there is counts only if it is known which version of which URL it is of."""
    await _cut(source, job)
    path = job.path(source.url, more=".part.json")
    assert msgspec.json.decode(path.read_bytes())["url"] == source.url
    if notes is None:
        path.unlink()
    else:
        path.write_bytes(notes)
    await job.get(source.url)
    assert "Range" not in source.seen[1]
    assert job.path(source.url).read_bytes() == DATA


@pytest.mark.parametrize("status", [404, 204, 302, 503])
async def test_other_statuses(status: int, job: Job) -> None:
    """What is no file ends in an HttpError with its status, and leaves no file."""
    url = "https://a.example/report.pdf"

    @asynccontextmanager
    async def ask(headers: Mapping[str, str]) -> AsyncIterator[Answer]:
        yield status, {}, _nothing()

    with pytest.raises(HttpError) as caught:
        await job.store.receive(url, 1, ask)
    assert (caught.value.status, caught.value.url) == (status, url)
    assert not job.path(url).exists()


async def test_cancelled_download_can_go_on(source: Source, job: Job) -> None:
    """Cancelling leaves what there is, unlocked, and nothing that still writes."""
    source.pause = 0.01
    enough = asyncio.Event()
    task = asyncio.ensure_future(job.get(source.url, progress=lambda size: enough.set()))
    await asyncio.wait_for(enough.wait(), 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    size = job.path(source.url, more=".part").stat().st_size
    assert 0 < size < len(DATA)
    await job.get(source.url)
    assert source.seen[1]["Range"] == f"bytes={size}-"
    assert job.path(source.url).read_bytes() == DATA


async def _nothing() -> AsyncIterator[bytes]:
    for chunk in [b""] * 0:
        yield chunk


async def test_cancelling_waits_for_the_thread(source: Source, job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """A download that is cancelled has ended only when no thread works on its file any more."""
    await _cut(source, job)
    began, may_end, ended = threading.Event(), threading.Event(), threading.Event()

    def hash_slowly(file: HashedFile) -> None:
        began.set()
        may_end.wait(10)
        ended.set()

    monkeypatch.setattr(HashedFile, "hash_rest", hash_slowly)
    task = asyncio.ensure_future(job.get(source.url))
    await asyncio.to_thread(began.wait, 10)
    task.cancel()
    asyncio.get_running_loop().call_later(0.1, may_end.set)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()


# Other processes, full disks, traps

CHILD = """
import asyncio, pathlib, resource, sys
from crawler.errors import StorageFull
from crawler.fetch import Fetcher
from crawler.files import FileStore
from crawler.models import Request
from crawler.settings import Settings

folder, url, limit = sys.argv[1:]
if int(limit):
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))

async def main():
    async with Fetcher(Settings(private_hosts=["127.0.0.1"])) as fetcher:
        ask = lambda headers: fetcher.stream(Request(url), headers=headers, before_send=lambda: None)
        try:
            await FileStore(pathlib.Path(folder) / "files").receive(url, 1, ask)
        except StorageFull as error:
            print("StorageFull:", error)

asyncio.run(main())
"""


async def _child(job: Job, url: str, limit: int = 0) -> asyncio.subprocess.Process:
    arguments = [sys.executable, "-c", CHILD, str(job.folder), url, str(limit)]
    return await asyncio.create_subprocess_exec(*arguments, stdout=asyncio.subprocess.PIPE)


async def test_full_disk(source: Source, job: Job) -> None:
    """Where no more can be written it is StorageFull: no file under the name, and the next try goes on."""
    limit = BLOCK_SIZE + 100_000
    child = await _child(job, source.url, limit)
    said, _ = await child.communicate()
    assert said.startswith(b"StorageFull: no room for ")
    assert not job.path(source.url).exists()
    assert job.path(source.url, more=".part").stat().st_size == limit
    await job.get(source.url)
    assert source.seen[1]["Range"] == f"bytes={limit}-"
    assert job.path(source.url).read_bytes() == DATA


async def test_killed_writer(source: Source, job: Job) -> None:
    """A writer that is killed leaves a part that the next one goes on with at once."""
    source.pause = 0.02
    child = await _child(job, source.url)
    path = job.path(source.url, more=".part")
    async with asyncio.timeout(20):
        while not path.exists() or not path.stat().st_size:  # noqa: ASYNC110  # another process writes it
            await asyncio.sleep(0.01)
    with pytest.raises(StoreUnavailable, match="another process"):
        await job.get(source.url)
    child.send_signal(signal.SIGKILL)
    await child.communicate()
    source.pause = 0.0
    await job.get(source.url)
    assert source.seen[-1]["Range"].startswith("bytes=")
    assert job.path(source.url).read_bytes() == DATA


async def test_two_writers(source: Source, job: Job) -> None:
    """While somebody writes a file nobody else touches it."""
    path = job.path(source.url, more=".part")
    path.parent.mkdir(parents=True)
    with path.open("wb") as file:
        file.write(b"theirs")
        file.flush()
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(StoreUnavailable, match="another process"):
            await job.get(source.url)
        assert path.read_bytes() == b"theirs"
    assert not source.seen
    await job.get(source.url)
    assert job.path(source.url).read_bytes() == DATA


async def test_part_that_is_published_meanwhile(source: Source, job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between opening and locking a part another process may finish it: then it is no longer ours to write."""
    published = job.folder / "published"

    def finish_first(file: HashedFile, path: Path) -> None:
        if not published.exists():
            path.rename(published)
        lock(file, path)

    monkeypatch.setattr(part, "lock", finish_first)
    await job.get(source.url)
    assert published.read_bytes() == b""
    assert job.path(source.url).read_bytes() == DATA


async def test_part_that_is_part_of_something_else(source: Source, job: Job) -> None:
    """A part that has become the same file as another one is left to that one."""
    victim = job.folder / "victim"
    victim.write_bytes(b"precious")
    path = job.path(source.url, more=".part")
    path.parent.mkdir(parents=True)
    path.hardlink_to(victim)
    await job.get(source.url)
    assert victim.read_bytes() == b"precious"
    assert job.path(source.url).read_bytes() == DATA


@pytest.mark.parametrize("more", ["", ".part.json", ".part.json.new", ".new"])
async def test_symbolic_links_are_replaced(more: str, source: Source, job: Job) -> None:
    """Where a name is put down whole, a link that bears it gives way, and what it leads to is not touched."""
    victim = job.folder / "victim"
    victim.write_bytes(b"{}")
    path = job.path(source.url, more=more)
    path.parent.mkdir(parents=True)
    path.symlink_to(victim)
    if more == ".part.json":
        with pytest.raises(StoreUnavailable):
            await job.get(source.url)
    else:
        await job.get(source.url)
        assert job.path(source.url).read_bytes() == DATA
        assert not job.path(source.url).is_symlink()
    assert victim.read_bytes() == b"{}"


async def test_part_may_not_be_a_link(source: Source, job: Job) -> None:
    """A part that is a symbolic link is not written through."""
    victim = job.folder / "victim"
    path = job.path(source.url, more=".part")
    path.parent.mkdir(parents=True)
    path.symlink_to(victim)
    with pytest.raises(StoreUnavailable, match="cannot store"):
        await job.get(source.url)
    assert not victim.exists()
    assert not source.seen


async def test_part_must_be_a_file(source: Source, job: Job) -> None:
    """A part that is a pipe is not waited for."""
    path = job.path(source.url, more=".part")
    path.parent.mkdir(parents=True)
    os.mkfifo(path)
    with pytest.raises(StoreUnavailable, match="no regular file"):
        await job.get(source.url)


@pytest.mark.parametrize("folder", ["0001", "objects"])
async def test_folders_may_not_be_links(folder: str, source: Source, job: Job) -> None:
    """A run's folder that leads elsewhere is refused, and nothing is written there."""
    elsewhere = job.folder / "elsewhere"
    elsewhere.mkdir()
    (job.folder / "files").mkdir()
    (job.folder / "files" / folder).symlink_to(elsewhere)
    with pytest.raises(CrawlerError, match="cannot store"):
        await job.get(source.url)
    assert not _names(elsewhere)


async def test_unwritable_folder(source: Source, job: Job) -> None:
    """A folder that cannot be made is StoreUnavailable, by name."""
    (job.folder / "files").write_bytes(b"in the way")
    with pytest.raises(StoreUnavailable, match="files/0001"):
        await job.get(source.url)


def test_full_is_told_from_broken() -> None:
    """StorageFull and StoreUnavailable are different things to do for the operator."""
    assert not issubclass(StorageFull, StoreUnavailable)
