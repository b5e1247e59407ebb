"""Decoding and handshakes whose time is taken."""

import ssl
import time
from collections.abc import Iterator

from crawler import stages
from crawler.decoding import Decoder
from crawler.stages import Stages


class TimedDecoder(Decoder):
    """Counts as the stage ``decode``."""

    def __init__(self, encoding: str, *, cap: int, enough: int | None = None) -> None:
        super().__init__(encoding, cap=cap, enough=enough)
        self._at_work = stages.work("decode")

    def parts(self, chunk: bytes) -> Iterator[bytes]:
        """As a decoder does."""
        coming = super().parts(chunk)
        while True:
            with self._at_work:
                part = next(coming, None)
            if part is None:
                return
            yield part

    def is_heavy(self, chunk: bytes) -> bool:  # noqa: ARG002  # the decoder's
        """Never: what takes long in a thread would be told as the loop's."""
        return False

    def finish(self) -> bytes:
        """As a decoder does."""
        with self._at_work:
            return super().finish()


def timed(context: ssl.SSLContext, into: Stages) -> ssl.SSLContext:
    """The context, whose handshakes count as the stage ``TLS`` from their first message to their last."""

    class Timed(ssl.SSLObject):
        began_at = 0.0

        def do_handshake(self) -> None:
            self.began_at = self.began_at or time.perf_counter()
            super().do_handshake()
            into.add("TLS", time.perf_counter() - self.began_at)

    context.sslobject_class = Timed
    return context
