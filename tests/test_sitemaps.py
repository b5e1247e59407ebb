"""Sitemaps and feeds as they are found in the wild, and as an enemy writes them."""

import gzip
import time
import zlib
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from crawler.errors import UnsupportedEncoding
from crawler.sitemaps import MAX_BYTES, MAX_URLS, Entry, Reader, moments, since

A, B = "https://a.test/", "https://a.test/b?c=1&d=2"
NS = 'xmlns="http://www.sitemaps.org/schemas/sitemap/0.9"'


def read(data: bytes, *, encoding: str = "", size: int = 1 << 16) -> tuple[list[Entry], Reader]:
    """All entries of a file that comes in pieces of `size` bytes."""
    reader = Reader(encoding)
    found: list[Entry] = []
    for start in range(0, len(data), size):
        for entries in reader.feed(data[start : start + size]):
            found += entries
    return found + reader.finish(), reader


def urls(data: bytes | str, *, encoding: str = "") -> list[str]:
    return [entry.url for entry in read(data.encode() if isinstance(data, str) else data, encoding=encoding)[0]]


def url(loc: str, more: str = "") -> str:
    return f"<url><loc>{loc}</loc>{more}</url>"


def urlset(*locs: str) -> str:
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<urlset {NS}>{"".join(map(url, locs))}</urlset>'


def at(*date: int) -> float:
    return datetime(*date, tzinfo=UTC).timestamp()  # type: ignore[misc, arg-type]  # year, month, day and so on


ONE = urlset(A)
FEED = """<rss version="2.0" xmlns:atom="http://www.w3.org/2005/Atom"><channel><link>https://a.test/home</link>
<atom:link rel="self" href="https://a.test/rss"/><title>T</title><item><title>One</title><link><![CDATA[https://a.test/]]>
</link><atom:link href="https://a.test/no"/><pubDate>Fri, 17 May 2024 10:00:00 +0200</pubDate></item></channel></rss>"""
ATOM = """<feed xmlns="http://www.w3.org/2005/Atom"><link href="https://a.test/home"/><entry>
<link rel="edit" href="https://a.test/edit"/><link href="https://a.test/"/><link rel="alternate" href="https://a.test/2"/>
<updated>2024-05-17T08:00:00Z</updated></entry></feed>"""
RDF = """<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns="http://purl.org/rss/1.0/">
<channel><link>https://a.test/home</link></channel><item><link>https://a.test/</link></item></rdf:RDF>"""
NEIGHBOURS = f"""<urlset {NS} xmlns:image="i"><url><image:loc>https://a.test/x</image:loc><image:image><image:loc>
https://a.test/i.png</image:loc></image:image><xhtml:link rel="alternate" href="https://a.test/de"/><loc>{A}</loc>
<link rel="alternate" href="https://a.test/fr"/><changefreq>daily</changefreq></url></urlset>"""
PREFIXED = f'<s:urlset xmlns:s="x"><s:url><s:loc>{A}</s:loc></s:url></s:urlset>'


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (ONE, [A]),
        (urlset("  \n https://a.test/\t ", "https://a.test/b?c=1&amp;d=2"), [A, B]),
        (urlset("<![CDATA[https://a.test/b?c=1&d=2]]>", "&#104;ttps&#x3A;//a.test/"), [B, A]),
        (urlset("HTTPS://A.test:443", "https://a.test/ü", "https://u:p@a.test/#f"), [A, "https://a.test/%C3%BC", A]),
        (f"<sitemapindex {NS}><sitemap><loc>{A}</loc></sitemap></sitemapindex>", [A]),
        (FEED, [A]),
        (ATOM, [A]),
        (RDF, [A]),
        (NEIGHBOURS, [A]),
        (PREFIXED, [A]),
        (f"<URLSET><Url><LOC>{A}</LOC></Url></URLSET>", [A]),
        (f"<urlset>{url(A)}</urlset>", [A]),
        (f"<urlset><url><loc/><loc>{A}</loc><loc></loc></url></urlset>", [A]),
        (f"<urlset><!-- {url(B)} --><?pi {B}?>{url(f'{A}<b>x</b>')}</urlset>", [A]),
        (f"\r\n\r\n  {ONE}", [A]),
        (f"{A}\r\n{B}\n\n  {A}  \r{B}", [A, B, A, B]),
        (f"\ufeff{A}\n", [A]),
        (f"\ufeff{ONE}", [A]),
        ("<urlset/>", []),
    ],
)
def test_formats(data: str, expected: list[str]) -> None:
    """Index, sitemap, RSS, RDF, Atom and plain text, whatever their prefixes, white space and way to quote."""
    for raw in (
        data.encode(),
        gzip.compress(data.encode()),
        gzip.compress(data[:9].encode()) + gzip.compress(data[9:].encode()),
    ):  # one table
        found, reader = read(raw)
        assert [entry.url for entry in found] == expected
        assert (reader.fault, reader.refused) == ("", 0)


