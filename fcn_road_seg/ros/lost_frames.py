"""Counts the frames that never reached the node, by the sequence numbers of their messages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class LostFrames:
    """Finds the gaps between the sequence numbers of a publisher's messages.

    The middleware may lose a message in transport, or overwrite it with a newer one before the
    executor takes it, and it reports neither.
    """

    def __init__(self) -> None:
        self._last: int | None = None

    def count(self, message_info: Mapping[str, Any], publisher_count: int) -> int:
        """Return how many messages are missing between the previous one and this one.

        `message_info` is what rclpy passes with a message, `publisher_count` the number of the
        topic's publishers. The result is 0 if the number is unknown: for the first message of a
        publisher; with several publishers, as rclpy does not say which one sent a message; and
        without sequence numbers (middleware other than Fast DDS).
        """
        number = message_info.get('publication_sequence_number')
        last, self._last = self._last, number if publisher_count == 1 else None
        if self._last is None or last is None:
            return 0
        # When a camera is restarted, its numbers start over.
        return max(0, self._last - last - 1)
