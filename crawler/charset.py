"""Which character encoding a body is in, and its text: the WHATWG's rules, never a codec named by the net.

Python knows codecs that are no character encodings (``rot13``, ``zlib``) or unsafe ones (``utf-7``), so a label from a
header or a page only ever passes through the table of the WHATWG Encoding Standard, section 4.2.
"""

import codecs
import re
from functools import lru_cache

_FALLBACK = "cp1252"
_PRESCAN = 1024  # HTML Standard, section 13.2.3.2
_SAMPLE = 64 * 1024

# Each Python codec is the nearest to the standard's encoding of these labels. Two have none: "x-user-defined" is
# windows-1252, as the standard has it in a <meta>; "replacement" (encodings that hide markup) shows only its ASCII.
_LABELS = {
    "utf-8": "unicode-1-1-utf-8 unicode11utf8 unicode20utf8 utf-8 utf8 x-unicode20utf8",
    "cp866": "866 cp866 csibm866 ibm866",
    "iso8859_2": "csisolatin2 iso-8859-2 iso-ir-101 iso8859-2 iso88592 iso_8859-2 iso_8859-2:1987 l2 latin2",
    "iso8859_3": "csisolatin3 iso-8859-3 iso-ir-109 iso8859-3 iso88593 iso_8859-3 iso_8859-3:1988 l3 latin3",
    "iso8859_4": "csisolatin4 iso-8859-4 iso-ir-110 iso8859-4 iso88594 iso_8859-4 iso_8859-4:1988 l4 latin4",
    "iso8859_5": "csisolatincyrillic cyrillic iso-8859-5 iso-ir-144 iso8859-5 iso88595 iso_8859-5 iso_8859-5:1988",
    "iso8859_6": "arabic asmo-708 csiso88596e csiso88596i csisolatinarabic ecma-114 iso-8859-6 iso-8859-6-e "
    "iso-8859-6-i iso-ir-127 iso8859-6 iso88596 iso_8859-6 iso_8859-6:1987",
    "iso8859_7": "csisolatingreek ecma-118 elot_928 greek greek8 iso-8859-7 iso-ir-126 iso8859-7 iso88597 iso_8859-7 "
    "iso_8859-7:1987 sun_eu_greek",
    "iso8859_8": "csiso88598e csiso88598i csisolatinhebrew hebrew iso-8859-8 iso-8859-8-e iso-8859-8-i iso-ir-138 "
    "iso8859-8 iso88598 iso_8859-8 iso_8859-8:1988 logical visual",
    "iso8859_10": "csisolatin6 iso-8859-10 iso-ir-157 iso8859-10 iso885910 l6 latin6",
    "iso8859_13": "iso-8859-13 iso8859-13 iso885913",
    "iso8859_14": "iso-8859-14 iso8859-14 iso885914",
    "iso8859_15": "csisolatin9 iso-8859-15 iso8859-15 iso885915 iso_8859-15 l9",
    "iso8859_16": "iso-8859-16",
    "koi8_r": "cskoi8r koi koi8 koi8-r koi8_r",
    "koi8_u": "koi8-ru koi8-u",
    "mac_roman": "csmacintosh mac macintosh x-mac-roman",
    "mac_cyrillic": "x-mac-cyrillic x-mac-ukrainian",
    "cp874": "dos-874 iso-8859-11 iso8859-11 iso885911 tis-620 windows-874",
    "cp1250": "cp1250 windows-1250 x-cp1250",
    "cp1251": "cp1251 windows-1251 x-cp1251",
    "cp1252": "ansi_x3.4-1968 ascii cp1252 cp819 csisolatin1 ibm819 iso-8859-1 iso-ir-100 iso8859-1 iso88591 "
    "iso_8859-1 iso_8859-1:1987 l1 latin1 us-ascii windows-1252 x-cp1252 x-user-defined",
    "cp1253": "cp1253 windows-1253 x-cp1253",
    "cp1254": "cp1254 csisolatin5 iso-8859-9 iso-ir-148 iso8859-9 iso88599 iso_8859-9 iso_8859-9:1989 l5 latin5 "
    "windows-1254 x-cp1254",
    "cp1255": "cp1255 windows-1255 x-cp1255",
    "cp1256": "cp1256 windows-1256 x-cp1256",
    "cp1257": "cp1257 windows-1257 x-cp1257",
    "cp1258": "cp1258 windows-1258 x-cp1258",
    "gb18030": "chinese csgb2312 csiso58gb231280 gb18030 gb2312 gb_2312 gb_2312-80 gbk iso-ir-58 x-gbk",
    "big5hkscs": "big5 big5-hkscs cn-big5 csbig5 x-x-big5",
    "euc_jp": "cseucpkdfmtjapanese euc-jp x-euc-jp",
    "iso2022_jp_ext": "csiso2022jp iso-2022-jp",
    "cp932": "csshiftjis ms932 ms_kanji shift-jis shift_jis sjis windows-31j x-sjis",
    "cp949": "cseuckr csksc56011987 euc-kr iso-ir-149 korean ks_c_5601-1987 ks_c_5601-1989 ksc5601 ksc_5601 "
    "windows-949",
    "utf_16_be": "unicodefffe utf-16be",
    "utf_16_le": "csunicode iso-10646-ucs-2 ucs-2 unicode unicodefeff utf-16 utf-16le",
    "ascii": "csiso2022kr hz-gb-2312 iso-2022-cn iso-2022-cn-ext iso-2022-kr replacement",
}
_CODECS = {label: codec for codec, labels in _LABELS.items() for label in labels.split()}

