"""``crawler politeness``: what each host was asked, from the journal alone, and whether it was too much."""

import os
from datetime import UTC, datetime
from itertools import groupby
from typing import Annotated

from cyclopts import Parameter

from crawler.asked import Account, account, unpacked
from crawler.cli import jobs, layers, stdout, words
from crawler.cli.options import Folder
from crawler.errors import ConfigError, escaped

_RUN = "SELECT max(number) FROM runs"
_MINUTES = "SELECT detail FROM events WHERE run = ? AND kind = 'minute' ORDER BY detail ->> 'origin'"


def politeness(
    job: str,
    /,
    *,
    run: Annotated[int | None, Parameter(help="the run's number, by default the latest")] = None,
    folder: Folder = None,
) -> int:
    """Show how often each host was asked, how fast, and what was allowed; exit code 1 if it was ever too fast.

    Parameters
    ----------
    job
        its name, as 'crawler status' lists it
    """
    place = jobs.job_folder(folder or layers.project(os.environ).folder, job)
    with jobs.Journal(place) as journal:
        number = run or journal.rows(_RUN)[0][0] or 0
        found = [unpacked(detail) for (detail,) in journal.rows(_MINUTES, number)]
    if not found:
        raise ConfigError(f"run {number} of {escaped(job)} has asked nothing that is on record")
    accounts = [account(minutes) for _, minutes in groupby(found, key=lambda one: one.origin)]
    for one in sorted(accounts, key=lambda one: -one.requests):
        stdout.tell(_shown(one) + "\n")
    return int(any(one.too_fast for one in accounts))


def _shown(one: Account) -> str:
    busiest = datetime.fromtimestamp(one.busiest.first_at, UTC).strftime("%Y-%m-%d %H:%M UTC")
    gap = "-" if one.gap is None else f"{one.gap:.3f} s"
    verdict = f"TOO FAST {words.count(one.too_fast, 'time')}" if one.too_fast else "kept"
    return (
        f"{escaped(one.origin, 300)}: {verdict}\n"
        f"  {words.count(one.requests, 'request')}, at most {one.busiest.requests:,} in a minute ({busiest})\n"
        f"  shortest gap {gap}, allowed {one.delay:g} s; at most {one.at_once} at once, allowed {one.places}"
    )
