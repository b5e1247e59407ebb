"""Loops of bare requests: a list of URLs, sixteen tasks, aiohttp on uvloop, one JSON line {url, bytes} a page.

    python -m benchmarks.bare URLS.txt OUT.jsonl [AUTHORITY.pem]

With a file of an authority each URL's host is 127.0.0.1, and its certificate must be signed by that.
"""

import asyncio
import json
import socket
import ssl
import sys
from pathlib import Path
from typing import TextIO

import aiohttp
import uvloop
from aiohttp.abc import AbstractResolver, ResolveResult

from benchmarks.lag import lags, p99_ms

WORKERS = 16


class Here(AbstractResolver):
    """Every name is this machine's."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [ResolveResult(hostname=host, host="127.0.0.1", port=port, family=family, proto=0, flags=0)]

    async def close(self) -> None:
        """Nothing is held."""


async def ask(urls: list[str], lines: TextIO, authority: str | None) -> float:
    left = iter(urls)

    async def work(session: aiohttp.ClientSession) -> None:
        for url in left:
            async with session.get(url) as response:
                body = await response.read()
            lines.write(json.dumps({"url": url, "bytes": len(body)}) + "\n")

    async with lags() as late, aiohttp.ClientSession(connector=connector(authority)) as session:
        await asyncio.gather(*(work(session) for _ in range(WORKERS)))
    return p99_ms(late)


def connector(authority: str | None) -> aiohttp.TCPConnector:
    if authority is None:
        return aiohttp.TCPConnector(limit=WORKERS)
    trusted = ssl.create_default_context(cafile=authority)
    return aiohttp.TCPConnector(limit=WORKERS, ssl=trusted, resolver=Here(), use_dns_cache=False)


if __name__ == "__main__":
    with Path(sys.argv[2]).open("w") as out:
        asked = Path(sys.argv[1]).read_text().splitlines()
        print(json.dumps({"lag_ms": uvloop.run(ask(asked, out, sys.argv[3] if len(sys.argv) > 3 else None))}))
