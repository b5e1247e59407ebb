"""URLs: what browsers make of them, their fingerprints, and the joining of many at once."""

import random
import tracemalloc

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from crawler.urls import MAX_LENGTH, Fingerprints, Joiner, canonical, hostname, split

ROOT = "http://a.test/"
BASES = (
    ROOT,
    "https://a.test/b/c",
    "http://a.test:8080/b/c/",
    "http://a.test/b/c?path=/d/e/&q=?/f",
    "http://a.test/b//c/?",
    "https://[::1]:8443/b/..b/c;d=/e",
    "http://a.test/@b/c@d?e@f",
)
PIECES = (
    "http://", "https://", "HTTP:\\\\", "//", "/", "\\", ":", "@", "?", "#", "&", "=", ".", "..", "%2e", "%2E.", "%",
    "%zz", "a.test", "A.Test", "bücher.test", "xn--bcher-kva.test", "127.1", "0x7f.1", "[::1]", "[", "]", "user:pass@",
    "u@", ":80", ":443", ":0", ":99999", "a", "b/c", "é", "\u3002", "\u00ad", "\u202e", "\ud800", " ", "\t", "\n", "\r",
    "\x00", "\x1f", "\x7f", "\xa0", "javascript:", "mailto:", "data:,", "'", '"', "<", ">", "`", "{", "|", "^", "*",
)  # fmt: skip
any_text = st.text(st.characters())  # lone surrogates too
url_like = st.lists(st.sampled_from(PIECES), max_size=12).map("".join)
relative = st.lists(st.sampled_from(PIECES[3:]), max_size=8).map("".join)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://a.test", ROOT),
        ("HTTP://A.Test/Path", "http://a.test/Path"),
        ("http:a.test", ROOT),
        ("http:///a.test", ROOT),
        ("http:\\\\a.test\\b", "http://a.test/b"),
        ("http://a.test/b\\c?d\\e", "http://a.test/b/c?d\\e"),
        ("  \x00\x1f http://a.test/ \t\r\n", ROOT),
        ("ht\ntp://a.\tte\rst/b\n\nc", "http://a.test/bc"),
        ("http://a.test:80/", ROOT),
        ("http://a.test:/", ROOT),
        ("http://a.test:0080/", ROOT),
        ("https://a.test:443/", "https://a.test/"),
        ("https://a.test:80/", "https://a.test:80/"),
        ("http://a.test:443/", "http://a.test:443/"),
        ("http://user@a.test/", ROOT),
        ("http://user:p%40ss@a.test:8080/b", "http://a.test:8080/b"),
        ("http://:secret@a.test/", ROOT),
        ("http://@a.test/", ROOT),
        ("http://u@v@a.test/", ROOT),
        ("http://u:p@[::1]:81/@b?c@d", "http://[::1]:81/@b?c@d"),
        ("http://a.test/@b/c@d?e@f", "http://a.test/@b/c@d?e@f"),
        ("http://a.test?e@f", "http://a.test/?e@f"),
        ("http://bücher.test/", "http://xn--bcher-kva.test/"),
        ("http://BÜCHER.test/", "http://xn--bcher-kva.test/"),
        ("http://a\u3002test/", ROOT),
        ("http://\uff21.test/", ROOT),
        ("http://a\u00ad.test/", ROOT),
        ("http://%61.test/", ROOT),
        ("http://a.test./", "http://a.test./"),
        ("http://127.1/", "http://127.0.0.1/"),
        ("http://0x7f.0.0.01/", "http://127.0.0.1/"),
        ("http://2130706433/", "http://127.0.0.1/"),
        ("http://[0:0::0:1]/", "http://[::1]/"),
        ("http://[::FFFF:127.0.0.1]/", "http://[::ffff:7f00:1]/"),
        ("http://a.test/b/./c/../d", "http://a.test/b/d"),
        ("http://a.test/b/%2e/c/%2E%2e/d/.", "http://a.test/b/d/"),
        ("http://a.test/../../b", "http://a.test/b"),
        ("http://a.test//b//", "http://a.test//b//"),
        ("http://a.test/b/../..?c/../d", "http://a.test/?c/../d"),
        ("http://a.test/%7e%7E%c3%a9%zz%", "http://a.test/%7e%7E%c3%a9%zz%"),
        ("http://a.test/é ü?é ü", "http://a.test/%C3%A9%20%C3%BC?%C3%A9%20%C3%BC"),
        ("http://a.test/'\"<>`{}|^[]?'\"<>`{}|^[]", "http://a.test/'%22%3C%3E%60%7B%7D|%5E[]?%27%22%3C%3E`{}|^[]"),
        ("http://a.test/b#c", "http://a.test/b"),
        ("http://a.test/b#c#d?e", "http://a.test/b"),
        ("http://a.test/?", "http://a.test/?"),
        ("http://a.test/?#", "http://a.test/?"),
        ("http://a.test/?b#/c?d", "http://a.test/?b"),
    ],
)
def test_canonical(url: str, expected: str) -> None:
    """A URL is spelled as a browser would spell it, without fragment and credentials, and nothing else is changed."""
    assert canonical(url) == expected


