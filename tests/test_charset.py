"""Which encoding a body is in: the WHATWG's table and order, and never a codec that the net named."""
# ruff: noqa: RUF001 -- look-alike letters of other scripts are what this is about

import codecs
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import charset_normalizer
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from crawler import charset
from crawler.charset import codec_for, decode, sniff

TABLE = set(charset._LABELS)
EVERY_HUMAN = {
    "cp1250": "Všichni lidé rodí se svobodní a sobě rovní co do důstojnosti a práv. Jsou nadáni rozumem a svědomím.",
    "cp1251": "Все люди рождаются свободными и равными в своем достоинстве и правах. Они наделены разумом и совестью.",
    "koi8_r": "Все люди рождаются свободными и равными в своем достоинстве и правах. Они наделены разумом и совестью.",
    "cp1252": "Todos los seres humanos nacen libres e iguales en dignidad y derechos, dotados como están de razón.",
    "cp1253": "Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι στην αξιοπρέπεια και τα δικαιώματα, με συνείδηση.",
    "cp1255": "כל בני האדם נולדו בני חורין ושווים בערכם ובזכויותיהם. כולם חוננו בתבונה ובמצפון, "
    "לפיכך חובה עליהם לנהוג איש ברעהו ברוח של אחווה.",
    "cp1256": "يولد جميع الناس أحراراً متساوين في الكرامة والحقوق. وقد وهبوا عقلاً وضميراً.",
    "cp874": "มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกันในเกียรติศักดิ์และสิทธิ ต่างมีเหตุผลและมโนธรรม",
    "cp932": "すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。",
    "euc_jp": "すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。",
    "gb18030": "人人生而自由，在尊严和权利上一律平等。他们赋有理性和良心，并应以兄弟关系的精神相对待。",
    "big5hkscs": "人人生而自由，在尊嚴和權利上一律平等。他們賦有理性和良心，並應以兄弟關係的精神相對待。",
    "cp949": "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다.",
}


LABELS = """
utf-8 utf-8, UTF8 utf-8, unicode-1-1-utf-8 utf-8, latin1 cp1252, ISO-8859-1 cp1252, us-ascii cp1252, ibm866 cp866,
iso-8859-9 cp1254, iso-8859-11 cp874, windows-874 cp874, tis-620 cp874, iso-8859-8-i iso8859_8, visual iso8859_8,
koi8-u koi8_u, x-mac-cyrillic mac_cyrillic, macintosh mac_roman, gb2312 gb18030, gbk gb18030, big5 big5hkscs,
shift_jis cp932, x-sjis cp932, euc-jp euc_jp, iso-2022-jp iso2022_jp_ext, euc-kr cp949, ks_c_5601-1987 cp949,
utf-16 utf_16_le, utf-16be utf_16_be, unicodefeff utf_16_le, x-user-defined cp1252, replacement ascii,
hz-gb-2312 ascii, iso-2022-kr ascii
"""


@pytest.mark.parametrize(("label", "codec"), [row.split() for row in LABELS.split(",")])
@pytest.mark.parametrize("space", ["", " \t\r\n\f"])
def test_a_label_means_what_the_encoding_standard_says(label: str, codec: str, space: str) -> None:
    """Labels stand for the standard's encodings, not for what Python would call by that name."""
    assert codec_for(space + label + space) == codec


@pytest.mark.parametrize(
    "label",
    [
        *("rot13", "rot_13", "zlib", "zip", "bz2", "base64", "hex", "uu", "quopri", "idna", "punycode", "undefined"),
        *("unicode_escape", "raw_unicode_escape", "mbcs", "oem", "utf-7", "utf_7", "unicode-1-1-utf-7", "utf-32"),
        *("utf_8_sig", "utf_16", "cp437", "cp037", "cp500", "latin_1", "iso8859_1", "johab", "utf 8", "u" * 9999),
        *("", " ", "utf-8\x0b", "\xa0utf-8", "\u212aoi8", "utf\u20108", "é"),
    ],
)
def test_what_only_python_knows_is_no_encoding(label: str) -> None:
    """Neither Python's other names are labels, nor look-alikes that Unicode's lower case or strip would let in."""
    assert codec_for(label) is None
    assert sniff("é".encode(), f"text/html; charset={label}") == "utf-8"