_OFFICIAL = re.compile(
    r"utf-8|ibm866|iso-8859-\d+|koi8-[ru]|macintosh|x-mac-cyrillic|windows-(?:874|125\d)|gb18030|big5|euc-(?:jp|kr)"
    r"|iso-2022-jp|shift_jis"
)

# What undeclared pages really are in; every further candidate makes the detector less sure of these.
_GUESSES = (
    *("cp1250", "cp1251", "cp1252", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257", "cp874", "cp866", "iso8859_2"),
    *("koi8_r", "cp932", "euc_jp", "gb18030", "big5hkscs", "cp949"),
)

_BOMS = (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_UTF16_XML = {b"<\0?\0x\0": "utf_16_le", b"\0<\0?\0x": "utf_16_be"}

# Every quantifier that could meet its own characters again is possessive, so that a match is linear. No possessive one
# holds a capturing group: CPython 3.11 raises SystemError for some of these.
_PARAMETER = re.compile(r';\s*+([^;="]*+)(?:=(?:"((?:[^"\\]|\\.)*+)"?|([^;]*+)))?')
_NAME = rb"[^\t\n\f\r />][^\t\n\f\r />=]*+"
_EQUALS = rb"[\t\n\f\r ]*+=[\t\n\f\r ]*+"
_VALUE = rb"""(?:"[^"]*+(?:"|\Z)|'[^']*+(?:'|\Z)|[^\t\n\f\r >"'][^\t\n\f\r >]*+|(?=>))"""
_ATTRIBUTE = re.compile(rb"(%b)(?:%b(%b))?" % (_NAME, _EQUALS, _VALUE))
_SPACE_AND_ATTRIBUTES = rb"(?:[\t\n\f\r /]++|%b(?:%b%b)?+)*+" % (_NAME, _EQUALS, _VALUE)
_META = re.compile(
    rb"""(?:
        [^<]++
        | <!(?=--)(?:[^-]|-(?!->))*+-->
        | (?:</|<(?!meta[\t\n\f\r /]))[a-z][^\t\n\f\r >]*+%b
        | <(?:!(?!--)|/(?![a-z])|\?)[^>]*+>
        | <(?![a-z!/?])
    )*+
    <meta([\t\n\f\r /]%b)>
    """
    % (_SPACE_AND_ATTRIBUTES, _SPACE_AND_ATTRIBUTES),
    re.VERBOSE,
)
_CONTENT_CHARSET = re.compile(
    rb"""charset[\t\n\f\r ]*+=[\t\n\f\r ]*+(?:"([^"]*+)" | '([^']*+)' | ([^\t\n\f\r ;"'][^\t\n\f\r ;]*+) | )""",
    re.VERBOSE,
)
_XML = re.compile(
    rb"""<\?xml(?:(?!encoding)[^>])*+encoding[\0-\x20]*+=[\0-\x20]*+(?:"([^"\0-\x20>]*+)"|'([^'\0-\x20>]*+)')[^>]*+>"""
)


def codec_for(label: str) -> str | None:
    """Return the Python codec nearest to the encoding of that label (``latin1`` is cp1252), or None if it is unknown.

    Case and surrounding ASCII whitespace do not count (Encoding Standard, section 4.2 "get an encoding").
    """
    # str.lower() would also turn the Kelvin sign into a k.
    return _CODECS.get(label.strip("\t\n\f\r ").lower()) if label.isascii() else None


def name_of(codec: str) -> str:
    """The standard's own name of a codec's encoding, for those that pages are written in."""
    return max(label for label in _LABELS[codec].split() if _OFFICIAL.fullmatch(label))


def sniff(body: bytes, content_type: str) -> str:
    """Return the Python codec to decode `body` with; `content_type` is the header's value, or "".

    The first of these that gives a known encoding: a byte order mark, the header's charset, what HTML or XML declares
    in its first 1,024 bytes, UTF-8 if the body is valid in it (a character cut at the very end is fine) or all but
    valid, a statistical guess, windows-1252.
    """
    if body.startswith(_BOMS):
        return "utf-8" if body[0] == 0xEF else "utf_16_le" if body[0] == 0xFF else "utf_16_be"
    declared, is_markup = _header(content_type)
    return declared or (is_markup and _prescan(body[:_PRESCAN])) or _guess(body)


def decode(body: bytes, codec: str) -> str:
    """Return the text of `body` without its byte order mark; what is no character in `codec` becomes U+FFFD.

    `codec` is what `sniff` or `codec_for` returned.
    """
    return body.decode(codec, "replace").removeprefix("\ufeff")


@lru_cache(maxsize=64)
def _header(content_type: str) -> tuple[str | None, bool]:
    """The codec that the header declares, and whether the type may declare one in the body.

    A ``<meta`` within JSON or plain text is somebody's content.
    """
    essence = content_type.partition(";")[0].strip().lower()
    is_markup = not essence or "html" in essence or "xml" in essence
    for name, quoted, bare in _PARAMETER.findall(content_type):
        if name.strip().lower() == "charset":
            return codec_for(quoted or bare), is_markup
    return None, is_markup


def _prescan(start: bytes) -> str | None:
    """The codec that a document's start declares (HTML Standard, section 13.2.3.2: prescan, get an XML encoding)."""
    if start[:6] in _UTF16_XML:
        return _UTF16_XML[start[:6]]
    start = start.lower()
    codec = None
    if b"charset" in start:
        position = 0
        while codec is None and (meta := _META.match(start, position)):
            codec = _meta_codec(meta[1])
            position = meta.end()
    if codec is None and (declaration := _XML.match(start)):
        codec = _codec_of(declaration[1] or declaration[2] or b"")
    # Whoever could read the declaration as ASCII did not read UTF-16.
    return "utf-8" if codec in _UTF16_XML.values() else codec


@lru_cache(maxsize=64)
def _meta_codec(tag: bytes) -> str | None:
    attributes: dict[bytes, bytes] = {}
    for name, value in _ATTRIBUTE.findall(tag):
        attributes.setdefault(name, value[1:-1] if value.startswith((b'"', b"'")) else value)
    if b"charset" in attributes:
        return _codec_of(attributes[b"charset"])
    if attributes.get(b"http-equiv") != b"content-type":
        return None
    content = _CONTENT_CHARSET.search(attributes.get(b"content", b""))
    return _codec_of(content[1] or content[2] or content[3] or b"") if content else None


def _codec_of(label: bytes) -> str | None:
    return codec_for(label.decode("latin-1"))


def _guess(body: bytes) -> str:
    try:
        codecs.utf_8_decode(body, "strict", False)  # not final: a cut last character is no error
    except UnicodeDecodeError as error:
        return _detect(_sample(body, error.start))
    return "utf-8"


def _sample(body: bytes, foreign: int) -> bytes:
    """At most 64 KiB of `body` from shortly before `foreign` on, its end not within a character of any encoding."""
    earliest = max(0, foreign - 1024)
    start = max(earliest, body.rfind(b">", earliest, foreign) + 1)
    sample = body[start : start + _SAMPLE]
    if len(sample) < _SAMPLE:
        return sample
    return sample[: max(sample.rfind(mark) for mark in b"\n <") + 1 or _SAMPLE]


def _detect(sample: bytes) -> str:
    text = sample.decode("utf-8", "replace")
    damaged = text.count("\ufffd")
    if len(text) - len(text.encode("ascii", "ignore")) > 20 * damaged:
        return "utf-8"  # damaged in few places, which the detector takes for anything but UTF-8
    from charset_normalizer import from_bytes  # noqa: PLC0415 -- slow to import, and few pages need it

    match = from_bytes(sample, cp_isolation=list(_GUESSES)).best()
    return match.encoding if match is not None and match.encoding in _GUESSES else _FALLBACK
