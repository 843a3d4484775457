"""Counts the frames that never reached the node, by the sequence numbers of their messages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# How many publishers' newest numbers are kept, so that cameras that come and go take no memory.
_MAX_PUBLISHERS = 8


class LostFrames:
    """Finds the gaps between the sequence numbers of a publisher's messages.

    The middleware may lose a message in transport, or overwrite it with a newer one before the
    executor takes it, and it reports neither.
    """

    def __init__(self) -> None:
        # The newest number of each publisher, the latest one last. Not only of the latest: a
        # message of a publisher that is gone may still be taken between two of the one that stays.
        self._newest: list[int] = []
        self._was_alone = False

    def count(self, message_info: Mapping[str, Any], publisher_count: int) -> int:
        """Return how many messages are missing between a publisher's previous one and this one.

        `message_info` is what rclpy passes with a message, `publisher_count` the number of the
        topic's publishers. The result is 0 if the number is unknown: for the first message of a
        publisher; with several publishers, as rclpy does not say which one sent a message; and
        without sequence numbers (middleware other than Fast DDS).
        """
        number = message_info.get('publication_sequence_number')
        was_alone, self._was_alone = self._was_alone, publisher_count == 1
        if number is None:
            return 0
        # When a camera is restarted, its numbers start over: none is lower.
        before = max((newest for newest in self._newest if newest < number), default=None)
        others = [newest for newest in self._newest if newest not in (before, number)]
        self._newest = [*others, number][-_MAX_PUBLISHERS:]
        if before is None or not (was_alone and self._was_alone):
            return 0
        return int(number - before - 1)
