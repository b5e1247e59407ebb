"""Serve the misbehaving web until standard input ends; the port is the first thing that is said."""

import asyncio
import sys

from tests.hostile import ROWS, index
from tests.hostile.server import serving


async def main() -> None:
    async with serving(ROWS, index) as server:
        sys.stdout.write(f"{server.port}\n")
        sys.stdout.flush()
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


asyncio.run(main())
