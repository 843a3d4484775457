"""Stands in for `ros2 bag play`, with those of its arguments (Humble's, Jazzy's) that we use.

Publishers exist before the delay; QoS overrides are read as ros2bag reads them.
"""

from __future__ import annotations

import argparse
import time
from contextlib import suppress
from importlib import import_module
from pathlib import Path

import rclpy
import yaml
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from rosbags.highlevel import AnyReader
from rosbags.typesys import Stores, get_typestore
from rosgraph_msgs.msg import Clock

POLICIES = {
    'history': HistoryPolicy.get_from_short_key,
    'reliability': ReliabilityPolicy.get_from_short_key,
    'durability': DurabilityPolicy.get_from_short_key,
    'depth': int,
}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog='ros2')
    parser.add_argument('command', choices=['bag'])
    parser.add_argument('verb', choices=['play'])
    parser.add_argument('bag', type=Path)
    parser.add_argument('-r', '--rate', type=float, default=1.0)
    parser.add_argument('-l', '--loop', action='store_true')
    parser.add_argument('-d', '--delay', type=float, default=0.0)
    parser.add_argument('--clock', type=float, nargs='?', const=40, default=0)
    parser.add_argument('--qos-profile-overrides-path', type=argparse.FileType('r'))
    parser.add_argument('--disable-keyboard-controls', action='store_true')
    return parser.parse_args()


def type_of(name: str) -> type:
    package, _, kind = name.split('/')
    return getattr(import_module(f'{package}.msg'), kind)


def main() -> None:
    args = parse_args()
    overrides = yaml.safe_load(args.qos_profile_overrides_path or '{}')
    profiles = {
        topic: QoSProfile(**{policy: POLICIES[policy](value) for policy, value in profile.items()})
        for topic, profile in overrides.items()
    }
    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    node = rclpy.create_node('rosbag2_player')
    clock = node.create_publisher(Clock, '/clock', 10)
    with AnyReader([args.bag], default_typestore=get_typestore(Stores.LATEST)) as reader:
        # The QoS with which a camera may have been recorded.
        recorded = QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT)
        publishers = {
            c.topic: node.create_publisher(
                type_of(c.msgtype), c.topic, profiles.get(c.topic, recorded)
            )
            for c in reader.connections
        }
        while True:
            time.sleep(args.delay)
            began = time.monotonic()
            next_tick_ns = reader.start_time
            for connection, time_ns, cdr in reader.messages():
                while args.clock and next_tick_ns <= time_ns:
                    wait_until(began + (next_tick_ns - reader.start_time) / 1e9 / args.rate)
                    now = Clock()
                    now.clock.sec, now.clock.nanosec = divmod(next_tick_ns, 1_000_000_000)
                    clock.publish(now)
                    next_tick_ns += round(1e9 / args.clock * args.rate)
                wait_until(began + (time_ns - reader.start_time) / 1e9 / args.rate)
                publishers[connection.topic].publish(cdr)
            if not args.loop:
                break
    # Messages that are not acknowledged yet would be lost with the publishers.
    time.sleep(1.0)


def wait_until(moment_s: float) -> None:
    time.sleep(max(0.0, moment_s - time.monotonic()))


if __name__ == '__main__':
    with suppress(KeyboardInterrupt):
        main()
