"""A function in a process of its own, which ends with the block that it serves."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection


@contextmanager
def child_process(target: Callable[..., None], *args: object) -> Iterator[Connection]:
    """Run `target(*args, link)` in a fresh process; give that link's other end.

    Where the process has ended, `recv` raises EOFError and `send` an OSError. Ctrl-C is not for
    it but for this process, which ends it after the block. To be called in the main thread.
    """
    spawn = multiprocessing.get_context('spawn')
    link, helpers_link = spawn.Pipe()
    helper = spawn.Process(target=target, args=(*args, helpers_link), daemon=True)
    # What is ignored here is so in the process from its first moment on, its imports included.
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        helper.start()
    finally:
        signal.signal(signal.SIGINT, handler)
    # Else the process's end would not be noticed here.
    helpers_link.close()
    try:
        yield link
    finally:
        helper.terminate()
        helper.join()
        link.close()
