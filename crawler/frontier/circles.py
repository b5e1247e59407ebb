"""Pages that were left for another URL, and where that leads: back to themselves, it may be.

A page ends without its handler when it redirects, or names another canonical URL that is handled in its place. Where
such steps close a circle, nobody would be handled. It closes with the commit of its last page; then it is broken.
"""

from collections.abc import Mapping, Sequence

from crawler.frontier import queries, rows
from crawler.frontier.writer import Writer
from crawler.models import State, Visit


def is_elsewhere(visit: Visit) -> bool:
    """Whether a page was left for another URL, which is its only link."""
    return bool(visit.links) and visit.reason.startswith(("redirected: ", "canonical: "))


def broken(journal: Writer, run: int, visits: Sequence[Visit], hosts: Mapping[str, int]) -> dict[int, int]:
    """Make one page of each circle that these visits have closed pending, to be handled as it is; rank by host.

    It is the first whose canonical URL began it. A circle of redirects alone stays as it is.
    """
    left = [visit for visit in visits if is_elsewhere(visit)]
    steps = [[*rows.of_link(link, hosts[link.origin], run), visit.page.seq] for visit in left for link in visit.links]
    journal.rows(queries.LEADS_TO, steps)
    best: dict[int, int] = {}
    for visit in left:
        for host, place in journal.db.execute(queries.BREAK_CIRCLE, (visit.page.seq, run)).fetchall():
            journal.rows(queries.TALLY, [(run, State.DONE, "canonical", -1)])
            journal.execute("UPDATE runs SET pending = pending + 1 WHERE number = ?", (run,))
            best[int(str(host))] = int(str(place))
    if best:
        journal.rows(queries.HOSTS_DUE, best)
    return best
