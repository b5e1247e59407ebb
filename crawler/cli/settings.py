"""``crawler settings``: the table of all settings, for a terminal or for the docs."""

from typing import Annotated

import msgspec
from cyclopts import Parameter
from msgspec.inspect import Field, Metadata

from crawler.cli import stdout, words
from crawler.cli.options import FLAG
from crawler.settings import FIELDS

HEAD = ("setting", "default", "unit", "what it does")


def settings(*, markdown: Annotated[bool, FLAG, Parameter(help="as the docs have it")] = False) -> int:
    """Show all settings with their defaults, units and meaning.

    Each may stand in a spider's settings, in [tool.crawler] of pyproject.toml, in crawler.toml, in the environment as
    CRAWLER_<NAME>, or behind -s; what stands later in this list wins.
    """
    stdout.tell(as_markdown() if markdown else _as_text())
    return 0


def as_markdown() -> str:
    """The table of docs/settings.md."""
    rows = [
        HEAD,
        ("---",) * len(HEAD),
        *((f"`{name}`", f"`{default}`" if default else "", unit, about) for name, default, unit, about in _rows()),
    ]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |\n" for row in rows)


def _as_text() -> str:
    rows = [HEAD, *_rows()]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEAD) - 1)]
    lines = (
        "  ".join([*(f"{cell:{width}}" for cell, width in zip(row, widths, strict=False)), row[-1]]) for row in rows
    )
    return "".join(line.rstrip() + "\n" for line in lines)


def _rows() -> list[tuple[str, str, str, str]]:
    return [(name, _default(field), *_meaning(field)) for name, field in FIELDS.items()]


def _default(field: Field) -> str:
    value = field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return ",".join(value)
    return words.size(value).replace(".0", "") if _meaning(field)[0] == "bytes" else str(value)


def _meaning(field: Field) -> tuple[str, str]:
    """Unit and help, which stand in the annotations of a field's type, the outermost last."""
    unit = about = ""
    kind = field.type
    while isinstance(kind, Metadata):
        about = about or str((kind.extra_json_schema or {}).get("description", ""))
        unit = unit or str((kind.extra or {}).get("unit", ""))
        kind = kind.type
    return unit, about
