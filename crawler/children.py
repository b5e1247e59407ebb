"""Processes for functions that compute: one for each core, kept for the next call."""

import multiprocessing
import os
import threading
from concurrent.futures import ProcessPoolExecutor


def pool() -> ProcessPoolExecutor:
    """A pool of processes that die with this one."""
    spawn = multiprocessing.get_context("spawn")  # a forked child would hold the engine's descriptors
    return ProcessPoolExecutor(mp_context=spawn, initializer=_end_with_parent)


def _end_with_parent() -> None:
    """Die when the parent dies, however it dies: a pool's children would wait for its next call for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
