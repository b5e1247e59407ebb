"""robots.txt, sitemaps, and bodies that are packed."""

import gzip
import importlib
import math
import sys
import zlib
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from crawler.decoding import Decoder
from crawler.errors import ContentDecodingError, DecompressionBomb, ResponseTooLarge, TruncatedBody
from crawler.robots import parse
from crawler.sitemaps import MAX_URLS, Entry, Reader
from crawler.urls import canonical, split
from tests.fuzz.addresses import PARTS, refusal_holds
from tests.fuzz.words import Target, cut, scraps, sizes, texts

brotli: Any = importlib.import_module("brotli")
zstd: Any = importlib.import_module("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")

ROBOTS = (
    "User-agent: useragent User-agent:* * our-bot Our-Bot/1.0 Disallow: Allow: dissallow / /a /*b $ /*$ %2F %2a %zz #"
    " Crawl-delay: 1.5 1e9 99999 Request-rate: 1/5m 0/0 1/0 Sitemap: http://a.test/s.xml : \r \xef\xbb\xbf"
)
SITEMAP = (
    "<urlset> <sitemapindex> </urlset> <url> </url> <loc> </loc> http://a.test/ http://b.test/?c&amp;d=1 &lt; &x; &"
    " <lastmod> </lastmod> 2024-05-17 2024 9999-12-31T23:59:59+23:59 <priority> </priority> 0.5 nan -1 1e999"
    " <![CDATA[ ]]> <?xml?> <!-- --> <!DOCTYPE <rss> <item> <link> </link> <pubDate> <feed> <entry> <a:loc> <link/>"
    " \x1f\x8b é < > ://"
)


def robots_hold(given: tuple[bytes, str, str]) -> None:
    """A robots.txt gives one verdict for each path, whatever ends its lines and however our name is written."""
    body, token, written = given
    robots = parse(body, token)
    url = canonical("/" + written, "http://a.test/")
    path = "/" if url is None else split(url)[1]
    verdict = robots.allows(path)
    assert robots.allows("/robots.txt")
    assert robots.crawl_delay is None or (robots.crawl_delay >= 0 and math.isfinite(robots.crawl_delay))
    assert all(one and "\n" not in one for one in robots.sitemaps)
    lines = body.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    for end in (b"\n", b"\r", b"\r\n", b"\n\n"):
        again = parse(lines.replace(b"\n", end), token.upper())
        assert again == robots
        assert again.allows(path) == verdict
    assert plain_of(body) or parse(body + b"\n#\n\n", token) == robots


def plain_of(body: bytes) -> bool:
    """Whether what is added to it would stand in an unfinished byte order mark."""
    return body in {b"", b"\xef", b"\xef\xbb"}


def entries(data: bytes, pieces: list[int], encoding: str = "") -> tuple[list[Entry], str]:
    """What a sitemap names, and its fault."""
    reader = Reader(encoding)
    found = [entry for piece in cut(data, pieces) for some in reader.feed(piece) for entry in some]
    return found + reader.finish(), reader.fault


def sitemap_holds(given: tuple[bytes, bool, list[int]]) -> None:
    """A sitemap's entries are canonical and in range, the same however its pieces fall; packed ones too."""
    data, is_packed, pieces = given
    sent = gzip.compress(data, mtime=0) if is_packed else data
    found, fault = entries(sent, pieces)
    assert len(found) <= MAX_URLS
    for entry in found:
        assert canonical(entry.url) == entry.url
        assert entry.modified is None or math.isfinite(entry.modified)
        assert entry.priority is None or 0 <= entry.priority <= 1
    assert fault.isprintable()
    assert entries(sent, []) == (found, fault)


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress, "deflate": zlib.compress, "br": lambda body: bytes(brotli.compress(body, quality=3)),
    "zstd": lambda body: bytes(zstd.compress(body)), "identity": bytes,
}  # fmt: skip
CAP = 100_000


def damaged(data: bytes, damage: list[tuple[int, bytes, int]]) -> bytes:
    """Data with so many bytes at these places replaced by others."""
    for at, other, length in damage:
        place = at % (len(data) + 1)
        data = data[:place] + other + data[place + length :]
    return data


def body_holds(given: tuple[str, bytes, list[tuple[int, bytes, int]], list[int]]) -> None:
    """A stream, whole or damaged, is decoded up to the cap, or refused by one of four errors; a whole one is not."""
    coding, body, damage, pieces = given
    sent = damaged(PACKERS[coding](body), damage)
    decoder, out = Decoder(coding, cap=CAP), b""
    try:
        for piece in cut(sent, pieces):
            out += decoder.feed(piece)
            assert len(out) <= CAP
        out += decoder.finish()
    except (ContentDecodingError, TruncatedBody, ResponseTooLarge, DecompressionBomb) as error:
        refusal_holds(error)
        assert damage or len(body) > CAP
        return
    assert damage or out == body


def repeated(pair: tuple[bytes, int]) -> bytes:
    """Some bytes, many times."""
    return pair[0] * pair[1]


packed = st.tuples(
    st.sampled_from(sorted(PACKERS)),
    st.one_of(st.binary(max_size=400), st.tuples(st.binary(max_size=50), st.integers(1, 5000)).map(repeated)),
    st.lists(st.tuples(st.integers(0, 1 << 20), st.binary(max_size=4), st.integers(0, 8)), max_size=4),
    sizes,
)
TARGETS = (
    Target(
        "robots", st.tuples(scraps(ROBOTS), st.sampled_from(["our-bot", "*", ""]), texts(PARTS, most=5)), robots_hold
    ),
    Target("sitemaps", st.tuples(scraps(SITEMAP, most=40), st.booleans(), sizes), sitemap_holds),
    Target("decoding", packed, body_holds),
)
