"""A market whose stalls change from day to day, and the spider that visits them again and again."""

import time
from collections.abc import Iterator
from hashlib import sha256

from aiohttp import web

from crawler import Response, Spider
from crawler.testing import Site

HOSTS = ("east.test", "west.test")
DAYS = 5


class Market:
    """Puts up the stalls; what they offer depends on the ``day``, which whoever looks on sets."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.day = 0
        self.served: dict[tuple[int, str], float] = {}  # when a page was first asked for on a day
        for host in HOSTS:
            site.answer("/", self._gate, host=host)
            for number in range(6):
                site.answer(f"/{number}", self._stall, host=host)

    @property
    def seeds(self) -> list[str]:
        """The gates of the market."""
        return [self.site.url("/", host=host) for host in HOSTS]

    def pages(self) -> list[str]:
        """The pages that are known on this day: a stall that nobody knew is new on each of the first days."""
        numbers = range(min(3 + self.day, 6))
        return [self.site.url(path, host=host) for host in HOSTS for path in ("/", *(f"/{n}" for n in numbers))]

    def _began(self, request: web.Request) -> int:
        day = self.day
        self.served.setdefault((day, str(request.url)), time.time())
        return day

    def _gate(self, request: web.Request) -> web.Response:
        links = "".join(f'<a href="/{number}">x</a>' for number in range(min(3 + self._began(request), 6)))
        return self._offered(request, links)

    def _stall(self, request: web.Request) -> web.Response:
        number, day = int(request.path[1:]), self._began(request)
        if number == 2 and day in {1, 3}:
            return web.Response(status=404)
        own = [(f"{request.host[0]}{number}{n}", 1 + (day // (n + 1))) for n in range((number + day) % 4)]
        offers = [*own, ("bread", 7)] if number in {0, 1} and day != 2 else own  # what many stalls have
        return self._offered(request, "".join(f"<li><b>{name}</b><i>{price}</i></li>" for name, price in offers))

    @staticmethod
    def _offered(request: web.Request, text: str) -> web.Response:
        tag = f'"{sha256(text.encode()).hexdigest()[:8]}"'
        tagged = request.host.startswith("east")
        if tagged and request.headers.get("If-None-Match") == tag:
            return web.Response(status=304, headers={"ETag": tag})
        headers = {"ETag": tag} if tagged else {}
        return web.Response(text=text, headers=headers, content_type="text/html")


class Shopper(Spider):
    """What is offered, by its name."""

    item_key = "name"

    def __init__(self, seeds: list[str]) -> None:
        super().__init__()
        self.seeds = seeds

    def parse(self, response: Response) -> Iterator[object]:
        for offer in response.css("li"):
            yield {"name": offer.text("b"), "price": int(offer.text("i"))}
        yield response.follow("a")