def test_the_whole_table_is_there() -> None:
    """The standard has 228 labels of 40 encodings, each for a codec that takes any bytes and leaves ASCII."""
    labels = {label for labels in charset._LABELS.values() for label in labels.split()}
    assert len(labels) == 228 == sum(len(labels.split()) for labels in charset._LABELS.values())
    assert all(label == label.lower() and codec_for(label) in TABLE for label in labels)
    for codec in TABLE:
        assert decode(bytes(range(256)) * 2 + b"\x1b$B\xff\x1b(J", codec)
        assert codec.startswith("utf_16") or decode(b"<a href='/x'>text", codec) == "<a href='/x'>text"


META = b"<meta charset=koi8-r>"


@pytest.mark.parametrize(
    ("body", "content_type", "codec"),
    [
        (codecs.BOM_UTF8 + META, "text/html; charset=gbk", "utf-8"),
        (codecs.BOM_UTF16_LE + b"h\0i\0", "text/html; charset=gbk", "utf_16_le"),
        (codecs.BOM_UTF16_BE + b"\0h\0i", "text/html; charset=gbk", "utf_16_be"),
        (META, "text/html; charset=gbk", "gb18030"),
        (META, "text/html; charset=no-such", "koi8_r"),
        (META + "é".encode(), "text/html", "koi8_r"),
        ("é".encode(), "text/html", "utf-8"),
        ("é".encode(), "text/html; charset=latin1", "cp1252"),
        (b"", "", "utf-8"),
        (bytes(range(1, 256)) * 20, "", "cp1252"),
        (b"<meta charset=utf-16>", "text/html", "utf-8"),
        (b"<meta charset=utf-16be>", "text/html", "utf-8"),
        (b'<?xml version="1.0" encoding="utf-16"?><rss>', "", "utf-8"),
        (b"<meta charset=x-user-defined>", "", "cp1252"),
        ('<?xml version="1.0"?><a/>'.encode("utf_16_le"), "", "utf_16_le"),
        ('<?xml version="1.0"?><a/>'.encode("utf_16_be"), "", "utf_16_be"),
        (b"h\0i\0", "text/html; charset=utf-16", "utf_16_le"),
        (b"\0h\0i", "text/html; charset=utf-16be", "utf_16_be"),
    ],
)
def test_the_first_that_knows_decides(body: bytes, content_type: str, codec: str) -> None:
    """Byte order mark, header, declaration in the page (where UTF-16 means UTF-8), valid UTF-8, windows-1252."""
    assert sniff(body, content_type) == codec


KOI8_HEADERS = (
    *("text/html;charset=koi8-r", "text/html; Charset=KOI8-R", "text/html ;\tcharset = koi8-r ", ";;; charset=koi8-r"),
    *('text/html; charset="koi8-r"', 'text/html; charset="koi8-r', "text/html; version=1; charset=koi8-r; x=y"),
    *("text/html; charset=koi8-r; charset=gbk", 'text/html; title="; charset=gbk"; charset=koi8-r'),
    r'text/html; title="\"; charset=gbk"; charset=koi8-r',
)
UNKNOWING_HEADERS = (
    *("text/html; charset=", "text/html; charset", "text/html; xcharset=koi8-r", "charset=koi8-r"),
    *("text/html; charset=koi8-r, text/html", "text/html; charset=koi8-r gbk", 'text/html; x="; charset=koi8-r'),
)


@pytest.mark.parametrize("content_type", KOI8_HEADERS + UNKNOWING_HEADERS)
def test_the_header_gives_its_first_charset_parameter(content_type: str) -> None:
    """Parameters are read with their quotes and spaces; what is not one known label declares nothing."""
    assert sniff(b"plain", content_type) == ("koi8_r" if content_type in KOI8_HEADERS else "utf-8")


@pytest.mark.parametrize(
    "head",
    [
        *(b"<meta charset=gbk>", b'<META CHARSET="GBK">', b"<meta charset='gbk'/>", b"<meta/charset=gbk>"),
        *(b"<meta name=x charset = gbk >", b"<meta charset=gbk charset=koi8-r>", b" " * 1003 + b"<meta charset=gbk>"),
        b"<meta http-equiv=content-type content='text/html; charset=gbk'>",
        b'<meta content="text/html; charset=gbk" http-equiv="Content-Type">',
        b"<meta http-equiv=content-type content=\"text/html; charset='gbk'\">",
        b"<meta http-equiv=content-type content='charset; charset = gbk;x'>",
        b"<meta http-equiv=content-type content='charset=koi8-r' charset=gbk>",
        b"<meta charset=rot13><meta charset=gbk>",
        b"<!doctype html><html lang=en><head><title>a < b</title><meta charset=gbk>",
        *(b"<!-- <meta charset=koi8-r> --><meta charset=gbk>", b"<!--><meta charset=gbk>"),
        b"<a title='<meta charset=koi8-r>'><meta charset=gbk>",
        b"<? <meta charset=koi8-r> ?><meta charset=gbk>",
        *(b'<?xml version="1.0" encoding="gbk"?><rss>', b"<?xml version='1.0' encoding = 'GBK' ?><rss>"),
        b'<?xml version="1.0" encoding="koi8-r"?><meta charset=gbk>',
    ],
)
def test_a_page_declares_its_encoding(head: bytes) -> None:
    """The HTML Standard's prescan of the first 1,024 bytes, and XML's declaration."""
    assert sniff(head + b"<p>text", "text/html") == "gb18030"


