"""The supervisor: starts engines, replaces those that die, ends those that hang, and leaves when the job has ended.

It imports next to nothing, so that what ends an engine does not end it. All that must survive is in the journal: to
kill the supervisor with all its engines is as safe as to kill one of them.
"""

import math
import selectors
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from msgspec.structs import replace

from crawler.frontier.liveness import wipe
from crawler.processes.engine import EngineProcess
from crawler.processes.messages import Beat, Begun, Ended, Left, Message, Role, Said
from crawler.profile import Profile
from crawler.profile import merged as merged_profiles
from crawler.progress import Progress, Summary, merged

TICK, LAST_TICK = 0.1, 0.005
LAST_WORDS = 15.0  # an engine that was stopped and says nothing any more is ended after it
MOST_DEATHS = 5  # in a row, without a page that ended between them or can be blamed
MOST_BLAMED = 30  # with pages to blame, three deaths each
FINAL = frozenset({2, 4, 75})  # exit codes that speak for the whole job: usage, a reader that left, storage


class Face(Protocol):
    """What people see of the supervisor."""

    def begin(self, begun: Begun) -> None:
        """The crawl begins."""

    def show(self, progress: Progress) -> None:
        """A moment of it; called often."""

    def tell(self, text: str) -> None:
        """What an engine has written."""

    def say(self, text: str) -> None:
        """What the supervisor has to say."""


