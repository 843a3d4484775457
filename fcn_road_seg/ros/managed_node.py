"""A lifecycle node that can start by itself and reports why a transition failed."""

from __future__ import annotations

from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.task import Future

from fcn_road_seg.ros.rclpy_compat import guard_transitions


class ManagedNode(LifecycleNode):
    """A lifecycle node, started by `start` or by a lifecycle manager.

    `failure` is why the last transition failed, in one line. `finished` is done when a shutdown
    transition has ended the node.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.failure = ''
        self.finished = Future()
        self._is_starting = False
        guard_transitions(self)

    def start(self) -> bool:
        """Configure and activate; return whether both succeeded, else `failure` says why not."""
        self._is_starting = True
        started = (
            self.trigger_configure() == TransitionCallbackReturn.SUCCESS
            and self.trigger_activate() == TransitionCallbackReturn.SUCCESS
        )
        self._is_starting = False
        return started

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        self.finished.set_result(None)
        return TransitionCallbackReturn.SUCCESS

    def fail(self, error: Exception) -> TransitionCallbackReturn:
        """Return the failure of a transition, with `error` as its reason."""
        # CUDA's errors have many lines.
        text = str(error).partition('\n')[0]
        self.failure = text if isinstance(error, ValueError) else f'{type(error).__name__}: {text}'
        # The caller of `start` reports the failure; a manager only learns that there is one.
        if self.context.ok() and not self._is_starting:
            self.get_logger().error(f'transition failed: {self.failure}')
        return TransitionCallbackReturn.FAILURE