@pytest.mark.parametrize(
    "url",
    [
        "", " ", "#", "?b", "/b", "b", "//a.test/", "a.test", "a.test/b",
        "javascript:alert(1)", "mailto:a@a.test", "data:text/html,<a>", "ftp://a.test/", "file:///etc/passwd",
        "ws://a.test/", "wss://a.test/", "blob:http://a.test/b", "about:blank", "tel:+1", "httpx://a.test/",
        "view-source:http://a.test/", "java\nscript:alert(1)", " \x01javascript:alert(1)", "localhost:8080/b",
        "http://", "http:", "http://?b", "http://#b", "http://@/", "http://u:p@/", "http://:80/",
        "http://a b.test/", "http://a<b.test/", "http://a.test:65536/", "http://a.test:b/", "http://a.test:-1/",
        "http://[::1/", "http://::1/", "http://[1::2::3]/", "http://[v1.x]/", "http://256.256.256.256/", "http://1.2.3.4.5/",
        "http://%00.test/", "http://a%zz.test/", "http://\u00ad/", "http://a.test\ud800/", "\ud800",
    ],
)  # fmt: skip
def test_not_of_the_web(url: str) -> None:
    """Other schemes, what has no base, and what no browser would accept is None."""
    assert canonical(url) is None


@pytest.mark.parametrize(
    ("href", "base", "expected"),
    [
        ("", "http://a.test/b/c?d", "http://a.test/b/c?d"),
        (" \n", "http://a.test/b/c?d", "http://a.test/b/c?d"),
        ("#e", "http://a.test/b/c?d", "http://a.test/b/c?d"),
        ("?e", "http://a.test/b/c?d", "http://a.test/b/c?e"),
        ("?", "http://a.test/b/c?d", "http://a.test/b/c?"),
        ("e", "http://a.test/b/c?d/f", "http://a.test/b/e"),
        (".", "http://a.test/b/c", "http://a.test/b/"),
        ("../../..", "http://a.test/b/c", ROOT),
        ("/e", "http://a.test/b/c", "http://a.test/e"),
        ("\\e", "http://a.test/b/c", "http://a.test/e"),
        ("//b.test", "https://a.test/b/c", "https://b.test/"),
        ("\t//b.test\\c", "https://a.test/", "https://b.test/c"),
        ("http:e", "http://a.test/b/c", "http://a.test/b/e"),
        ("http:?e", "http://a.test/b/c?d", "http://a.test/b/c?e"),
        ("http:e.test", "https://a.test/b/c", "http://e.test/"),
        ("//u:p@b.test/", ROOT, "http://b.test/"),
        ("javascript:void(0)", ROOT, None),
        ("ftp:b", ROOT, None),
        ("//", ROOT, None),
        ("http://", ROOT, None),
        ("\ud800", ROOT, None),
        ("b", "mailto:a@a.test", None),
        ("b", "not a base", None),
        ("http://b.test/", "not a base", None),
    ],
)
def test_canonical_on_a_page(href: str, base: str, expected: str | None) -> None:
    """A link means what it means on its page; without a usable page it means nothing."""
    assert canonical(href, base) == expected


def test_longest_url() -> None:
    """A URL of 2,048 bytes as it would be sent is the longest; fragments and credentials are not sent."""
    longest = ROOT + "b" * (MAX_LENGTH - len(ROOT))
    assert canonical(longest) == longest
    assert canonical(longest + "c") is None
    assert canonical(longest + "#c") == longest
    assert canonical("c" * (MAX_LENGTH - len(ROOT)), ROOT) is not None
    assert canonical("c" * (MAX_LENGTH - len(ROOT) + 1), ROOT) is None
    assert canonical("é" * 338, ROOT) is not None  # six bytes each, when written out
    assert canonical("é" * 340, ROOT) is None
    assert canonical("b" * 50_000_000, ROOT) is None


