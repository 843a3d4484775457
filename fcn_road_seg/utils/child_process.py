"""A function in a process of its own, which ends with the block that uses it."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection


@contextmanager
def child_process(target: Callable[..., None], *args: object) -> Iterator[Connection]:
    """Run `target(*args, link)` in a new process; yield the other end of that link.

    If the process has ended, `recv` raises EOFError and `send` raises OSError. The process ignores
    Ctrl-C; it is terminated after the block. Call this in the main thread only.
    """
    spawn = multiprocessing.get_context('spawn')
    link, child_link = spawn.Pipe()
    child = spawn.Process(target=target, args=(*args, child_link), daemon=True)
    # The process inherits this, so that Ctrl-C cannot interrupt its imports either.
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        child.start()
    finally:
        signal.signal(signal.SIGINT, handler)
    # While the child's end is open here, too, `recv` would not notice that the process ended.
    child_link.close()
    try:
        yield link
    finally:
        child.terminate()
        child.join()
        link.close()
