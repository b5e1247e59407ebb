"""What the journal costs a URL: it is added, leased and committed, while so many others are known.

    python -m benchmarks.journal FOLDER KNOWN MEASURED

Prints µs of CPU a URL for each of the three verbs, and the bytes of the file per URL.
"""

import asyncio
import json
import random
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from crawler.frontier import JobFacts, Parting, Want
from crawler.frontier.sqlite import SqliteFrontier
from crawler.models import Lease, Link, Page, State, Visit
from crawler.urls import Fingerprints

PAGES_A_HOST, FILLED_AT_ONCE, GROUP = 200, 5000, 50
HOSTS, BATCH = 64, 16  # leased at once


def links(key: bytes, known: int) -> Iterator[Link]:
    """New URLs without end, of hosts that are as many as so many URLs have, in folders of twenty."""
    hosts, rng, fingerprints = max(HOSTS, known // PAGES_A_HOST), random.Random(7), Fingerprints(key)
    number = 0
    while True:
        origin, folder = f"https://host-{rng.randrange(hosts)}.example", rng.randrange(1 << 30)
        for _ in range(20):
            number += 1
            path = f"/section-{folder}/an-article-of-usual-length-{number}.html"
            yield Link(origin, fingerprints.of(path), path, 2, 0)


async def measure(folder: Path, known: int, measured: int) -> dict[str, float]:
    frontier = SqliteFrontier(folder / "job.db", default_delay=0.0)
    run = await frontier.begin(JobFacts("bench"), fresh=False)
    new = links(run.key, known)
    for _ in range(known // FILLED_AT_ONCE):
        await frontier.add(list(islice(new, FILLED_AT_ONCE)))
    spent = {"add": 0.0, "lease": 0.0, "commit": 0.0}
    done = 0
    while done < measured:
        began = time.process_time()
        leased = (await frontier.lease(Want(HOSTS, BATCH, 10.0))).leases
        spent["lease"] += time.process_time() - began
        pages = [(lease, page) for lease in leased for page in lease.pages]
        assert pages, "nothing to lease"
        for number in range(0, len(pages), GROUP):
            await _visited(frontier, pages[number : number + GROUP], new, spent)
        began = time.process_time()
        await frontier.release([Parting(lease.host, lease.token, 0.0) for lease in leased])
        spent["lease"] += time.process_time() - began
        done += len(pages)
    await frontier.close()
    size = sum(file.stat().st_size for file in folder.iterdir())
    return {name: seconds / done * 1e6 for name, seconds in spent.items()} | {"bytes": size / (known + done)}


async def _visited(
    frontier: SqliteFrontier, group: list[tuple[Lease, Page]], new: Iterator[Link], spent: dict[str, float]
) -> None:
    """Store visits that found as many new URLs; the two parts of a commit are told apart."""
    found = list(islice(new, len(group)))
    visits = [Visit(page, lease.token, State.DONE, status=200, size=14_000) for lease, page in group]
    began = time.process_time()
    await frontier.commit(visits)
    spent["commit"] += time.process_time() - began
    began = time.process_time()
    await frontier.add(found)
    spent["add"] += time.process_time() - began


if __name__ == "__main__":
    print(json.dumps(asyncio.run(measure(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))))
