"""A lifecycle node that can start by itself and reports why a transition failed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rcl_interfaces.msg import SetParametersResult
from rclpy.exceptions import ParameterException
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.node import Node
from rclpy.parameter import Parameter as RosParameter
from rclpy.task import Future

from fcn_road_seg.ros.bond import break_bond, form_bond
from fcn_road_seg.ros.rclpy_compat import guard_parameters, guard_transitions, lifecycle_state


class StartError(Exception):
    """The node cannot be created; the text is one line for the user.

    `node` may be only partly set up, but its logger works and writes to /rosout.
    """

    def __init__(self, text: str, node: Node) -> None:
        super().__init__(text)
        self.node = node


class ManagedNode(LifecycleNode):
    """A lifecycle node, started by `start` or by a lifecycle manager.

    A subclass does its work in `set_up`, `configure`, `activate`, `deactivate`, `clean_up` and
    `shut_down`, and raises if that fails. An `activate` that fails must leave nothing behind.
    `deactivate` and `clean_up` may be called in every state. `failure` says in one line why the
    last transition failed. `ending` is done when the node is to end: a shutdown transition sets
    it, and so may the code that created the node.

    Raises:
        StartError: a parameter has a value that is not allowed.
    """

    def __init__(self, name: str, ending: Future | None = None) -> None:
        self.autostart = False
        self.failure = ''
        self.ending = ending or Future()
        self._is_starting = False
        self._bond: Any = None
        try:
            super().__init__(name)
            self.set_up()
        except (ParameterException, RuntimeError, ValueError) as error:
            # rclpy also raises a RuntimeError if a signal has shut the context down, perhaps
            # before there is a logger.
            if not self.context.ok():
                raise
            raise StartError(_first_line(error), self) from error
        guard_parameters(self)
        guard_transitions(self, self._refuse)

    @property
    def is_ending(self) -> bool:
        """Whether the node is to end, or its context is shut down."""
        return self.ending.done() or not self.context.ok()

    def set_up(self) -> None:
        """Declare the parameters, and create what the node has in every state."""

    def configure(self) -> None:
        """Acquire what `activate` needs."""

    def activate(self) -> None:
        """Begin the work."""

    def deactivate(self) -> None:
        """End the work, if it was begun."""

    def clean_up(self) -> None:
        """Release what `configure` has acquired, even if it failed half-way."""

    def shut_down(self) -> None:
        """Tell the work to end, in any state, without waiting for it."""

    def start(self) -> bool:
        """Configure and activate; return whether both succeeded. If not, `failure` says why."""
        self._is_starting = True
        started = (
            self.trigger_configure() == TransitionCallbackReturn.SUCCESS
            and self.trigger_activate() == TransitionCallbackReturn.SUCCESS
        )
        self._is_starting = False
        return started

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        result = self._attempt(self.configure, TransitionCallbackReturn.FAILURE)
        if result != TransitionCallbackReturn.SUCCESS:
            self.clean_up()
        return result

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        result = self._attempt(self.activate, TransitionCallbackReturn.FAILURE)
        # A node that starts by itself has no manager to form a bond with.
        if result == TransitionCallbackReturn.SUCCESS and not self._is_starting:
            self._bond = form_bond(self)
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._break_bond()
        return self._attempt(self.deactivate, TransitionCallbackReturn.ERROR, 'deactivated')

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._attempt(self.clean_up, TransitionCallbackReturn.ERROR, 'cleaned up')

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._break_bond()
        result = self._attempt(self.shut_down, TransitionCallbackReturn.ERROR)
        self.ending.set_result(None)
        return result

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release everything; the node is then unconfigured, and can be configured again."""
        self._break_bond()
        self.deactivate()
        self.clean_up()
        return TransitionCallbackReturn.SUCCESS

    def set_parameters_atomically(
        self, parameter_list: Sequence[RosParameter]
    ) -> SetParametersResult:
        """Set the parameters whose values change; a read-only one may be set to its own value.

        The latter is what `ros2 param load` does with the output of `ros2 param dump`.
        """
        changes = [parameter for parameter in parameter_list if not self._has(parameter)]
        if not changes:
            return SetParametersResult(successful=True)
        return super().set_parameters_atomically(changes)

    def _has(self, parameter: RosParameter) -> bool:
        if not self.has_parameter(parameter.name):
            return False
        present = self.get_parameter(parameter.name).get_parameter_value()
        return bool(present == parameter.get_parameter_value())

    def _attempt(
        self, step: Callable[[], None], otherwise: TransitionCallbackReturn, done: str = ''
    ) -> TransitionCallbackReturn:
        """Log `done` and return SUCCESS; if `step` raises, log why and return `otherwise`."""
        try:
            step()
        except Exception as error:  # rclpy would discard it without a message.
            text = _first_line(error)
            self.failure = (
                text if isinstance(error, ValueError) else f'{type(error).__name__}: {text}'
            )
            # The caller of `start` reports the failure; a manager only learns that there is one.
            if not self.is_ending and not self._is_starting:
                self.get_logger().error(f'transition failed: {self.failure}')
            return otherwise
        if done:
            self.get_logger().info(done)
        return TransitionCallbackReturn.SUCCESS

    def _refuse(self, transition: str) -> None:
        advice = '; set autostart to false if a lifecycle manager starts it'
        self.get_logger().warning(
            f'transition {transition} refused: the node is {lifecycle_state(self)}'
            f'{advice if self.autostart else ""}'
        )

    def _break_bond(self) -> None:
        if self._bond is not None:
            break_bond(self, self._bond)
        self._bond = None


def _first_line(error: Exception) -> str:
    # CUDA's errors have many lines.
    return str(error).partition('\n')[0]
