"""The short form of ``python -m tests.fuzz``: a hundred inputs, made up at random, for all that reads the web."""

import pytest
from hypothesis import HealthCheck, given, settings

from tests.fuzz import TARGETS
from tests.fuzz.words import Target


@pytest.mark.parametrize("name", TARGETS)
def test_whatever_comes(name: str) -> None:
    """No input makes it fail or hang, and what has to hold of what becomes of it does."""
    target = TARGETS[name]

    @settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
    @given(target.inputs)
    def run(given_input: object) -> None:
        target.check(given_input)

    run()


def test_what_fails_is_found() -> None:
    """A target whose promise is broken by some input fails."""
    broken = Target("broken", TARGETS["retry-after"].inputs, lambda text: pytest.fail(text) if "GMT" in text else None)

    @settings(max_examples=500, deadline=None, database=None)
    @given(broken.inputs)
    def run(given_input: object) -> None:
        broken.check(given_input)

    with pytest.raises(pytest.fail.Exception):
        run()
