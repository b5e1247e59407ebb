"""Bounded decoding of Content-Encoding: whole and exact, or an error, and never more memory than the cap."""

import gzip
import importlib
import random
import subprocess
import sys
import tracemalloc
import zlib
from collections.abc import Callable, Iterable
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import brotli  # type: ignore[import-untyped]  # it has no stubs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import crawler.decoding
from crawler.decoding import ACCEPT_ENCODING, Decoder, is_known
from crawler.errors import (
    ContentDecodingError,
    DecompressionBomb,
    FetchError,
    ResponseTooLarge,
    TruncatedBody,
    UnsupportedEncoding,
)

zstd = importlib.import_module("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")
Compress = Callable[[bytes], bytes]
MIB = 1024 * 1024
PAGE = b"<!doctype html><title>page</title>" + b"".join(b"<p><a href=/item/%d>item</a></p>" % n for n in range(2000))
PLAIN_HTML = b"<!doctype html><html><body>hello</body></html>"


def raw_deflate(body: bytes) -> bytes:
    compress = zlib.compressobj(wbits=-15)
    return compress.compress(body) + compress.flush()


def named_gzip(body: bytes) -> bytes:
    wire = gzip.compress(body)
    return wire[:3] + b"\x08" + wire[4:10] + b"index.html\0" + wire[10:]


def checked_zstd(body: bytes) -> bytes:
    return bytes(zstd.compress(body, options={zstd.CompressionParameter.checksum_flag: 1}))


CODERS: dict[str, tuple[str, Compress]] = {
    "gzip": ("gzip", gzip.compress),
    "gzip with a name": ("x-gzip", named_gzip),
    "deflate": ("deflate", zlib.compress),
    "raw deflate": ("deflate", raw_deflate),
    "brotli": ("br", brotli.compress),
    "zstd": ("zstd", zstd.compress),
    "zstd with a checksum": ("zstd", checked_zstd),
}
every_coder = pytest.mark.parametrize(("encoding", "compress"), CODERS.values(), ids=CODERS)
two_coders = pytest.mark.parametrize(("encoding", "compress"), [("gzip", gzip.compress), ("zstd", checked_zstd)])


def decode(encoding: str, chunks: Iterable[bytes], cap: int = MIB) -> bytes:
    decoder = Decoder(encoding, cap=cap)
    return b"".join([decoder.feed(chunk) for chunk in chunks]) + decoder.finish()


def cut(wire: bytes, size: int) -> list[bytes]:
    return [wire[start : start + size] for start in range(0, len(wire), size)]


bodies = st.one_of(
    st.binary(max_size=300),
    st.builds(lambda piece, times: piece * times, st.binary(min_size=1, max_size=9), st.integers(0, 30_000)),
    st.builds(lambda seed, size: random.Random(seed).randbytes(size), st.integers(), st.integers(0, 150_000)),
    st.builds(bytes, st.sampled_from([32_000, 32_752, 32_753, 65_535, 65_536, 65_537, 131_072])),
)


@every_coder
@settings(deadline=None, max_examples=40)
@given(body=bodies, cuts=st.lists(st.integers(0, 40_000), max_size=20))
def test_a_body_comes_back_whole_however_its_chunks_fall(
    encoding: str, compress: Compress, body: bytes, cuts: list[int]
) -> None:
    """What was compressed is decoded to the same bytes, at any division into chunks."""
    wire = compress(body)
    bounds = [0, *sorted(cuts), len(wire)]
    assert decode(encoding, [wire[start:end] for start, end in pairwise(bounds)]) == body


@every_coder
@pytest.mark.parametrize("size", [1, 2, 3, 7, 10_000_000])
def test_a_page_comes_back_at_fixed_chunk_sizes(encoding: str, compress: Compress, size: int) -> None:
    """Headers and trailers may be divided between chunks at any byte."""
    assert decode(encoding, cut(compress(PAGE), size)) == PAGE