def test_facts() -> None:
    """An entry has the latest moment that its lastmod can mean, and its priority; what is no such thing is left out."""
    more = ("<lastmod>2024-05-17</lastmod><priority>0.8</priority>", "<lastmod>x</lastmod><priority>7</priority>", "")
    found, _ = read(f"<urlset>{''.join(url(A, one) for one in more)}</urlset>".encode())
    assert found == [Entry(A, modified=at(2024, 5, 18), priority=0.8), Entry(A), Entry(A)]
    (one,), _ = read(FEED.encode())
    (other,), _ = read(ATOM.encode())
    assert one == other == Entry(A, modified=at(2024, 5, 17, 8))
    (child,), _ = read(
        f"<sitemapindex><sitemap><loc>{A}</loc><lastmod>2024</lastmod></sitemap></sitemapindex>".encode()
    )
    assert child == Entry(A, is_sitemap=True, modified=at(2025, 1, 1))


@pytest.mark.parametrize(
    "refused",
    ["/relative", "b.html", "//a.test/", "javascript:alert(1)", "file:///etc/passwd", "ftp://a.test/", "data:,x", "",
     "https://", "http://a b/", "https://a.test/" + "x" * 2048, "https://a.test/" + "x" * 100_000],
)  # fmt: skip
def test_refused_urls(refused: str) -> None:
    """Only absolute http and https URLs count; the others are counted, and the rest is read on."""
    found, reader = read(urlset(refused, A).encode())
    assert [entry.url for entry in found] == [A]
    assert (reader.fault, reader.refused) == ("", 1)
    if refused:
        assert urls(f"{refused}\n{A}") == [A]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (ONE.replace("UTF-8", "iso-8859-1").replace(A, A + "ü").encode("latin-1"), [A + "%C3%BC"]),
        (ONE.replace("UTF-8", "windows-1251").replace(A, A + "я").encode("cp1251"), [A + "%D1%8F"]),
        (ONE.replace("UTF-8", "UTF-16").encode("utf-16"), [A]),
        (ONE.replace("UTF-8", "UTF-16").encode("utf-16-be"), [A]),
        (f"{A}\n{B}".encode("utf-16"), [A, B]),
        (ONE.replace("UTF-8", "UTF-16").encode(), [A]),  # it is not
        (ONE.replace("UTF-8", "shift_jis").replace(A, A + "日").encode("shift_jis"), [A + "%E6%97%A5"]),
        (ONE.replace("UTF-8", "no-such-thing").replace(A, A + "ü").encode(), [A + "%C3%BC"]),
    ],
)
def test_encodings(data: bytes, expected: list[str]) -> None:
    """A byte order mark counts, then what is declared, if it can be true."""
    assert urls(data) == expected


def test_wrong_encoding_in_one_place() -> None:
    """A URL with bytes that are no characters is refused; those beside it are not."""
    found, reader = read(urlset(A, *(f"{A}{n}" for n in range(100))).encode().replace(b"test/99<", b"test/\xfc<"))
    assert (len(found), reader.fault, reader.refused) == (100, "", 1)


