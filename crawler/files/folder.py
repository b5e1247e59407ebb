"""A folder that is what it seems, and files in it that one process writes."""

import contextlib
import io
import os
import sys
from pathlib import Path

from crawler.errors import StoreUnavailable

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

_FLAGS = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


class Folder:
    """A real folder, held by its descriptor where the system can: what happens to its path does not lead elsewhere."""

    def __init__(self, path: Path) -> None:
        path.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.descriptor: int | None = None
        if os.open in os.supports_dir_fd:
            self.descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | _FLAGS)

    def close(self) -> None:
        """Let go of the descriptor."""
        if self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor = None

    def at(self, name: str) -> str:
        """What the functions of `os` take together with the descriptor."""
        return name if self.descriptor is not None else str(self.path / name)

    def open(self, name: str, flags: int) -> int:
        """The descriptor of a file, never through a symbolic link."""
        return os.open(self.at(name), flags | _FLAGS, 0o666, dir_fd=self.descriptor)

    def stat(self, name: str) -> os.stat_result | None:
        """What bears the name; None if nothing does."""
        try:
            return os.stat(self.at(name), dir_fd=self.descriptor, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def remove(self, name: str) -> None:
        """See that nothing bears the name."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.at(name), dir_fd=self.descriptor)

    def move(self, name: str, to: "Folder", new: str) -> None:
        """Rename, in place of whatever bears the new name."""
        os.replace(self.at(name), to.at(new), src_dir_fd=self.descriptor, dst_dir_fd=to.descriptor)

    def link(self, name: str, to: "Folder", new: str) -> None:
        """Give a file a second name."""
        os.link(self.at(name), to.at(new), src_dir_fd=self.descriptor, dst_dir_fd=to.descriptor)

    def sync(self) -> None:
        """Have the names survive a power loss, where the system can."""
        if self.descriptor is not None:
            os.fsync(self.descriptor)


def lock(file: io.FileIO, path: Path) -> None:
    """Lock a file for this process alone, until it is closed. Raises `StoreUnavailable` if somebody else has it."""
    try:
        if sys.platform == "win32":
            file.seek((1 << 31) - 2)  # it keeps others from reading what it covers: a byte that few files reach
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
            file.seek(0)
        else:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError) as error:
        raise StoreUnavailable(f"{path} is being written by another process") from error
