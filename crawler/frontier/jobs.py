"""What makes a job the same job: looked at by each process that begins to work on it."""

import secrets
from typing import cast

import msgspec

from crawler.errors import ConfigError
from crawler.frontier import JobFacts
from crawler.frontier.writer import Writer


def job_key(journal: Writer, job: JobFacts) -> bytes:
    """The key of the job's fingerprints, made by whoever comes first. Raises ConfigError for another job's journal."""
    facts = msgspec.json.encode(job, order="deterministic").decode()
    journal.execute("INSERT OR IGNORE INTO job VALUES ('facts', ?), ('key', ?)", (facts, secrets.token_bytes(16)))
    stored = cast("str", journal.value("SELECT value FROM job WHERE key = 'facts'"))
    if stored != facts:
        was = msgspec.json.decode(stored, type=JobFacts)
        raise ConfigError(
            f"this job belongs to spider {was.spider!r} with arguments {dict(was.arguments)}, not to "
            f"{job.spider!r} with {dict(job.arguments)}: choose another name with --job, or start over with --fresh"
        )
    return cast("bytes", journal.value("SELECT value FROM job WHERE key = 'key'"))