class Supervisor:
    """Runs the engines of one invocation. `start` gives a new engine's process, `face` is told how it goes.

    `bytes_file` is the descriptor of the file where they count bytes. `signals` are those that came: the first stops
    them all, and the second ends them at once.
    """

    def __init__(
        self, start: Callable[[Role], EngineProcess], face: Face, bytes_file: int, signals: Sequence[int]
    ) -> None:
        self._start = start
        self._face = face
        self._began = time.monotonic()
        self._bytes_file = bytes_file
        self._engines: list[EngineProcess] = []
        self._begun: Begun | None = None
        self._latest: Progress | None = None
        self._summary: Summary | None = None
        self._profile: Profile | None = None
        self._bytes_before = self._cached = self._replaced = self._deaths = self._unexplained = self._ended_pages = 0
        self._most_hosts = 0
        self._code: int | None = None
        self._signals = signals
        self._is_stopping = False
        self._stopped_at = math.inf

    def run(self) -> tuple[int, Summary | None]:
        """Work until all engines have ended; the exit code, and how it went if that can be told."""
        self._add(0)
        looked_at = time.monotonic()
        while self._engines:
            _listen(self._engines)
            now = time.monotonic()
            if now - looked_at > 10 * TICK:  # it stood still itself, as after Ctrl-Z: nobody is to blame
                for engine in self._engines:
                    engine.heard_at = now
            looked_at = now
            self._obey()
            for engine in list(self._engines):
                self._look_at(engine, now)
            if self._latest is not None:
                self._face.show(self._merged(self._latest))
        return self._outcome()

    # -- one engine

    def _add(self, index: int) -> None:
        part = self._begun.part if self._begun else None
        role = Role(index, part, time.monotonic() - self._began, self._bytes_file)
        self._engines.append(self._start(role))

    def _look_at(self, engine: EngineProcess, now: float) -> None:
        code = engine.poll()
        for message in engine.messages():
            self._hear(engine, message)
        if code is not None:
            self._engines.remove(engine)
            engine.close()
            self._bytes_before += engine.received
            if not engine.has_ended:
                self._lost(engine, code)
        elif self._hangs(engine, now):
            if self._is_stopping:
                _forgive(engine)
            engine.end()
            engine.heard_at = now

    def _hangs(self, engine: EngineProcess, now: float) -> bool:
        if self._begun is None or engine.breadcrumb is None:
            return False
        silent_for = now - engine.heard_at
        if silent_for > self._begun.stall_timeout:
            self._face.say(f"engine {engine.index + 1} has stood still for {silent_for:.0f} s: it is ended")
            return True
        return now > self._stopped_at + LAST_WORDS and silent_for > 1.0

    def _hear(self, engine: EngineProcess, message: Message) -> None:
        match message:
            case Said(text):
                self._face.tell(text)
            case Begun():
                engine.breadcrumb = Path(message.breadcrumb)
                self._first(message)
            case Beat(progress):
                engine.progress = self._latest = progress
                engine.received = progress.bytes
                counts = progress.counts
                self._most_hosts = max(self._most_hosts, counts.hosts)
                ended = counts.done + counts.gone + counts.skipped + counts.failed + 2 * counts.spent.pages
                if ended > self._ended_pages:
                    self._ended_pages, self._deaths, self._unexplained = ended, 0, 0
            case Left():
                engine.has_left = True
            case Ended(summary):
                engine.has_ended, engine.received = True, summary.bytes
                self._end(summary)

    def _first(self, begun: Begun) -> None:
        if self._begun is not None:
            return
        self._begun = begun
        self._face.begin(begun)
        for index in range(1, begun.engines if not self._is_stopping else 0):
            self._add(index)

    def _end(self, summary: Summary) -> None:
        """An engine has come to an end: when it was stopped, by a limit or a reader that left, all are."""
        outcome = summary.outcome
        self._cached += summary.cached
        self._profile = merged_profiles([self._profile, summary.profile])
        if self._summary is not None and outcome != "finished" and self._summary.outcome != "parked":
            outcome = self._summary.outcome
        self._summary = replace(summary, outcome=outcome)
        if outcome.startswith("stopped") and not self._is_stopping:
            self._stop()

    def _lost(self, engine: EngineProcess, code: int) -> None:
        """An engine ended without a word: replace it, unless its exit code speaks for the whole job."""
        if self._is_stopping:
            return
        why = f"was killed by {_name(-code)}" if code < 0 else f"ended with exit code {code}"
        was_inside = engine.was_inside_a_page()
        if (code in FINAL and engine.has_left) or (code >= 0 and self._begun is None):
            self._code = code
            self._stop()
            return
        self._deaths += 1
        self._unexplained += not was_inside
        if self._unexplained > MOST_DEATHS or self._deaths > MOST_BLAMED:
            self._code = 1
            self._face.say(
                f"engine {engine.index + 1} {why}, the {self._deaths}th in a row: no page ended between them"
            )
            self._stop()
            return
        self._face.say(f"engine {engine.index + 1} {why}: another takes its place")
        self._replaced += 1
        time.sleep(0.1 * self._unexplained)
        self._add(engine.index)

    # -- all of them

    def _obey(self) -> None:
        if self._signals and not self._is_stopping:
            self._face.say("stopping: what is in flight has ten seconds; once more to leave at once, which is safe too")
            self._stop()
        if len(self._signals) > 1:
            self._leave_at_once()

    def _stop(self) -> None:
        self._is_stopping, self._stopped_at = True, time.monotonic()
        for engine in self._engines:
            engine.terminate()

    def _leave_at_once(self) -> None:
        for engine in self._engines:
            engine.kill()
            _forgive(engine)
        self._engines.clear()
        self._code = 128 + self._signals[-1]

    def _merged(self, latest: Progress) -> Progress:
        at_work: Sequence[Progress] = [engine.progress for engine in self._engines if engine.progress is not None]
        told = replace(latest, elapsed=time.monotonic() - self._began)
        return merged(told, at_work or [told], bytes_before=self._bytes_before, replaced=self._replaced)

    def _outcome(self) -> tuple[int, Summary | None]:
        summary = self._summary
        if self._code is not None or summary is None:
            return self._code if self._code is not None else 128 + (self._signals or [signal.SIGTERM])[0], None
        is_resumed = self._begun is not None and self._begun.resumes is not None
        elapsed = time.monotonic() - self._began
        told = {"bytes": self._bytes_before, "cached": self._cached, "elapsed": elapsed, "resumed": is_resumed}
        summary = replace(summary, **told, profile=self._profile)
        return summary.exit_code, summary

    @property
    def idle_engines(self) -> str | None:
        """What to say when there were never as many hosts as engines, since one host is one engine's work."""
        engines = self._begun.engines if self._begun else 1
        if engines <= max(1, self._most_hosts):
            return None
        hosts = "one host" if self._most_hosts < 2 else f"{self._most_hosts} hosts"
        return f"{engines} engines, but never more than {hosts} with work at once: a host is one engine's"


def _listen(engines: Sequence[EngineProcess]) -> None:
    """Wait for news of any engine, a tenth of a second at most; less where one is silent, as before its end."""
    with selectors.DefaultSelector() as selector:
        for engine in engines:
            if not engine.is_silent:
                selector.register(engine, selectors.EVENT_READ)
        selector.select(LAST_TICK if any(engine.is_silent for engine in engines) else TICK)


def _forgive(engine: EngineProcess) -> None:
    """Put an engine's end down to no page: it was ended since all were to end."""
    if engine.breadcrumb is not None:
        wipe(engine.breadcrumb)


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