LAUGHS = f"""<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY lol "lol">{
    "".join(f'<!ENTITY lol{n} "{f"&lol{n - 1 or chr(0)};".replace(chr(0), "") * 10}">' for n in range(1, 10))
}]>{url("&lol9;")}"""
XXE = f'<!DOCTYPE u [<!ENTITY x SYSTEM "file:///etc/passwd">]><urlset>{url("https://a.test/&x;")}</urlset>'


@pytest.mark.parametrize(
    ("data", "expected", "fault"),
    [
        ("", [], "it is empty"),
        (" \n ", [], "it is empty"),
        ("404 not found\nsorry", [], "none of its lines is a URL"),
        ("<!DOCTYPE html><html><body>404</body></html>", [], "DOCTYPE"),
        ("<html><body>404</body></html>", [], "its root is <html>"),
        ('{"error": 404}', [], "none of its lines"),
        (LAUGHS, [], "DOCTYPE"),
        (XXE, [], "DOCTYPE"),
        (f'<!DOCTYPE urlset SYSTEM "http://evil.test/x.dtd">{ONE}', [], "DOCTYPE"),
        (ONE.replace("</urlset>", url("https://a.test/&nbsp;")), [A], "broken at line 2: undefined entity"),
        (ONE.replace("</urlset>", url("https://a.test/?b=1&c=2")), [A], "broken at line 2: not well-formed"),
        (ONE.replace("</urlset>", "<url><loc>https://a.test/cu"), [A], "broken at line 2: no element found"),
        (ONE.replace("</urlset>", "<url><loc>https://a.test/cut</loc"), [A], "broken at line 2: unclosed token"),
        (ONE.replace("</urlset>", "</url>"), [A], "broken at line 2: mismatched tag"),
        (ONE + ONE, [A], "broken at line 2"),
        (ONE + "<p>powered by</p>", [A], "broken at line 2: junk after document element"),
        (ONE.replace("</urlset>", f"\x0b{url(B)}"), [A], "broken at line 2: not well-formed"),
        ("<urlset>" * 100, [], "nested deeper than 64"),
        ("no url\n" * 5000, [], "none of its lines"),
    ],
)  # fmt: skip
def test_faults(data: str, expected: list[str], fault: str) -> None:
    """What is no sitemap says so; of a broken one what stands before the break is kept. No entity is ever resolved."""
    found, reader = read(data.encode())
    assert [entry.url for entry in found] == expected
    assert fault in reader.fault


MANY = urlset(*(f"{A}{n}" for n in range(3000))).encode()


@pytest.mark.parametrize(
    ("data", "encoding", "fault"),
    [
        (gzip.compress(MANY)[:-2000], "", "stops before its end"),
        (gzip.compress(MANY)[:-2000], "gzip", "stops before its end"),
        (zlib.compress(MANY)[:-2000], "deflate", "stops before its end"),
        (gzip.compress(MANY)[:-8] + b"\xff" * 8, "", "not gzip, or damaged"),
        (gzip.compress(MANY[:-2000]), "gzip", "broken at line"),
    ],
)
def test_cut_and_damaged(data: bytes, encoding: str, fault: str) -> None:
    """A compressed file that is cut or damaged has given its entries up to there."""
    found, reader = read(data, encoding=encoding)
    assert 100 < len(found) <= 3000
    assert found[99].url == f"{A}99"
    assert fault in reader.fault


@pytest.mark.parametrize("encoding", ["", "gzip", "identity", "x-gzip"])
def test_a_file_that_is_gzip(encoding: str) -> None:
    """A .gz file is unpacked whether or not the server compresses it once more, or says that it has."""
    packed = gzip.compress(ONE.encode(), mtime=0)
    assert urls(gzip.compress(packed) if "gzip" in encoding else packed, encoding=encoding) == [A]
    if "gzip" in encoding:
        assert urls(packed, encoding=encoding) == [A]


def test_unknown_content_encoding() -> None:
    """An encoding that nobody can read is an error before anything is read."""
    with pytest.raises(UnsupportedEncoding):
        Reader("snappy")


