"""Results for people: printed, and as a page with pictures."""

from collections.abc import Sequence
from pathlib import Path

from benchmarks.picture import drawn
from benchmarks.results import Cell, Result, Target

MISSED = Path(__file__).parent / "missed.md"  # written by hand, from profiles
HEAD = """# Benchmarks

Made by `python -m benchmarks` from the files in [benchmarks/results](../benchmarks/results); see there for how it
measures, and `benchmarks/cases` for each case. One core is the crawler's, another the server's. Where programs are
compared they run in turn and the ratio is the median over the pairs; CPU per page is what each page costs beyond a
crawl of one page. Both sides must have fetched the same pages and written the same records, or there is no figure.
A target that is missed stands here as missed.
"""


def printed(result: Result) -> str:
    """A result for a terminal."""
    table = [result.columns, *([shown(cell) for cell in row] for row in result.rows)]
    widths = [max(len(row[column]) for row in table) for column in range(len(result.columns))]
    lines = [f"{result.case}: {result.title} ({result.scale})"]
    for row in table:
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        lines.append("  " + "  ".join(cells))
    lines += [f"  target: {line}" for line in map(told, result.targets)]
    return "\n".join(lines + ([result.text.rstrip()] if result.text else []))


def told(target: Target) -> str:
    """A target, what was measured, and the verdict."""
    bound = f"{target.sense} {shown(target.bound)} {target.unit}"
    measured = "" if target.measured is None else f"{shown(target.measured)} {target.unit}, "
    return f"{target.what}: {measured}to be {bound}: {target.verdict}"


def shown(cell: Cell) -> str:
    """A cell as text."""
    match cell:
        case None:
            return "-"
        case float() if abs(cell) < 100:
            return f"{cell:.2f}".rstrip("0").rstrip(".")
        case int() | float():
            return f"{cell:,.0f}"
        case _:
            return cell


def write(results: Sequence[Result], file: Path) -> None:
    """Make the page, and beside it a folder of its pictures."""
    pictures = file.parent / "benchmarks"
    parts = [HEAD, _verdicts(results), MISSED.read_text(encoding="utf-8")]
    for result in results:
        parts.append(_part(result))
        if result.picture is not None:
            pictures.mkdir(parents=True, exist_ok=True)
            (pictures / f"{result.case}.svg").write_text(drawn(result.picture))
            parts.append(f"![{result.title}](benchmarks/{result.case}.svg)\n")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(parts))


def _verdicts(results: Sequence[Result]) -> str:
    rows = [
        [f"[{result.case}](#{result.case})", target.what, shown(target.measured),
         f"{target.sense} {shown(target.bound)}", target.unit, target.verdict]
        for result in results
        for target in result.targets
    ]  # fmt: skip
    return _table(["case", "what", "measured", "target", "unit", "verdict"], rows)


def _part(result: Result) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in result.versions.items())
    lines = [f"## {result.case}", "", f"**{result.title}.** {result.how}", ""]
    lines += [_table(result.columns, [[shown(cell) for cell in row] for row in result.rows])]
    lines += [f"- {told(target)}" for target in result.targets]
    lines += ["", "```", result.text.rstrip(), "```"] if result.text else []
    lines += ["", f"Scale: {result.scale}. {result.measured_on}, {result.machine}; {versions}.", ""]
    return "\n".join(lines)


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"
