"""Bags for tests: as the package writes them, compressed, and as Humble records them."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip('rosbags', reason='rosbags is not installed')

from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore
from ruamel.yaml import YAML

from fcn_road_seg.bags.reader import BagMessage, BagReader
from fcn_road_seg.bags.typestore import CAMERA_INFO, COMPRESSED_IMAGE, IMAGE, header, message
from fcn_road_seg.bags.writer import atomic_bag_writer
from fcn_road_seg.messages.image import image_fields
from test.helpers.kitti_trees import rendered

PIXELS = np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8)
STAMP_NS = 1_317_042_145_964_389_445
STEP_NS = 100_000_000


def image(
    stamp_ns: int = STAMP_NS, pixels: np.ndarray = PIXELS, encoding: str = 'bgr8', **fields: Any
) -> Any:
    """Return rosbags' Image of an array; `fields` replace its own."""
    fields = {**image_fields(pixels, encoding), **fields}
    return message(IMAGE, header=header(stamp_ns, 'camera'), **fields)


def compressed_image(pixels: np.ndarray, stamp_ns: int = STAMP_NS) -> Any:
    """Return rosbags' CompressedImage, a PNG, of an array."""
    return message(
        COMPRESSED_IMAGE,
        header=header(stamp_ns, 'camera'),
        format='png',
        data=cv2.imencode('.png', pixels)[1].ravel(),
    )


def camera_info(hw: tuple[int, int], **fields: Any) -> Any:
    """Return rosbags' CameraInfo of a level pinhole; `fields` replace its own."""
    h, w = hw
    own = {
        'header': header(STAMP_NS, 'camera'),
        'height': h,
        'width': w,
        'distortion_model': 'plumb_bob',
        'd': np.zeros(5),
        'k': np.array([120.0, 0, w / 2, 0, 120.0, 25.0, 0, 0, 1]),
        'r': np.eye(3).ravel(),
        'p': np.array([120.0, 0, w / 2, 0, 0, 120.0, 25.0, 0, 0, 0, 1, 0]),
        'binning_x': 0,
        'binning_y': 0,
        'roi': message(
            'sensor_msgs/msg/RegionOfInterest',
            **dict.fromkeys(('x_offset', 'y_offset', 'height', 'width'), 0),
            do_rectify=False,
        ),
    }
    return message(CAMERA_INFO, **{**own, **fields})


TWO_IMAGES = (image(), image(STAMP_NS + 7))


def drive_images(count: int = 3, frame_hw: tuple[int, int] = (60, 200)) -> list[Any]:
    """Return rosbags' Images of a rendered drive, STEP_NS apart."""
    frames = rendered(count, frame_hw)
    return [image(STAMP_NS + index * STEP_NS, frame) for index, frame in enumerate(frames)]


def write_bag(
    path: Path, messages: Mapping[str, Sequence[Any]] | None = None, storage: str = 'mcap'
) -> Path:
    """Write messages by topic, each at its stamp, and return `path`."""
    messages = {'/image': TWO_IMAGES} if messages is None else messages
    with atomic_bag_writer(path, storage) as bag:
        for topic, items in messages.items():
            bag.add(topic, items[0].__msgtype__ if items else IMAGE)
            for msg in items:
                stamp = msg.header.stamp
                bag.write(topic, stamp.sec * 1_000_000_000 + stamp.nanosec, msg)
    return path


def command_line(command: str, *argv: object, absent: Sequence[str] = ()) -> list[str]:
    """Return the command line of another Python, which cannot import the packages in `absent`."""
    program = f"""
import sys
sys.modules.update(dict.fromkeys({absent!r}))
from fcn_road_seg.__main__ import main
raise SystemExit(main())
"""
    return [sys.executable, '-c', program, command, *map(str, argv)]


def interrupted(line: Sequence[str], growing: Path, signal_number: int) -> str:
    """Run a command until a file grows, end it by a signal, and return the last line of stderr.

    Its exit status must be that of an interrupt.
    """
    # nohup has pytest, and thus what it starts, ignore SIGHUP.
    before = signal.signal(signal_number, signal.SIG_DFL)
    process = subprocess.Popen(line, stderr=subprocess.PIPE, text=True)
    signal.signal(signal_number, before)
    while not (growing.exists() and growing.stat().st_size):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal_number)
    _, errors = process.communicate(timeout=10)
    assert process.returncode == 130
    return errors.splitlines()[-1]


