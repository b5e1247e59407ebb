"""A download that is not finished: its bytes, whose they are, and how they become a file."""

import asyncio
import errno
import io
import os
import re
import stat
import sys
from collections.abc import Awaitable, Mapping
from contextlib import ExitStack, closing
from email.utils import mktime_tz, parsedate_tz
from hashlib import sha256
from pathlib import Path
from typing import TypeVar

import msgspec
from aiofiles.threadpool import wrap  # type: ignore[import-untyped]  # aiofiles ships no types

from crawler.errors import StorageFull, StoreError, StoreUnavailable, TruncatedBody
from crawler.files.folder import Folder, lock

BLOCK_SIZE = 1 << 20  # written and hashed by one trip into a thread
SETTLED_EVERY = 32 << 20  # bytes; a file that is shorter stays in memory for whoever reads it next
_SETTLED_REACH = 256 << 20  # bytes that the disk may be behind

Result = TypeVar("Result")

_CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-\d+|\*)/(?:(\d+)|\*)", re.IGNORECASE)  # RFC 9110 section 14.4
_CLOCKS_APART = 60.0  # seconds between Last-Modified and Date that rule out a change within one tick
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}


class Version(msgspec.Struct):
    """What a part is the beginning of. ``validator`` is what If-Range takes (RFC 9110 section 13.1.5)."""

    url: str
    validator: str = ""
    total: int | None = None


class HashedFile(io.FileIO):
    """A file that hashes what is written: one trip into a thread does both."""

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor, "r+b")
        self.restart()

    def restart(self) -> None:
        """Nothing has been written yet."""
        self.sha256 = sha256()
        self.size = self._settled_at = 0

    def hash_rest(self) -> None:
        """Hash from here to the end, so that writing goes on there."""
        while piece := self.read(BLOCK_SIZE):
            self.sha256.update(piece)
            self.size += len(piece)

    def write(self, data: bytes) -> int:  # type: ignore[override]  # only bytes come here
        """Write all of it; a raw file may take less at a time."""
        rest = memoryview(data)
        while rest:
            written = super().write(rest)
            self.sha256.update(rest[:written])
            self.size += written
            rest = rest[written:]
        if self.size - self._settled_at >= SETTLED_EVERY:
            self._settle()
        return len(data)

    def _settle(self) -> None:
        """Have what was written go to the disk while more comes in, and what is there by now leave the system's cache.

        Else a long file ends in a long wait for the disk, and takes the place of all that the cache holds. Memory that
        is used again is faster, too: new pages were half of what a download cost.
        """
        self._settled_at = self.size
        if sys.platform == "linux":
            start = max(0, self.size - _SETTLED_REACH)
            os.posix_fadvise(self.fileno(), start, self.size - start, os.POSIX_FADV_DONTNEED)


