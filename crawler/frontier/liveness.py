"""How the engines of one machine know who lives, and what a dead one was at.

Each engine holds a lock that the kernel drops with its process. The locked file is its breadcrumb: the pages that are
inside a handler now. It is mapped into memory, so that a mark costs no system call and outlives the process.
"""

import contextlib
import mmap
import os
import struct
import sys
from pathlib import Path

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

SLOTS = 512  # pages inside a handler at one time; further ones leave no mark
_SLOT = struct.Struct("<q")
SIZE = SLOTS * _SLOT.size
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def boot_id() -> str:
    """What tells this start of the machine from all others; empty where the system does not say."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""


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

    def take(self, engine: int) -> None:
        """Hold the lock of `engine` until `close` or the process's end."""
        if self._folder is None:
            return
        self._own = self._path(self._folder, engine)
        self._descriptor = os.open(self._own, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        locked = _try_lock(self._descriptor)
        assert locked, f"{self._own} is held by another process"
        os.write(self._descriptor, self._marks)  # real bytes: a hole would end the process when the disk is full
        self._marks = mmap.mmap(self._descriptor, SIZE)

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
        try:
            left = path.read_bytes()
        except FileNotFoundError:
            return []
        path.unlink(missing_ok=True)
        return [page for (page,) in _SLOT.iter_unpack(left[: len(left) // _SLOT.size * _SLOT.size]) if page]

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
            os.close(self._descriptor)
            self._own = None

    @staticmethod
    def _path(folder: Path, engine: int) -> Path:
        return folder / f"engine-{engine}.lock"


def wipe(path: Path) -> None:
    """Forget what a dead engine was at: it was killed on purpose. Nothing happens when the file is gone."""
    with contextlib.suppress(FileNotFoundError), path.open("r+b") as file:
        file.write(bytes(SIZE))


def _try_lock(descriptor: int) -> bool:
    try:
        if sys.platform == "win32":
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
