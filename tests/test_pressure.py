"""What a crawl makes of the memory, the disk and the open files that it has."""

import gc
import math
import resource
import sys
from pathlib import Path

import pytest

from crawler import machine
from crawler.errors import StorageFull, StoreUnavailable
from crawler.pressure import Pressure, eased, fitted, wanted_free
from crawler.settings import GIB, MIB, Settings


@pytest.mark.parametrize(
    ("memory", "files", "concurrency", "bodies"),
    [
        (math.inf, math.inf, 128, 96),
        (2 * GIB, 1024, 128, 96),
        (672 * MIB, 1024, 128, 96),  # 64 the journal, 160 one parsed page, twice 96 bodies, twice 128 requests: just so
        (671 * MIB, 1024, 127, 96),
        (512 * MIB, 1024, 80, 80),  # 64, and a quarter for a parsed page
        (256 * MIB, 1024, 32, 32),
        (64 * MIB, 1024, 8, 8),
        (8 * MIB, 1024, 1, 1),
        (0, 1024, 1, 1),
        (math.inf, 300, 118, 96),
        (math.inf, 64, 1, 96),
        (math.inf, 20, 1, 96),
    ],
)
def test_what_fits(memory: float, files: float, concurrency: int, bodies: int) -> None:
    """What does not fit the machine is made smaller, first the bodies held, then the requests; something is left."""
    found = fitted(Settings(), memory, files)
    assert (found.concurrency, found.body_memory // MIB) == (concurrency, bodies)


@pytest.mark.parametrize("memory", [0, 50 * MIB, 200 * MIB, 300 * MIB, GIB, math.inf])
def test_nothing_is_made_larger(memory: float) -> None:
    """Who asks for little is given that, and what is taken for all of it is never more than there is."""
    settings = Settings(concurrency=3, body_memory=2 * MIB, max_body_bytes=100_000)
    found = fitted(settings, memory, math.inf)
    assert found.concurrency <= 3
    assert found.body_memory <= 2 * MIB
    if memory > 100 * MIB:
        assert found == settings


@pytest.mark.parametrize(
    ("most", "used", "after"),
    [
        (128, 101, 64), (64, 500, 32), (3, 101, 1), (1, 101, 1),  # over the limit of 100
        (64, 100, 64), (64, 70, 64), (1, 85, 1),  # between
        (64, 69, 128), (1, 0, 2), (100, 10, 128), (128, 10, 128),  # well below
    ],
)  # fmt: skip
def test_memory_in_use(most: int, used: int, after: int) -> None:
    """Over the limit half as much is done at once, down to one request; below 70 % of it twice as much again."""
    assert eased(most, 128, used, 100) == after


@pytest.mark.parametrize(
    ("setting", "size", "wanted"),
    [
        (None, 20 * MIB, MIB),
        (None, 10 * GIB, GIB // 2),
        (None, 20 * GIB, GIB),
        (None, 2048 * GIB, GIB),
        (None, 0, 0),  # some file systems do not know their size
        (0, 10 * GIB, 0),
        (50 * GIB, 60 * GIB, 50 * GIB),
    ],
)
def test_room_wanted(setting: int | None, size: int, wanted: int) -> None:
    """By default the smaller of 1 GiB and 5 % of the disk is to stay free; what the operator says holds as said."""
    assert wanted_free(setting, size) == wanted


class Machine:
    """A machine whose memory and disk are what the test says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.used, self.free, self.collected = 0, 1000 * MIB, 0
        monkeypatch.setattr(machine, "memory_used", lambda: self.used)
        monkeypatch.setattr(machine, "disk", lambda _folder: (1000 * MIB, self.free))
        monkeypatch.setattr(gc, "collect", self._collect)

    def _collect(self) -> int:
        """As it is done, but not of all that a process full of tests holds."""
        self.collected += 1
        return 0


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch)


def test_a_disk_that_fills_up(here: Machine, caplog: pytest.LogCaptureFixture) -> None:
    """Below its free space nothing is fetched, which is said once with folder and figures; above it all goes on."""
    pressure = Pressure(Path("job"), Settings(store_patience=10))
    assert pressure.look(0.0) == 128
    here.free = 49 * MIB
    assert [pressure.look(now) for now in (1.0, 5.0, 11.0)] == [0, 0, 0]
    assert caplog.text.count("job has 49.0 MiB free, less than 50.0 (min_free_space)") == 1
    here.free = 50 * MIB
    assert pressure.look(12.0) == 128
    here.free = 0
    assert [pressure.look(now) for now in (13.0, 23.0)] == [0, 0]
    with pytest.raises(StorageFull, match=r"0\.0 MiB free.*free some space"):
        pressure.look(23.1)


def test_no_disk(here: Machine) -> None:
    """A crawl that keeps nothing does not wait for room."""
    here.free = 0
    assert Pressure(None, Settings()).look(0.0) == 128


def test_downloads_without_room(here: Machine, caplog: pytest.LogCaptureFixture) -> None:
    """A download that finds no room waits, the rest goes on; only when none has found any for long the crawl ends."""
    pressure = Pressure(Path("job"), Settings(store_patience=10))
    full = StorageFull("no room for big.zip")
    assert pressure.no_room(full, 0.0) > 0
    assert pressure.look(9.0) == 128
    pressure.room()
    assert pressure.no_room(full, 9.0) > 0
    assert pressure.no_room(full, 18.0) > 0
    assert pressure.look(19.0) == 128
    with pytest.raises(StorageFull, match=r"no room for big\.zip"):
        pressure.look(19.1)
    assert caplog.text.count("no room for big.zip") == 2


def test_memory_that_runs_short(here: Machine, caplog: pytest.LogCaptureFixture) -> None:
    """More memory than allowed: fewer requests at once, said once, and more again when there is less of it in use."""
    pressure = Pressure(None, Settings(memory_limit=100 * MIB, concurrency=16))
    here.used = 120 * MIB
    assert [pressure.look(0.0) for _ in range(6)] == [8, 4, 2, 1, 1, 1]
    assert here.collected == 4
    here.used = 90 * MIB
    assert pressure.look(0.0) == 1
    here.used = 50 * MIB
    assert [pressure.look(0.0) for _ in range(5)] == [2, 4, 8, 16, 16]
    assert caplog.text.count("120 MiB of memory in use, more than 100 (memory_limit)") == 1


def test_out_of_something(here: Machine, caplog: pytest.LogCaptureFixture) -> None:
    """Without a file descriptor or memory left half as much is done at once for a while, which is said once."""
    pressure = Pressure(None, Settings(concurrency=16))
    error = StoreUnavailable("out of file descriptors")
    assert [pressure.short(error, most) for most in (12, 12, 1)] == [6, 6, 1]
    assert [pressure.look(0.0) for _ in range(4)] == [2, 4, 8, 16]
    assert pressure.short(MemoryError(), 8) == 4
    assert here.collected == 4
    assert [caplog.text.count(f"for a while: out of {what}") for what in ("file descriptors", "memory")] == [1, 1]


# -- what the machine says


@pytest.mark.parametrize(
    ("groups", "files"),
    [
        ("0::/\n", ["memory.max"]),
        (
            "0::/user.slice/a.scope\n",
            ["user.slice/a.scope/memory.max", "user.slice/memory.max", "memory.max"],
        ),
        (
            "5:cpu,cpuacct:/x\n4:memory:/docker/a:b\n0::/\n",
            ["memory/docker/a:b/memory.limit_in_bytes", "memory/docker/memory.limit_in_bytes",
             "memory/memory.limit_in_bytes", "memory.max"],
        ),
        ("4:hugetlb,memory:/\n", ["memory/memory.limit_in_bytes"]),
        ("", []),
        ("nonsense\n", []),
    ],
)  # fmt: skip
def test_control_groups(groups: str, files: list[str]) -> None:
    """The limits of a process's own group and of those above it count, in both versions of control groups."""
    assert list(machine.group_files(groups)) == files


@pytest.mark.parametrize(
    ("texts", "limit"),
    [(["max\n", "536870912\n", "9223372036854771712\n"], 512 * MIB), (["max\n"], math.inf), ([], math.inf)],
)
def test_the_least_limit(texts: list[str], limit: float) -> None:
    """The smallest limit holds, whoever set it."""
    assert machine.least(iter(texts)) == limit


def test_a_small_control_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a container of 200 MiB fewer requests are made at once, though the machine has more."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "memory.max").write_text("209715200\n")
    (tmp_path / "own").write_text("0::/a/b\n")
    monkeypatch.setattr(machine, "GROUPS", tmp_path)
    monkeypatch.setattr(machine, "OWN_GROUPS", tmp_path / "own")
    assert machine.memory_limit() <= 200 * MIB
    assert fitted(Settings(), machine.memory_left(), math.inf).concurrency < 64


def test_this_process() -> None:
    """What is in use here is more than nothing and less than the machine has, also where there is no /proc."""
    assert 10 * MIB < machine.memory_used() < 100 * GIB
    assert machine.memory_left() > 0
    assert machine.allow_many_files() >= 64


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not limit open files")
def test_as_many_files_as_may_be() -> None:
    """The limit of open files is raised to what this process may have, which is then what requests are fitted to."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 512), hard))
    try:
        assert machine.allow_many_files() == (math.inf if hard == resource.RLIM_INFINITY else hard)
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_without_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no /proc the most that was ever in use stands for what is."""
    monkeypatch.setattr(machine, "STATM", Path("/nowhere"))
    monkeypatch.setattr(machine, "OWN_GROUPS", Path("/nowhere"))
    assert 10 * MIB < machine.memory_used() < 100 * GIB


def test_a_folder_that_is_gone(tmp_path: Path) -> None:
    """A job whose folder is taken away stops as for any store that is away."""
    with pytest.raises(StoreUnavailable, match="gone cannot be looked at"):
        machine.disk(tmp_path / "gone")