def messages_of(path: Path, topics: Sequence[str] = ('/image',)) -> list[BagMessage]:
    """Return the messages of these topics as the bag stores them."""
    with BagReader(path) as reader:
        return list(reader.messages(topics))


def parsed_messages(path: Path) -> dict[str, list[tuple[int, Any]]]:
    """Return all messages by topic, each with its time in ns."""
    with BagReader(path) as reader:
        found: dict[str, list[tuple[int, Any]]] = {topic: [] for topic in reader.topics}
        for m in reader.messages(reader.topics):
            found[m.topic].append((m.time_ns, m.parsed()))
    return found


def claim_messages(bag: Path, count: int, claimed: int) -> None:
    """Change the number of messages in metadata.yaml from `count` to `claimed`."""
    path = bag / 'metadata.yaml'
    text = path.read_text()
    assert f'message_count: {count}' in text
    path.write_text(text.replace(f'message_count: {count}', f'message_count: {claimed}'))


def write_compressed_bag(path: Path, mode: str, images: Iterable[object]) -> Path:
    """Write images to /image, compressed with zstd per FILE, per MESSAGE or by (mcap) STORAGE."""
    store = get_typestore(Stores.ROS2_JAZZY)
    writer = Writer(path, version=9, storage_plugin=StoragePlugin.MCAP)
    writer.set_compression(CompressionMode[mode], CompressionFormat.ZSTD)
    with writer:
        connection = writer.add_connection('/image', IMAGE, typestore=store)
        for index, msg in enumerate(images):
            writer.write(connection, STAMP_NS + index, bytes(store.serialize_cdr(msg, IMAGE)))
    return path


def write_damaged_bag(path: Path) -> Path:
    """Write five images to /image; the third and those after it cannot be read."""
    large = np.random.default_rng(1).integers(0, 256, (600, 600, 3), np.uint8)
    # Each message is a chunk of 1.1 MB.
    write_compressed_bag(path, 'STORAGE', [image(pixels=large)] * 5)
    with (path / f'{path.name}.mcap').open('rb+') as file:
        file.seek(2_400_000)
        file.write(b'\xff' * 300_000)
    return path


def write_humble_bag(path: Path, types: Mapping[str, str], pixels: np.ndarray = PIXELS) -> Path:
    """Write a bag as Humble records it (sqlite3, no definitions), with one image per topic."""
    msg = image(pixels=pixels)
    cdr = bytes(get_typestore(Stores.ROS2_HUMBLE).serialize_cdr(msg, IMAGE))
    path.mkdir()
    with sqlite3.connect(path / 'bag_0.db3') as db:
        db.executescript("""
            CREATE TABLE schema(schema_version INTEGER PRIMARY KEY, ros_distro TEXT NOT NULL);
            CREATE TABLE metadata(id INTEGER PRIMARY KEY, metadata_version INTEGER NOT NULL,
                metadata TEXT NOT NULL);
            CREATE TABLE topics(id INTEGER PRIMARY KEY, name TEXT NOT NULL, type TEXT NOT NULL,
                serialization_format TEXT NOT NULL, offered_qos_profiles TEXT NOT NULL);
            CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id INTEGER NOT NULL,
                timestamp INTEGER NOT NULL, data BLOB NOT NULL);
            INSERT INTO schema VALUES (3, 'humble');
        """)
        for index, (topic, kind) in enumerate(types.items()):
            row = (index, topic, kind, 'cdr', '')
            db.execute('INSERT INTO topics VALUES (?, ?, ?, ?, ?)', row)
            db.execute('INSERT INTO messages VALUES (?, ?, ?, ?)', (index, index, STAMP_NS, cdr))
    db.close()
    information = {
        'version': 5,
        'storage_identifier': 'sqlite3',
        'relative_file_paths': ['bag_0.db3'],
        'duration': {'nanoseconds': 0},
        'starting_time': {'nanoseconds_since_epoch': STAMP_NS},
        'message_count': len(types),
        'topics_with_message_count': [
            {
                'topic_metadata': {
                    'name': topic,
                    'type': kind,
                    'serialization_format': 'cdr',
                    'offered_qos_profiles': '',
                },
                'message_count': 1,
            }
            for topic, kind in types.items()
        ],
        'compression_format': '',
        'compression_mode': '',
    }
    with (path / 'metadata.yaml').open('w') as file:
        YAML(typ='safe').dump({'rosbag2_bagfile_information': information}, file)
    return path
