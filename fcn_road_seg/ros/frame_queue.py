"""A mailbox between two threads, in which the newest item replaces what nobody has taken yet."""

from __future__ import annotations

import threading
from collections import deque
from typing import Generic, TypeVar

T = TypeVar('T')


class FrameQueue(Generic[T]):
    """Hands items from one thread to another, in order, and counts what it dropped.

    It holds the newest item alone or, with `keep_all`, every one until it is taken.
    """

    def __init__(self, *, keep_all: bool = False) -> None:
        self._changed = threading.Condition()
        self._items: deque[T] = deque()
        self._keep_all = keep_all
        self._closed = False
        self._dropped = 0

    def __len__(self) -> int:
        """Return how many items wait."""
        return len(self._items)

    @property
    def closed(self) -> bool:
        return self._closed

    def put(self, item: T) -> None:
        """Leave `item`, dropping one that still lies there; after `close`, drop `item`."""
        with self._changed:
            if self._closed:
                self._dropped += 1
                return
            if not self._keep_all:
                self._drop_waiting()
            self._items.append(item)
            self._changed.notify()

    def take(self) -> T | None:
        """Wait for an item and return it; None once the mailbox is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._items)
            return self._items.popleft() if self._items else None

    def take_dropped(self) -> int:
        """Return how many items were dropped since this was last asked."""
        with self._changed:
            dropped, self._dropped = self._dropped, 0
            return dropped

    def close(self) -> None:
        """Wake whoever waits; what still lies there counts as dropped."""
        with self._changed:
            self._drop_waiting()
            self._closed = True
            self._changed.notify_all()

    def _drop_waiting(self) -> None:
        self._dropped += len(self._items)
        self._items.clear()