@pytest.mark.parametrize(
    "head",
    [
        *(b"<metacharset=gbk>", b"<meta>charset=gbk", b"<meta charset=rot13>", b"</meta charset=gbk>"),
        *(b"<meta charset=gbk", b"<meta charset='gbk>", b"<p>charset=gbk", b" " * 1010 + b"<meta charset=gbk>"),
        *(b"<!-- <meta charset=gbk>", b"<!-- <meta charset=gbk> -->", b"<a title='<meta charset=gbk>'>"),
        *(b"<!doctype '<meta charset=gbk'>", b"<meta content='text/html; charset=gbk'>"),
        b"<meta http-equiv=refresh content='text/html; charset=gbk'>",
        b"<meta http-equiv=content-type content='charset=\"gbk'>",
        b"<meta http-equiv=content-type content='charset=;gbk'>",
        *(b" <?xml version='1.0' encoding='gbk'?>", b"<?xml version='1.0' encoding='g bk'?>"),
        *(b"<?xml version='1.0' encoding=gbk?>", b"<?xml version='1.0' encoding='gbk'"),
        *(b"<?xml encoding version='1.0' encoding='gbk'?>", b'<?xml encoding=""?>', b"<?xml encoding=''?>"),
    ],
)
def test_what_only_looks_like_a_declaration_is_none(head: bytes) -> None:
    """Comments, other attributes, cut tags and text after the first 1,024 bytes declare nothing."""
    assert sniff(head, "text/html") == "utf-8"


@pytest.mark.parametrize(
    ("content_types", "codec"),
    [
        (("application/json", "text/plain; x=html", "application/ld+json"), "utf-8"),
        (("", "TEXT/HTML", "application/xhtml+xml", "application/rss+xml; charset="), "gb18030"),
    ],
)
def test_only_markup_declares_its_encoding(content_types: tuple[str, ...], codec: str) -> None:
    """A piece of HTML quoted in JSON or plain text says nothing about these."""
    assert {sniff(b'{"html": "<meta charset=gbk>"}', content_type) for content_type in content_types} == {codec}


SPACE = b"\t\n\x0c\r "


class Prescan:
    """The HTML Standard's prescan, byte by byte; IndexError or ValueError where it runs past the bytes it has."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data.lower(), 0

    def over(self, those: bytes, *, but: bool = False) -> bytes:
        start = self.at
        while (self.data[self.at] in those) is not but:
            self.at += 1
        return self.data[start : self.at]

    def attribute(self) -> tuple[bytes, bytes] | None:
        self.over(SPACE + b"/")
        start = self.at
        if self.data[start] in b">":
            return None
        self.at += 1
        self.over(SPACE + b"/>=", but=True)
        name = self.data[start : self.at]
        self.over(SPACE)
        if self.data[self.at] not in b"=":
            return name, b""
        self.at += 1
        self.over(SPACE)
        quote = self.data[self.at : self.at + 1]
        if quote not in (b'"', b"'"):
            return name, self.over(SPACE + b">", but=True)
        self.at += 1
        value = self.over(quote, but=True)
        self.at += 1
        return name, value

    def meta(self) -> str | None:
        seen: dict[bytes, bytes] = {}
        found = need_pragma = None
        while attribute := self.attribute():
            name, value = attribute
            if name == b"content" and name not in seen and found is None and need_pragma is None:
                found = content_charset(value)
                need_pragma = True if found else None
            elif name == b"charset" and name not in seen:
                found, need_pragma = codec_for(value.decode("latin-1")), False
            seen.setdefault(name, value)
        return None if need_pragma and seen.get(b"http-equiv") != b"content-type" else found

    def run(self) -> str | None:
        while self.at < len(self.data):
            rest = self.data[self.at : self.at + 6]
            if rest.startswith(b"<!--"):
                self.at = self.data.index(b"-->", self.at + 2) + 2
            elif rest[:5] == b"<meta" and rest[5:] and rest[5:] in SPACE + b"/":
                self.at += 5
                if codec := self.meta():
                    return codec
            elif rest[:1] == b"<" and rest[1:].removeprefix(b"/")[:1].isalpha():
                self.over(SPACE + b">", but=True)
                while self.attribute():
                    pass
            elif rest[:2] in (b"<!", b"</", b"<?"):
                self.at = self.data.index(b">", self.at)
            self.at += 1
        return None


def content_charset(content: bytes) -> str | None:
    """The HTML Standard's "extracting a character encoding from a meta element"."""
    _, charset_found, rest = content.partition(b"charset")
    while charset_found and not rest.lstrip(SPACE).startswith(b"="):
        _, charset_found, rest = rest.partition(b"charset")
    value = rest.lstrip(SPACE)[1:].lstrip(SPACE)
    if value[:1] in (b'"', b"'"):
        label, closed, _ = value[1:].partition(value[:1])
        return codec_for(label.decode("latin-1")) if closed else None
    end = next((at for at, byte in enumerate(value) if byte in SPACE + b";"), len(value))
    return codec_for(value[:end].decode("latin-1"))


