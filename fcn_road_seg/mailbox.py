"""A mailbox for one item, in which the newest replaces what nobody has taken yet."""

from __future__ import annotations

import threading
from typing import Generic, TypeVar

T = TypeVar('T')


class Mailbox(Generic[T]):
    """Hands the newest item from one thread to another, and counts what it dropped."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._item: T | None = None
        self._closed = False
        self.dropped = 0

    def put(self, item: T) -> None:
        """Leave `item`, dropping one that still lies there; after `close`, drop `item`."""
        with self._changed:
            if self._closed or self._item is not None:
                self.dropped += 1
            if not self._closed:
                self._item = item
                self._changed.notify()

    def take(self) -> T | None:
        """Wait for an item and return it; None once the mailbox is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._item is not None)
            item, self._item = self._item, None
            return item

    def close(self) -> None:
        """Wake whoever waits; what still lies there counts as dropped."""
        with self._changed:
            self.dropped += self._item is not None
            self._item = None
            self._closed = True
            self._changed.notify_all()
