"""A bare loop that streams a URL to a file.

python -m benchmarks.whole URL OUT
"""

import sys
from pathlib import Path

import aiohttp
import uvloop

CHUNK = 256 << 10


async def receive(url: str, out: Path) -> None:
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url) as response:
        with out.open("wb") as file:  # a bare loop's author does no better
            async for chunk in response.content.iter_chunked(CHUNK):
                file.write(chunk)


if __name__ == "__main__":
    uvloop.run(receive(sys.argv[1], Path(sys.argv[2])))
