"""TODO: one line."""

from __future__ import annotations

import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from multiprocessing.connection import Connection
from pathlib import Path

import cv2
import numpy as np
import rclpy
from rclpy.serialization import deserialize_message
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import CompressedImage, Image

from fcn_road_seg.messages.compressed_image import compressed_to_frame
from fcn_road_seg.messages.image import ImageError, to_frame


def run_camera(folder: Path, offsets_s: Sequence[float], topic: str, link: Connection) -> None:
    """Publish the messages (.cdr) of `folder`: the first for 'hello', all of them for 'stream'.

    Stamps them anew and answers with the stamps in ns, until it is ended from outside: a publisher
    that leaves by itself takes its undelivered frames along.
    """
    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    node = rclpy.create_node('demo_camera')
    image_type = CompressedImage if topic.endswith('/compressed') else Image
    publisher = node.create_publisher(image_type, topic, 1)
    paths = sorted(folder.glob('*.cdr'))
    while True:
        command = link.recv()
        stamps_ns = []
        start = time.monotonic()
        count = len(paths) if command == 'stream' else 1
        for path, offset_s in islice(zip(paths, offsets_s, strict=True), count):
            cdr = path.read_bytes()
            time.sleep(max(0.0, start + offset_s - time.monotonic()))
            stamps_ns.append(node.get_clock().now().nanoseconds)
            publisher.publish(stamped(cdr, stamps_ns[-1]))
        link.send(stamps_ns)


def stamped(cdr: bytes, stamp_ns: int) -> bytes:
    """Return a serialised Image or CompressedImage, which begins with its stamp, with another."""
    # 4 bytes of encapsulation, of which the second tells the byte order.
    sec_nanosec = struct.pack('<iI' if cdr[1] & 1 else '>iI', *divmod(stamp_ns, 1_000_000_000))
    return cdr[:4] + sec_nanosec + cdr[12:]


class DemoError(RuntimeError):
    """The demo did not show what it should; the text says what is missing."""


@dataclass(frozen=True)
class CameraMessage:
    """One message of the camera: `type` (Image or CompressedImage), serialised as `cdr`.

    It goes out `offset_s` after the first. `label` is (H, W) uint8 where it is known exactly.
    """

    cdr: bytes
    offset_s: float
    type: type = Image
    label: np.ndarray | None = None

    def frame_bgr(self) -> np.ndarray:
        """Return the picture, (H, W, 3) uint8; raise ImageError where the node refuses it."""
        try:
            msg = deserialize_message(self.cdr, self.type)
        except RuntimeError as error:
            # Of rclpy, naming its source file.
            text = f'{len(self.cdr)} bytes are no {self.type.__name__}; have it recorded anew'
            raise ImageError(text) from error
        frame = to_frame(msg) if self.type is Image else compressed_to_frame(msg)
        if frame.channel_order == 'bgr':
            return frame.pixels
        return cv2.cvtColor(frame.pixels, cv2.COLOR_RGB2BGR)