def by_the_standard(head: bytes) -> str | None:
    try:
        codec = Prescan(head).run()
    except (IndexError, ValueError):
        return None
    return "utf-8" if codec in {"utf_16_le", "utf_16_be"} else codec


SCRAPS = (
    b"<|>|/|=|'|\"|!| |\n|\t|-|?|;|a|x|\x80|\xff|<meta|<meta |<META/|<!--|-->|--|</|<?|<!|<a |<br/>|</p>|==|charset|"
    b"charset=|charset=\"|gbk|koi8-r|utf-16|rot13|content|content='|http-equiv=content-type |content-type|"
    b'text/html; charset=|content="charset=|<meta charset=gbk>'
)


@settings(deadline=None, max_examples=2500)
@given(st.lists(st.sampled_from(SCRAPS.split(b"|")), max_size=30).map(b"".join))
@example(b"<a ='<meta charset=gbk>'><meta charset=koi8-r>")
@example(b"<a b=c='><meta charset=gbk>'>")
@example(b"<meta a='b'charset=gbk>")
@example(b"<meta a='><meta charset=gbk>")
@example(b'<meta a="><meta charset=gbk>')
def test_the_prescan_is_the_standards(head: bytes) -> None:
    """The regular expressions agree with the standard's steps taken byte by byte."""
    assert charset._prescan(head) == by_the_standard(head)


@pytest.mark.parametrize("codec", EVERY_HUMAN)
def test_undeclared_legacy_pages_are_readable(codec: str) -> None:
    """The detector tells the legacy encodings of undeclared pages."""
    page = f"<html><head><title>page</title></head><body>{f'<p>{EVERY_HUMAN[codec]}</p>' * 5}</body></html>"
    body = page.encode(codec)
    assert decode(body, sniff(body, "text/html")) == page


@pytest.mark.parametrize("head", [f"<style>{'a {b: c}' * 20_000}</style>", "ascii words " * 20_000])
def test_a_page_with_a_long_ascii_head_is_told_by_what_follows(head: str) -> None:
    """Scripts and styles may fill more than the detector's sample; it begins where the foreign text does."""
    assert sniff((head + EVERY_HUMAN["cp1251"]).encode("cp1251"), "text/html") == "cp1251"


@pytest.mark.parametrize("codec", ["cp932", "euc_jp", "gb18030", "big5hkscs", "cp949"])
@pytest.mark.parametrize("shift", [0, 1])
def test_a_long_multi_byte_page_is_not_misread_for_where_the_sample_is_cut(codec: str, shift: int) -> None:
    """The detector's sample ends between characters."""
    page = "x" * shift + f"<p>{EVERY_HUMAN[codec]}</p>\n" * 2000
    assert decode(page.encode(codec), sniff(page.encode(codec), "")) == page


def test_a_utf8_body_cut_within_a_character_is_utf8() -> None:
    """A body that was cut at a size limit may end anywhere."""
    body = "日本語".encode()
    assert {sniff(body[:length], "") for length in range(len(body) + 1)} == {"utf-8"}


