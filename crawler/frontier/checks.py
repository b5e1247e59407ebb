"""The journal's invariants as questions that must have no answer."""

import apsw

QUESTIONS = {
    "the damage that SQLite finds": "SELECT integrity_check FROM pragma_integrity_check WHERE integrity_check <> 'ok'",
    "a run whose count of pending pages is wrong": """
        SELECT number, pending FROM runs
        WHERE pending <> (SELECT count(*) FROM pages WHERE state = 0 AND pages.run = runs.number)""",
    "a finished run with a pending page": "SELECT number FROM runs WHERE finished_at IS NOT NULL AND pending <> 0",
    "an older run that is not finished": """
        SELECT number FROM runs WHERE finished_at IS NULL AND number < (SELECT max(number) FROM runs)""",
    "a run whose tallies do not add up": """
        SELECT number FROM runs WHERE number = (SELECT max(number) FROM runs)
        AND (SELECT coalesce(sum(pages), 0) FROM tallies WHERE tallies.run = number)
          <> (SELECT count(*) FROM pages WHERE pages.run = number AND state <> 0)""",
    "a host whose owner is unknown": """
        SELECT origin FROM hosts WHERE owner IS NOT NULL AND owner NOT IN (SELECT id FROM engines)""",
    "a free host with a pending page and no due time": """
        SELECT origin FROM hosts WHERE owner IS NULL AND due_at IS NULL
        AND EXISTS (SELECT 1 FROM pages WHERE pages.host = hosts.id AND state = 0)""",
    "a free host with a due time and no pending page": """
        SELECT origin FROM hosts WHERE owner IS NULL AND due_at IS NOT NULL
        AND NOT EXISTS (SELECT 1 FROM pages WHERE pages.host = hosts.id AND state = 0)""",
    "an item of a page that has not ended": """
        SELECT items.seq FROM items JOIN pages ON pages.seq = items.page AND pages.run = items.run
        WHERE pages.state = 0""",
    "an item that stands twice": "SELECT page, n FROM items GROUP BY run, page, n HAVING count(*) > 1",
    "a run whose count of items is wrong": """
        SELECT number FROM runs WHERE number = (SELECT max(number) FROM runs)
        AND items + quarantined <> (SELECT count(*) FROM items WHERE items.run = number)""",
    "a sink ahead of the items": """
        SELECT target FROM sinks
        WHERE seq > (SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'items')""",
}


def violations(db: apsw.Connection) -> list[str]:
    """Each contradiction found, in words; the first ten of a kind."""
    return [
        f"{question}: {', '.join(map(str, row))}"
        for question, select in QUESTIONS.items()
        for row in db.execute(select).fetchall()[:10]
    ]
