"""A server that takes its time for each page, but none for robots.txt.

    python -m benchmarks.slow SECONDS

It prints its port once it listens.
"""

import asyncio
import sys

from aiohttp import web


async def serve(seconds: float) -> None:
    async def page(request: web.Request) -> web.Response:
        await asyncio.sleep(seconds)
        return web.Response(text=f"<title>{request.path}</title>", content_type="text/html")

    async def nothing(_: web.Request) -> web.Response:
        raise web.HTTPNotFound

    app = web.Application()
    app.add_routes([web.get("/robots.txt", nothing), web.get("/{path:.*}", page)])
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(float(sys.argv[1])))
