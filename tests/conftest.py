"""Options of the long forms of proofs, and what else must be said before tests are imported."""

import random

import pytest

pytest.register_assert_rewrite("tests.kills.job")  # so that its assertions say what they found


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("proofs")
    group.addoption("--soak", type=int, default=0, metavar="KILLS", help="so many kills more, by seeds at random")
    group.addoption("--soak-from", type=int, metavar="SEED", help="the first of these seeds, to see a failure again")


def pytest_configure(config: pytest.Config) -> None:
    if config.option.soak_from is None:
        run = getattr(config, "workerinput", {}).get("testrunuid")  # the workers of one run agree
        config.option.soak_from = random.Random(run).randrange(1_000_000, 1_000_000_000)