@settings(deadline=None, max_examples=300)
@given(any_text | url_like, st.just("") | any_text | url_like)
@example("//a@b@c/@", ROOT)
@example("http://a.test/ \x00#", "")
def test_canonical_of_anything(url: str, base: str) -> None:
    """Whatever it is given, the result is None or an http URL that stays as it is when it is read again."""
    found = canonical(url, base)
    if found is None:
        return
    assert found.startswith(("http://", "https://"))
    assert found.isascii()
    assert found.isprintable()
    assert not {" ", "#"} & set(found)
    assert "\\" not in found.partition("?")[0]
    assert len(found) <= MAX_LENGTH
    assert canonical(found) == canonical(found, "https://other.test/x") == found
    origin, path = split(found)
    assert origin + path == found
    assert "@" not in origin
    assert path.startswith("/")
    assert hostname(origin) == hostname(found)
    assert hostname(origin)


@settings(deadline=None, max_examples=300)
@given(st.lists(relative | url_like | any_text, max_size=8), st.sampled_from(BASES), st.randoms())
def test_joiner(hrefs: list[str], base: str, order: random.Random) -> None:
    """Joined at once, links are what each would be alone: in order, each once, whatever was joined before."""
    joiner = Joiner()
    for other in order.sample(BASES, len(BASES)):
        joiner.join(other, hrefs[::-1])
    alone = [canonical(href, base) for href in hrefs]
    assert joiner.join(base, hrefs) == list(dict.fromkeys(url for url in alone if url is not None))


HREFS = [
    "", " ", "#", "#b", "?", "?b", " ?b", "\t#b", "\x01\n?b#c", "b", " b\n", "./b?c", "../b", "/b", "\\b",
    "//b.test", "?b/../c", "b?c/d", ".", "..", "...", "%2e%2e/b", "https://b.test/?c", "\n//\nb.test",
    "javascript:b", ":b",
]  # fmt: skip


@pytest.mark.parametrize("base", BASES)
def test_joiner_knows_what_depends_on_the_page(base: str) -> None:
    """Two pages of one folder share their links, but for those that keep more of the page's URL than its folder."""
    folder = base[: base.partition("?")[0].rindex("/") + 1]
    for href in HREFS:
        joiner = Joiner()
        for page in (base, folder, folder + "another?d=/e", base):
            url = canonical(href, page)
            assert joiner.join(page, [href]) == ([] if url is None else [url]), href


def test_joiner_order() -> None:
    """Links come in the order given, each once, however it is spelled; what has no meaning is left out."""
    hrefs = ["c", "b", "./c", "C", "javascript:d", "b#e", "/f/c", "//[", "a"]
    urls = [f"http://a.test/f/{name}" for name in ("c", "b", "C", "a")]
    joiner = Joiner()
    assert joiner.join("http://a.test/f/", hrefs) == urls
    assert joiner.join("http://a.test/f/", hrefs) == urls
    assert joiner.join("http://a.test/f/", []) == []


@pytest.mark.parametrize("folders", [1, 20, 1000])
def test_joiner_is_bounded(folders: int) -> None:
    """However many links a crawl has, what is kept of them is bounded, and forgetting changes no result."""
    joiner = Joiner(limit=1000)
    tracemalloc.start()
    try:
        for page in range(400):
            folder = f"http://a.test/{page % folders}/"
            assert joiner.join(folder, [f"{page}-{n}" for n in range(50)])[-1] == f"{folder}{page}-49"
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most < 500_000, most  # 20,000 links would be six times that


@pytest.mark.parametrize(
    ("url", "origin", "path", "host"),
    [
        (ROOT, "http://a.test", "/", "a.test"),
        ("https://a.test:8443/b/c?d/e", "https://a.test:8443", "/b/c?d/e", "a.test"),
        ("http://a.test/?b://c/", "http://a.test", "/?b://c/", "a.test"),
        ("http://127.0.0.1:80801/", "http://127.0.0.1:80801", "/", "127.0.0.1"),
        ("http://[::1]/", "http://[::1]", "/", "::1"),
        ("https://[2001:db8::1]:8443/b", "https://[2001:db8::1]:8443", "/b", "2001:db8::1"),
        ("http://b/", "http://b", "/", "b"),
    ],
)
def test_split(url: str, origin: str, path: str, host: str) -> None:
    """A URL is its host's key and a path; the host's name is read from either, without port and brackets."""
    assert split(url) == (origin, path)
    assert hostname(url) == hostname(origin) == host


paths = st.lists(st.sampled_from(["/", "a", "b/", "?", "=", "é"]), max_size=8).map(lambda pieces: "/" + "".join(pieces))
identities = st.sampled_from(["", "download", "POST 00", "key a", "key a\n/"])


