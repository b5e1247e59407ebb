"""Pages that say the same in nearly the same words."""

import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from crawler import Crawl, Limits, Response, Spider
from crawler.errors import ConfigError
from crawler.likeness import LEAST_WORDS, LONGEST, Likeness, Likenesses
from crawler.testing import Site
from tests.test_same_pages import Paths, anchors, handled, rows

WORDS = [f"{a}{b}" for a in ("ka", "lo", "mi", "nu", "pe") for b in ("ra", "so", "ti", "vu", "we", "xy")]


def prose(seed: int, words: int = 300) -> list[str]:
    chosen = random.Random(seed)
    return [chosen.choice(WORDS) for _ in range(words)]


def resemblance(one: list[str], other: list[str]) -> float:
    """The part of all runs of three words that both texts have."""
    own, others = (set(zip(words, words[1:], words[2:], strict=False)) for words in (one, other))
    return len(own & others) / len(own | others)


@pytest.mark.parametrize("changed", [0, 1, 3, 10, 30, 100, 300])
@pytest.mark.parametrize("seed", range(5))
def test_likeness_is_what_broder_calls_resemblance(seed: int, changed: int) -> None:
    """Two texts are found alike where they have so much in common, within what 128 hashes can tell."""
    text, other = prose(seed, 600), prose(seed, 600)
    other[:changed] = prose(seed + 100, changed)
    true = resemblance(text, other)
    found = {}
    for least in (0.7, 0.8, 0.9, 1.0):
        known = Likenesses(least)
        first, second = (known.of(n, f"http://a.test/{n}", " ".join(words)) for n, words in enumerate((text, other)))
        assert first is not None
        assert second is not None
        known.learn([first])
        found[least] = known.find(second) is not None
    assert all(is_alike for least, is_alike in found.items() if true >= least + 0.1 or true == 1.0)
    assert not any(is_alike for least, is_alike in found.items() if true < least - 0.1)


def test_short_pages_are_like_no_other() -> None:
    """A page of few words is handled whatever it says."""
    known = Likenesses(0.9)
    assert known.of(1, "http://a.test/", " ".join(prose(1, LEAST_WORDS - 1))) is None
    assert known.of(1, "http://a.test/", " ".join(prose(1, LEAST_WORDS))) is not None


def test_a_page_is_not_like_itself() -> None:
    """A page that comes again, after a kill or a failure, is handled."""
    known = Likenesses(0.9)
    page = known.of(7, "http://a.test/", " ".join(prose(1)))
    assert page is not None
    known.learn([page])
    assert known.find(page) is None
    assert known.find(Likeness(8, "http://a.test/8", page.signature)) == "http://a.test/"


def test_memory_is_bounded() -> None:
    """Pages that were handled long ago are forgotten."""
    known = Likenesses(0.9)
    chosen = random.Random(1)
    pages = [Likeness(n, f"http://a.test/{n}", chosen.randbytes(256).hex()) for n in range(2 * LONGEST + 1)]
    for page in pages:
        known.learn([page])
    assert [known.find(Likeness(-1, "", page.signature)) for page in (pages[0], pages[-1])] == [None, pages[-1].url]


def test_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """The setting without the package is refused, with what to install."""
    monkeypatch.setitem(__import__("sys").modules, "rensa", None)
    with pytest.raises(ConfigError, match=r"pip install 'durable-crawler\[dedupe\]'"):
        Likenesses(0.9)


# -- over the wire


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with Site() as site:
        site.page("/", anchors("/a", "/b", "/c", "/other"))
        text = prose(1)
        for path in "abc":
            text[5] = f"version{path}"
            site.page(
                f"/{path}", f"<script>var page='{path * 99}'</script><p>{' '.join(text)}</p>" + anchors(f"/of-{path}")
            )
            site.page(f"/of-{path}", "x")
        site.page("/other", " ".join(prose(2)))
        yield site


ENDS = "SELECT path, reason FROM pages WHERE path IN ('/a', '/b', '/c') ORDER BY 1"


async def test_the_first_of_them_is_handled(site: Site, tmp_path: Path) -> None:
    """The others end as done with its URL, without items or links; without the setting all are handled."""
    paths = await handled(site, tmp_path, near_duplicates=0.9, delay=0, concurrency=1)
    assert paths == ["/", "/a", "/of-a", "/other"]
    reason = f"near-duplicate: {site.url('/a')}"
    assert rows(tmp_path, ENDS) == [("/a", ""), ("/b", reason), ("/c", reason)]
    assert len(await handled(site, tmp_path)) == 8


async def test_it_is_known_after_a_kill(site: Site, tmp_path: Path) -> None:
    """What was handled before the process ended is what later pages are compared with."""
    spider = Paths()
    spider.seeds = [site.url("/")]
    settings = {**site.settings, "near_duplicates": 0.9, "concurrency": 1}
    for pages in (2, 100):
        await Crawl(spider, folder=tmp_path, job="job", settings=settings, limits=Limits(max_pages=pages)).run()
    reason = f"near-duplicate: {site.url('/a')}"
    assert rows(tmp_path, ENDS) == [("/a", ""), ("/b", reason), ("/c", reason)]


async def test_a_page_at_which_the_handler_failed(site: Site, tmp_path: Path) -> None:
    """A page that was not handled is no reason to leave out another."""

    class Picky(Paths):
        def parse(self, response: Response) -> object:
            assert not response.url.endswith("/a")
            yield from super().parse(response)  # type: ignore[misc]  # a generator

    paths = await handled(site, tmp_path, spider=Picky(), near_duplicates=0.9, delay=0, concurrency=1)
    assert paths == ["/", "/b", "/of-b", "/other"]


async def test_requests_with_data_of_their_own(site: Site, tmp_path: Path) -> None:
    """What a handler knows besides the page may be what it is about, so that such pages are all handled."""

    class Numbered(Spider):
        def parse(self, response: Response) -> object:
            for n, path in enumerate("abc"):
                yield response.request(f"/{path}", data=n, to=self.page)

        def page(self, response: Response) -> object:
            yield {"path": response.url}

    assert len(await handled(site, tmp_path, spider=Numbered(), near_duplicates=0.9, delay=0)) == 3
