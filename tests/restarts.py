"""A crawl in a process of its own that is killed without warning, and started again by the same command."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from crawler import Spider

PROGRAM = """
import sys
from crawler import crawl
from {module} import {name}

spider = {name}()
spider.seeds = [sys.argv[1]]
settings = {{"resolve": {{"*.test": "127.0.0.1"}}, "delay": 0.05, "min_free_space": 0}}
crawl(spider, folder=sys.argv[2], settings=settings)
"""
ROOT = Path(__file__).parent.parent


def command(spider: type[Spider], seed: str, folder: Path) -> list[str]:
    """What crawls from that seed, twenty pages a second, with a spider that the tests define."""
    program = PROGRAM.format(module=spider.__module__, name=spider.__name__)
    return [sys.executable, "-c", program, seed, str(folder)]


def killed(command: list[str], when: Callable[[], bool]) -> None:
    """Start it, and kill it as soon as that holds."""
    with subprocess.Popen(command, cwd=ROOT) as process:
        while not when():
            assert process.poll() is None
            time.sleep(0.01)
        process.kill()


def ended(command: list[str]) -> None:
    """Start it, and wait for its end."""
    assert subprocess.run(command, cwd=ROOT, check=False, timeout=60).returncode == 0


def lines(job: Path) -> list[str]:
    """The items of the job's first run, as they stand in its file."""
    return (job / "run-0001" / "items.jsonl").read_text().splitlines()
