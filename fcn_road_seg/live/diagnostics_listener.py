"""The node's statuses on /diagnostics, and what they count."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.node import Node

STATUS_TIMEOUT_S = 10.0
# Keys of the node's diagnostics.
COUNTED = ('frames received', 'frames segmented', 'frames dropped', 'frames refused')


class DiagnosticsListener:
    """Keeps the statuses of the node in the namespace of `listener`, which subscribes to them."""

    def __init__(self, listener: Node) -> None:
        self.statuses: list[DiagnosticStatus] = []
        self._name = f'{listener.get_namespace().rstrip("/")}/fcn_road_seg: segmentation'
        listener.create_subscription(DiagnosticArray, '/diagnostics', self._on_message, 10)

    def next(
        self, spin_once: Callable[[], None], timeout_s: float = STATUS_TIMEOUT_S
    ) -> DiagnosticStatus:
        """Spin until there is a status that the node made after this call; return it.

        Raises:
            TimeoutError: no such status within `timeout_s`.
        """
        # The next one may have been made before this call, so wait for two.
        wanted = len(self.statuses) + 2
        deadline_s = time.monotonic() + timeout_s
        while len(self.statuses) < wanted:
            if time.monotonic() > deadline_s:
                raise TimeoutError(f'no diagnostics for {timeout_s:g} s')
            spin_once()
        return self.statuses[-1]

    def _on_message(self, msg: DiagnosticArray) -> None:
        self.statuses.extend(status for status in msg.status if status.name == self._name)


def values_of(status: DiagnosticStatus) -> dict[str, str]:
    """Return the values of a status by their keys."""
    return {entry.key: entry.value for entry in status.values}


def frames_between(before: Mapping[str, str], after: Mapping[str, str]) -> dict[str, int]:
    """Return how many frames the node counted between two statuses, from their `values_of`.

    The keys are frames_received, frames_segmented, frames_dropped and frames_refused.
    """
    return {key.replace(' ', '_'): int(after[key]) - int(before[key]) for key in COUNTED}
