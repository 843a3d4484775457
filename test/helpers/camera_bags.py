"""Bags for tests, written by rosbags as a recorder writes them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from rclpy.serialization import serialize_message
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from fcn_road_seg.messages.compressed_image import jpeg_msg
from fcn_road_seg.messages.image import image_msg

# In 2011, like KITTI's drives.
START_NS = 1_317_046_453_072_943_147
PERIOD_NS = 100_000_000


def header_of(index: int) -> Header:
    header = Header(frame_id='camera_color_left')
    stamp_ns = START_NS + index * PERIOD_NS
    header.stamp.sec, header.stamp.nanosec = divmod(stamp_ns, 1_000_000_000)
    return header


def raw_msgs(frames_bgr: Iterable[np.ndarray], encoding: str = 'bgr8') -> list[Image]:
    """Return a message for each frame, 0.1 s apart; `encoding` is bgr8 or rgb8."""
    return [
        image_msg(frame if encoding == 'bgr8' else frame[..., ::-1].copy(), encoding, header_of(i))
        for i, frame in enumerate(frames_bgr)
    ]


def jpeg_msgs(frames_bgr: Iterable[np.ndarray]) -> list[CompressedImage]:
    return [jpeg_msg(frame, header_of(i)) for i, frame in enumerate(frames_bgr)]


def write_bag(
    path: Path,
    topics: dict[str, list[Image | CompressedImage | bytes]],
    *,
    storage: StoragePlugin = StoragePlugin.MCAP,
    compression: CompressionMode = CompressionMode.NONE,
) -> Path:
    """Write messages or, given bytes, serialised ones, 0.1 s apart; return `path`."""
    store = get_typestore(Stores.ROS2_HUMBLE)
    writer = Writer(path, version=8, storage_plugin=storage)
    writer.set_compression(compression, CompressionFormat.ZSTD)
    with writer:
        for topic, msgs in topics.items():
            kind = next(
                (type(msg).__name__ for msg in msgs if not isinstance(msg, bytes)), 'Image'
            )
            connection = writer.add_connection(topic, f'sensor_msgs/msg/{kind}', typestore=store)
            for index, msg in enumerate(msgs):
                cdr = msg if isinstance(msg, bytes) else serialize_message(msg)
                writer.write(connection, START_NS + index * PERIOD_NS, cdr)
    return path
