"""``crawler`` and ``python -m crawler``. The list of commands is asked for most: it waits for no import."""

import os
import sys
from collections.abc import Sequence

from crawler.cli import commands


def main(words: Sequence[str] | None = None) -> int:
    """Run one command, and return its exit code.

    Without `words` it is the program: the command is in its arguments, and a crawl runs in processes of its own, which
    are replaced when they die. With `words` all happens in this process.
    """
    try:
        if words is not None:
            return _run(list(words), is_program=False)
        _stand_in_for_closed_streams()
        return _run(sys.argv[1:], is_program=True)
    except KeyboardInterrupt:  # so early that nobody else could hear it
        return 130


def _run(words: list[str], *, is_program: bool) -> int:
    if not words or (len(words) == 1 and words[0] in commands.ASKS_FOR_HELP):
        sys.stdout.write(commands.overview())
        return 0
    if is_program and words[0] == "crawl" and sys.platform != "win32" and not commands.ASKS_FOR_HELP & {*words}:
        from crawler.cli.watch import watch  # noqa: PLC0415  # what follows is imported by the engines

        return watch(words)
    from crawler.cli.app import run  # noqa: PLC0415  # it imports cyclopts, which takes longer than all of the above

    return run(words)


def _stand_in_for_closed_streams() -> None:
    """Open to nowhere what the caller has closed of the standard streams: else a file of ours would take its place."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            nowhere = os.open(os.devnull, os.O_RDWR)
            os.dup2(nowhere, number)
            os.set_inheritable(number, True)
            if nowhere != number:
                os.close(nowhere)
            setattr(sys, name, open(number, "w" if number else "r", closefd=False))  # noqa: SIM115  # they stay open


if __name__ == "__main__":
    sys.exit(main())
