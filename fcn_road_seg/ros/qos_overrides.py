"""QoS overrides from parameters, for publishers and subscriptions that may be re-created."""

from __future__ import annotations

from collections.abc import Sequence

from rclpy.node import Node
from rclpy.qos import QoSPolicyKind
from rclpy.qos_overriding_options import QoSOverridingOptions

from fcn_road_seg.ros.rclpy_compat import parameter_overrides


def overriding_options(
    node: Node, topic: str, entity: str, policies: Sequence[QoSPolicyKind]
) -> QoSOverridingOptions:
    """Return the options that let parameters override these policies of a topic.

    `topic` may be relative; `entity` is publisher or subscription. When the first publisher or
    subscription is created, rclpy declares a parameter for each policy with its value, which
    would then apply to all later ones. So from then on, only policies whose parameters were given
    at the start can be overridden.
    """
    prefix = f'qos_overrides.{node.resolve_topic_name(topic)}.{entity}.'
    given = parameter_overrides(node)
    names = {policy: f'{prefix}{policy.name.lower()}' for policy in policies}
    return QoSOverridingOptions(
        [policy for policy, name in names.items() if name in given or not node.has_parameter(name)]
    )
