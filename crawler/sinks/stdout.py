"""Standard output: nothing that was written can be taken back, so each item is there at least once, with its id."""

import os
import sys
from collections.abc import Sequence

from crawler.models import StoredItem
from crawler.sinks import STDOUT, Position, lines, translated


class StdoutSink:
    """JSON lines on standard output; after a kill the last batch may come again, under the same ids."""

    def __init__(self) -> None:
        self.target = STDOUT
        self._torn = b""  # the rest of a line of which a part is out

    def open(self, position: Position | None) -> None:
        """Nothing is cut back, whatever the position."""

    def write(self, items: Sequence[StoredItem]) -> Position:
        """Write the items at once, past Python's buffer, which would keep what a full disk refused and write it twice.

        What could be written of a batch stands there, whole lines in the end; BrokenPipeError passes when the reader
        has gone.
        """
        with translated("standard output"):
            sys.stdout.flush()
            self._write(self._torn + lines.with_ids(items))
        return {}

    def _write(self, data: bytes) -> None:
        done = 0
        try:
            while done < len(data):
                done += os.write(sys.stdout.fileno(), memoryview(data)[done:])
        finally:
            if done:
                is_torn = data[done - 1 : done] != b"\n"
                self._torn = data[done : data.index(b"\n", done) + 1] if is_torn else b""

    def close(self) -> None:
        """Nothing to give up: standard output is the process's, not ours."""
