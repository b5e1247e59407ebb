"""Kill a crawl of three real sites every few seconds, for as long as you like, and see that nothing is lost.

    python -m tests.soak --minutes 60

Three of Debian's documentation packages (python3.11-doc, postgresql-doc-15, openjdk-17-doc) are served by nginx, each
at an address of its own. The same command, ``crawler crawl … -j 2``, is started again after each death of the whole;
an engine, the supervisor or all of them die by SIGKILL, at random. Each job that comes to its end must hold exactly the
items of an undisturbed crawl. Prints its figures as it goes, and exits with 1 when they are wrong.
"""

import argparse
import contextlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from crawler.frontier.checks import violations
from crawler.frontier.schema import readable
from tests.test_processes import children
from tests.test_real_sites import ROOT, SITES, nginx

SPIDER = """
from crawler import Scope, Spider

class Manuals(Spider):
    seeds = {seeds!r}
    scope = Scope(folders={folders!r})

    def parse(self, response):
        if response.headers.get("Content-Type", "").startswith("text/html"):
            yield {{"url": response.url, "title": response.text("title", default=None)}}
            yield response.follow("a")
"""


class Soak:
    """One series of jobs, and what was seen."""

    def __init__(self, port: int, log: Path, seed: int) -> None:
        self.folders = [f"http://127.0.0.{n}:{port}/{name}/" for n, name in enumerate(SITES, 2)]
        self.log, self.rng = log, random.Random(seed)
        self.figures: Counter[str] = Counter()

    def command(self, folder: Path) -> list[str]:
        spider = folder / "manuals.py"
        spider.write_text(SPIDER.format(seeds=[f"{base}index.html" for base in self.folders], folders=self.folders))
        fast = ["-s", "delay=0", "-s", "concurrency_per_host=16", "--no-progress", "--log-level", "error"]
        return [sys.executable, "-m", "crawler", "crawl", str(spider), "-j", "2", *fast, "--folder", str(folder)]

    def undisturbed(self) -> set[str]:
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run(self.command(Path(folder)), cwd=ROOT, check=False, stderr=subprocess.DEVNULL)
            return self.urls(Path(folder))

    def job(self) -> set[str]:
        """Crawl once, dying all the time, and give what it came to."""
        with tempfile.TemporaryDirectory() as folder:
            command = self.command(Path(folder))
            while True:
                process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
                self.figures["starts"] += 1
                self.disturb(process)
                assert process.returncode in {0, 3, -signal.SIGKILL}, process.returncode
                if self.has_finished(Path(folder)):  # if it was killed after that, the command would begin the next run
                    break
            self.figures["jobs"] += 1
            self.examine(Path(folder))
            return self.urls(Path(folder))

    def disturb(self, process: "subprocess.Popen[bytes]") -> None:
        while process.poll() is None:
            try:
                process.wait(self.rng.uniform(1.0, 5.0))
            except subprocess.TimeoutExpired:
                victim = self.rng.choice(["an engine", "an engine", "the supervisor", "all"])
                with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                    engines = children(process.pid)
                    if victim != "the supervisor" and engines:
                        for engine in engines if victim == "all" else [self.rng.choice(engines)]:
                            os.kill(engine, signal.SIGKILL)
                if victim != "an engine":
                    process.kill()
                    process.wait()
                self.figures["kills"] += 1

    def has_finished(self, folder: Path) -> bool:
        file = folder / "manuals" / "job.db"
        if not file.exists():
            return False
        with contextlib.closing(readable(file)) as journal:
            if journal.execute("SELECT 1 FROM sqlite_schema WHERE name = 'runs'").get is None:
                return False
            return journal.execute("SELECT finished_at FROM runs WHERE number = 1").get is not None

    def examine(self, folder: Path) -> None:
        with contextlib.closing(readable(folder / "manuals" / "job.db")) as journal:
            assert violations(journal) == []
            states = dict(journal.execute("SELECT state, count(*) FROM urls GROUP BY state"))
            self.figures["pages"] += sum(states.values()) - states.get("skipped", 0)
            self.figures["failed"] += states.get("failed", 0)

    def urls(self, folder: Path) -> set[str]:
        lines = (folder / "manuals" / "run-0001" / "items.jsonl").read_text().splitlines()
        found = [json.loads(line)["url"] for line in lines]
        assert len(found) == len(set(found)), [url for url, times in Counter(found).items() if times > 1][:5]
        self.figures["items"] += len(found)
        return set(found)

    def refetches(self) -> int:
        asked = Counter(re.findall(r'"GET (\S+)', self.log.read_text()))
        self.log.write_text("")
        return sum(asked.values()) - len(asked)


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--minutes", type=float, default=60)
    options.add_argument("--seed", type=int, default=1)
    asked = options.parse_args()
    with tempfile.TemporaryDirectory() as folder, nginx(Path(folder), log=Path(folder) / "access.log") as port:
        soak = Soak(port, Path(folder) / "access.log", asked.seed)
        expected = soak.undisturbed()
        soak.figures.clear()
        say(f"undisturbed: {len(expected)} items")
        ends_at = time.monotonic() + asked.minutes * 60
        soak.refetches()
        while time.monotonic() < ends_at:
            found = soak.job()
            if found != expected:
                say(f"WRONG: {len(expected - found)} lost, {len(found - expected)} that should not be")
                return 1
            soak.figures["refetches"] += soak.refetches()
            minutes = asked.minutes - (ends_at - time.monotonic()) / 60
            say(f"{minutes:.1f} minutes: " + ", ".join(f"{count:,} {what}" for what, count in soak.figures.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
