"""How the engines of one machine know who lives: each holds a lock that the kernel drops with its process."""

import contextlib
import errno
import os
import sys
from pathlib import Path

from crawler.errors import StorageFull, StoreUnavailable

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}


class EngineLock:
    """One engine's lock file beside the journal, and the look at those of others. Without a folder it locks nothing."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._descriptor = -1
        self._own: Path | None = None

    @classmethod
    def of(cls, journal: Path | str) -> "EngineLock":
        """The locks that belong to a journal's file; a journal in memory has none."""
        return cls(None if str(journal) == ":memory:" else Path(journal).parent)

    def take(self, engine: int) -> None:
        """Hold the lock of `engine` until `close` or the process's end. Raises StoreError where no file can be made."""
        if self._folder is None:
            return
        self._own = self._path(self._folder, engine)
        try:
            self._descriptor = os.open(self._own, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            kind = StorageFull if error.errno in _FULL else StoreUnavailable
            raise kind(f"{self._own} cannot be made: {error.strerror or error}") from error
        locked = _try_lock(self._descriptor)
        assert locked, f"{self._own} is held by another process"

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

    def remove(self, engine: int) -> None:
        """Delete the lock file of a dead engine."""
        if self._folder is not None:
            self._path(self._folder, engine).unlink(missing_ok=True)

    def close(self) -> None:
        """Give the lock up."""
        if self._own is not None:
            with contextlib.suppress(PermissionError):  # Windows keeps an open file
                self._own.unlink(missing_ok=True)
            os.close(self._descriptor)
            self._own = None

    @staticmethod
    def _path(folder: Path, engine: int) -> Path:
        return folder / f"engine-{engine}.lock"


def _try_lock(descriptor: int) -> bool:
    try:
        if sys.platform == "win32":
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
