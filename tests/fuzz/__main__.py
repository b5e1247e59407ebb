"""Fuzz what reads the network, for as long as you like, each time with other inputs.

    python -m tests.fuzz --minutes 60 [TARGET…]

The targets take turns. Prints how many inputs each had, and how many in a second; at a failure the smallest input that
shows it, and goes on. Exits with 1 if there was any.
"""

import argparse
import random
import sys
import time
import traceback
from collections import Counter, defaultdict

from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.fuzz import TARGETS
from tests.fuzz.words import Target

TURN = 1000  # inputs


class Fuzzing:
    """One run, and its figures."""

    def __init__(self) -> None:
        self.inputs: Counter[str] = Counter()
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.failures: Counter[str] = Counter()

    def turn(self, target: Target, chosen: int) -> None:
        """Some inputs for a target; the seed is told if one fails."""
        last: list[object] = [None]

        @seed(chosen)
        @settings(
            max_examples=TURN, deadline=None, database=None, suppress_health_check=list(HealthCheck),
            phases=[Phase.generate, Phase.shrink], report_multiple_bugs=False,
        )  # fmt: skip
        @given(target.inputs)
        def run(given: object) -> None:
            last[0] = given  # while a failure is made smaller, the last to run is the smallest
            self.inputs[target.name] += 1
            target.check(given)

        began = time.monotonic()
        try:
            run()
        except Exception:  # noqa: BLE001  # whatever it is, it is what is looked for
            self.failures[target.name] += 1
            sys.stdout.write(
                f"\n{target.name} failed (seed {chosen}) with {last[0]!r}\n{traceback.format_exc(limit=-3)}\n"
            )
        self.seconds[target.name] += time.monotonic() - began

    def report(self) -> None:
        """The figures so far."""
        for name, count in self.inputs.items():
            rate = count / max(self.seconds[name], 1e-9)
            sys.stdout.write(f"{name:14} {count:10,} inputs {rate:9,.0f}/s {self.failures[name]:4} failures\n")
        total, took = self.inputs.total(), sum(self.seconds.values())
        sys.stdout.write(f"{'all':14} {total:10,} inputs {total / took:9,.0f}/s {self.failures.total():4} failures\n\n")
        sys.stdout.flush()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=15.0)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    arguments = parser.parse_args()
    if unknown := set(arguments.targets) - TARGETS.keys():
        parser.error(f"no target is called {', '.join(sorted(unknown))}; there are {', '.join(TARGETS)}")
    chosen = [TARGETS[name] for name in arguments.targets or TARGETS]
    fuzzing, ends_at, reported = Fuzzing(), time.monotonic() + 60 * arguments.minutes, time.monotonic()
    while time.monotonic() < ends_at:
        for target in chosen:
            fuzzing.turn(target, random.randrange(1 << 32))
        if time.monotonic() > reported + 60:
            fuzzing.report()
            reported = time.monotonic()
    fuzzing.report()
    return 1 if fuzzing.failures else 0


if __name__ == "__main__":
    sys.exit(main())
