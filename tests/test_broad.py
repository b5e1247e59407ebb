"""A broad crawl of hosts that each ask for a delay of their own: what their server's log says of it.

``BROAD="2000 300" pytest -m full -n 0 tests/test_broad.py`` takes 2,000 hosts and five minutes; else 500 and one.
"""

import os
import resource
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.test_real_sites import crawl, finished, nginx

pytestmark = [pytest.mark.full, pytest.mark.timeout(900)]

DELAYS = (4, 6, 8, 12, 16, 20)
HOSTS, SECONDS = map(int, os.environ.get("BROAD", "500 60").split())
TOLERANCE = 0.020  # seconds, of two clocks and a log that counts milliseconds
CONFIGURATION = """
daemon off; worker_processes 1; worker_priority -10; pid {folder}/nginx.pid; error_log {folder}/error.log;
worker_rlimit_nofile 16384; events {{ worker_connections 16384; }}
http {{
  include /etc/nginx/mime.types; default_type text/html; charset utf-8; sendfile on; tcp_nopush on;
  keepalive_requests 1000000; client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
  uwsgi_temp_path {folder}; scgi_temp_path {folder};
  map $server_addr $delay {{ DELAYS }}
  log_format times "$server_addr $msec $request_time $uri"; access_log {log} times buffer=64k flush=1s;
  server {{
    listen {port} backlog=4096; {locations}
    location = /robots.txt {{ default_type text/plain; return 200 "User-agent: *\nCrawl-delay: $delay\n"; }}
  }}
}}
"""
BROAD = """
from crawler import Scope, Spider


class Broad(Spider):
    def __init__(self, port: int, hosts: int) -> None:
        super().__init__()
        self.seeds = [f"http://127.2.{n // 250}.{n % 250 + 1}:{port}/pg/index.html" for n in range(hosts)]
        self.scope = Scope(include=["*/pg/*"])

    def parse(self, response):
        yield {"url": response.url}
        yield response.follow("a")
"""


class Asked(NamedTuple):
    """One line of the server's log: when the request came (epoch seconds), and for what."""

    at: float
    path: str


def delay_of(host: str) -> int:
    return DELAYS[int(host.rpartition(".")[2]) % len(DELAYS)]


def hosts_asked(log: Path) -> Mapping[str, Sequence[Asked]]:
    """The requests to each host, in the order in which they came."""
    found: dict[str, list[Asked]] = defaultdict(list)
    for line in log.read_text().splitlines():
        host, at, took, path = line.split(" ", 3)
        found[host].append(Asked(float(at) - float(took), path))
    return {host: sorted(asked) for host, asked in found.items()}


@pytest.mark.parametrize("engines", [1, 2])
def test_no_gap_is_short_and_no_time_is_lost(tmp_path: Path, engines: int) -> None:
    """Each host is asked no sooner than it wishes, and all of them together nearly as often as they allow."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    (tmp_path / "broad.py").write_text(BROAD)
    delays = " ".join(f"~\\.{n}$ {DELAYS[n % len(DELAYS)]};" for n in range(1, 251))
    log = tmp_path / "access.log"
    with nginx(tmp_path, log, CONFIGURATION.replace("DELAYS", delays)) as port:
        words = [str(tmp_path / "broad.py"), "-a", f"port={port}", "-a", f"hosts={HOSTS}", "--job", "broad"]
        process = crawl(tmp_path, *words, "-j", str(engines), "--max-time", str(SECONDS))
        code, _, memory = finished(process)
    assert code == 4, "it was to be stopped by its time"
    asked = hosts_asked(log)
    assert len(asked) == HOSTS
    short = {
        (host, later.at - before.at)
        for host, times in asked.items()
        for before, later in pairwise(times)
        if later.at - before.at < delay_of(host) - TOLERANCE
    }
    assert not short
    began = min(times[0].at for times in asked.values())
    allowed = sum(int(SECONDS // delay_of(host)) + 1 for host in asked)
    sent = sum(sum(one.at <= began + SECONDS for one in times) for times in asked.values())
    assert sent >= 0.95 * allowed, f"{sent} requests of {allowed} that the delays allow"
    assert memory < 300 * engines
