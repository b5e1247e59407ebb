"""What a crawl does before its first page and after its last: nothing that it could do without."""

import asyncio
import json
import os
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import uvloop

import crawler
from crawler.fetch import trust
from crawler.processes.engine import EngineProcess
from crawler.processes.messages import Begun
from crawler.processes.spawn import spawn
from crawler.processes.supervisor import Supervisor
from crawler.progress import Progress
from crawler.testing import Site
from tests.test_crawl import crawled
from tests.test_engine import everything, links_to, spider
from tests.test_fetch import CERTIFICATE, wire

pytestmark = [
    pytest.mark.timeout(60),
    pytest.mark.skipif(sys.platform == "win32", reason="there an engine runs in the process that was started"),
]
SOURCE = str(Path(crawler.__file__).parent.parent)
FOR_OTHERS = """
argparse charset_normalizer cyclopts.help docstring_parser importlib.metadata multiprocessing rich sqlite3 unittest
zoneinfo crawler.cli.supervise crawler.demo crawler.testing
"""  # what some crawls need, some commands, or nobody
SPIDER = """
import gc, sys
import aiohttp.connector
from crawler import Spider

class Here(Spider):
    seeds = [{seed!r}]

    def parse(self, response):
        contexts = [value for name, value in vars(aiohttp.connector).items() if "_CONTEXT_" in name]
        read = [context.cert_store_stats()["x509"] for context in contexts]
        collector = {{"frozen": gc.get_freeze_count(), "collects": gc.isenabled()}}
        yield {{"modules": sorted(sys.modules), "read": read, **collector}}
"""


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """What an engine's process is like while it crawls a site of one page."""
    folder = tmp_path_factory.mktemp("one")
    with Site.in_thread() as site:
        site.page("/", "x")
        (folder / "here.py").write_text(SPIDER.format(seed=site.url("/")))
        words = ["-m", "crawler", "crawl", "here.py", "-o", "items.jsonl", "-s", "resolve=*.test=127.0.0.1"]
        subprocess.run([sys.executable, *words], cwd=folder, env=os.environ | {"PYTHONPATH": SOURCE}, check=True)
    found: dict[str, object] = json.loads((folder / "items.jsonl").read_text())
    return found


def imported_by(module: str) -> set[str]:
    code = f"import sys, {module}; print(*sys.modules)"
    return {*subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()}


def test_an_engine_imports_what_a_crawl_needs(engine: dict[str, list[str]]) -> None:
    """What only some crawls need, or other commands, keeps no crawl waiting."""
    assert sorted({*FOR_OTHERS.split()} & {*engine["modules"]}) == []
    assert "crawler.fetch" in engine["modules"]


def test_an_engine_begins_before_its_supervisor_imports_anything() -> None:
    """The first engine is begun with what Python has at hand, and both import at the same time."""
    needed = imported_by("crawler.cli.watch")
    assert {name for name in needed if name.startswith("crawler")} == {
        *("crawler", "crawler.cli", "crawler.cli.watch", "crawler.processes", "crawler.processes.spawn"),
    }
    assert not {"msgspec", "logging", "json", "asyncio"} & needed


def test_what_is_imported_is_not_looked_over_again(engine: dict[str, int]) -> None:
    """The collector of cycles leaves an engine's modules alone, and works on all that comes after them."""
    assert engine["frozen"] > 10_000
    assert engine["collects"] is True


def test_no_certificates_are_read_for_plain_http(engine: dict[str, list[int]]) -> None:
    """Neither of the contexts that aiohttp makes as it is imported has read the machine's certificates."""
    assert engine["read"] == [0, 0]


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_certificates_are_read_before_they_are_needed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, new_loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    """The first connection of a context that has put it off reads the machine's certificates."""
    (tmp_path / "trusted.pem").write_text(CERTIFICATE)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "trusted.pem"))

    async def talk() -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        trust._read_later(context)
        assert context.cert_store_stats()["x509"] == 0
        async with wire(b"HTTP/1.1 200 OK\r\n\r\n", tls=True) as server:
            _, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=context)
            writer.close()
            assert context.cert_store_stats()["x509"] == 1
            with pytest.raises(ssl.SSLCertVerificationError):
                await asyncio.open_connection("127.0.0.1", server.port, ssl=context, server_hostname="wrong.example")

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(talk())


def test_contexts_of_others_read_them_at_once() -> None:
    """Only what is made while aiohttp is imported puts off reading certificates."""
    code = "import ssl; was = ssl.SSLContext.set_default_verify_paths; import crawler.fetch; "
    code += "print(ssl.SSLContext.set_default_verify_paths == was)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "True\n"


async def test_the_last_page_is_stored_at_once() -> None:
    """When nothing else is in flight, nobody waits for a commit window to end."""
    async with Site() as site:
        site.page("/", links_to("/1", "/2"))
        site.page("/1", "x")
        site.page("/2", "x")
        found = await crawled(spider(everything, site.url("/")), site, commit_window=30)
    assert len(found.items) == 3
    assert found.summary.elapsed < 15


class Face:
    """Nobody looks."""

    def begin(self, begun: Begun) -> None: ...
    def show(self, progress: Progress) -> None: ...
    def tell(self, text: str) -> None: ...
    def say(self, text: str) -> None: ...


def test_an_end_is_heard_of_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that closes its line a moment before it ends keeps its supervisor no longer than that."""
    monkeypatch.setattr("crawler.processes.supervisor.TICK", 30.0)
    code = "import socket, sys, time; line = socket.socket(fileno=int(sys.argv[1])); line.recv(1000); line.close()"
    command = [sys.executable, "-c", f"{code}; time.sleep(0.3); sys.exit(2)"]
    began = time.monotonic()
    with tempfile.TemporaryFile() as file:
        number = file.fileno()
        supervisor = Supervisor(lambda role: EngineProcess(spawn(command, number), role), Face(), number, [])
        assert supervisor.run() == (2, None)
    assert time.monotonic() - began < 15
