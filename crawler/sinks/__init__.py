"""Where items go once they are committed: each sink follows the journal with a cursor of its own.

The target's name chooses the sink: a file ending in ``.jsonl``, ``.ndjson`` or ``.csv``, each also with ``.gz`` or
``.zst``, and ``-`` for JSON lines on standard output. All calls block: make them in a thread.
"""

import errno
import re
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Protocol, TypeAlias

from crawler.errors import ConfigError, StorageFull, StoreUnavailable, escaped
from crawler.models import Json, StoredItem
from crawler.sinks import compressed, lines, table

Position: TypeAlias = dict[str, Json]  # where a sink stands; the journal keeps it beside the cursor and never reads it

STDOUT = "-"
KNOWN = "a file ending in .jsonl, .ndjson or .csv, each also with .gz or .zst, or - for standard output"

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS})
_WRONG_PATH = frozenset(
    {errno.EACCES, errno.EPERM, errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP}
)


class MustRebuild(Exception):  # an order to the exporter, not a failure
    """What was written cannot be continued: open the sink at `position`, and write the run's items from the first."""

    def __init__(self, reason: str, position: Position) -> None:
        super().__init__(reason)
        self.position = position


class Taken(StoreUnavailable):
    """Another process writes there."""


class Sink(Protocol):
    """Holds the items it was given, in order: each once if it can be cut back, else each at least once.

    The promise rests on one order of events: `write` returns when the items are on disk, then the journal commits the
    new position together with the cursor. Whatever a kill leaves beyond a committed position, `open` cuts off; so a
    position that could not be committed is undone by opening the sink at the one before.
    """

    target: str
    """As the user named it."""

    def open(self, position: Position | None) -> None:
        """Take the target for this process alone, and cut it back to `position`; None begins it anew, emptied.

        Raises MustRebuild when less is there than the position says, ConfigError when the path is of no use or another
        program has changed what was written, Taken when another process writes there, and as `write` does.
        It may be called again at any time.
        """

    def write(self, items: Sequence[StoredItem]) -> Position:
        """Append all the items, wait until they are on disk, and say where the sink then stands.

        Raises MustRebuild, ItemError when an item cannot be expressed in this format, ConfigError as `open` does,
        StorageFull, StoreUnavailable. Nothing of the batch counts then, and the same items may be written again.
        BrokenPipeError passes: whoever read standard output has gone.
        """

    def close(self) -> None:
        """Give the target up. Nothing is pending between two writes, so there is nothing to lose."""


def sink_for(target: str, *, formulas: bool = False) -> Sink:
    """The sink that `target` names, not opened yet. Raises ConfigError listing what there is.

    `formulas` lets CSV cells through that a spreadsheet would run.
    """
    from crawler.sinks.file import FileSink  # noqa: PLC0415  # it imports the contract above
    from crawler.sinks.stdout import StdoutSink  # noqa: PLC0415  # the same

    if target == STDOUT:
        return StdoutSink()
    ending, packing = _endings(target)
    encode = partial(table.encoded, formulas=formulas) if ending == ".csv" else lines.encoded
    return FileSink(target, encode, compressed.PACKINGS[packing].pack)


def exists(target: str) -> bool:
    """Whether something is at `target` that beginning anew would destroy; a file that unpacks to nothing is nothing."""
    if target == STDOUT:
        return False
    with translated(target):
        try:
            found = Path(target).stat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        if not stat.S_ISREG(found.st_mode):
            return True
        nothing = compressed.PACKINGS[_endings(target)[1]].pack(b"")
        return found.st_size > 0 and (found.st_size != len(nothing) or Path(target).read_bytes() != nothing)


def end_of(target: str) -> Position:
    """The position that appends to what is at `target` already, whoever wrote it.

    Compressed files are read to their end. Raises ConfigError when the file is damaged, ends within a line, or is not
    what its name says.
    """
    if not exists(target):
        return {"offset": 0} if target != STDOUT else {}
    ending, packing = _endings(target)
    with translated(target):
        size = Path(target).stat().st_size
        head, last = _head_and_last(Path(target), packing)
    if not last:
        return {"offset": 0}
    if not last.endswith(b"\n"):
        raise ConfigError(f"{escaped(target)} ends within a line: complete or remove that line before appending to it")
    return {"offset": size, "columns": [*table.columns_of(head)] if ending == ".csv" else []}


@contextmanager
def translated(target: str) -> Iterator[None]:
    """Make the operating system's errors ours, naming the target; BrokenPipeError passes."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        message = f"cannot write to {escaped(target)}: {error.strerror or error}"
        if error.errno in _FULL:
            raise StorageFull(f"{message}; free some space there, or name another target") from error
        if error.errno in _WRONG_PATH:
            raise ConfigError(f"{message}; name another target, or change the permissions") from error
        raise StoreUnavailable(message) from error


def _head_and_last(path: Path, packing: str) -> tuple[bytes, bytes]:
    """The first bytes of an unpacked file, and its last ones."""
    try:
        with compressed.PACKINGS[packing].reading(path) as stream:
            head = last = stream.read(table.LONGEST_HEADER)
            while chunk := stream.read(1 << 20):
                last = chunk
    except compressed.DAMAGED as error:
        raise ConfigError(f"{escaped(str(path))} does not unpack to its end: {error}; write to another file") from error
    return head, last


def _endings(target: str) -> tuple[str, str]:
    name = Path(target).name.lower()
    if not target.isascii() and escaped(target) != target:
        raise ConfigError(
            f"the name {escaped(target)} cannot be written down: it has control characters or is not UTF-8"
        )
    packing = next((ending for ending in (".gz", ".zst") if name.endswith(ending)), "")
    ending = Path(name.removesuffix(packing)).suffix
    if re.match(r"[a-z][a-z0-9+.-]*://", target, re.IGNORECASE):
        raise ConfigError(f"no sink for URLs of this kind: {escaped(target)}; there is {KNOWN}")
    if ending == ".json":
        raise ConfigError(f"{escaped(target)}: one JSON document cannot be appended to; use .jsonl, one item a line")
    if ending not in {".jsonl", ".ndjson", ".csv"}:
        raise ConfigError(f"the ending of {escaped(target)} names no format; there is {KNOWN}")
    return ending, packing