@every_coder
@pytest.mark.parametrize("size", [1, 10_000_000])
def test_a_stream_cut_at_any_byte_is_an_error(encoding: str, compress: Compress, size: int) -> None:
    """A body that lost its end is never taken for a whole one."""
    wire = compress(PAGE[:3000])
    for length in range(1, len(wire)):
        with pytest.raises((TruncatedBody, ContentDecodingError)):
            decode(encoding, cut(wire[:length], size))


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "zstd"])
def test_a_changed_byte_never_gives_another_body(encoding: str) -> None:
    """Where the coding has a checksum, a damaged stream is the same body or an error."""
    body = PAGE[:500]
    wire = {"gzip": gzip.compress(body), "deflate": zlib.compress(body), "zstd": checked_zstd(body)}[encoding]
    refused = 0
    for position in range(len(wire)):
        for change in (0x01, 0x10, 0xFF):
            damaged = bytearray(wire)
            damaged[position] ^= change
            try:
                assert decode(encoding, [bytes(damaged)]) == body
            except (ContentDecodingError, TruncatedBody):
                refused += 1
    assert refused > 2 * len(wire)


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "deflate", "br", "zstd"])
@pytest.mark.parametrize("size", [1, 5, 10_000_000])
def test_a_plain_page_with_a_wrong_label_is_a_decoding_error(encoding: str, size: int) -> None:
    """Plain HTML that claims to be encoded is refused, at once."""
    with pytest.raises(ContentDecodingError):
        decode(encoding, cut(PLAIN_HTML, size))


@pytest.mark.parametrize("body", [b"OK", b"{}", b'{"a": 1}', b"x"])
@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_a_tiny_plain_body_with_a_wrong_label_is_a_decoding_error(encoding: str, body: bytes) -> None:
    """Bodies shorter than the coding's header are told from truncated streams."""
    with pytest.raises(ContentDecodingError):
        decode(encoding, [body])


@pytest.mark.parametrize(
    ("encoding", "wire"),
    [
        ("gzip", gzip.compress(PAGE)[:-8] + bytes(4) + gzip.compress(PAGE)[-4:]),
        ("gzip", gzip.compress(PAGE)[:-4] + bytes(4)),
        ("gzip", zlib.compress(PAGE)),
        ("deflate", zlib.compress(PAGE)[:-4] + bytes(4)),
        ("deflate", gzip.compress(PAGE)),
        ("br", b"\xff" * 100),
        ("zstd", checked_zstd(PAGE)[:-4] + bytes(4)),
    ],
    ids=["gzip checksum", "gzip length", "zlib as gzip", "zlib checksum", "gzip as deflate", "brotli", "zstd checksum"],
)
def test_a_stream_of_another_coding_or_checksum_is_a_decoding_error(encoding: str, wire: bytes) -> None:
    """The trailer's checksum and length are verified, and one coding is not taken for another."""
    with pytest.raises(ContentDecodingError):
        decode(encoding, [wire])


@pytest.mark.parametrize(
    "encoding",
    ["gzip, br", "br,gzip", "gzip, gzip", "gzip gzip", "gzip,", "gzip;q=1", "compress", "dcb", "aes128gcm", "\xa0gzip"],
)
def test_layered_and_unknown_encodings_are_refused(encoding: str) -> None:
    """Anything but exactly one coding installed here is `UnsupportedEncoding`, before a byte is read."""
    assert not is_known(encoding)
    with pytest.raises(UnsupportedEncoding, match="gzip, deflate"):
        Decoder(encoding, cap=MIB)


def test_every_coding_offered_is_taken_in_any_case_also_for_an_empty_body() -> None:
    """Content codings are case-insensitive (RFC 9110 section 8.4.1); browsers take empty bodies that have a label."""
    assert ACCEPT_ENCODING == "gzip, deflate, br, zstd"
    for coding in ["", "identity", "x-gzip", *ACCEPT_ENCODING.split(", ")]:
        assert is_known(f" {coding.upper()}\t")
        assert decode(f" {coding.upper()}\t", []) == decode(coding, [b"", b""]) == b""


