"""Each moment at which a process is made to die, by name.

The product knows nothing of them: in the life that is to die, functions of the product are wrapped so that the n-th
passage of one moment sends SIGKILL to the process, there and then.
"""

import asyncio
import functools
import inspect
import os
import re
import signal
from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn

import apsw

from crawler import visits
from crawler.asking import Asker
from crawler.door import Door
from crawler.feeder import START, Feeder
from crawler.fetch import Fetcher
from crawler.fetch.body import Chunks
from crawler.files.folder import Folder
from crawler.files.part import HashedFile, Part
from crawler.frontier import queries, writer
from crawler.frontier.liveness import EngineLock
from crawler.frontier.sqlite import SqliteFrontier
from crawler.frontier.writer import Writer
from crawler.sinks.file import FileSink
from crawler.turns import Turns
from crawler.visits import Visitor
from tests.kills import site


class Death:
    """Comes with the n-th passage of its moment."""

    def __init__(self, passage: int) -> None:
        self._left = passage

    def is_now(self) -> bool:
        """Whether this passage is the one; called once for each."""
        self._left -= 1
        return self._left == 0

    def passed(self) -> None:
        """The moment was passed once more: die, if this passage is the one."""
        if self.is_now():
            die()


def die() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("alive after SIGKILL")


Install = Callable[[Death], None]
When = Callable[..., bool]  # given what the function was given, by position


def always(*_arguments: Any) -> bool:
    return True


def before(owner: object, name: str, when: When = always) -> Install:
    """Die before a function is called."""

    def install(death: Death) -> None:
        def passed(arguments: tuple[Any, ...]) -> None:
            if when(*arguments):
                death.passed()

        _wrap(owner, name, passed, lambda _arguments, _result: None)

    return install


def after(owner: object, name: str, when: When = always, found: Callable[[Any], object] = always) -> Install:
    """Die when a function has returned, or been awaited, and its result is as wanted."""

    def install(death: Death) -> None:
        def passed(arguments: tuple[Any, ...], result: object) -> None:
            if when(*arguments) and found(result):
                death.passed()

        _wrap(owner, name, lambda _arguments: None, passed)

    return install


def _wrap(
    owner: object, name: str, first: Callable[[tuple[Any, ...]], None], then: Callable[[tuple[Any, ...], Any], None]
) -> None:
    original = getattr(owner, name)

    def called(*arguments: Any, **named: Any) -> Any:
        first(arguments)
        result = original(*arguments, **named)
        then(arguments, result)
        return result

    async def awaited(*arguments: Any, **named: Any) -> Any:
        first(arguments)
        result = await original(*arguments, **named)
        then(arguments, result)
        return result

    wrapper = awaited if inspect.iscoroutinefunction(original) else called
    setattr(owner, name, functools.wraps(original)(wrapper))


# -- transactions of the journal, by the name of what they do


class _Under:
    """The transaction that is under way."""

    name = ""


def _follow_transactions() -> None:
    original = Writer.transaction

    def transaction(self: Writer, function: Callable[..., Any], *arguments: Any) -> Any:
        _Under.name = getattr(function, "__name__", "")
        try:
            return original(self, function, *arguments)
        finally:
            _Under.name = ""

    Writer.transaction = transaction  # type: ignore[method-assign]


def statement(transaction: str, sql: str) -> Install:
    """Die within a transaction, when one of its statements has been executed."""

    def install(death: Death) -> None:
        _follow_transactions()
        for name in ("execute", "value"):
            after(Writer, name, lambda _self, executed, *_: executed.startswith(sql) and _Under.name == transaction)(
                death
            )

    return install


def before_commit(transaction: str, when: When = always) -> Install:
    """Die when all of a transaction has been executed, just before its COMMIT."""
    return after(SqliteFrontier, transaction, lambda _self, *arguments: when(*arguments))


def after_commit(transaction: str) -> Install:
    """Die right after a transaction's COMMIT, in the writer's thread: the rest of the process has not heard of it."""
    return after(Writer, "transaction", lambda _self, function, *_: getattr(function, "__name__", "") == transaction)


def tables(pattern: str) -> Install:
    """Die before a statement that makes the journal's tables."""

    def install(death: Death) -> None:
        def trace(_cursor: apsw.Cursor, sql: str, _bindings: object) -> bool:
            if re.match(pattern, sql.strip()):
                death.passed()
            return True

        def watch(connection: apsw.Connection) -> None:
            connection.exec_trace = trace

        apsw.connection_hooks.append(watch)

    return install


