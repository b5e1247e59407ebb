"""What the workbench costs a request when many hosts wait their turn.

    python -m benchmarks.scheduler HOSTS DELAY REQUESTS

Time is made up: each request is taken when the next host is due. Prints µs of CPU a request.
"""

import asyncio
import json
import sys
import time
from collections import deque

from crawler.lane import Lane
from crawler.models import Page, Request
from crawler.politeness import Pace
from crawler.robots import ALLOW_ALL
from crawler.workbench import Workbench


def measure(hosts: int, delay: float, requests: int) -> float:
    bench: Workbench[asyncio.Future[None]] = Workbench()
    pages = [
        Page(number, number % hosts, Request(f"http://h{number % hosts}.test/{number}")) for number in range(requests)
    ]
    left = [deque(pages[host::hosts]) for host in range(hosts)]
    for host, own in enumerate(left):
        lane: Lane[asyncio.Future[None]] = Lane(
            host, f"http://h{host}.test", 1, Pace(delay, 1), host * delay / hosts, ALLOW_ALL
        )
        bench.open(lane)
        bench.put(lane, [own.popleft()], complete=True)
    began, now, taken = time.process_time(), 0.0, 0
    while taken < requests:
        now = max(now, bench.next_at or 0.0)
        turn = bench.take(now)
        if turn is None:  # the host was told to wait while it stood in the queue
            continue
        lane, page = turn
        bench.sent(lane, now)
        bench.done(lane, was_sent=True)
        bench.stored(lane, page.seq)
        if more := left[lane.host]:
            bench.put(lane, [more.popleft()], complete=True)
        taken += 1
    return (time.process_time() - began) / requests * 1e6


if __name__ == "__main__":
    print(json.dumps({"us": measure(int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]))}))
