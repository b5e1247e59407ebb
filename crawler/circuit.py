"""When a host is left alone because it fails: its circuit, as plain data and functions. Epoch seconds, seconds.

The circuit opens when more than half of ten or more attempts within five minutes failed by the host's fault, or ten in
a row however long they took. While it is open one request is made from time to time; the first that succeeds closes it.
"""

import msgspec
from msgspec import Struct
from msgspec.structs import replace

LEAST_ATTEMPTS = 10
WINDOW = 5  # minutes
FIRST_REST, LONGEST_REST = 60.0, 1800.0  # between two probes; doubled from the first to the second
RETRY_SHARE, FREE_RETRIES = 0.2, 10  # of a host's requests in the window, and beside them
RETRY_REST, LONGEST_RETRY_REST = 60.0, 300.0

Minute = tuple[int, int, int, int]  # since 1970; attempts, failures of the host, retries that they led to


class Circuit(Struct, frozen=True, omit_defaults=True):
    """What the last minutes say of one host. Open from `opened_at` on, with a probe at `until`; 0 is closed.

    `in_a_row` attempts were the last to fail, `rests` times it was left alone since it opened.
    """

    minutes: tuple[Minute, ...] = ()
    in_a_row: int = 0
    opened_at: float = 0.0
    until: float = 0.0
    rests: int = 0

    @property
    def is_open(self) -> bool:
        """Whether the host is left alone but for a probe."""
        return self.opened_at > 0


CLOSED = Circuit()


def noted(circuit: Circuit, *, failed: bool, began_at: float, now: float) -> Circuit:
    """The circuit after one more attempt, which `began_at` and is over `now`.

    What was under way when the circuit opened, or since before its last probe, says nothing about the host now.
    """
    if circuit.is_open:
        if began_at < circuit.until:
            return circuit
        return _rested(circuit, now) if failed else CLOSED
    after = _counted(circuit, now, attempts=1, failures=int(failed))
    if not failed and not circuit.in_a_row:  # as nearly always
        return after
    in_a_row = circuit.in_a_row + 1 if failed else 0
    after = replace(after, in_a_row=in_a_row)
    return _rested(after, now) if failed and _is_failing(after) else after


def retried(circuit: Circuit, now: float) -> Circuit:
    """The circuit after one more page was found worth a further try."""
    return _counted(circuit, now, retries=1)


def retry_rest(circuit: Circuit) -> float:
    """How long (s) a retry waits at least, so that retries stay below a fifth of the host's requests; mostly 0."""
    attempts, _, retries = _sums(circuit)
    most = FREE_RETRIES + RETRY_SHARE * attempts
    return 0.0 if retries < most else min(LONGEST_RETRY_REST, RETRY_REST * retries / most)


def is_hopeless(circuit: Circuit, patience: float, now: float) -> bool:
    """Whether the host has been left alone for longer than one is ready to wait."""
    return circuit.is_open and now - circuit.opened_at >= patience


def moved(circuit: Circuit, step: float) -> Circuit:
    """The same circuit after the system's clock was set."""
    if not circuit.is_open:
        return circuit
    return replace(circuit, opened_at=circuit.opened_at + step, until=circuit.until + step)


def packed(circuit: Circuit) -> str:
    """What the journal keeps of a circuit; nothing of one that has seen nothing."""
    return "" if circuit == CLOSED else msgspec.json.encode(circuit).decode()


def unpacked(text: str) -> Circuit:
    """The circuit that `packed` wrote."""
    return msgspec.json.decode(text, type=Circuit) if text else CLOSED


def _counted(circuit: Circuit, now: float, *, attempts: int = 0, failures: int = 0, retries: int = 0) -> Circuit:
    minute = int(now // 60)
    *earlier, last = circuit.minutes or ((minute, 0, 0, 0),)
    if last[0] != minute:
        earlier, last = [one for one in (*earlier, last) if one[0] > minute - WINDOW], (minute, 0, 0, 0)
    latest = (minute, last[1] + attempts, last[2] + failures, last[3] + retries)
    return replace(circuit, minutes=(*earlier, latest))


def _sums(circuit: Circuit) -> tuple[int, int, int]:
    since = circuit.minutes[-1][0] - WINDOW if circuit.minutes else 0
    recent = [one for one in circuit.minutes if one[0] > since]
    return sum(one[1] for one in recent), sum(one[2] for one in recent), sum(one[3] for one in recent)


def _is_failing(circuit: Circuit) -> bool:
    attempts, failures, _ = _sums(circuit)
    return circuit.in_a_row >= LEAST_ATTEMPTS or (attempts >= LEAST_ATTEMPTS and 2 * failures > attempts)


def _rested(circuit: Circuit, now: float) -> Circuit:
    rest = min(LONGEST_REST, FIRST_REST * 2 ** min(circuit.rests, 10))
    return replace(circuit, opened_at=circuit.opened_at or now, until=now + rest, rests=circuit.rests + 1)
