"""The program of an engine's process: the words of ``crawler crawl``, and the line to its supervisor."""

import gc
from collections.abc import Sequence

from crawler.cli import crawl  # noqa: F401  # the command: it would be imported when it runs, too late for what follows
from crawler.cli.app import run
from crawler.processes.child import LINE, Line
from crawler.processes.messages import Left

# See gc.set_threshold; by default (700, 10, 10). A look at all that lives long takes a tenth of a second and more with
# thousands of hosts, whose lanes and connections need no such look: with 20,000 of them it was 30 % of a crawl's CPU.
COLLECT_AFTER = (10_000, 10, 20)


def main(words: Sequence[str]) -> int:
    """Run ``crawler crawl`` as one engine; the last word is the descriptor of the line."""
    line = Line(int(words[-1]))
    LINE.set(line)
    gc.freeze()  # what is imported stays: to look it over again and again, and thrice when the process ends, takes long
    gc.set_threshold(*COLLECT_AFTER)
    gc.enable()
    code = run(words[:-1])
    line.tell(Left())
    return code
