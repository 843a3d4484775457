"""The subscription of camera frames, at the reliability that their publisher offers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rcl_interfaces.msg import ParameterDescriptor
from rclpy.node import Node
from rclpy.qos import HistoryPolicy, QoSPolicyKind, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CompressedImage, Image

try:
    from rclpy.event_handler import SubscriptionEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import SubscriptionEventCallbacks

# What of a subscription's QoS parameters can override; the reliability is seen to here.
_OVERRIDABLE = (QoSPolicyKind.HISTORY, QoSPolicyKind.DEPTH, QoSPolicyKind.DURABILITY)
_NOT_OVERRIDDEN = 'system_default'
_RELIABILITIES = ('best_effort', 'reliable')


class ImageSubscription:
    """Subscribes `image`, raw or compressed, and hands each message to `on_message`.

    With `reliability` auto it asks for what all publishers can give: reliable if every one of
    them is, else best effort; `follow`, called now and then, takes up a change. A QoS override
    parameter for the topic's reliability beats it. With `keep_all` no frame is overwritten
    while it waits for the executor.

    Raises:
        ValueError, RuntimeError: a QoS override parameter's value is none.
    """

    def __init__(
        self,
        node: Node,
        on_message: Callable[[Any], None],
        transport: str,
        reliability: str,
        *,
        keep_all: bool,
    ) -> None:
        self._node = node
        self._on_message = on_message
        self._type = Image if transport == 'raw' else CompressedImage
        self._keep_all = keep_all
        self.topic = node.resolve_topic_name('image')
        if transport == 'compressed':
            self.topic += '/compressed'
        overridden = self._overridden_reliability()
        self._auto = reliability == 'auto' and overridden == _NOT_OVERRIDDEN
        if overridden != _NOT_OVERRIDDEN:
            reliability = overridden
        # The last refusal of a publisher's QoS, naming both sides; '' while all is well.
        self.mismatch = ''
        if self._auto:
            # Until a publisher is known: nothing lost, or everyone heard.
            chosen = ReliabilityPolicy.RELIABLE if keep_all else ReliabilityPolicy.BEST_EFFORT
            self._reliability = self._offered() or chosen
        else:
            self._reliability = ReliabilityPolicy[reliability.upper()]
        self._subscription = self._subscribe()

    @property
    def reliability(self) -> str:
        """'reliable' or 'best_effort', as now subscribed."""
        return self._reliability.name.lower()

    def follow(self) -> None:
        """Subscribe anew if the publishers now offer another reliability than is asked for."""
        offered = self._offered() if self._auto else None
        if offered is not None and offered != self._reliability:
            self._node.destroy_subscription(self._subscription)
            self._reliability = offered
            self._subscription = self._subscribe()
            self._node.get_logger().info(f'{self.topic} is now subscribed {self.reliability}')
        if self.mismatch and not self._refused():
            self.mismatch = ''

    def close(self) -> None:
        """End the subscription."""
        self._node.destroy_subscription(self._subscription)

    def _subscribe(self) -> Any:
        history = HistoryPolicy.KEEP_ALL if self._keep_all else HistoryPolicy.KEEP_LAST
        return self._node.create_subscription(
            self._type,
            self.topic,
            self._on_message,
            QoSProfile(depth=1, history=history, reliability=self._reliability),
            event_callbacks=SubscriptionEventCallbacks(incompatible_qos=self._on_incompatible),
            qos_overriding_options=QoSOverridingOptions(_OVERRIDABLE),
        )

    def _overridden_reliability(self) -> str:
        name = f'qos_overrides.{self.topic}.subscription.reliability'
        if not self._node.has_parameter(name):
            # As rclpy declares it; but its own default would hold for all later subscriptions.
            read_only = ParameterDescriptor(read_only=True)
            self._node.declare_parameter(name, _NOT_OVERRIDDEN, read_only)
        value = str(self._node.get_parameter(name).value)
        if value not in (_NOT_OVERRIDDEN, *_RELIABILITIES):
            raise ValueError(f'{name} {value!r} is unknown; use one of {_RELIABILITIES}')
        return value

    def _offered(self) -> ReliabilityPolicy | None:
        offered = {
            info.qos_profile.reliability
            for info in self._node.get_publishers_info_by_topic(self.topic)
        }
        if not offered:
            return None
        all_reliable = offered == {ReliabilityPolicy.RELIABLE}
        return ReliabilityPolicy.RELIABLE if all_reliable else ReliabilityPolicy.BEST_EFFORT

    def _refused(self) -> list[Any]:
        """Return the publishers that offer less than is asked for."""
        if self._reliability != ReliabilityPolicy.RELIABLE:
            return []
        return [
            info
            for info in self._node.get_publishers_info_by_topic(self.topic)
            if info.qos_profile.reliability == ReliabilityPolicy.BEST_EFFORT
        ]

    def _on_incompatible(self, event: Any) -> None:
        self.follow()
        refused = self._refused()
        if self._auto and not refused:
            return
        names = ', '.join(
            f'{info.node_namespace.rstrip("/")}/{info.node_name}' for info in refused
        )
        policy = str(getattr(event.last_policy_kind, 'name', event.last_policy_kind))
        policy = policy.removeprefix('RMW_QOS_POLICY_').lower()
        self.mismatch = (
            f'{names or "a publisher"} offers {self.topic} with another {policy} than the '
            f'{self.reliability} asked for; set input_reliability to auto or best_effort'
        )
        self._node.get_logger().warning(self.mismatch)
