"""The subscriptions to a camera: its images, with the reliability offered, and camera_info."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from rcl_interfaces.msg import ParameterDescriptor
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import HistoryPolicy, QoSPolicyKind, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from fcn_road_seg.ros.input_hint import IMAGE_TYPES, input_hint
from fcn_road_seg.ros.lost_frames import LostFrames
from fcn_road_seg.ros.qos_overrides import overriding_options
from fcn_road_seg.ros.rclpy_compat import (
    PASSES_MESSAGE_INFO,
    SubscriptionEventCallbacks,
    qos_policy_name,
)

FOLLOW_PERIOD_S = 1.0
# The QoS policies that parameters can override. This module handles the reliability itself.
_OVERRIDABLE = (QoSPolicyKind.HISTORY, QoSPolicyKind.DEPTH, QoSPolicyKind.DURABILITY)
_NOT_OVERRIDDEN = 'system_default'
# What the middleware reports until it has discovered the name of a publisher's node.
_UNKNOWN_NODE = '_NODE_NAME_UNKNOWN_'
_RELIABILITIES = ('best_effort', 'reliable')


class ImageSubscription:
    """Subscribes to `image`, raw or compressed, and passes each message to `on_message`.

    With `reliability` 'auto' it requests what all publishers offer (reliable if every one of
    them is reliable, best effort otherwise), and resubscribes when that changes. A QoS override
    parameter for the reliability of the topic takes precedence. With `keep_all` no frame is
    overwritten while it waits for the executor. `on_lost` is called with the number of frames
    that were published and did not arrive, as soon as a later one does.

    Raises:
        ValueError, RuntimeError: the value of a QoS override parameter is invalid.
    """

    def __init__(
        self,
        node: Node,
        on_message: Callable[[Any], None],
        on_lost: Callable[[int], None],
        transport: str,
        reliability: str,
        *,
        keep_all: bool,
    ) -> None:
        self._node = node
        self._on_message = on_message
        self._on_lost = on_lost
        self._lost_frames = LostFrames()
        self._transport = transport
        self._keep_all = keep_all
        self._name = _name_before_remapping(node, transport)
        # The name after remapping. rclpy remaps the names that it is given, even absolute ones, so
        # it gets `_name`: a second remapping could lead to another topic.
        self.topic = node.resolve_topic_name(self._name)
        reliability = _overridden_reliability(node, self.topic) or reliability
        self._auto = reliability == 'auto'
        # The policy, other than the reliability, that does not fit a publisher's; empty if none.
        self._other_policy = ''
        # Why a publisher's QoS does not fit, naming both sides; empty if every publisher's does.
        self.mismatch = ''
        # What to change if no image can arrive because nobody publishes the topic; else empty.
        self.hint = ''
        self._last_hint = ''
        if self._auto:
            # Until a publisher is known: reliable, to lose no frame, if all are to be kept; else
            # best effort, which is compatible with every publisher.
            default = ReliabilityPolicy.RELIABLE if keep_all else ReliabilityPolicy.BEST_EFFORT
            publishers = node.get_publishers_info_by_topic(self._name)
            self._reliability = _offered(publishers) or default
        else:
            self._reliability = ReliabilityPolicy[reliability.upper()]
        self._subscription = self._subscribe()
        # Not on the node's clock, as simulated time may stand still.
        clock = Clock(clock_type=ClockType.STEADY_TIME)
        self._timer = node.create_timer(FOLLOW_PERIOD_S, self._on_timer, clock=clock)

    @property
    def reliability(self) -> str:
        """The current reliability: 'reliable' or 'best_effort'."""
        return self._reliability.name.lower()

    def close(self) -> None:
        """End the subscription."""
        self._node.destroy_timer(self._timer)
        self._node.destroy_subscription(self._subscription)

    def _count_lost_and_receive(self, msg: Any, info: Mapping[str, Any]) -> None:
        if lost := self._lost_frames.count(info, self._subscription.get_publisher_count()):
            self._on_lost(lost)
        self._receive(msg)

    def _receive(self, msg: Any) -> None:
        self._other_policy = ''
        self._on_message(msg)

    def _on_timer(self) -> None:
        self._follow()
        published = _published_images(self._node, self.topic)
        if types := {
            info.topic_type for info in self._node.get_publishers_info_by_topic(self._name)
        }:
            published[self.topic] = types
        hint = input_hint(self.topic, self._transport, published)
        # A driver's topics may be discovered one by one, so a hint must come twice in a row.
        if hint != self._last_hint:
            self._last_hint, self.hint = hint, ''
        elif hint != self.hint:
            self.hint = hint
            self._node.get_logger().warning(f'no frames arrive: {hint}')

    def _follow(self) -> None:
        """Resubscribe if the publishers now offer another reliability; update `mismatch`."""
        publishers = self._node.get_publishers_info_by_topic(self._name)
        offered = _offered(publishers) if self._auto else None
        if offered is not None and offered != self._reliability:
            self._node.destroy_subscription(self._subscription)
            self._reliability = offered
            self._subscription = self._subscribe()
            self._node.get_logger().info(f'now subscribed to {self.topic} as {self.reliability}')
        # Events alone are not enough: one may come before the publisher's name is known.
        if refused := _refused(publishers, self._reliability):
            self._report(refused, 'reliability')
        elif self._other_policy and publishers:
            self._report([], self._other_policy)
        else:
            self.mismatch = ''

    def _subscribe(self) -> Any:
        # rclpy's annotation allows only callbacks whose one argument is the message.
        receive: Any = self._count_lost_and_receive if PASSES_MESSAGE_INFO else self._receive
        history = HistoryPolicy.KEEP_ALL if self._keep_all else HistoryPolicy.KEEP_LAST
        return self._node.create_subscription(
            Image if self._transport == 'raw' else CompressedImage,
            self._name,
            receive,
            QoSProfile(depth=1, history=history, reliability=self._reliability),
            event_callbacks=SubscriptionEventCallbacks(incompatible_qos=self._on_incompatible),
            qos_overriding_options=overriding_options(
                self._node, self._name, 'subscription', _OVERRIDABLE
            ),
        )

    def _on_incompatible(self, event: Any) -> None:
        policy = qos_policy_name(event.last_policy_kind)
        if policy != 'reliability':
            self._other_policy = policy
        self._follow()
        if not self._auto and not self.mismatch:
            self._report([], policy)

    def _report(self, refused: list[Any], policy: str) -> None:
        """Describe the mismatch, and log it if it is a new one."""
        names = known_names(refused) or 'a publisher'
        offer = f'{names} offers {self.topic} with a {policy} incompatible with the requested'
        if policy == 'reliability':
            mismatch = f'{offer} {self.reliability}; set input_reliability to auto or best_effort'
        else:
            mismatch = f'{offer} one; remove qos_overrides.{self.topic}.subscription.{policy}'
        if mismatch != self.mismatch:
            self._node.get_logger().warning(mismatch)
        self.mismatch = mismatch


def _published_images(node: Node, subscribed: str) -> dict[str, Collection[str]]:
    """Return the types of each topic on which other nodes publish images, by its name.

    The topic `subscribed` is left out: its types here include the one that the node subscribes to.
    """
    own = {subscribed, *(publisher.topic_name for publisher in node.publishers)}
    return {
        name: types
        for name, types in node.get_topic_names_and_types()
        if name not in own
        and not set(IMAGE_TYPES.values()).isdisjoint(types)
        and node.count_publishers(name)
    }


def _offered(publishers: list[Any]) -> ReliabilityPolicy | None:
    """Return the reliability that all publishers offer; None without publishers."""
    offered = {info.qos_profile.reliability for info in publishers}
    if not offered:
        return None
    all_reliable = offered == {ReliabilityPolicy.RELIABLE}
    return ReliabilityPolicy.RELIABLE if all_reliable else ReliabilityPolicy.BEST_EFFORT


def _refused(publishers: list[Any], requested: ReliabilityPolicy) -> list[Any]:
    """Return the publishers that offer less than the requested reliability."""
    if requested != ReliabilityPolicy.RELIABLE:
        return []
    best_effort = ReliabilityPolicy.BEST_EFFORT
    return [info for info in publishers if info.qos_profile.reliability == best_effort]


def known_names(publishers: list[Any]) -> str:
    """Return the full names of the publishers' nodes, without those not discovered yet."""
    return ', '.join(
        f'{info.node_namespace.rstrip("/")}/{info.node_name}'
        for info in publishers
        if info.node_name != _UNKNOWN_NODE
    )


