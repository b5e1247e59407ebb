"""Options of the long forms of proofs."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("proofs")
    group.addoption("--seeds", type=int, default=240, metavar="N", help="how many crawls are simulated")
    group.addoption("--first-seed", type=int, default=0, metavar="SEED", help="the first of them")
