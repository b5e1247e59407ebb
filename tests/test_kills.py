"""Killed at each step of a page's journey, and at any moment: the same pages and items as an undisturbed run.

`tests.kills.points` has the table of the steps. ``--soak KILLS`` goes on for so many kills more.
"""

import random
from collections.abc import Iterator
from itertools import count, repeat
from pathlib import Path
from typing import Unpack

import pytest

from crawler.testing import Site
from tests.kills.job import Chosen, Job, Result, World, compare, world_of
from tests.kills.lives import Lives, lives
from tests.kills.points import POINTS
from tests.kills.site import HOSTS, ITEMS, PAGES, C

KILLS_PER_POINT = 2
KILLS_PER_SEED = 8

pytestmark = pytest.mark.timeout(100)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "seed" in metafunc.fixturenames:
        option = metafunc.config.option
        more = range(option.soak_from, option.soak_from + -(-option.soak // KILLS_PER_SEED))
        metafunc.parametrize("seed", [*range(4), *more])


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with Site.in_thread() as site, lives() as server, world_of(site, server) as world:
        yield world


@pytest.fixture(scope="module")
def second() -> Iterator[Lives]:
    with lives() as server:
        yield server


@pytest.fixture(scope="module")
def undisturbed(world: World, tmp_path_factory: pytest.TempPathFactory) -> Result:
    job = Job(world, tmp_path_factory.mktemp("undisturbed"))
    assert not job.live()
    assert job.refetches() == 0
    return job.result(job.outputs)


def killed(job: Job, deaths: Iterator[Chosen], enough: int, **always: Unpack[Chosen]) -> None:
    """Kill the job's lives until that is `enough`, or its run is over; then let the last one live."""
    while job.kills < enough and not job.is_finished():
        chosen: Chosen = {**next(deaths), **always}
        if not job.live(**chosen):
            return
    if not job.is_finished():
        assert not job.live(**always)


def at(point: str, passages: Iterator[int] | None = None) -> Iterator[Chosen]:
    """Deaths at one point: at its first passage, the next time at its second, and so on."""
    return ({"point": point, "passage": passage} for passage in passages or count(1))


def test_undisturbed(undisturbed: Result) -> None:
    """What the others are compared with is what the site holds: pages of every fate, each item, two files."""
    assert {str(state) for _, state, _, _ in undisturbed.pages} == {"done", "gone", "skipped", "failed"}
    assert (len(undisturbed.pages), len(undisturbed.files)) == (PAGES, 2)
    assert len(set(undisturbed.items)) == len(undisturbed.items) == len(undisturbed.rows) == ITEMS


@pytest.mark.parametrize("point", POINTS)
def test_each_point(world: World, undisturbed: Result, tmp_path: Path, point: str) -> None:
    """Killed at a step of a page's journey, again and again, it ends as if nothing had happened."""
    kills = 0
    for attempt in count():
        if kills >= KILLS_PER_POINT:
            break
        job = Job(world, tmp_path / str(attempt))
        if POINTS[point].after_a_kill:
            assert job.live(point="while a body is read", passage=5)
        eve = job.kills
        killed(job, at(point), KILLS_PER_POINT - kills + eve)
        assert job.kills > eve, f"no life of a job passes {point!r}"
        job.examine_end(undisturbed)
        kills += job.kills - eve


def test_any_moment(world: World, undisturbed: Result, tmp_path: Path, seed: int) -> None:
    """Killed at steps and moments that chance chooses, it ends as if nothing had happened."""
    chance = random.Random(seed)
    kills, delay = 0, chance.choice([0.0, 0.0, 0.02])

    def deaths() -> Iterator[Chosen]:
        while True:
            if chance.random() < 0.5:
                yield {"kill_after": chance.uniform(0.0, 0.25)}
            else:
                yield {"point": chance.choice(list(POINTS)), "passage": chance.randint(1, 8)}

    for attempt in count():
        if kills >= KILLS_PER_SEED:
            break
        job = Job(world, tmp_path / str(attempt), delay=delay)
        killed(job, deaths(), KILLS_PER_SEED - kills)
        job.examine_end(undisturbed)
        kills += job.kills
    assert kills >= KILLS_PER_SEED


def test_start_is_replayed(world: World, undisturbed: Result, tmp_path: Path) -> None:
    """A `start()` that was killed between two batches of seeds runs again from its beginning, until it has ended."""
    job = Job(world, tmp_path)
    killed(job, at("in start(), between two batches of seeds"), 2)
    job.examine_end(undisturbed)
    assert (tmp_path / "starts").read_text().splitlines() == ["start"] * 3


# -- the pace

PACED = [
    "after a lease was committed, before anything is sent",
    "while an answer is awaited",
    "when an answer is there, before it is judged",
    "inside a handler",
    "right after COMMIT, before memory knows",
    "before a heartbeat",
]


@pytest.mark.parametrize("point", PACED)
def test_pace(world: World, tmp_path: Path, point: str) -> None:
    """Across kills no host is asked sooner after its last request than its delay allows."""
    job = paced(world, tmp_path, point)
    assert job.kills == 3
    job.examine_gaps({C: 0.12})
    assert len(job.committed()) == 6


def paced(world: World, folder: Path, point: str, delay: float = 0.12, fault: str | None = None) -> Job:
    """A small job with a pause, killed again and again."""
    job = Job(world, folder, delay=delay)
    killed(job, at(point), 3, seeds=[world.site.url("/", host=C)], outputs=[], fault=fault)
    return job


# -- outputs that come later


@pytest.mark.parametrize("existing", ["refuse", "append"])
@pytest.mark.parametrize(
    "point",
    [
        "when a sink is open",
        "between a sink's write and its cursor",
        "inside a sink's write, when all its bytes are written",
    ],
)
def test_a_new_output(world: World, undisturbed: Result, tmp_path: Path, point: str, existing: str) -> None:
    """Killed while it begins an output that an earlier life did not have, also behind another's lines, it goes on."""
    job = Job(world, tmp_path)
    output = tmp_path / "new.jsonl.gz"
    always: Chosen = {"outputs": [str(output)], "existing": existing}
    if existing == "append":
        (tmp_path / "other").mkdir()
        other = Job(world, tmp_path / "other")
        assert not other.live(outputs=[str(output)])
    before = job.items_in(output)
    assert job.live(point="when a handler has ended, before the commit", passage=20)
    killed(job, at(point, repeat(1)), 4, **always)
    assert job.kills == 4
    assert job.items_in(output) == sorted(before + undisturbed.items)


# -- two lives at once


def test_two_lives(world: World, second: Lives, undisturbed: Result, tmp_path: Path) -> None:
    """Of two processes on one job either may be killed at any time: the other takes over, at no host's expense."""
    chance = random.Random(2)
    delay = 0.05
    job = Job(world, tmp_path, delay=delay)
    one: Chosen = {"outputs": [str(tmp_path / name) for name in ("one.jsonl", "one.csv")]}
    another: Chosen = {"outputs": [str(tmp_path / name) for name in ("another.jsonl", "another.csv")]}
    for _ in range(3):
        deaths = [chance.uniform(0.05, 0.35) for _ in range(2)]
        both = job.live_together(second, {**one, "kill_after": deaths[0]}, {**another, "kill_after": deaths[1]})
        assert both == [True, True]
    last = job.live_together(second, {**one, "kill_after": 0.1}, another)
    assert (last, job.is_finished()) == ([True, False], True)
    compare(job.result(another["outputs"]), undisturbed)
    job.examine_gaps(dict.fromkeys(HOSTS, delay))


def test_two_lives_and_one_output(world: World, second: Lives, undisturbed: Result, tmp_path: Path) -> None:
    """The same command twice: one process writes the outputs, and when it is killed the other goes on with them."""
    job = Job(world, tmp_path, delay=0.05)
    both = job.live_together(second, {"kill_after": 0.8}, {})
    assert (both, job.is_finished()) == ([True, False], True)
    compare(job.result(job.outputs), undisturbed)


# -- the examination is one


@pytest.mark.parametrize(
    ("fault", "point", "passage", "noticed"),
    [
        ("the cursor before the write", "before a sink's write", 8, "items differ|is not where its items end"),
        ("a commit in two transactions", "in a commit, after its items", 3, "a run whose count of items is wrong"),
    ],
)
def test_faults_are_noticed(
    world: World, undisturbed: Result, tmp_path: Path, fault: str, point: str, passage: int, noticed: str
) -> None:
    """With a fault put into the product the examination fails: it is able to."""
    job = Job(world, tmp_path)

    def end() -> None:
        killed(job, at(point, repeat(passage)), 3, fault=fault)
        job.examine_end(undisturbed)

    with pytest.raises(AssertionError, match=noticed):
        end()
    assert job.kills


def test_haste_is_noticed(world: World, tmp_path: Path) -> None:
    """Without the pause at a takeover the examination of the pace fails: it is able to."""
    job = paced(world, tmp_path, "while an answer is awaited", 0.4, fault="no pause at takeover")
    with pytest.raises(AssertionError, match="after its last request"):
        job.examine_gaps({C: 0.4})
