"""The camera: a process of its own that publishes serialised messages at the times it is given."""

from __future__ import annotations

import struct
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle
from multiprocessing.connection import Connection
from pathlib import Path

import rclpy
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from fcn_road_seg.live.camera_message import CameraMessage
from fcn_road_seg.live.errors import LiveError
from fcn_road_seg.utils.child_process import child_process


@contextmanager
def running_camera(messages: Sequence[CameraMessage], topic: str) -> Iterator[Connection]:
    """Start a process that publishes `messages`, all of one type; terminate it after the block.

    If a message has a `camera_info`, it is published just before, on `camera_info` beside `topic`.

    Send the process a list of times in s: it publishes one message at each time, beginning with
    the first message and repeating them as needed. It then answers with the list of their stamps
    in ns.

    Raises:
        LiveError: the messages do not fit into the temporary folder (TMPDIR).
    """
    with tempfile.TemporaryDirectory() as folder:
        try:
            _write(messages, Path(folder))
        except OSError as error:
            raise LiveError(
                f'the frames cannot be written to {tempfile.gettempdir()} ({error.strerror}); '
                'set TMPDIR to a folder with more space'
            ) from error
        with child_process(run_camera, Path(folder), topic) as link:
            yield link


def _write(messages: Sequence[CameraMessage], folder: Path) -> None:
    for index, message in enumerate(messages):
        (folder / f'{index:06d}.cdr').write_bytes(message.cdr)
        if message.camera_info is not None:
            (folder / f'{index:06d}.camera_info').write_bytes(message.camera_info)


def run_camera(folder: Path, topic: str, link: Connection) -> None:
    """Publish the messages (*.cdr) of `folder` on `topic` whenever `link` asks for it.

    It never returns: if the publisher ended by itself, its undelivered frames would be lost.
    """
    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    node = rclpy.create_node('camera')
    image_type = CompressedImage if topic.endswith('/compressed') else Image
    publisher = node.create_publisher(image_type, topic, 1)
    beside = topic.removesuffix('/compressed').rpartition('/')[0]
    info_publisher = node.create_publisher(CameraInfo, f'{beside}/camera_info', 1)
    paths = sorted(folder.glob('*.cdr'))
    while True:
        offsets_s: Sequence[float] = link.recv()
        stamps_ns = []
        start_s = time.monotonic()
        for offset_s, path in zip(offsets_s, cycle(paths), strict=False):
            cdr = path.read_bytes()
            info_path = path.with_suffix('.camera_info')
            info = info_path.read_bytes() if info_path.exists() else None
            time.sleep(max(0.0, start_s + offset_s - time.monotonic()))
            stamps_ns.append(time.time_ns())
            if info is not None:
                info_publisher.publish(replace_stamp(info, stamps_ns[-1]))
            publisher.publish(replace_stamp(cdr, stamps_ns[-1]))
        link.send(stamps_ns)


def replace_stamp(cdr: bytes, stamp_ns: int) -> bytes:
    """Return a serialised message whose first field is a Header, with another stamp."""
    # First 4 bytes of encapsulation, the second of which is the byte order; then sec and nanosec.
    sec_nanosec = struct.pack('<iI' if cdr[1] & 1 else '>iI', *divmod(stamp_ns, 1_000_000_000))
    return cdr[:4] + sec_nanosec + cdr[12:]
