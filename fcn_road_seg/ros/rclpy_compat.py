"""The parts of rclpy that are private, or differ between ROS distributions (Humble to Rolling)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.msg import SetParametersResult
from rcl_interfaces.srv import SetParameters, SetParametersAtomically
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.lifecycle import LifecycleNode
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.subscription import Subscription

try:
    from rclpy.event_handler import SubscriptionEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import SubscriptionEventCallbacks

__all__ = [
    'PASSES_MESSAGE_INFO',
    'RCLError',
    'SubscriptionEventCallbacks',
    'guard_parameters',
    'guard_transitions',
    'lifecycle_state',
    'parameter_overrides',
    'qos_policy_name',
]

RCLError = rclpy_implementation.RCLError
# Whether a subscription's callback may take a second argument; in Humble it may not.
PASSES_MESSAGE_INFO = hasattr(Subscription, 'CallbackType')


def lifecycle_state(node: LifecycleNode) -> str:
    """Return the label of the node's lifecycle state: 'unconfigured', 'active', ..."""
    _, label = node._state_machine.current_state
    return str(label)


def parameter_overrides(node: Node) -> dict[str, Any]:
    """Return the values given at the start for the node's parameters, declared or not, by name."""
    return {name: parameter.value for name, parameter in node._parameter_overrides.items()}


def guard_parameters(node: Node) -> None:
    """Refuse a request that sets a parameter to a value of a type that ROS does not have.

    rclpy raises, which would end the process. Nothing of such a request is set.
    """
    for service in node.services:
        if service.srv_type in (SetParameters, SetParametersAtomically):
            service.callback = _refusing_unknown_types(service.callback)


def _refusing_unknown_types(
    set_parameters: Callable[[Any, Any], Any],
) -> Callable[[Any, Any], Any]:
    known = [kind.value for kind in Parameter.Type]

    def guarded(request: Any, response: Any) -> Any:
        unknown = next((p for p in request.parameters if p.value.type not in known), None)
        if unknown is None:
            return set_parameters(request, response)
        kind = unknown.value.type
        reason = (
            f'{unknown.name!r} has the unknown type {kind}; use one of '
            'rcl_interfaces/msg/ParameterType'
        )
        refused = SetParametersResult(successful=False, reason=reason)
        if isinstance(response, SetParametersAtomically.Response):
            response.result = refused
        else:
            response.results = [refused] * len(request.parameters)
        return response

    return guarded


def guard_transitions(node: LifecycleNode, on_refused: Callable[[str], None]) -> None:
    """Refuse a request for a transition that is not possible in the current state.

    rclpy would raise, which would end the process, or (since Kilted) log only internal numbers.
    `on_refused` is called with the name of the transition, or its number if the request has no
    name.
    """
    service = node._service_change_state
    change_state = service.callback

    def guarded(
        request: ChangeState.Request, response: ChangeState.Response
    ) -> ChangeState.Response:
        wanted = request.transition
        if any(
            wanted.label == label if wanted.label else wanted.id == number
            for number, label, *_ in node._state_machine.available_transitions
        ):
            return change_state(request, response)
        on_refused(wanted.label or _transition_name(wanted.id))
        response.success = False
        return response

    service.callback = guarded


def _transition_name(number: int) -> str:
    names = (name for name in dir(Transition) if name.startswith('TRANSITION_'))
    found = next((name for name in names if getattr(Transition, name) == number), str(number))
    return found.removeprefix('TRANSITION_').lower()


def qos_policy_name(kind: Any) -> str:
    """Return the name of an incompatible-QoS event's policy: 'reliability', 'durability', ..."""
    # `kind` is from the middleware's enumeration (RMW_QOS_POLICY_RELIABILITY) or from rclpy's.
    return str(getattr(kind, 'name', kind)).removeprefix('RMW_QOS_POLICY_').lower()