@settings(deadline=None)
@given(st.sets(st.tuples(paths, identities), max_size=20), st.binary(min_size=16, max_size=16))
def test_fingerprints(requests: set[tuple[str, str]], key: bytes) -> None:
    """Under one key a request has one name of 64 bits, always the same, and no other request has it."""
    names = [Fingerprints(key).of(*request) for request in requests]
    one = Fingerprints(key)
    assert [one.of(*request) for request in requests] == names
    assert len(set(names)) == len(requests)
    assert all(-(1 << 63) <= name < 1 << 63 for name in names)


def test_fingerprints_outlive_the_program() -> None:
    """Fingerprints stand in journals: these may not change, or every resumed job would fetch all its pages again."""
    fingerprints = Fingerprints(bytes(range(16)))
    assert fingerprints.of("/") == 2445357155119359928
    assert fingerprints.of("/b/c?d=/e") == -8417195331108427418
    assert fingerprints.of("/b/c?d=/e", "POST 00") == 6555575169437583980


def test_fingerprints_are_keyed() -> None:
    """Who lacks the key cannot tell two URLs that meet; nor are two folders side by side under every key."""
    one, other = Fingerprints(b"k" * 16), Fingerprints(b"l" * 16)
    paths = [f"/{n}/" for n in range(1000)]
    assert not {one.of(path) for path in paths} & {other.of(path) for path in paths}
    assert {one.of(path) >> 40 for path in paths} != {other.of(path) >> 40 for path in paths}
    assert len({one.of(path, "key") for path in paths} | {other.of(path, "key") for path in paths}) == 2000


def test_pages_of_a_folder_lie_together() -> None:
    """The high 24 bits are the folder's, wherever the query has its slashes; a folder below is another one."""
    fingerprints = Fingerprints(b"k" * 16)
    together = ["/b/", "/b/c", "/b/d?e", "/b/?f/g", "/b/h?i/j/../k"]
    assert len({fingerprints.of(path) >> 40 for path in together}) == 1
    assert len({fingerprints.of(path) for path in together}) == len(together)
    assert len({fingerprints.of(path) >> 40 for path in ("/", "/b/", "/c/", "/b/c/")}) == 4


def test_fingerprints_forget_folders_safely() -> None:
    """Remembered folders are bounded, and a forgotten one gets the same bits again."""
    fingerprints = Fingerprints(b"k" * 16)
    before = fingerprints.of("/first/page")
    tracemalloc.start()
    try:
        spread = {fingerprints.of(f"/{n}/") >> 63 for n in range(25_000)}
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert spread == {0, -1}  # both halves of the range are used
    assert most < 2_000_000, most  # 25,000 folders would be half as much again
    assert fingerprints.of("/first/page") == before


START = "http://a.test/b/c?d"


@pytest.mark.parametrize("base", [START, "https://a.test/b/c"])
@pytest.mark.parametrize("href", ["http:?e", "http:", "http:#e", "HTTP:\t?e", "ht\ntps:?e", " https: ", "https:\n#e"])
def test_joiner_knows_a_scheme_alone(href: str, base: str) -> None:
    """A link that is a scheme without a host is relative where the page has that scheme, and keeps its last segment."""
    url = canonical(href, base)
    assert Joiner().join(base, [href]) == ([] if url is None else [url])


def test_joiner_does_not_hold_long_hrefs() -> None:
    """A hostile page's megabytes of hrefs are not kept."""
    joiner = Joiner()
    tracemalloc.start()
    try:
        for page in range(20):
            assert joiner.join(f"http://a.test/{page}/", ["e" * 500_000 + str(page)]) == []
        kept = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert kept < 1_000_000, kept


@pytest.mark.parametrize("hrefs", [[], ["?e", "#f"]])
def test_joiner_does_not_hold_every_folder(hrefs: list[str]) -> None:
    """Folders are bounded too: also those whose pages link to nothing that is worth remembering."""
    joiner = Joiner(limit=1000)
    tracemalloc.start()
    try:
        for page in range(20_000):
            joiner.join(f"http://a.test/{page}/", hrefs)
        kept = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert kept < 500_000, kept


@pytest.mark.parametrize("url", ["http://a.test/e#" + "f" * 10_000, " " * 10_000 + "http://a.test/e"])
def test_what_is_not_sent_has_no_length(url: str) -> None:
    """The limit of 2,048 bytes is for what is sent: fragments and white space may be as long as they like."""
    assert canonical(url) == "http://a.test/e"