@every_coder
@pytest.mark.parametrize("garbage", [b"\0", b"\n", b"<!-- cached -->", bytes(9000), b"\x1e\x8b", b"\x28\xb5\x2f\xfe"])
@pytest.mark.parametrize("size", [1, 10_000_000])
def test_bytes_after_the_end_are_ignored(encoding: str, compress: Compress, garbage: bytes, size: int) -> None:
    """Padding and what caches append do not spoil the page; after brotli they cannot be told from damage."""
    chunks = cut(compress(PAGE) + garbage, size)
    if encoding != "br":
        assert decode(encoding, chunks) == PAGE
    else:
        with pytest.raises(ContentDecodingError):
            decode(encoding, chunks)


@two_coders
def test_what_follows_garbage_is_garbage(encoding: str, compress: Compress) -> None:
    """Once the body is over, not even a whole stream begins it again."""
    assert decode(encoding, [compress(b"page"), b"garbage", compress(b"more")]) == b"page"


@pytest.mark.parametrize("size", [1, 2, 3, 50, 10_000_000])
@pytest.mark.parametrize(
    ("encoding", "wire"),
    [
        ("gzip", gzip.compress(PAGE[:9]) + gzip.compress(b"") + gzip.compress(PAGE[9:])),
        ("gzip", b"".join(gzip.compress(PAGE[start : start + 100]) for start in range(0, len(PAGE), 100))),
        ("zstd", zstd.compress(PAGE[:9]) + b"\x5f\x2a\x4d\x18\x03\0\0\0???" + zstd.compress(PAGE[9:])),
        ("zstd", b"\x50\x2a\x4d\x18\0\0\0\0" + zstd.compress(PAGE)),
    ],
    ids=["gzip", "many gzip", "zstd", "zstd skippable first"],
)
def test_several_members_are_one_body(encoding: str, wire: bytes, size: int) -> None:
    """Members follow each other (RFC 1952 section 2.2), and frames (RFC 8878 section 3.1), at any chunking."""
    assert decode(encoding, cut(wire, size)) == PAGE


@two_coders
def test_a_cut_second_member_is_an_error(encoding: str, compress: Compress) -> None:
    """A further member that began must end, even if only its first byte came."""
    first, second = compress(b"first"), compress(b"second")
    for length in range(1, len(second)):
        with pytest.raises(TruncatedBody):
            decode(encoding, [first + second[:length]])


@pytest.mark.parametrize(("encoding", "compress"), [("", bytes), ("identity", bytes), *CODERS.values()])
def test_a_body_of_exactly_the_cap_passes_and_one_byte_more_does_not(encoding: str, compress: Compress) -> None:
    """The cap counts decoded bytes, whatever the coding."""
    body = random.Random(1).randbytes(100_000)
    assert decode(encoding, [compress(body)], cap=100_000) == body
    with pytest.raises(ResponseTooLarge):
        decode(encoding, [compress(body)], cap=99_999)


@every_coder
def test_a_legal_page_of_spaces_passes(encoding: str, compress: Compress) -> None:
    """Below the cap there is no rule about the ratio."""
    spaces = b" " * (4 * MIB)
    assert decode(encoding, [compress(spaces)], cap=4 * MIB) == spaces


@pytest.mark.parametrize(("ratio", "error"), [(60, ResponseTooLarge), (200, DecompressionBomb)])
def test_a_body_over_the_cap_is_a_bomb_from_a_ratio_of_one_hundred(ratio: int, error: type[FetchError]) -> None:
    """A large body that merely compresses well is too large, not hostile."""
    block = random.Random(2).randbytes(1000) + bytes(1000 * ratio)
    with pytest.raises(error):
        decode("deflate", cut(zlib.compress(block * 100), 1000), cap=MIB)


