"""Which command runs, and how its errors leave: one line for what a person can mend, a traceback for a bug only."""

import difflib
import sys
from collections.abc import Sequence
from typing import cast

from cyclopts import App, CycloptsError, UnusedCliTokensError

from crawler.cli import stdout
from crawler.cli.commands import ASKS_FOR_HELP, COMMANDS
from crawler.errors import ConfigError, CrawlerError, StorageFull, StoreUnavailable, escaped
from crawler.version import VERSION

USAGE, STORAGE = 2, 75  # the latter is EX_TEMPFAIL of sysexits.h: run the same command again later
LONGEST_MESSAGE = 4_000
FORESEEN = (CrawlerError, BrokenPipeError, KeyboardInterrupt)


def run(words: Sequence[str]) -> int:
    """Run the command that `words` name, and return its exit code. A bug passes as the exception it is."""
    try:
        return _ended(words)
    except BaseException as error:
        sys.excepthook = stdout.tell_of_bug
        error.add_note("this is a bug in crawler: please report it with the lines above")
        raise


def app(words: Sequence[str]) -> App:
    """The commands as cyclopts knows them; each is imported when it runs."""
    made = App(
        name="crawler",
        version=VERSION,
        help_formatter="plain" if ASKS_FOR_HELP & {*words} else None,  # slow to import, and needed for help only
        help_format="plaintext",
        suppress_keyboard_interrupt=False,
        exit_on_error=False,
        print_error=False,
        verbose=False,
        result_action="return_value",
    )
    for name, command in COMMANDS.items():
        made.command(command.where, name=name, help=command.help)
    return made


def _ended(words: Sequence[str]) -> int:
    try:
        code = _command(words)
        sys.stdout.flush()
    except CycloptsError as error:
        return _fail(f"{_one_line(error)} ('crawler {words[0]} --help' tells more)", USAGE)
    except (*FORESEEN, BaseExceptionGroup) as error:
        return _told(error)
    return code


def _command(words: Sequence[str]) -> int:
    if words[0] not in COMMANDS and not words[0].startswith("-"):
        near = difflib.get_close_matches(words[0], COMMANDS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there is {', '.join(COMMANDS)}"
        raise ConfigError(f"there is no command {words[0]!r}; {hint}")
    return cast("int | None", app(words)(list(words))) or 0


def _told(error: BaseException) -> int:
    """Say what ended a command, and return the exit code; what was not foreseen is raised again."""
    match error:
        case BaseExceptionGroup():
            _, unforeseen = error.split(FORESEEN)
            if unforeseen is not None:
                raise error
            return _told(error.exceptions[0])
        case BrokenPipeError():
            stdout.discard()
            return 0
        case KeyboardInterrupt():
            return 130
    codes: dict[type[BaseException], int] = {ConfigError: USAGE, StorageFull: STORAGE, StoreUnavailable: STORAGE}
    return _fail(str(error), next((codes[kind] for kind in type(error).__mro__ if kind in codes), 1))


def _one_line(error: CycloptsError) -> str:
    if isinstance(error, UnusedCliTokensError) and error.unused_tokens:
        return f"unexpected argument {' '.join(error.unused_tokens)!r}"
    text = " ".join(str(error).split()).removesuffix(".")
    return text[:1].lower() + text[1:]


def _fail(message: str, code: int) -> int:
    shown = "\n".join(escaped(line, LONGEST_MESSAGE) for line in message.splitlines())
    stdout.complain(f"crawler: {shown}\n")
    return code
