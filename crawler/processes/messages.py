"""What a supervisor and its engines say to one another: one JSON object a line."""

from pathlib import Path
from typing import TypeAlias, cast

import msgspec
from msgspec import Struct

from crawler.frontier import Part
from crawler.progress import Progress, Summary


class Role(Struct, frozen=True):
    """Which of the engines one is: the first, which begins the invocation, or one that takes `part` in it.

    ``elapsed`` (s) since the invocation began. ``bytes_file`` is the descriptor of the file where engines count bytes.
    """

    index: int
    part: Part | None
    elapsed: float
    bytes_file: int


class Begun(Struct, frozen=True, tag=True):
    """The engine works: what the supervisor must know to start others, to watch this one and to show it.

    ``breadcrumb`` is the file that tells which pages are inside a handler. Without a sign of life for
    ``stall_timeout`` (s) the engine hangs. ``shown``: as `crawler.cli.view.View` has it.
    """

    job: str
    engines: int
    stall_timeout: float
    shown: dict[str, str | bool | None]
    part: Part = Part(0, 0)
    breadcrumb: str = ""
    resumes: str | None = None


class Beat(Struct, frozen=True, tag=True):
    """A sign of life, and how it goes."""

    progress: Progress


class Said(Struct, frozen=True, tag=True):
    """Something for stderr, which the supervisor's display has in hand."""

    text: str


class Ended(Struct, frozen=True, tag=True):
    """The engine has come to an end by itself."""

    summary: Summary


class Left(Struct, frozen=True, tag=True):
    """The engine leaves of its own accord: its exit code is the command's own word, not a handler's."""


Message: TypeAlias = Begun | Beat | Said | Ended | Left


def encoded(message: Message | Role) -> bytes:
    """A message as a line."""
    return msgspec.json.encode(message, enc_hook=str) + b"\n"


def decoded(line: bytes) -> Message:
    """The message of a line."""
    return cast("Message", msgspec.json.decode(line, type=Begun | Beat | Said | Ended | Left, dec_hook=_path))


def _path(kind: type, value: object) -> object:
    assert kind is Path, kind
    return Path(str(value))
