"""Options of the long forms of proofs, and what holds for all tests."""

import os
import random

import pytest

# A test's small crawls, those in processes of their own included, do not wait for room on the disk that tests run on.
os.environ.setdefault("CRAWLER_MIN_FREE_SPACE", "0")
pytest.register_assert_rewrite("tests.kills.job")  # so that its assertions say what they found


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("proofs")
    group.addoption("--soak", type=int, default=0, metavar="KILLS", help="so many kills more, by seeds at random")
    group.addoption("--soak-from", type=int, metavar="SEED", help="the first of these seeds, to see a failure again")
    group.addoption("--seeds", type=int, default=240, metavar="N", help="how many crawls are simulated")
    group.addoption("--first-seed", type=int, default=0, metavar="SEED", help="the first of them")


def pytest_configure(config: pytest.Config) -> None:
    if config.option.soak_from is None:
        run = getattr(config, "workerinput", {}).get("testrunuid")  # the workers of one run agree
        config.option.soak_from = random.Random(run).randrange(1_000_000, 1_000_000_000)
