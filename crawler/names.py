"""Names of jobs, which are names of folders too."""

import hashlib
import re
from collections.abc import Sequence

from crawler.errors import ConfigError, escaped
from crawler.spider import Spider


def default_job_name(spider: Spider, seeds: Sequence[str]) -> str:
    """The spider's name, with a short digest of its arguments and further seeds when there are any."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", spider.name)
    if not spider.given and not seeds:
        return name
    digest = hashlib.blake2b(repr((sorted(spider.given.items()), sorted(seeds))).encode(), digest_size=4).hexdigest()
    return f"{name}-{digest}"


def named(job: str) -> str:
    """The name that somebody has chosen. Raises ConfigError for one that names no folder."""
    if job in {".", ".."} or "/" in job or "\\" in job or not job.isprintable():
        raise ConfigError(f"the job name {escaped(job)!r} does not name a folder in the jobs' folder")
    return job