def deflate_bomb(wbits: int) -> bytes:
    """Ten gibibytes of zeros: one flushed block of a mebibyte again and again, in gzip's (31) or no (-15) wrapper."""
    compress = zlib.compressobj(9, wbits=wbits)
    head = compress.compress(bytes(MIB)) + compress.flush(zlib.Z_FULL_FLUSH)
    return head + (compress.compress(bytes(MIB)) + compress.flush(zlib.Z_FULL_FLUSH)) * 10_240


def brotli_bomb(window: int = 22) -> bytes:
    compressor = brotli.Compressor(quality=5, lgwin=window)
    head = compressor.process(bytes(MIB)) + compressor.flush()
    return bytes(head + (compressor.process(bytes(MIB)) + compressor.flush()) * 10_240)


def zstd_bomb(window_byte: int = 0x68) -> bytes:
    """One frame of run-length blocks, 128 KiB each (RFC 8878 section 3.1.1.2); 0x68 is a window of 8 MiB."""
    return b"\x28\xb5\x2f\xfd\x00" + bytes([window_byte]) + b"\x02\x00\x10\x00" * 81_920


BOMBS: dict[str, tuple[str, Callable[[], bytes]]] = {
    "gzip": ("gzip", lambda: deflate_bomb(31)),
    "gzip members": ("gzip", lambda: gzip.compress(bytes(MIB)) * 10_240),
    "deflate": ("deflate", lambda: deflate_bomb(-15)),
    "brotli": ("br", brotli_bomb),
    "brotli's largest window": ("br", lambda: brotli_bomb(24)),
    "zstd": ("zstd", zstd_bomb),
    "zstd frames": ("zstd", lambda: zstd.compress(bytes(MIB)) * 10_240),
}


@pytest.mark.parametrize(("encoding", "build"), BOMBS.values(), ids=BOMBS)
@pytest.mark.parametrize("cap", [20_000, MIB, 10 * MIB])
@pytest.mark.parametrize("size", [1400, 64 * 1024, 100_000_000])
def test_a_ten_gibibyte_bomb_stops_at_the_cap(encoding: str, build: Callable[[], bytes], cap: int, size: int) -> None:
    """A bomb is named as one at any cap and chunking, and Python's memory stays at the cap and a few steps."""
    chunks = cut(build(), size)
    tracemalloc.start()
    try:
        with pytest.raises(DecompressionBomb):
            decode(encoding, chunks, cap)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < cap + 2 * MIB


MEASURE = """
import sys
from crawler.decoding import Decoder
from crawler.errors import DecompressionBomb
def kibibytes(row):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(row))
wire = sys.stdin.buffer.read()
decoder = Decoder(sys.argv[1], cap=10 * 1024 * 1024)
before = kibibytes("VmRSS")
open("/proc/self/clear_refs", "w").write("5")
try:
    for byte in wire:  # as much as it can be: what is decoded is given out, and is not the decoder's any more
        decoder.feed(bytes((byte,)))
except DecompressionBomb:
    print(kibibytes("VmHWM") - before)
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="a process's peak memory is read from /proc")
@pytest.mark.parametrize(("encoding", "build"), BOMBS.values(), ids=BOMBS)
def test_a_bomb_costs_the_process_less_than_sixteen_mebibytes(encoding: str, build: Callable[[], bytes]) -> None:
    """The libraries' own buffers are bounded too, which only the whole process shows."""
    command = [sys.executable, "-c", MEASURE, encoding]
    peak = int(subprocess.check_output(command, input=build(), cwd=Path(__file__).parents[1]))
    assert 0 < peak < 16 * 1024


def test_a_zstd_window_over_8_mebibytes_is_refused() -> None:
    """A frame may not ask for more memory than RFC 9659 section 3 allows."""
    with pytest.raises(ContentDecodingError, match="memory"):
        decode("zstd", [zstd_bomb(window_byte=0x69)])


