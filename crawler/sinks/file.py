"""A file that grows at its end, batch by batch, and is cut back to the last batch that counts."""

import io
import os
import stat
import sys
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

import msgspec
from msgspec import Struct

from crawler.errors import ConfigError, escaped
from crawler.models import StoredItem
from crawler.sinks import MustRebuild, Position, Taken, translated

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

# Items, the file's columns, whether they are its first: the bytes to append, and the columns that takes.
Encode: TypeAlias = Callable[[Sequence[StoredItem], list[str], bool], tuple[bytes, list[str]]]

_TAIL = 64


class Place(Struct, frozen=True):
    """A position in a file: its size in bytes, and what else must be known to go on from there.

    ``start`` is the size the file had before this run, by default the offset; what stands before it is never touched.
    ``tail`` is the CRC-32 of the 64 bytes before the offset, so that a file which was edited or replaced is not cut.
    """

    offset: int
    start: int | None = None
    tail: int | None = None
    columns: list[str] = []


class FileSink:
    """Each item exactly once, whenever the process dies.

    A reader finds whole batches, but for the moment in which one is written. A CSV file that needs another column is
    emptied and written anew from the journal, in place: a copy beside it would take the space twice, and be left behind
    by a kill. Meanwhile a reader finds the run's first items under the new header, and more each time.
    """

    def __init__(self, target: str, encode: Encode, pack: Callable[[bytes], bytes]) -> None:
        self.target = target
        self._path = Path(target).absolute()
        self._encode, self._pack = encode, pack
        self._file: io.FileIO | None = None
        self._place = Place(0, start=0)

    def open(self, position: Position | None) -> None:
        """Lock the file, making it and its folders as needed, and cut it back; `Sink.open` has the errors."""
        self.close()
        place = Place(0) if position is None else msgspec.convert(position, Place)
        with translated(self.target):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            # Unbuffered: a buffer would keep what a full disk refused, and write it a second time.
            self._file = self._path.open("a+b", buffering=0)
            try:
                self._lock(self._file)
                self._place = self._cut_back(self._file, place)
                if not place.offset:
                    # Unpackers refuse a file of no bytes. The first batch takes the place of this empty one.
                    self._file.write(self._pack(b""))
            except BaseException:
                self.close()
                raise

    def write(self, items: Sequence[StoredItem]) -> Position:
        """Append the items as one batch and sync the file; `Sink.write` has the errors."""
        assert self._file is not None, "write() before open()"
        place = self._place
        data, columns = self._encode(items, place.columns, place.offset == 0)
        if place.offset and columns != place.columns:
            raise self._wider(columns)
        if data:
            with translated(self.target):
                self._place = place = self._appended(self._file, self._pack(data), columns)
        return dict(msgspec.to_builtins(place))

    def close(self) -> None:
        """Close the file, and with it the lock."""
        if self._file is not None:
            file, self._file = self._file, None
            with translated(self.target):
                file.close()

    def _lock(self, file: io.FileIO) -> None:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ConfigError(f"{escaped(self.target)} is no regular file; use - for standard output")
        try:
            if sys.platform == "win32":
                file.seek((1 << 31) - 2)  # its lock keeps readers from what it covers: a byte that few files reach
                msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
            else:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:
            raise Taken(f"{escaped(self.target)} is being written by another process") from error

    def _cut_back(self, file: io.FileIO, place: Place) -> Place:
        """Bring the file to `place`, unless that would destroy what another program wrote; the place, completed."""
        found = self._path.stat() if self._path.exists() else None
        if found is None or found.st_size == 0 < place.offset:
            raise self._lost(0, place.columns)
        start = place.offset if place.start is None else place.start
        tail = _tail(file, place.offset)
        edited = found.st_size >= place.offset and place.tail not in {None, tail}
        if edited or found.st_size < start or not os.path.samestat(found, os.fstat(file.fileno())):
            raise self._changed()
        if found.st_size < place.offset:
            raise self._lost(start, place.columns)
        file.truncate(place.offset)
        return Place(place.offset, start, tail, place.columns)

    def _appended(self, file: io.FileIO, data: bytes, columns: list[str]) -> Place:
        # Also here: a full disk may have left a torn tail, and the file may have been moved or emptied by others.
        place = self._cut_back(file, self._place)
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[file.write(rest) :]
            os.fsync(file.fileno())
        except OSError:
            file.truncate(place.offset)
            raise
        offset = place.offset + len(data)
        return Place(offset, place.start, _tail(file, offset), columns)

    def _lost(self, start: int, columns: list[str]) -> MustRebuild:
        reason = f"{escaped(self.target)} is shorter than what was written to it, and is written anew"
        return MustRebuild(reason, {"offset": start, "start": start, "columns": [*columns]})

    def _wider(self, columns: list[str]) -> MustRebuild | ConfigError:
        new = ", ".join(repr(name) for name in columns if name not in self._place.columns)
        if self._place.start:
            return ConfigError(
                f"{escaped(self.target)} has no column {escaped(new)}: write to another file, or to .jsonl"
            )
        reason = f"{escaped(self.target)} gets the column {escaped(new)}, and is written anew"
        return MustRebuild(reason, {"offset": 0, "start": 0, "columns": [*columns]})

    def _changed(self) -> ConfigError:
        return ConfigError(
            f"{escaped(self.target)} was changed by another program since this run wrote to it: "
            "move it away, and it is written anew"
        )


def _tail(file: io.FileIO, offset: int) -> int:
    begin = max(0, offset - _TAIL)
    file.seek(begin)
    return zlib.crc32(file.read(offset - begin))
