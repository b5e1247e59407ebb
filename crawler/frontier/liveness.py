"""How the engines of one machine know who lives, and what a dead one was at.

Each engine holds a lock that the kernel drops with its process. The locked file is its breadcrumb: the pages that are
inside a handler now. It is mapped into memory, so that a mark costs no system call and outlives the process.
"""

import contextlib
import errno
import mmap
import os
import struct
import sys
from pathlib import Path

from crawler.errors import StorageFull, StoreUnavailable

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

SLOTS = 512  # pages inside a handler at one time; further ones leave no mark
_SLOT = struct.Struct("<q")
SIZE = SLOTS * _SLOT.size
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}


def boot_id() -> str:
    """What tells this start of the machine from all others; empty where the system does not say."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""


def process_name(pid: int) -> str:
    """What tells a process from all others of this start of the machine, those that get its number later included."""
    try:
        started = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        started = ""  # it is gone, or there is no /proc
    return f"{pid} {started}"


def is_running(name: str) -> bool:
    """Whether the process of that name lives."""
    pid, _, started = name.partition(" ")
    if started:
        return process_name(int(pid)) == name
    try:
        os.kill(int(pid), 0)
    except OSError:
        return False
    return True


class EngineLock:
    """One engine's lock file beside the journal, and the look at those of others. Without a folder it locks nothing."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._descriptor = -1
        self._own: Path | None = None
        self._marks: mmap.mmap | bytearray = bytearray(SIZE)
        self._free = list(range(SLOTS))

    @classmethod
    def of(cls, journal: Path | str) -> "EngineLock":
        """The locks that belong to a journal's file; a journal in memory has none."""
        return cls(None if str(journal) == ":memory:" else Path(journal).parent)

    @property
    def path(self) -> Path | None:
        """This engine's own file."""
        return self._own

    def take(self, engine: int) -> None:
        """Hold the lock of `engine` until `close` or the process's end. Raises StoreError where no file can be made."""
        if self._folder is None:
            return
        self._own = self._path(self._folder, engine)
        try:
            self._descriptor = os.open(self._own, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            locked = _try_lock(self._descriptor)
            assert locked, f"{self._own} is held by another process"
            _fill(self._descriptor)
            self._marks = mmap.mmap(self._descriptor, SIZE)
        except OSError as error:
            self.close()
            kind = StorageFull if error.errno in _FULL else StoreUnavailable
            raise kind(f"{self._folder} takes no lock file: {error.strerror or error}") from error

    def is_free(self, engine: int) -> bool:
        """Whether nobody holds the lock of `engine`, so that it is dead."""
        if self._folder is None:
            return True
        try:
            descriptor = os.open(self._path(self._folder, engine), os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return True
        try:
            return _try_lock(descriptor)
        finally:
            os.close(descriptor)

    def remove(self, engine: int) -> list[int]:
        """Delete the lock file of a dead engine; the pages (seq) that were inside a handler when it died."""
        if self._folder is None:
            return []
        path = self._path(self._folder, engine)
        left = marks(path) or []
        path.unlink(missing_ok=True)
        return left

    def enter(self, page: int) -> int:
        """Mark that the code of a page's handler runs; gives what `leave` wants."""
        slot = self._free.pop() if self._free else -1
        if slot >= 0:
            _SLOT.pack_into(self._marks, slot * _SLOT.size, page)
        return slot

    def leave(self, slot: int) -> None:
        """Take the mark away."""
        if slot >= 0:
            _SLOT.pack_into(self._marks, slot * _SLOT.size, 0)
            self._free.append(slot)

    def close(self) -> None:
        """Give the lock up."""
        if self._own is not None:
            if isinstance(self._marks, mmap.mmap):
                marks, self._marks = self._marks, bytearray(self._marks)
                marks.close()
            with contextlib.suppress(PermissionError):  # Windows keeps an open file
                self._own.unlink(missing_ok=True)
            if self._descriptor >= 0:
                os.close(self._descriptor)
            self._own, self._descriptor = None, -1

    @staticmethod
    def _path(folder: Path, engine: int) -> Path:
        return folder / f"engine-{engine}.lock"


def marks(path: Path) -> list[int] | None:
    """The pages that are inside a handler according to a breadcrumb; None when the file is gone."""
    try:
        left = path.read_bytes()
    except FileNotFoundError:
        return None
    return [page for (page,) in _SLOT.iter_unpack(left[: len(left) // _SLOT.size * _SLOT.size]) if page]


def wipe(path: Path) -> None:
    """Forget what a dead engine was at: it was killed on purpose. Nothing happens when the file is gone."""
    with contextlib.suppress(FileNotFoundError), path.open("r+b") as file:
        file.write(bytes(SIZE))


def _fill(descriptor: int) -> None:
    """Take the file's space now: a hole in a mapped file would end the process when the disk is full."""
    if os.write(descriptor, bytes(SIZE)) < SIZE:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _try_lock(descriptor: int) -> bool:
    try:
        if sys.platform == "win32":
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
