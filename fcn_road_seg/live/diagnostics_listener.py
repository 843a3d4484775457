"""TODO: one line."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node

STATUS_TIMEOUT_S = 10.0
# Of the node's diagnostics.
COUNTED = ('frames received', 'frames segmented', 'frames dropped', 'frames refused')


class StatusListener:
    """What the diagnostics of the node in a namespace say, as `listener` hears them."""

    def __init__(self, listener: Node, namespace: str) -> None:
        self._name = f'/{namespace}/fcn_road_seg: segmentation'
        self._heard = 0
        self._values: dict[str, str] = {}
        listener.create_subscription(DiagnosticArray, '/diagnostics', self._on_message, 10)

    def next(self, spin_once: Callable[[], None]) -> dict[str, str]:
        """Spin until a status is there that was made from now on; return its values by key.

        Raises:
            TimeoutError: there is none after STATUS_TIMEOUT_S.
        """
        # One may be under way already.
        wanted = self._heard + 2
        deadline_s = time.monotonic() + STATUS_TIMEOUT_S
        while self._heard < wanted:
            if time.monotonic() > deadline_s:
                raise TimeoutError(f'no diagnostics for {STATUS_TIMEOUT_S:g} s')
            spin_once()
        return self._values

    def _on_message(self, msg: DiagnosticArray) -> None:
        for status in msg.status:
            if status.name == self._name:
                self._heard += 1
                self._values = {entry.key: entry.value for entry in status.values}


def frames_between(before: Mapping[str, str], after: Mapping[str, str]) -> dict[str, int]:
    """Return what became of the frames between two statuses: `frames_received` and so on."""
    return {key.replace(' ', '_'): int(after[key]) - int(before[key]) for key in COUNTED}