class Part:
    """A download that is not finished, as its file. Functions that touch the disk are for a thread."""

    _file: HashedFile
    _folder: Folder

    def __init__(self, root: Path, run: str, name: str, url: str) -> None:
        self.url = url
        self._root = root.resolve()
        self._run = run
        self._name = name
        self._opened = ExitStack()
        self._part = self._name + ".part"
        self._notes = self._part + ".json"
        self._version = Version(url)

    async def done(self, work: Awaitable[Result]) -> Result:
        """Wait until it is done, even if cancelled meanwhile: what a thread uses must not be closed under it."""
        running = asyncio.ensure_future(work)
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            await asyncio.wait([running])
            raise
        except OSError as error:
            raise self._failure(error) from error

    def open(self) -> None:
        """Open the file and lock it, and hash what there is if it is the beginning of something known."""
        self._folder = self._opened.enter_context(closing(Folder(self._root / self._run)))
        while not self._is_taken():
            self._file.close()
        version = self._noted()
        if version is not None and version.url == self.url:
            self._version = version
            self._file.hash_rest()
        else:
            self.clear()

    def _is_taken(self) -> bool:
        """Open and lock what bears the name. Not if that was published or removed meanwhile, so that it is not ours."""
        self._file = self._opened.enter_context(HashedFile(self._folder.open(self._part, os.O_RDWR | os.O_CREAT)))
        lock(self._file, self._path)
        found, named = os.fstat(self._file.fileno()), self._folder.stat(self._part)
        if not stat.S_ISREG(found.st_mode):
            raise StoreUnavailable(f"{self._path} is no regular file")
        if found.st_nlink > 1:
            self._folder.remove(self._part)
            return False
        return named is not None and os.path.samestat(found, named)

    def _noted(self) -> Version | None:
        try:
            with io.FileIO(self._folder.open(self._notes, os.O_RDONLY)) as file:
                return msgspec.json.decode(file.read(1 << 16), type=Version)
        except (FileNotFoundError, msgspec.DecodeError):
            return None

    def range(self) -> dict[str, str]:
        """The headers that ask for the rest, of this version only; none if all must come."""
        if not self.size or not self._version.validator:
            return {}
        return {"Range": f"bytes={self.size}-", "If-Range": self._version.validator}

    def continues(self, headers: Mapping[str, str]) -> bool:
        """Whether a 206 begins where the part ends, and is of the same version as far as it says."""
        version = self._version
        found = _CONTENT_RANGE.fullmatch(headers.get("Content-Range", ""))
        if found is None or found[1] is None or int(found[1]) != self.size:
            return False
        total = int(found[2]) if found[2] else version.total
        named = headers.get("ETag" if version.validator.startswith('"') else "Last-Modified", version.validator)
        if named != version.validator or (version.total is not None and total != version.total):
            return False
        version.total = total
        return True

    def is_whole(self, headers: Mapping[str, str]) -> bool:
        """Whether a 416 says that the part has all there is."""
        found = _CONTENT_RANGE.fullmatch(headers.get("Content-Range", ""))
        return found is not None and bool(self.size) and found[2] == str(self.size)

    def check_end(self) -> None:
        """Raise `TruncatedBody` unless all has come that was announced."""
        total = self._version.total
        if total is not None and total != self.size:
            raise TruncatedBody(f"{self.size} of {total} bytes", url=self.url)

    def clear(self) -> None:
        """Forget what there is."""
        self._folder.remove(self._notes)
        self._file.seek(0)
        self._file.truncate()
        self._file.restart()
        self._version = Version(self.url)

    def begin(self, headers: Mapping[str, str]) -> None:
        """Begin with the version that these headers describe; it is noted before its first byte."""
        self.clear()
        length = headers.get("Content-Length", "")
        self._version = Version(self.url, _validator(headers), int(length) if length.isdecimal() else None)
        if not self._version.validator:
            return
        new = self._notes + ".new"
        self._folder.remove(new)
        with io.FileIO(self._folder.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "w") as file:
            file.write(msgspec.json.encode(self._version))
        self._folder.move(new, self._folder, self._notes)

    async def write(self, block: list[bytes]) -> None:
        """Append to the file, in a thread."""
        await wrap(self._file).write(b"".join(block))

    def publish(self) -> None:
        """Give the finished file its name, at once and whole, and its bytes their place among the objects."""
        os.fsync(self._file.fileno())
        if sys.platform == "win32":
            self._file.close()  # an open file cannot be renamed there, nor, by others, while we do
        with closing(Folder(self._root / "objects")) as objects:
            self._store(objects)
            objects.sync()
        self._folder.remove(self._notes)
        self._folder.sync()

    def _store(self, objects: "Folder") -> None:
        folder, new = self._folder, self._name + ".new"
        known = objects.stat(self.digest)
        if known is None or not stat.S_ISREG(known.st_mode) or known.st_size != self.size:
            folder.move(self._part, objects, self.digest)
        folder.remove(new)
        try:
            objects.link(self.digest, folder, new)
        except OSError as error:
            if error.errno in _FULL:
                raise
            # No hard links here, or no more to this file: then the name has the bytes to itself.
            source, name = (folder, self._part) if folder.stat(self._part) else (objects, self.digest)
            source.move(name, folder, self._name)
            return
        folder.move(new, folder, self._name)
        folder.remove(new)  # it is still there if both were the same file already
        folder.remove(self._part)

    def close(self) -> None:
        """Close the file, and with it the lock."""
        self._opened.close()

    @property
    def size(self) -> int:
        """How many bytes there are."""
        return self._file.size

    @property
    def digest(self) -> str:
        """Their SHA-256 in hex."""
        return self._file.sha256.hexdigest()

    @property
    def _path(self) -> Path:
        return self._root / self._run / self._part

    def _failure(self, error: OSError) -> StoreError:
        if error.errno in _FULL:
            return StorageFull(f"no room for {self._path}: {error.strerror}; what there is of it stays")
        return StoreUnavailable(f"cannot store {self._path}: {error.strerror or error}")


def _validator(headers: Mapping[str, str]) -> str:
    """A strong ETag, else a Last-Modified well before Date (RFC 9110 section 8.8.2.2); nothing if there is neither."""
    etag = headers.get("ETag", "")
    if etag:
        return etag if etag.startswith('"') else ""
    changed = headers.get("Last-Modified", "")
    then, now = parsedate_tz(changed), parsedate_tz(headers.get("Date", ""))
    return changed if then and now and mktime_tz(now) - mktime_tz(then) >= _CLOCKS_APART else ""