def test_most_urls() -> None:
    """Of more than 50,000 entries the first 50,000 count, and that is said."""
    full, reader = read(urlset(*(f"{A}{n}" for n in range(MAX_URLS))).encode())
    assert (len(full), reader.fault) == (MAX_URLS, "")
    for data in (urlset(*(f"{A}{n}" for n in range(60_000))), "".join(f"{A}{n}\n" for n in range(60_000))):
        found, reader = read(data.encode())
        assert found == full
        assert "more than 50,000" in reader.fault


def bomb(data: bytes, times: int) -> bytes:
    """A gzip file of some KiB: the same piece over and over."""
    packer = zlib.compressobj(9, wbits=31)
    return b"".join(packer.compress(data) for _ in range(times)) + packer.flush()


HOSTILE: dict[str, Callable[[], tuple[bytes, str]]] = {
    "bomb": lambda: (bomb(b" " * (1 << 20), 60), ""),
    "bomb in a bomb": lambda: (gzip.compress(bomb(b"\0" * (1 << 20), 60)), "gzip"),
    "one attribute": lambda: (b"<urlset a='" + b"x" * (4 << 20), ""),
    "one comment": lambda: (b"<urlset><!--" + b"x" * (4 << 20), ""),
    "one name": lambda: (b"<" + b"x" * (4 << 20), ""),
    "one text": lambda: (b"<urlset><url><loc>" + b"x" * (4 << 20), ""),
    "one line": lambda: (b"x" * (4 << 20), ""),
    "elements": lambda: (b"<urlset>" + b"<a/>" * (1 << 19), ""),
    "ampersands": lambda: (b"<urlset><url><loc>" + b"&amp;" * (1 << 19), ""),
    "empty entries": lambda: (b"<urlset>" + b"<url/>" * (1 << 18), ""),
    "members": lambda: (gzip.compress(b"") * 50_000, ""),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile(name: str) -> None:
    """Made to cost time or memory, a file costs little, step by step, and is given up or read."""
    data, encoding = HOSTILE[name]()
    began = time.process_time()
    found, reader = read(data, encoding=encoding)
    assert not found
    assert reader.fault
    assert time.process_time() - began < 5.0


def test_too_long() -> None:
    """What lies within the first 50 MiB is kept, not a byte more is read."""
    line = f"{A}{'x' * 1500}\n".encode()
    found, reader = read(line * (MAX_BYTES // len(line) + 50))
    assert len(line) * len(found) <= MAX_BYTES < len(line) * (len(found) + 100)
    assert "over 52428800 bytes" in reader.fault
    assert list(reader.feed(line)) == [] == reader.finish()


@pytest.mark.parametrize("data", [ONE, FEED, ATOM, f"{A}\n{B}", XXE, "", "<a"])
@pytest.mark.parametrize("size", [1, 3, 1000])
@pytest.mark.parametrize("packed", [False, True])
def test_pieces(data: str, size: int, packed: bool) -> None:
    """It makes no difference in which pieces a file comes."""
    raw = gzip.compress(data.encode()) if packed else data.encode()
    whole, piecewise = read(raw), read(raw, size=size)
    assert whole[0] == piecewise[0]
    assert (whole[1].fault, whole[1].refused) == (piecewise[1].fault, piecewise[1].refused)


TOKENS = [
    "<urlset>", "</urlset>", "<sitemapindex>", "<sitemap>", "</sitemap>", "<rss>", "<item>", "<feed>", "<entry>",
    "<url>", "</url>", "<loc>", "</loc>", "<lastmod>", "</lastmod>", "<priority>", "</priority>", A, B, "2024-05",
    "9999", "0000-00-00T99:99:99+99:99", "nan", "inf", "<link href='x'/>", "<!--", "-->", "<![CDATA[", "]]>",
    "&amp;", "&x;", "\n", "\0", "\ufeff", "ü", "<?xml version='1.0' encoding='utf-16'?>", "<!DOCTYPE a>", "<", ">", ":",
    "x:",
]  # fmt: skip


@settings(deadline=None)
@given(st.lists(st.sampled_from(TOKENS)).map("".join).map(str.encode) | st.binary(), st.booleans(), st.integers(1, 60))
@example(b"<urlset><url><loc>x</loc><lastmod>Mon, 01 Jan 0000 00:00:00 +9999</lastmod></url></urlset>", False, 1)
@example(b"<urlset><url><priority>0.5</priority><loc>https://a.test</loc><url>https://b.test</url></url>", False, 1)
def test_anything(data: bytes, is_packed: bool, size: int) -> None:
    """No bytes make it raise; what is found is absolute, canonical and http or https."""
    found, _ = read(gzip.compress(data) if is_packed else data, size=size)
    assert all(entry.url.startswith(("http://", "https://")) for entry in found)
    assert all(entry.priority is None or 0 <= entry.priority <= 1 for entry in found)


@settings(deadline=None)
@given(st.text(max_size=40) | st.from_regex(r"[0-9]{4}(-[0-9]{2}){0,2}(T[0-9:]{5,8}([+-][0-9:]{5})?)?", fullmatch=True))
def test_any_date(text: str) -> None:
    """No text makes a date raise; its first moment is not after its last one."""
    span = moments(text)
    assert span is None or span[0] <= span[1]


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("2024", at(2024, 1, 1), at(2025, 1, 1)),
        ("2023", at(2023, 1, 1), at(2024, 1, 1)),
        ("2024-02", at(2024, 2, 1), at(2024, 3, 1)),
        ("2024-12", at(2024, 12, 1), at(2025, 1, 1)),
        (" 2024-05-17\n", at(2024, 5, 17), at(2024, 5, 18)),
        ("2024-05-17T08:30Z", at(2024, 5, 17, 8, 30), at(2024, 5, 17, 8, 30)),
        ("2024-05-17T08:30:59.123+02:00", at(2024, 5, 17, 6, 30, 59), at(2024, 5, 17, 6, 30, 59)),
        ("2024-05-17t08:30:60-0130", at(2024, 5, 17, 10, 0, 59), at(2024, 5, 17, 10, 0, 59)),
        ("2024-05-17 08:30:01", at(2024, 5, 17, 8, 30, 1), at(2024, 5, 17, 8, 30, 1)),
        ("Fri, 17 May 2024 10:00:00 GMT", at(2024, 5, 17, 10), at(2024, 5, 17, 10)),
        ("Fri, 17 May 2024 10:00:00 -0000", at(2024, 5, 17, 10), at(2024, 5, 17, 10)),
    ],
)  # fmt: skip
def test_dates(text: str, first: float, last: float) -> None:
    """A date is the time from its first to its last moment, as exactly as it was given."""
    assert moments(text) == (first, last)


@pytest.mark.parametrize(
    "text", ["", "yesterday", "2024-13", "2024-02-30", "2024-5-1", "17.05.2024", "0000", "20240517"]
)
def test_no_dates(text: str) -> None:
    """What is no date of these forms is none."""
    assert moments(text) is None


def test_since() -> None:
    """What is new begins at the first moment of a date, or so long before now."""
    now = at(2024, 5, 17, 12)
    assert since("2024-05", now) == at(2024, 5, 1)
    assert since("2024", now) == at(2024, 1, 1)
    assert since("36h", now) == at(2024, 5, 16)
    with pytest.raises(ValueError, match="last week"):
        since("last week", now)


def test_steps_are_short() -> None:
    """However a file is packed and comes in, a step of reading it gives some hundred entries at most."""
    data = "".join(["<urlset>", *(url(f"{A}{n}") for n in range(20_000))]).encode()
    for whole in (data, gzip.compress(data), gzip.compress(gzip.compress(data))):
        reader = Reader("gzip" if whole.startswith(b"\x1f") else "")
        steps = [len(entries) for entries in reader.feed(whole)]
        assert sum(steps) > 19_000
        assert max(steps) < 1500


def test_time_is_linear() -> None:
    """Twice the file takes about twice the time, and a piece of it a few milliseconds."""

    def took(count: int) -> float:
        data = gzip.compress("".join(["<urlset>", *(url(f"{A}{n}") for n in range(count))]).encode())
        began = time.process_time()
        assert len(read(data)[0]) == count
        return time.process_time() - began

    assert min(took(20_000) for _ in range(3)) < 5 * min(took(10_000) for _ in range(3))
