"""Name servers that misbehave: what the system's resolver says of each name below ``names.test``."""

import socket
import time
from collections.abc import Callable
from typing import Any

DOMAIN = "names.test"
MUTE = 1.5  # seconds, longer than anybody waits for a name in these crawls
UNKNOWN, BLOCKED = "failed DnsError", "failed BlockedAddress"


def _fails(code: int) -> Callable[[], list[str]]:
    def answer() -> list[str]:
        raise socket.gaierror(code, "as it was told to")

    return answer


def _mute() -> list[str]:
    time.sleep(MUTE)
    raise socket.gaierror(socket.EAI_AGAIN, "no answer")


def _unspeakable() -> list[str]:
    raise UnicodeError("label too long")


ANSWERS: dict[str, tuple[Callable[[], list[str]], str]] = {
    "does-not-exist": (_fails(socket.EAI_NONAME), UNKNOWN),
    "has-no-address": (_fails(getattr(socket, "EAI_NODATA", socket.EAI_NONAME)), UNKNOWN),
    "server-fails": (_fails(socket.EAI_AGAIN), UNKNOWN),
    "mute": (_mute, UNKNOWN),
    "x" * 63 + "." + "y" * 63: (_unspeakable, UNKNOWN),
    "this-machine": (lambda: ["127.0.0.1"], BLOCKED),
    "unspecified": (lambda: ["0.0.0.0"], BLOCKED),
    "intranet": (lambda: ["10.1.2.3", "fd00::1", "192.168.1.1"], BLOCKED),
    "metadata": (lambda: ["169.254.169.254"], BLOCKED),
    "metadata-by-ipv6": (lambda: ["::ffff:169.254.169.254", "fd00:ec2::254"], BLOCKED),
    "four-thousand-answers": (lambda: [f"10.{n >> 8}.{n & 255}.1" for n in range(4000)], BLOCKED),
}


def looked_up(host: str, *_: Any, **__: Any) -> list[tuple[Any, ...]]:
    """What stands in for ``socket.getaddrinfo``."""
    answer, _end = ANSWERS[host.removesuffix(f".{DOMAIN}")]
    return [
        (socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0))
        for address in answer()
    ]
