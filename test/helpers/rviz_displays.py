"""Stands in for rviz2: subscribes to the topics of a configuration's Image displays as it would.

Prints once for each, on stderr, what arrived first: `Camera shows 320 x 240 rgb8`.
"""

from __future__ import annotations

import argparse
import sys
from contextlib import suppress

import rclpy
import yaml
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.utilities import remove_ros_args
from sensor_msgs.msg import Image


def qos_of(topic: dict) -> QoSProfile:
    """Return the QoS that RViz makes of a display's Topic; an unknown word raises KeyError."""
    name = {key: str(topic[f'{key} Policy']).upper().replace(' ', '_') for key in POLICIES}
    return QoSProfile(
        depth=topic['Depth'],
        **{key.lower(): policy[name[key]] for key, policy in POLICIES.items()},
    )


POLICIES = {
    'History': HistoryPolicy,
    'Reliability': ReliabilityPolicy,
    'Durability': DurabilityPolicy,
}


class Displays(Node):
    """One subscription for each enabled Image display."""

    def __init__(self, config: dict) -> None:
        super().__init__('rviz2')
        self._shown: set[str] = set()
        for display in config['Visualization Manager']['Displays']:
            if display['Class'] == 'rviz_default_plugins/Image' and display['Enabled']:
                self._show(display['Name'], display['Topic'])

    def _show(self, name: str, topic: dict) -> None:
        self.create_subscription(
            Image, topic['Value'], lambda msg: self._on_image(name, msg), qos_of(topic)
        )

    def _on_image(self, name: str, msg: Image) -> None:
        if name not in self._shown:
            self._shown.add(name)
            print(f'{name} shows {msg.width} x {msg.height} {msg.encoding}', file=sys.stderr)


def main() -> None:
    rclpy.init(args=sys.argv)
    parser = argparse.ArgumentParser()
    parser.add_argument('-d', type=argparse.FileType('r'), required=True)
    args = parser.parse_args(remove_ros_args(sys.argv)[1:])
    node = Displays(yaml.safe_load(args.d))
    use_sim_time = node.get_parameter('use_sim_time').value
    print(f'rviz2 is up, use_sim_time {use_sim_time}', file=sys.stderr)
    with suppress(KeyboardInterrupt, ExternalShutdownException):
        rclpy.spin(node)


if __name__ == '__main__':
    main()
