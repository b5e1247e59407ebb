"""Standard output: nothing that was written can be taken back, so each item is there at least once, with its id."""

import sys
from collections.abc import Sequence

from crawler.models import StoredItem
from crawler.sinks import STDOUT, Position, lines, translated


class StdoutSink:
    """JSON lines on standard output; after a kill the last batch may come again, under the same ids."""

    def __init__(self) -> None:
        self.target = STDOUT

    def open(self, position: Position | None) -> None:
        """Nothing is cut back, whatever the position."""

    def write(self, items: Sequence[StoredItem]) -> Position:
        """Write and flush; BrokenPipeError passes when the reader has gone."""
        with translated("standard output"):
            sys.stdout.buffer.write(lines.with_ids(items))
            sys.stdout.buffer.flush()
        return {}

    def close(self) -> None:
        """Nothing to give up: standard output is the process's, not ours."""
