"""How long an event loop keeps everybody waiting, by a task that wants to run every hundredth of a second."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

EVERY = 0.01


@contextlib.asynccontextmanager
async def lags() -> AsyncIterator[list[float]]:
    """A list that grows by how many seconds late each turn of the task was."""
    found: list[float] = []
    watching = asyncio.create_task(watch(found))
    try:
        yield found
    finally:
        watching.cancel()


async def watch(found: list[float]) -> None:
    """Note each turn in a list, for ever."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + EVERY
        await asyncio.sleep(EVERY)
        found.append(loop.time() - due)


def p99_ms(found: list[float]) -> float:
    """What 99 of a hundred turns were not later than, in ms."""
    return round(sorted(found)[int(0.99 * len(found))] * 1e3, 1) if found else 0.0
