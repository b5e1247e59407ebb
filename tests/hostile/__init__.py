"""A web that misbehaves: each row is a host of its own, with its one way of doing so, and how its page has to end.

server      asyncio streams: what a row says is sent, byte for byte
framing     where an answer ends                       headers     what stands before its body
encodings   what a body is packed in                   pace        how slowly, and for how long
redirects   where an answer leads                      robots      robots.txt
names       name servers                               pages       what is in a page

``python -m tests.hostile`` serves it on a free port, until it is interrupted.
"""

from tests.hostile import encodings, framing, headers, names, pace, pages, redirects, robots
from tests.hostile.server import DOMAIN, Row

ROWS: dict[str, Row] = {
    f"{name}.{module.__name__.rpartition('.')[2]}": row
    for module in (framing, headers, encodings, pace, redirects, robots, pages)
    for name, row in module.ROWS.items()
}


def index(port: int) -> bytes:
    """A page with a link to each host."""
    hosts = [f"{name}.{DOMAIN}" for name in ROWS] + [f"{name}.{names.DOMAIN}" for name in names.ANSWERS]
    return "".join(f'<a href="http://{host}:{port}/">{host}</a>\n' for host in hosts).encode()
