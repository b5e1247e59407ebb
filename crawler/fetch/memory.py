"""Bytes of memory that many bodies share."""

import asyncio
from collections import deque


class Memory:
    """A number of bytes to be reserved and given back; who finds too few left waits, first come, first served."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._free = size
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def reserve(self, wanted: int) -> int:
        """Wait until `wanted` bytes are free, or all if there are fewer in all; return how many to `release`."""
        wanted = min(wanted, self._size)
        if not self._waiting and wanted <= self._free:
            self._free -= wanted
            return wanted
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append((wanted, turn))
        try:
            await turn
        except asyncio.CancelledError:
            self.release(0 if turn.cancelled() else wanted)
            raise
        return wanted

    def release(self, reserved: int) -> None:
        """Give bytes back."""
        self._free += reserved
        while self._waiting and (self._waiting[0][1].done() or self._waiting[0][0] <= self._free):
            wanted, turn = self._waiting.popleft()
            if not turn.done():
                self._free -= wanted
                turn.set_result(None)
