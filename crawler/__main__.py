"""``crawler`` and ``python -m crawler``. The list of commands is asked for most: it waits for no import."""

import sys
from collections.abc import Sequence

from crawler.cli import commands


def main(words: Sequence[str] | None = None) -> int:
    """Run one command, by default that of the process's own arguments, and return its exit code."""
    words = sys.argv[1:] if words is None else list(words)
    if not words or words in (["--help"], ["-h"]):
        sys.stdout.write(commands.overview())
        return 0
    from crawler.cli.app import run  # noqa: PLC0415  # it imports cyclopts, which takes longer than all of the above

    return run(words)


if __name__ == "__main__":
    sys.exit(main())
