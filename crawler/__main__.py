"""``crawler`` and ``python -m crawler``. The list of commands is asked for most: it waits for no import."""

import sys
from collections.abc import Sequence

from crawler.cli import commands


def main(words: Sequence[str] | None = None) -> int:
    """Run one command, and return its exit code.

    Without `words` it is the program: the command is in its arguments, and a crawl runs in processes of its own, which
    are replaced when they die. With `words` all happens in this process.
    """
    is_program = words is None
    words = sys.argv[1:] if words is None else list(words)
    if not words or words in (["--help"], ["-h"]):
        sys.stdout.write(commands.overview())
        return 0
    if is_program and words[0] == "crawl" and sys.platform != "win32" and not {"--help", "-h"} & {*words}:
        from crawler.cli.watch import watch  # noqa: PLC0415  # what follows is imported by the engines

        return watch(words)
    from crawler.cli.app import run  # noqa: PLC0415  # it imports cyclopts, which takes longer than all of the above

    return run(words)


if __name__ == "__main__":
    sys.exit(main())
