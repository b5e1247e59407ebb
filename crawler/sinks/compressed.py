"""Compressed files that can be cut: each batch is a gzip member or zstd frame of its own.

Members and frames may follow each other (RFC 1952 section 2.2, RFC 8878 section 3), so zcat, ``zstd -dc`` and Python
read the file to its end. Small batches compress badly: that is the price of a file that is whole after each of them.
"""

import gzip
import io
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

DAMAGED = (gzip.BadGzipFile, zlib.error, zstd.ZstdError, EOFError)  # what reading a broken file raises


class Packing(NamedTuple):
    """How a batch is packed, and how a whole file is read."""

    pack: Callable[[bytes], bytes]
    reading: Callable[[Path], io.BufferedIOBase]


def _gzip(data: bytes) -> bytes:
    return gzip.compress(data, compresslevel=6, mtime=0)  # without the time, the same items are the same bytes


def _zstd(data: bytes) -> bytes:
    return zstd.compress(data, options={zstd.CompressionParameter.checksum_flag: 1})


PACKINGS = {
    "": Packing(bytes, lambda path: path.open("rb")),
    ".gz": Packing(_gzip, gzip.open),
    ".zst": Packing(_zstd, zstd.open),
}
