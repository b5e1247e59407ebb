"""``crawler new``: a spider to start from."""

import os
import re

from crawler.cli import layers, loading, stdout
from crawler.cli.starter import TEMPLATE
from crawler.errors import ConfigError, escaped

_NAME = re.compile(r"[a-z][a-z0-9_]*", re.IGNORECASE)


def new(name: str, /) -> int:
    """Write a spider to start from, which runs as it is.

    Parameters
    ----------
    name
        of the file and the job; letters, digits and underscores
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(f"{escaped(name)!r} is no name for a spider: letters, digits and underscores, a letter first")
    folder = layers.project(os.environ).spiders
    file = folder / f"{name}.py"
    text = TEMPLATE.format(about=f"The spider {name}: 'crawler crawl {name}' runs it.", name=_class_name(name))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with file.open("x", encoding="utf-8") as out:
            out.write(text)
    except FileExistsError:
        raise ConfigError(f"{loading.shown(file)} exists: choose another name, or remove it") from None
    except OSError as error:
        raise ConfigError(f"cannot write {loading.shown(file)}: {error.strerror}") from error
    stdout.tell(f"{loading.shown(file)} is written; run it with: crawler crawl {name} --max-items 20\n")
    return 0


def _class_name(name: str) -> str:
    """``my_shop`` is ``MyShop``, whose default name is ``my_shop`` again."""
    return "".join(part[:1].upper() + part[1:] for part in name.split("_"))
