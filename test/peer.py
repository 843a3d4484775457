"""The other side of the node in live tests: a camera and a listener, over real DDS."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import rclpy
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from fcn_road_seg.image_msgs import image_msg

TIMEOUT_S = 60.0


class Peer:
    """Publishes frames and keeps every mask and overlay that comes back, by its stamp."""

    def __init__(self, namespace: str = '', topics: tuple[str, ...] = ('mask', 'overlay')) -> None:
        self.context = rclpy.Context()
        self.context.init()
        self.node = rclpy.create_node('peer', context=self.context, namespace=namespace)
        self._executor = rclpy.executors.SingleThreadedExecutor(context=self.context)
        self._executor.add_node(self.node)
        self._publisher = self.node.create_publisher(Image, 'image', QoSProfile(depth=50))
        self.received: dict[str, dict[int, Image]] = {topic: {} for topic in topics}
        for topic in topics:
            self.node.create_subscription(
                Image,
                f'fcn_road_seg/{topic}',
                lambda msg, topic=topic: self.received[topic].update({msg.header.stamp.sec: msg}),
                QoSProfile(depth=50),
            )
        self._stamp = 0

    def close(self) -> None:
        self._executor.shutdown()
        self.node.destroy_node()
        self.context.try_shutdown()

    def send(self, frame: np.ndarray, encoding: str = 'bgr8') -> int:
        """Publish a frame under the next stamp (s), and return that."""
        self._stamp += 1
        header = Header(frame_id=f'camera_{self._stamp}')
        header.stamp.sec, header.stamp.nanosec = self._stamp, 123_456_789
        self.publish(image_msg(frame, encoding, header))
        return self._stamp

    def publish(self, msg: Image) -> None:
        self._publisher.publish(msg)

    def spin_until(self, done: Callable[[], object], timeout_s: float = TIMEOUT_S) -> None:
        """Spin until `done` is true; fail after the timeout."""
        deadline = time.monotonic() + timeout_s
        while not done():
            assert time.monotonic() < deadline, f'nothing came back within {timeout_s} s'
            self._executor.spin_once(timeout_sec=0.05)

    def spin_for(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self._executor.spin_once(timeout_sec=0.05)

    def answer(self, stamp: int, timeout_s: float = TIMEOUT_S) -> list[Image]:
        """Return what came back for a stamp, one message per topic; wait for it."""
        self.spin_until(
            lambda: all(stamp in messages for messages in self.received.values()), timeout_s
        )
        return [messages[stamp] for messages in self.received.values()]

    def connect(self) -> None:
        """Send small frames until one comes back on every topic: all have found each other."""
        small = np.zeros((32, 32, 3), np.uint8)
        deadline = time.monotonic() + TIMEOUT_S
        while not set.intersection(*map(set, self.received.values())):
            assert time.monotonic() < deadline, f'no node answered within {TIMEOUT_S} s'
            self.send(small)
            self.spin_for(0.5)
        # What else was sent meanwhile must not come between a test and its answers.
        self.spin_until(lambda: all(self._stamp in m for m in self.received.values()))

    def is_heard(self) -> bool:
        return self._publisher.get_subscription_count() > 0


def pixels_of(msg: Image) -> np.ndarray:
    """Return a mask's (H, W) or an overlay's (H, W, 3) pixels."""
    flat = np.frombuffer(msg.data, np.uint8)
    return flat.reshape(msg.height, msg.width, -1).squeeze(-1 if msg.encoding == 'mono8' else ())


def iou_of(mask: np.ndarray, label: np.ndarray) -> float:
    road, labelled = mask > 0, label == 1
    return float((road & labelled).sum() / (road | labelled).sum())
