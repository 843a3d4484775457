"""What the node publishes, by topic and by the stamps of the frames."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from nav_msgs.msg import OccupancyGrid
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image

from fcn_road_seg.live.diagnostics_listener import DiagnosticsListener
from fcn_road_seg.messages.image import to_frame

# More messages than arrive while a picture is decoded.
DEPTH = 100
GRID = 'grid'


@dataclass
class Recording:
    """What came back for the frames of one stream; `stamps_ns` are those of the frames sent.

    `latency_ms[topic][stamp_ns]` is the time from a frame's stamp to the receipt of its answer.
    `pictures[topic][stamp_ns]` are masks, (H, W) uint8, and overlays, (H, W, 3) uint8 BGR, if they
    are kept, and `grids[stamp_ns]` the cells of the topic 'grid', (H, W) int8.
    """

    latency_ms: dict[str, dict[int, float]]
    pictures: dict[str, dict[int, np.ndarray]] = field(default_factory=dict)
    stamps_ns: list[int] = field(default_factory=list)
    grids: dict[int, np.ndarray] = field(default_factory=dict)

    def has_any(self) -> bool:
        """Return whether something came back on every topic."""
        return all(self.latency_ms.values())

    def has_last(self) -> bool:
        """Return whether the last frame came back on every topic."""
        return all(self.stamps_ns[-1] in received for received in self.latency_ms.values())


class Recorder(Node):
    """Records what the node in `namespace` publishes on `topics`, such as 'mask'."""

    def __init__(self, namespace: str, topics: Sequence[str], *, keep_pictures: bool) -> None:
        super().__init__('recorder', namespace=namespace)
        self.diagnostics = DiagnosticsListener(self)
        self._topics = topics
        self._keep_pictures = keep_pictures
        self.start_recording()
        for topic in topics:
            self.create_subscription(
                OccupancyGrid if topic == GRID else Image,
                f'fcn_road_seg/{topic}',
                self._receiver(topic),
                QoSProfile(depth=DEPTH),
            )

    def start_recording(self) -> Recording:
        """Return a new recording of what arrives for frames that are stamped from now on."""
        self._since_ns = time.time_ns()
        self._recording = Recording({topic: {} for topic in self._topics})
        if self._keep_pictures:
            images = [topic for topic in self._topics if topic != GRID]
            self._recording.pictures = {topic: {} for topic in images}
        return self._recording

    def _receiver(self, topic: str) -> Callable[[Any], None]:
        def receive(msg: Any) -> None:
            stamp_ns = msg.header.stamp.sec * 1_000_000_000 + msg.header.stamp.nanosec
            if stamp_ns < self._since_ns:
                return
            self._recording.latency_ms[topic][stamp_ns] = (time.time_ns() - stamp_ns) / 1e6
            if topic == GRID:
                cells = np.array(msg.data, np.int8).reshape(msg.info.height, msg.info.width)
                self._recording.grids[stamp_ns] = cells
            elif self._keep_pictures:
                self._recording.pictures[topic][stamp_ns] = _pixels(msg)

        return receive


def _pixels(msg: Image) -> np.ndarray:
    pixels = to_frame(msg).pixels
    return cv2.extractChannel(pixels, 0) if msg.encoding == 'mono8' else pixels
