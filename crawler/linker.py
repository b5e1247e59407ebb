"""Requests on their way into the journal: whether they belong to the crawl, are known, and what they are known as."""

import logging
from collections.abc import Iterable, Iterator, Sequence

from msgspec.structs import replace

from crawler.frontier import Seeds
from crawler.identity import Identity
from crawler.models import ROBOTS_PRIORITY, SITEMAP_PRIORITY, Cut, Link, Page, Request, packed
from crawler.requests import Requests
from crawler.scope import Gate
from crawler.seen import Seen
from crawler.settings import Settings
from crawler.shapes import Ended, Shapes
from crawler.traps import SETTING_OF
from crawler.urls import Fingerprints, split

log = logging.getLogger(__name__)
GUESSED = "guessed"  # the data of a request for a sitemap that nobody has named
DOWNLOAD_PRIORITY = 1 << 20  # downloads yield to the pages of their host


class Linker:
    """Makes links of requests. `finds_sitemaps`: those of the seeds' hosts are wanted, whatever they are."""

    def __init__(self, settings: Settings, gate: Gate, key: bytes, *, finds_sitemaps: bool) -> None:
        self.gate = gate
        self.seen = Seen()
        self.shapes = Shapes(settings.max_same_pages, settings.max_barren_pages)
        self._left_out = Seen()  # URLs to which pages of shapes that have ended have links
        self._outside = Seen()  # URLs out of scope, so that each is judged once
        self._fingerprints = Fingerprints(key)
        self._identity = Identity(settings)
        self._finds_sitemaps = finds_sitemaps
        self._warned: set[str] = set()

    def followed(self, requests: Requests, page: Page, cuts: dict[str, Cut]) -> Iterable[Link]:
        """Links of a page in bulk: one template, many URLs, nearly all of them known."""
        template = requests.template
        depth = page.request.depth + 1
        plain = not template.identity
        rest = packed(template)
        urls = self.seen.unseen(requests.urls, depth) if plain else requests.urls
        for url in urls if template.anywhere else self._outside.unseen(urls, 0):
            refusal = None if template.anywhere else self.gate.refusal(url)
            if refusal is None:
                origin, path = split(url)
                known_as, fingerprint = None, 0
                if template.key is None and "?" not in path and ";" not in path:  # nearly all
                    fingerprint = self._fingerprints.of(path, template.identity)
                else:
                    known_as, fingerprint = self._named(origin, path, template)
                yield Link(
                    origin, fingerprint, path, depth, template.priority, rest, parent=page.seq, plain=plain,
                    known_as=known_as,
                )  # fmt: skip
            else:
                self._outside.add(url, 0)
                self.cut(url, refusal, cuts)

    def _named(self, origin: str, path: str, request: Request) -> tuple[str | None, int]:
        """What a request's page is known as, where that is not its path, and its fingerprint."""
        if request.key is not None:
            return None, self._fingerprints.of("", request.identity)
        known_as = self._identity.known_as(origin, path) if request.kind == "page" else None
        return known_as, self._fingerprints.of(known_as or path, request.identity)

    def cut(self, url: str, refusal: str, cuts: dict[str, Cut]) -> None:
        """Count a link that looks like a trap's, and say so once for a host."""
        if refusal not in SETTING_OF:
            return
        cuts[refusal] = Cut(cuts[refusal].links + 1 if refusal in cuts else 1, url)
        if (where := f"{refusal} on {split(url)[0]}") not in self._warned:
            self._warned.add(where)
            log.warning("links like %s are left out (%s): %s would let them in", url, refusal, SETTING_OF[refusal])

    def kept(self, requests: Requests, page: Page, ended: Ended, cuts: dict[str, Cut]) -> Requests:
        """Those of a page's links that are followed though the shape of its URL has ended."""
        if requests.template.anywhere:
            return requests
        kept = []
        for url in self.seen.unseen(requests.urls, page.request.depth + 1):
            if not ended.holds(url, is_followed=True):
                kept.append(url)
            else:
                self._leave_out(url, ended.reason, cuts)
        return Requests(kept, requests.template)

    def is_left_out(self, request: Request, page: Page, ended: Ended, cuts: dict[str, Cut]) -> bool:
        """Whether a request is not made since the shape of its page's URL has ended."""
        is_link = request.kind == "page" and not (request.anywhere or request.identity)
        if not is_link or not ended.holds(request.url, is_followed=False):
            return False
        if self.seen.unseen((request.url,), page.request.depth + 1):
            self._leave_out(request.url, ended.reason, cuts)
        return True

    def _leave_out(self, url: str, reason: str, cuts: dict[str, Cut]) -> None:
        if self.gate.refusal(url) is None and self._left_out.unseen((url,), 0):
            self._left_out.add(url, 0)
            self.cut(url, reason, cuts)

    def asked(self, request: Request, page: Page, cuts: dict[str, Cut]) -> Iterable[Link]:
        """The link that a request makes, if it is in scope."""
        request = replace(request, depth=page.request.depth + 1)
        if request.session is None and page.request.session is not None and request.method not in {"GET", "HEAD"}:
            request = replace(request, session=page.request.session)  # a form's hidden fields are of its session
        refusal = None if request.anywhere or request.kind != "page" else self.gate.refusal(request.url)
        if refusal is None:
            yield self.link(request, parent=page.seq)
        elif refusal in SETTING_OF:
            self.cut(request.url, refusal, cuts)
        elif split(request.url)[0] not in self._warned:
            self._warned.add(split(request.url)[0])
            log.warning(
                "%s is out of scope (%s): widen the spider's scope, or pass anywhere=True", request.url, refusal
            )

    def let_in(self, url: str, *, moved: bool = False, written: bool = False) -> None:
        """Make a seed part of the scope; links that were refused before may come again."""
        if self.gate.let_in(url, moved=moved, written=written):
            self._outside = Seen()

    def learn_seeds(self, seeds: Seeds) -> None:
        """Seeds that other engines have found."""
        for origin in seeds.hosts:
            self.let_in(origin + "/", written=origin in seeds.written)
        for folder in seeds.folders:
            self.let_in(folder, moved=True)

    def link(self, request: Request, *, seed: bool = False, parent: int | None = None) -> Link:
        """A request on its way into the journal."""
        if request.kind == "download":
            request = replace(request, priority=request.priority - DOWNLOAD_PRIORITY)
        origin, path = split(request.url)
        known_as, fingerprint = self._named(origin, path, request)
        rest = packed(request)
        plain = not request.identity
        return Link(
            origin, fingerprint, path, request.depth, request.priority, rest, seed, parent, plain, known_as,
            written=seed and not request.hops,
        )  # fmt: skip

    def unknown(self, links: Iterable[Link]) -> Iterator[str]:
        """The URLs of links that the journal is not known to hold."""
        for link in links:
            url = link.origin + link.path
            if not link.plain or self.seen.unseen((url,), link.depth):
                yield url

    def remember(self, links: Sequence[Link]) -> None:
        """Links that are in the journal now."""
        for link in links:
            if link.plain:
                self.seen.add(link.origin + link.path, link.depth)

    # -- robots.txt

    def robots_link(self, origin: str, known_at: float) -> Link:
        """The page that must be fetched before any other of a host; once for each time that the last one ran out."""
        url, key = origin + "/robots.txt", f"robots {known_at:.3f}"
        return self.link(Request(url, kind="robots", key=key, priority=ROBOTS_PRIORITY))

    def robots_hop(self, page: Page, target: Request) -> Link:
        """Where a robots.txt was moved to; its verdict is for the host that was asked first."""
        asked = page.request.data if isinstance(page.request.data, str) else split(page.request.url)[0]
        return self.link(replace(target, data=asked, key=f"{page.request.key} of {asked}", priority=ROBOTS_PRIORITY))

    # -- seeds

    def seed_links(self, request: Request, *, parent: int | None = None) -> list[Link]:
        """A seed on its way into the journal, and with it whatever sitemaps its host has, if the spider wants them."""
        seed = self.link(request, seed=True, parent=parent)
        if not self._finds_sitemaps:
            return [seed]
        key, url = f"sitemaps of {seed.origin}", seed.origin + "/sitemap.xml"
        return [seed, self.link(Request(url, kind="sitemap", key=key, data=GUESSED, priority=SITEMAP_PRIORITY))]
