"""How much slower than it may be asked a host is asked, since it is slow itself or has said that it is too much."""

from msgspec import Struct
from msgspec.structs import replace

from crawler.politeness import LONGEST_WAIT, OVERLOADED, Pace

SMOOTHING = 0.2  # the part that the latest answer has in the latency
SLOWEST, EASING = 64.0, 0.75


class Tempo(Struct, frozen=True):
    """A host's smoothed time to the first byte (s), and how many times longer than usual the pauses are."""

    latency: float = 0.0
    slowness: float = 1.0


def heard(tempo: Tempo, status: int, waited: float) -> Tempo:
    """The tempo after an answer whose first byte came after `waited` seconds.

    429 and 503 double the pauses; every other answer takes a quarter off again.
    """
    latency = tempo.latency + SMOOTHING * (waited - tempo.latency) if tempo.latency else waited
    if status in OVERLOADED:
        return Tempo(tempo.latency, min(SLOWEST, 2 * tempo.slowness))  # a refusal is quick, and tells nothing of pages
    return Tempo(latency, max(1.0, EASING * tempo.slowness))


def adapted(pace: Pace, tempo: Tempo) -> Pace:
    """The pace for a host of that tempo: no pause is shorter than the host takes to answer, or longer than a minute.

    A host without a pause has none: whoever sets that knows the host.
    """
    if not pace.pause:
        return pace
    wished = max(pace.pause, tempo.latency) * tempo.slowness
    return pace if wished <= pace.pause else replace(pace, delay=max(pace.delay, min(LONGEST_WAIT, wished)))