@pytest.mark.parametrize("bad", [b"\xff", b"\xc3(", b"\xe9<"])
def test_a_damaged_utf8_page_is_still_utf8(bad: bytes) -> None:
    """One bad byte does not turn the whole page into another script."""
    body = (EVERY_HUMAN["cp1251"] * 3).encode() + bad + (EVERY_HUMAN["cp1251"] * 3).encode()
    assert sniff(body, "text/html") == "utf-8"
    assert "\ufffd" in decode(body, "utf-8")


@pytest.mark.parametrize("name", ["utf_7", "rot13", "johab", "utf_16", "ascii", None])
def test_the_detector_sees_64_kib_and_cannot_leave_the_table(monkeypatch: pytest.MonkeyPatch, name: str | None) -> None:
    """A large page costs the detector no more than a small one; what it says beyond the candidates is windows-1252."""
    answer = SimpleNamespace(best=lambda: name and SimpleNamespace(encoding=name))
    detector = Mock(return_value=answer)
    monkeypatch.setattr(charset_normalizer, "from_bytes", detector)
    for body in (b"caf\xe9s", b"\xe9" * 1_000_000, b"<p>\xe9t\xe9" * 100_000, b"a" * 1_000_000 + b"\xe9s"):
        assert sniff(body, "") == "cp1252"
    samples = [call.args[0] for call in detector.call_args_list]
    assert [b"\xe9" in sample and len(sample) <= 64 * 1024 for sample in samples] == [True] * 4


def test_the_detector_is_not_imported_until_needed() -> None:
    """Importing the module, and deciding the usual page, loads no detector."""
    script = (
        "import sys; from crawler.charset import sniff; sniff(b'<meta charset=utf-8>\\xe9', 'text/html');"
        "sniff(b'\\xe9', 'text/html; charset=latin1'); print('charset_normalizer' in sys.modules)"
    )
    root = Path(__file__).parents[1]
    assert subprocess.check_output([sys.executable, "-c", script], cwd=root, text=True) == "False\n"


@pytest.mark.parametrize(
    ("body", "codec", "text"),
    [
        (codecs.BOM_UTF8 + "é".encode(), "utf-8", "é"),
        (codecs.BOM_UTF16_LE + "é".encode("utf_16_le"), "utf_16_le", "é"),
        ("é".encode("utf_16_be"), "utf_16_be", "é"),
        (b"a\0b", "utf_16_le", "\u0061\ufffd"),
        (b"\x93a\x94\x81", "cp1252", "\u201ca\u201d\ufffd"),
        (b"a~{VP~}\xff", "ascii", "a~{VP~}\ufffd"),
        (b"\x1b$BF|K\\\x1b(I1\x1b(B", "iso2022_jp_ext", "日本ｱ"),
    ],
)
def test_decoding_replaces_what_is_wrong_and_drops_the_mark(body: bytes, codec: str, text: str) -> None:
    """Any body has a text, without its byte order mark."""
    assert decode(body, codec) == text


@settings(deadline=None, max_examples=300)
@given(
    start=st.sampled_from([b"", b"\xef\xbb\xbf", b"\xff\xfe", b"<meta charset=", b"<?xml encoding='", b"<\0?\0x\0"]),
    rest=st.one_of(st.binary(max_size=300), st.text(max_size=100).map(lambda text: text.encode("cp1251", "ignore"))),
    content_type=st.one_of(
        st.text(max_size=60),
        st.sampled_from(sorted(charset._CODECS)).map("text/html; charset={}".format),
        st.text(max_size=30).map("text/html; charset={}".format),
    ),
)
def test_any_bytes_under_any_header_have_a_text(start: bytes, rest: bytes, content_type: str) -> None:
    """No body and no header makes it fail, and the codec is always one of the table."""
    codec = sniff(start + rest, content_type)
    assert codec in TABLE
    assert isinstance(decode(start + rest, codec), str)


LOOPS = b"<|<a |<a x=|\"|<!--|<!-- -|<meta |charset |<meta charset='|=\"'|a=b |/|=|' |-|encoding|encoding='"


@pytest.mark.parametrize("piece", LOOPS.split(b"|"))
@pytest.mark.timeout(10)
def test_no_start_of_a_page_is_slow_to_scan(piece: bytes) -> None:
    """The scan is linear, also on what makes careless expressions backtrack."""
    start = b"<?xml " + piece * 30_000 + b"charset"
    assert charset._prescan(start) in {None, *TABLE}
    assert charset._header.__wrapped__("text/html;" + piece.decode() * 30_000) == (None, True)
    assert charset._meta_codec.__wrapped__(b" http-equiv=content-type content='" + piece * 30_000) is None
