"""``crawler list``: the spiders that a name leads to."""

import os

from crawler.cli import find, layers, loading, stdout


def list_spiders() -> int:
    """Show the spiders that are found here: name, file, and the first line of their docstring."""
    found = [
        spider for folder in find.folders(layers.project(os.environ).spiders) for spider in find.spiders_in(folder)
    ]
    rows = [(_name(spider), loading.shown(spider.file), _about(spider)) for spider in found]
    widths = [max((len(row[column]) for row in rows), default=0) for column in (0, 1)]
    for name, file, about in rows:
        stdout.tell(f"{name:{widths[0]}}  {file:{widths[1]}}  {about}".rstrip() + "\n")
    if not rows:
        stdout.tell("there are no spiders here; 'crawler new NAME' writes one\n")
    return 0


def _name(found: find.Found) -> str:
    return found.spider.name if found.spider else found.file.stem


def _about(found: find.Found) -> str:
    if found.spider is None:
        return f"broken: {found.problem}"
    return (vars(found.spider).get("__doc__") or "").strip().partition("\n")[0]
