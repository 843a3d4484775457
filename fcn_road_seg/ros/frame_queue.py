"""A queue between two threads, in which the newest item may replace a waiting one."""

from __future__ import annotations

import threading
from collections import deque
from typing import Generic, TypeVar

T = TypeVar('T')


class FrameQueue(Generic[T]):
    """Passes items from one thread to another, in order, and counts those that it drops.

    It holds the newest item only or, with `keep_all`, each item until it is taken.
    """

    def __init__(self, *, keep_all: bool = False) -> None:
        self._changed = threading.Condition()
        self._items: deque[T] = deque()
        self._keep_all = keep_all
        self._closed = False
        self._dropped = 0

    def __len__(self) -> int:
        """Return the number of waiting items."""
        return len(self._items)

    @property
    def closed(self) -> bool:
        return self._closed

    def put(self, item: T) -> None:
        """Add `item`; unless all are kept, drop a waiting one. After `close`, drop `item`."""
        with self._changed:
            if self._closed:
                self._dropped += 1
                return
            if not self._keep_all:
                self._drop_waiting()
            self._items.append(item)
            self._changed.notify()

    def take(self) -> T | None:
        """Wait for an item and return it; None when the queue is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._items)
            return self._items.popleft() if self._items else None

    def take_dropped(self) -> int:
        """Return the number of items dropped since the last call."""
        with self._changed:
            dropped, self._dropped = self._dropped, 0
            return dropped

    def close(self) -> None:
        """Drop the waiting items, and wake the thread that waits in `take`."""
        with self._changed:
            self._drop_waiting()
            self._closed = True
            self._changed.notify_all()

    def _drop_waiting(self) -> None:
        self._dropped += len(self._items)
        self._items.clear()
