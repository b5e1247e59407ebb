"""The program of an engine's process: the words of ``crawler crawl``, and the line to its supervisor."""

import gc
from collections.abc import Sequence

from crawler.cli import crawl  # noqa: F401  # the command: it would be imported when it runs, too late for what follows
from crawler.cli.app import run
from crawler.processes.child import LINE, Line
from crawler.processes.messages import Left


def main(words: Sequence[str]) -> int:
    """Run ``crawler crawl`` as one engine; the last word is the descriptor of the line."""
    line = Line(int(words[-1]))
    LINE.set(line)
    gc.freeze()  # what is imported stays: to look it over again and again, and thrice when the process ends, takes long
    gc.enable()
    code = run(words[:-1])
    line.tell(Left())
    return code
