"""Options that several commands have."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, TypeAlias

from cyclopts import Parameter

from crawler.sinks import STDOUT


def _no_option(_kind: object, value: str | Iterable[str]) -> None:
    for target in [value] if isinstance(value, str) else value:
        if target.startswith("-") and target != STDOUT:
            raise ValueError(f"It begins like an option; a file of this name is ./{target}.")


MANY = Parameter(negative=(), show_default=False)
FLAG = Parameter(negative=(), show_default=False)
OUTPUT = Parameter(
    name=["-o", "--output"],
    allow_leading_hyphen=True,  # for a bare hyphen; what else begins with one is refused
    validator=_no_option,
    help="where items go: .jsonl or .csv, also with .gz or .zst, or - for standard output",
)
Folder: TypeAlias = Annotated[Path | None, Parameter(help="where jobs lie, by default output")]