def _name_before_remapping(node: Node, transport: str) -> str:
    if transport == 'raw':
        return 'image'
    name = 'image/compressed'
    # A remapping of image/compressed itself takes precedence over one of image.
    if node.resolve_topic_name(name) != node.resolve_topic_name(name, only_expand=True):
        return name
    return f'{node.resolve_topic_name("image")}/compressed'


def _overridden_reliability(node: Node, topic: str) -> str:
    """Return the reliability that a QoS override parameter sets; '' if there is none."""
    name = f'qos_overrides.{topic}.subscription.reliability'
    if not node.has_parameter(name):
        # rclpy would declare it with this subscription's reliability as the default, which would
        # then hold for all later subscriptions.
        node.declare_parameter(name, _NOT_OVERRIDDEN, ParameterDescriptor(read_only=True))
    value = str(node.get_parameter(name).value)
    if value not in (_NOT_OVERRIDDEN, *_RELIABILITIES):
        raise ValueError(f'{name} {value!r} is unknown; use {" or ".join(_RELIABILITIES)}')
    return '' if value == _NOT_OVERRIDDEN else value


def subscribe_camera_info(node: Node, on_message: Callable[[CameraInfo], None]) -> Any:
    """Return a best-effort subscription to `camera_info` that keeps only the newest message."""
    return node.create_subscription(
        CameraInfo,
        'camera_info',
        on_message,
        QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT),
        qos_overriding_options=QoSOverridingOptions.with_default_policies(),
    )