@pytest.mark.parametrize(
    ("encoding", "head", "repeated"),
    [
        ("gzip", b"", gzip.compress(b"")),
        ("zstd", b"", zstd.compress(b"")),
        ("zstd", b"", b"\x50\x2a\x4d\x18\0\0\0\0"),
        ("deflate", b"", b"\0\0\0\xff\xff"),
        ("gzip", gzip.compress(b"page"), b"garbage"),
    ],
    ids=["empty members", "empty frames", "skipped frames", "empty blocks", "garbage"],
)
def test_an_endless_stream_of_nothing_ends(encoding: str, head: bytes, repeated: bytes) -> None:
    """A body that decodes to nothing for ever is cut off by its bytes on the wire or its number of members."""
    chunk = repeated * (4096 // len(repeated))
    with pytest.raises((ResponseTooLarge, ContentDecodingError)):
        decode(encoding, [head, *[chunk] * 100], cap=100_000)


@two_coders
def test_members_may_be_many_but_not_many_and_tiny(encoding: str, compress: Compress) -> None:
    """Each member costs time even when empty: thousands are taken if they hold a kibibyte each."""
    block = random.Random(3).randbytes(1024)
    assert decode(encoding, [compress(block) * 3000], cap=4 * MIB) == block * 3000
    with pytest.raises(ContentDecodingError, match="streams in"):
        decode(encoding, [compress(b"x") * 3000], cap=4 * MIB)


@settings(deadline=None, max_examples=200)
@given(
    encoding=st.sampled_from(["gzip", "deflate", "br", "zstd"]),
    head=st.sampled_from([b"", b"\x1f\x8b\x08", b"\x78\x9c", b"\x28\xb5\x2f\xfd"]),
    tail=st.binary(max_size=400),
)
def test_any_bytes_give_bytes_or_a_fetch_error(encoding: str, head: bytes, tail: bytes) -> None:
    """No library's own exception gets out, and nothing hangs."""
    with suppress(ContentDecodingError, TruncatedBody):
        assert isinstance(decode(encoding, [head, tail]), bytes)


def decoding_without(monkeypatch: pytest.MonkeyPatch, *modules: str) -> ModuleType:
    """A fresh copy of the module on an installation that lacks some libraries."""
    for name in modules:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, "crawler.decoding")
    monkeypatch.setattr(crawler, "decoding", crawler.decoding)
    return importlib.import_module("crawler.decoding")


def test_without_the_optional_libraries_gzip_and_deflate_remain(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not installed is neither offered nor taken, and zlib does isal's work."""
    optional = ["isal.isal_zlib", "brotli", "brotlicffi", "backports.zstd", "compression.zstd"]
    bare = decoding_without(monkeypatch, *optional)
    assert bare.ACCEPT_ENCODING == "gzip, deflate"
    with pytest.raises(UnsupportedEncoding):
        bare.Decoder("br", cap=MIB)
    for encoding, compress in CODERS.values():
        if bare.is_known(encoding):
            decoder = bare.Decoder(encoding, cap=MIB)
            wire = compress(PAGE) + b"garbage"
            assert decoder.feed(wire[:99]) + decoder.feed(wire[99:]) + decoder.finish() == PAGE
            with pytest.raises(ContentDecodingError):
                bare.Decoder(encoding, cap=MIB).feed(PLAIN_HTML)
    with pytest.raises(DecompressionBomb):
        bare.Decoder("gzip", cap=MIB).feed(deflate_bomb(31))


def test_a_brotli_that_cannot_be_bounded_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """A library from before output limits would let a bomb fill the memory."""
    old = ModuleType("brotli")
    old.Decompressor = type("Decompressor", (), {})  # type: ignore[attr-defined]  # a module made for this test
    monkeypatch.setitem(sys.modules, "brotli", old)
    assert decoding_without(monkeypatch).ACCEPT_ENCODING == "gzip, deflate, zstd"
