"""Downloads on disk: resumable while they come in, whole under their name, and the same bytes stored once.

    files/0001/<name>.part        what there is of a download, locked by its writer
    files/0001/<name>.part.json   which version of which URL that is the beginning of
    files/objects/<sha256>        the bytes of a finished one
    files/0001/<name>             a hard link to them, in the folder of the run that asked

The name follows from the URL alone, so an item can hold it before the download. A run's file keeps its bytes whatever a
later run finds; finished files are to be read, not edited, since several names may be one file.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from hashlib import sha256
from pathlib import Path
from typing import TypeAlias
from urllib.parse import urlsplit

from crawler.errors import HttpError
from crawler.files.part import BLOCK_SIZE, Part
from crawler.models import FileRecord

Answer: TypeAlias = tuple[int, Mapping[str, str], AsyncIterator[bytes]]  # status, headers, body as it is sent
Ask: TypeAlias = Callable[[Mapping[str, str]], AbstractAsyncContextManager[Answer]]  # given the headers to send

# Formats of data, documents and media: nothing that a double click runs.
_FORMATS = """
    .7z .arrow .avif .azw3 .bib .bmp .bz2 .csv .doc .docx .epub .feather .flac .gif .gz .h5 .ico .ics .jpeg .jpg .json
    .jsonl .kml .m4a .m4v .mobi .mkv .mov .mp3 .mp4 .mpeg .mpg .nc .ndjson .odp .ods .odt .oga .ogg .ogv .opus .orc
    .parquet .pdf .png .ppt .pptx .ps .rdf .rtf .tar .tar.bz2 .tar.gz .tar.xz .tar.zst .tgz .tif .tiff .tsv .ttl .txt
    .vcf .warc .warc.gz .wav .webm .webp .xls .xlsx .xml .xml.gz .xz .zip .zst
"""
_EXTENSIONS = frozenset(_FORMATS.split())


def file_name(url: str) -> str:
    """The name under which a download of `url` is stored: 32 hex digits of its SHA-256, and a harmless extension.

    The extension is that of the URL's path if it stands in a fixed table; what the server says does not matter.
    """
    parts = urlsplit(url).path.rpartition("/")[2].lower().split(".")
    known = ("." + ".".join(parts[at:]) for at in (-2, -1) if len(parts) > -at)
    extension = next((one for one in known if one in _EXTENSIONS), "")
    return sha256(url.encode()).hexdigest()[:32] + extension


class FileStore:
    """The downloads of one job, below its folder ``files``. Nothing outside it is written, and no link followed."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def path_for(self, run: int, url: str) -> str:
        """Where a download of `url` in that run lies, or will lie, below the job's folder: ``files/0001/…``."""
        return f"{self._root.name}/{run:04}/{file_name(url)}"

    async def receive(self, url: str, run: int, ask: Ask, progress: Callable[[int], None] | None = None) -> FileRecord:
        """Download `url` into its place, going on from what an earlier try left if the server still has that version.

        `ask` is called with the headers to send, at most twice (the second time with none, when the server cannot go
        on). `progress` is told the size of what there is after each block. What `ask` and the chunks raise passes
        through, and what there is stays for the next try.

        Raises `HttpError` for a status other than 200, 206 and 416, `TruncatedBody` if the server ends too early,
        `StorageFull`, and `StoreUnavailable` if the disk fails or another process writes the same file.
        """
        part = Part(self._root, f"{run:04}", file_name(url), url)
        try:
            await part.done(asyncio.to_thread(part.open))
            await _fetch(part, ask, progress or _nothing)
            await part.done(asyncio.to_thread(part.publish))
        finally:
            await part.done(asyncio.to_thread(part.close))
        return FileRecord(self.path_for(run, url), part.size, part.digest)


def _nothing(size: int) -> None:
    """Nobody watches."""


async def _fetch(part: Part, ask: Ask, progress: Callable[[int], None]) -> None:
    """Bring the part to its end."""
    for asked in (part.range(), {}):
        async with ask(asked) as (status, headers, chunks):
            if status == 416 and part.is_whole(headers):
                return
            if status != 200 and not (asked and status in {206, 416}):
                raise HttpError(f"status {status}", url=part.url, status=status)
            if status == 200:
                await part.done(asyncio.to_thread(part.begin, headers))
            elif status == 416 or not part.continues(headers):
                await part.done(asyncio.to_thread(part.clear))
                continue
            await _fill(part, chunks, progress)
            part.check_end()
            return


async def _fill(part: Part, chunks: AsyncIterator[bytes], progress: Callable[[int], None]) -> None:
    """Write the chunks, each block while the next one comes in."""
    writing: asyncio.Future[None] | None = None
    block: list[bytes] = []
    size = 0
    try:
        async for chunk in chunks:
            block.append(chunk)
            size += len(chunk)
            if size < BLOCK_SIZE:
                continue
            if writing is not None:
                await part.done(writing)
                progress(part.size)
            writing = asyncio.ensure_future(part.write(block))
            await asyncio.sleep(0)  # the thread begins now, not when the next chunk has been waited for
            block, size = [], 0
    finally:
        # Also after a failure: a thread may be writing, and what came in is worth keeping.
        if writing is not None:
            await part.done(writing)
        if block:
            await part.done(part.write(block))
    progress(part.size)
