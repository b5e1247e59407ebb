"""The program of an engine's process: the words of ``crawler crawl``, and the line to its supervisor."""

import gc
from collections.abc import Sequence

from crawler.cli.app import run
from crawler.processes import Left
from crawler.processes.child import LINE, Line


def main(words: Sequence[str]) -> int:
    """Run ``crawler crawl`` as one engine; the last word is the descriptor of the line."""
    line = Line(int(words[-1]))
    LINE.set(line)
    gc.freeze()
    code = run(words[:-1])
    line.tell(Left())
    gc.freeze()
    return code
