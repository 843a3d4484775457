"""Other programs around the node, as processes that a test may stop and kill."""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import rclpy
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from fcn_road_seg.messages.image import image_msg


@contextmanager
def running_bystander(*words: object) -> Iterator[subprocess.Popen[str]]:
    """Run `camera TOPIC --stamp S` or `listener TOPIC`; kill it after the block.

    A camera publishes at 20 Hz, reliably, with the stamps S, S + 1 ... (s). A listener prints a
    line for each message, and then does nothing for `--pause` s.
    """
    command = [sys.executable, '-m', __name__, *map(str, words)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument('kind', choices=['camera', 'listener'])
    parser.add_argument('topic')
    parser.add_argument('--stamp', type=int, default=1)
    parser.add_argument('--pause', type=float, default=0.0)
    options = parser.parse_args()
    rclpy.init(args=[])
    node = rclpy.create_node(options.kind)
    if options.kind == 'listener':

        def receive(msg: Image) -> None:
            print(msg.header.stamp.sec, flush=True)
            time.sleep(options.pause)

        node.create_subscription(Image, options.topic, receive, QoSProfile(depth=1))
        rclpy.spin(node)
    publisher = node.create_publisher(Image, options.topic, QoSProfile(depth=1))
    header = Header()
    for header.stamp.sec in range(options.stamp, options.stamp + 10_000):
        publisher.publish(image_msg(np.zeros((48, 64, 3), np.uint8), 'bgr8', header))
        time.sleep(0.05)


if __name__ == '__main__':
    main()
