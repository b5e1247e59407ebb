"""An nginx of our own: its port, its pid file and its folder are its alone, and its core is not the crawler's."""

import contextlib
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from msgspec import Struct

from benchmarks.process import cores, pinned

DOMAIN = "bench.test"
_MAIN = """
daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/error.log crit; worker_rlimit_nofile 65536;
events {{ worker_connections 16384; }}
http {{
  include /etc/nginx/mime.types; default_type text/html; charset utf-8; sendfile on; tcp_nopush on; gzip_static {gzip};
  keepalive_requests 1000000; keepalive_timeout 60s; server_names_hash_bucket_size 128;
  open_file_cache max=100000 inactive=600s; open_file_cache_valid 600s;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  log_format times '$msec $host $request_uri'; access_log {log};
  server {{
    listen {port} default_server backlog=4096;
    {listen_tls}
    location = /one/index.html {{ return 200 '<title>one</title>'; }}
    {locations}
  }}
  {servers}
}}
"""
_TLS = (
    "listen {port} ssl; ssl_certificate {folder}/cert.pem; ssl_certificate_key {folder}/key.pem; ssl_session_cache off;"
)


class Server(Struct, frozen=True):
    """An nginx at work on all loopback addresses. ``tls`` is its port for TLS, ``authority`` who signed for it.

    It knows all names below bench.test, if somebody resolves them. ``log`` has a line for each request, if it was asked
    for: epoch seconds, host, path.
    """

    port: int
    tls: int
    folder: Path

    @property
    def base(self) -> str:
        """The URL of its default host."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def one(self) -> str:
        """The URL of a page that leads nowhere, alone in its folder."""
        return f"{self.base}/one/index.html"

    @property
    def authority(self) -> Path:
        """The file of the certificate that all names below bench.test have."""
        return self.folder / "cert.pem"

    @property
    def log(self) -> Path:
        """The file of the log."""
        return self.folder / "access.log"


@contextlib.contextmanager
def nginx(
    folder: Path, sites: Mapping[str, Path], *, servers: str = "", gzip: bool = False, log: bool = False,
    tls: bool = False,
) -> Iterator[Server]:  # fmt: skip
    """Serve folders of pages below ``/name/``; `servers` are further server blocks, in which PORT is the port."""
    folder.mkdir(parents=True, exist_ok=True)
    server = Server(_free_port(), _free_port(), folder)
    if tls:
        _make_certificate(folder)
    listen_tls = _TLS.format(port=server.tls, folder=folder) if tls else ""
    locations = "\n".join(f"location /{name}/ {{ alias {path}/; }}" for name, path in sites.items())
    text = _MAIN.format(
        folder=folder, port=server.port, listen_tls=listen_tls, locations=locations, gzip="on" if gzip else "off",
        servers=servers.replace("PORT", str(server.port)), log=f"{server.log} times" if log else "off",
    )  # fmt: skip
    (folder / "nginx.conf").write_text(text)
    with pinned(cores()[1]):
        process = subprocess.Popen(["nginx", "-e", str(folder / "error.log"), "-c", str(folder / "nginx.conf")])
    try:
        _wait(process, server)
        yield server
    finally:
        process.terminate()
        process.wait()


def _wait(process: "subprocess.Popen[bytes]", server: Server) -> None:
    deadline = time.monotonic() + 10
    while True:
        try:
            socket.create_connection(("127.0.0.1", server.port), 1).close()
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((server.folder / "error.log").read_text() or "nginx does not answer") from None
            time.sleep(0.02)
        else:
            return


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def _make_certificate(folder: Path) -> None:
    """A certificate for all names below the domain, its own authority."""
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=benchmarks "
        f"-addext subjectAltName=DNS:*.{DOMAIN} -keyout {folder}/key.pem -out {folder}/cert.pem"
    )
    subprocess.run(command.split(), check=True, capture_output=True)