# -- what is within a function


def awaiting_an_answer(death: Death) -> None:
    """Die a moment after a request was written."""

    def sent(_arguments: object, _result: object) -> None:
        if death.is_now():
            asyncio.get_running_loop().call_later(0.001, die)

    _wrap(Asker, "sending", lambda _arguments: None, sent)


def half_a_batch(death: Death) -> None:
    """Die when half of the bytes of a sink's batch are in the file."""

    def half(arguments: tuple[Any, ...]) -> None:
        _self, file, data, _columns = arguments
        if death.is_now():
            os.write(file.fileno(), data[: len(data) // 2])
            die()

    _wrap(FileSink, "_appended", half, lambda _arguments, _result: None)


def half_a_block(death: Death) -> None:
    """Die when half of the bytes of a download's block are in the file."""

    def half(arguments: tuple[Any, ...]) -> None:
        file, data = arguments
        if death.is_now():
            os.write(file.fileno(), data[: len(data) // 2])
            die()

    _wrap(HashedFile, "write", half, lambda _arguments, _result: None)


def _has_seeds(_self: object, links: Any) -> bool:
    return any(link.seed for link in links)


def _is_start(_self: object, links: Any) -> bool:
    return any(link.origin == START for link in links)


def _is_rebuilt(_self: object, position: Any) -> bool:
    return position is not None and position["offset"] == 0 and bool(position.get("columns"))


def _goes_back(_self: object, _sink: str, _run: int, cursor: Any) -> bool:
    return _is_rebuilt(0, cursor.position)


def _goes_on(_self: object, _sink: str, _run: int, cursor: Any) -> bool:
    return bool(cursor.seq)


def _to_objects(_self: object, _name: str, to: Folder, _new: str) -> bool:
    return to.path.name == "objects"


def _to_its_name(self: object, name: str, to: Folder, new: str) -> bool:
    return to is self and name.endswith(".new") and not new.endswith(".json")


class Point(NamedTuple):
    """How a moment is found; ``after_a_kill`` if it comes only in a job that was killed before."""

    install: Install
    after_a_kill: bool = False


OPENING = {
    "before the journal is opened": before(writer, "opened"),
    "while the journal's schema is being created": tables("CREATE"),
    "before the journal's version is set": tables(r"(?i)pragma \"user_version\"\("),
    "when the journal is open and no engine is in it": after(writer, "opened"),
    "before an engine has its lock": before(EngineLock, "take"),
    "when an engine has its lock and is not yet committed": after(EngineLock, "take"),
    "right after an engine was committed": after_commit("enrol"),
    "before a run begins": before(SqliteFrontier, "begin"),
    "while a run begins, just before COMMIT": before_commit("_begin"),
    "right after a run has begun": after_commit("_begin"),
    "before start() is a pending page": before(SqliteFrontier, "add", _is_start),
    "right after start() is a pending page": after(SqliteFrontier, "add", _is_start),
}
TAKEOVER = {
    "while a dead engine's hosts are freed": statement("_begin", queries.BURY),
    "before a dead engine's lock file is removed": before(EngineLock, "remove"),
}
SEEDS = {
    "inside start()": before(site, "sowing"),
    "while a batch of seeds is stored, just before COMMIT": before_commit("_add", lambda links: _has_seeds(0, links)),
    "in start(), between two batches of seeds": after(SqliteFrontier, "add", _has_seeds),
}
LEASES = {
    "before hosts are leased": before(SqliteFrontier, "lease"),
    "while hosts are leased": statement("_lease", queries.TAKE),
    "after a lease was committed, before anything is sent": after(
        SqliteFrontier, "lease", found=lambda leased: leased.leases
    ),
}
ASKING = {
    "when a page's turn has come": before(Turns, "visit"),
    "before a request is sent": before(Asker, "sending"),
    "while an answer is awaited": awaiting_an_answer,
    "while a body is read": after(Chunks, "__anext__"),
    "when an answer is there, before it is judged": after(Fetcher, "fetch"),
    "when a page was redirected": after(Visitor, "redirected"),
    "when robots.txt is known, before its commit": after(Feeder, "learn"),
}
HANDLERS = {
    "inside a handler": before(site, "between_items"),
    "inside a pipeline step": before(site, "refine"),
    "while a handler waits for a fetch": before(Door, "fetch"),
    "after a handler's fetch": after(Door, "fetch"),
    "when a handler has raised": before(visits, "trace_of"),
    "when a handler has ended, before the commit": after(Visitor, "handled"),
}
COMMIT = {
    "before a commit": before(SqliteFrontier, "commit"),
    "in a commit, before its first statement": before(SqliteFrontier, "_commit"),
    "in a commit, after its pages have ended": statement("_commit", queries.END_PAGES),
    "in a commit, after its tallies": statement("_commit", queries.TALLY),
    "in a commit, after the run's counts": statement("_commit", queries.COUNT),
    "in a commit, after its items": statement("_commit", queries.INSERT_ITEMS),
    "in a commit, after its files": statement("_commit", queries.INSERT_FILES),
    "in a commit, after its events": statement("_commit", queries.INSERT_EVENTS),
    "in a commit, after what it knows of hosts": statement("_commit", queries.HOST_FACTS),
    "in a commit, while robots.txt is being stored": statement("_commit", queries.SET_ROBOTS),
    "in a commit, after its links": statement("_commit", queries.INSERT_PAGES),
    "in a commit, after its links' hosts are due": statement("_commit", queries.HOSTS_DUE),
    "in a commit, just before COMMIT": before_commit("_commit"),
    "right after COMMIT, before memory knows": after_commit("_commit"),
}
HOSTS = {
    "before hosts are released": before(SqliteFrontier, "release"),
    "while hosts are released": statement("_release", queries.RELEASE),
    "right after hosts were released": after_commit("_release"),
    "before a heartbeat": before(SqliteFrontier, "renew"),
    "within a heartbeat": statement("renew", queries.RENEW),
    "right after a heartbeat": after_commit("renew"),
}
SINKS = {
    "before a sink is opened": before(FileSink, "open"),
    "while a sink is opened, after it was cut back": after(FileSink, "_cut_back"),
    "when a sink is open": after(FileSink, "open"),
    "before a sink's write": before(FileSink, "write"),
    "inside a sink's write, with half of its bytes written": half_a_batch,
    "inside a sink's write, when all its bytes are written": after(FileSink, "_appended"),
    "between a sink's write and its cursor": before(SqliteFrontier, "follow", _goes_on),
    "right after a sink's cursor": after(SqliteFrontier, "follow", _goes_on),
    "when a csv file needs another column": after(FileSink, "_wider"),
    "while a sink is rebuilt, before its cursor goes back": before(SqliteFrontier, "follow", _goes_back),
    "while a sink is rebuilt, after its cursor went back": after(SqliteFrontier, "follow", _goes_back),
    "while a sink is rebuilt, after it was emptied": after(
        FileSink, "open", lambda _self, position: _is_rebuilt(0, position)
    ),
    "before a sink is closed": before(FileSink, "close"),
}
DOWNLOADS = {
    "when a download's part is open": after(Part, "open"),
    "when a download's version is noted": after(Part, "begin"),
    "inside a download's write, with half of a block written": half_a_block,
    "during a download, after a block": after(Part, "write"),
    "when a download is complete, before it is moved": before(Part, "publish"),
    "when a download lies among the objects, without a name": after(Folder, "move", _to_objects),
    "before a download's rename": before(Folder, "move", _to_its_name),
    "right after a download's rename": after(Folder, "move", _to_its_name),
    "when a download has its name, before its commit": after(Part, "publish"),
    "inside a download's handler": before(site.Walker, "saved"),
}
ENDING = {
    "before a run is finished": before(SqliteFrontier, "finish"),
    "while a run is finished, just before COMMIT": before_commit("_finish"),
    "right after a run was finished": after_commit("_finish"),
    "before an engine leaves": before(SqliteFrontier, "close"),
    "when an engine has left, before its lock is given up": before(EngineLock, "close"),
}
POINTS = {
    name: Point(install, after_a_kill=group is TAKEOVER)
    for group in (OPENING, TAKEOVER, SEEDS, LEASES, ASKING, HANDLERS, COMMIT, HOSTS, SINKS, DOWNLOADS, ENDING)
    for name, install in group.items()
}
