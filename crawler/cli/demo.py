"""``crawler demo``: the bundled shop, served on this machine, and a crawl of it."""

import os
import sys
from itertools import islice
from pathlib import Path

from crawler import demo as shop
from crawler.cli import find, layers, loading, stdout
from crawler.cli.run import to_the_end
from crawler.cli.view import View
from crawler.errors import escaped
from crawler.job import Crawl
from crawler.spider import build

JOB, SPIDER = "demo", "bookshop"
ITEMS_SHOWN = 3


def demo() -> int:
    """Crawl a small shop that is served on this machine; begins anew each time."""
    folder = layers.project(os.environ).folder
    file = find.examples() / f"{SPIDER}.py"
    (spider,) = loading.from_file(file)
    with shop.in_thread() as url:
        stdout.tell(f"a shop of a hundred pages is open at {url} until this crawl ends\n")
        stdout.tell(f"crawling it with {loading.shown(file)}, without a pause between two pages\n\n")
        sys.stdout.flush()
        crawl = Crawl(
            build(spider, {"shop": f"{url}/"}),
            job=JOB,
            folder=folder,
            settings={"delay": 0.0},
            fresh=True,
            existing="overwrite",
        )
        summary = to_the_end(crawl, View(log_level="warning"), advice="the shop is closed again")
    if summary.outcome != "finished":
        return summary.exit_code
    for output in summary.outputs:
        _show(Path(output))
    stdout.tell(
        f"\nnext:\n  crawler status {JOB}\n  crawler export {JOB} -o books.csv\n"
        f"  crawler new mine && crawler crawl mine --max-items 20\n"
    )
    return 0


def _show(output: Path) -> None:
    with output.open(encoding="utf-8") as file:
        first = [escaped(line.rstrip("\n"), 200) for line in islice(file, ITEMS_SHOWN)]
    stdout.tell(f"\nthe first items of {escaped(str(output), 1000)}:\n" + "".join(f"  {line}\n" for line in first))
