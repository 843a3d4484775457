"""TODO: one line."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import cv2
import numpy as np
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from fcn_road_seg.live.diagnostics_listener import StatusListener
from fcn_road_seg.messages.image import to_frame


@dataclass
class Recording:
    """What came back for frames stamped at or after `since_ns`, by their stamps in ns.

    `latency_ms` is from the stamp to the mask's receipt.
    """

    since_ns: int = 0
    masks: dict[int, np.ndarray] = field(default_factory=dict)
    overlays_bgr: dict[int, np.ndarray] = field(default_factory=dict)
    latency_ms: dict[int, float] = field(default_factory=dict)

    def has(self, stamp_ns: int) -> bool:
        return stamp_ns in self.masks and stamp_ns in self.overlays_bgr

    def add_mask(self, stamp_ns: int, mask: np.ndarray) -> None:
        if stamp_ns >= self.since_ns:
            self.latency_ms[stamp_ns] = (time.time_ns() - stamp_ns) / 1e6
            self.masks[stamp_ns] = mask

    def add_overlay(self, stamp_ns: int, overlay_bgr: np.ndarray) -> None:
        if stamp_ns >= self.since_ns:
            self.overlays_bgr[stamp_ns] = overlay_bgr


class Recorder(Node):
    """Keeps every mask and overlay that the node publishes."""

    def __init__(self, namespace: str) -> None:
        super().__init__('recorder', namespace=namespace)
        self.recording = Recording()
        self.status = StatusListener(self, namespace)
        deep = QoSProfile(depth=100)
        self.create_subscription(Image, 'fcn_road_seg/mask', self._on_mask, deep)
        self.create_subscription(Image, 'fcn_road_seg/overlay', self._on_overlay, deep)

    def _on_mask(self, msg: Image) -> None:
        mask = cv2.extractChannel(to_frame(msg).pixels, 0)
        self.recording.add_mask(_stamp_ns(msg.header), mask)

    def _on_overlay(self, msg: Image) -> None:
        self.recording.add_overlay(_stamp_ns(msg.header), to_frame(msg).pixels)


def _stamp_ns(header: Header) -> int:
    return header.stamp.sec * 1_000_000_000 + header.stamp.nanosec
