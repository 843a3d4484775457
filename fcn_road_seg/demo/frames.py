"""What the demo's camera shows: rendered scenes, a folder's pictures, or a bag's images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header
from tqdm import tqdm

from fcn_road_seg.bags.reader import BagReader
from fcn_road_seg.bags.typestore import COMPRESSED_IMAGE, IMAGE, BagError
from fcn_road_seg.datasets.frames import IMAGE_SUFFIXES
from fcn_road_seg.live.camera_process import DemoError, Shot
from fcn_road_seg.messages.image import ImageError, image_msg
from fcn_road_seg.synthetic import SyntheticDrive

CAMERA_HW = (375, 1242)
FRAMES_A_DRIVE = 15
RATE_HZ = 10.0
RENDERED_FRAMES = 60
# A frame, its mask and its overlay are kept until the end: 3.3 MB of KITTI's.
BAG_FRAMES = 300
IMAGE_TYPES = {IMAGE: Image, COMPRESSED_IMAGE: CompressedImage}


def rendered_shots(count: int, seed: int) -> list[Shot]:
    """Render `count` frames: drives of 15 frames each, 0.1 s apart, seeds `seed` and up."""
    shots = []
    for index in tqdm(range(count), desc='rendering', unit='frame'):
        drive, step = divmod(index, FRAMES_A_DRIVE)
        if step == 0:
            scene = SyntheticDrive(seed + drive, CAMERA_HW)
        frame_bgr, label = scene.render(t_s=step / 10)
        shots.append(replace(shot_of(frame_bgr, index), label=label))
    return shots


def image_shots(folder: Path, limit: int | None = None) -> list[Shot]:
    """Read a folder's pictures, in the order of their names; at most the first `limit`.

    Raises:
        DemoError: there is none, or one is not readable.
    """
    paths = sorted(p for p in folder.glob('*') if p.suffix.lower() in IMAGE_SUFFIXES)[:limit]
    if not paths:
        raise DemoError(f'{folder} holds no image ({", ".join(IMAGE_SUFFIXES)})')
    shots = []
    for index, path in enumerate(tqdm(paths, desc='reading', unit='frame')):
        frame_bgr = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if frame_bgr is None:
            raise DemoError(f'{path} is not a readable image; replace or remove it')
        shots.append(shot_of(frame_bgr, index))
    return shots


def shot_of(frame_bgr: np.ndarray, index: int) -> Shot:
    """Return an (H, W, 3) uint8 picture as the message that goes out at `index` of RATE_HZ."""
    msg = image_msg(frame_bgr, 'bgr8', Header(frame_id='demo_camera'))
    return Shot(serialize_message(msg), index / RATE_HZ)


def bag_shots(path: Path, topic: str = '', limit: int | None = None) -> list[Shot]:
    """Read a rosbag2's images, at the pace at which they were recorded; at most `limit`.

    `path` is a bag's folder or file, `topic` of Image or CompressedImage; empty takes the only
    one there is. Messages that the node would refuse are left out, and told.

    Raises:
        DemoError: rosbags is missing, the bag is not there or not readable, has no such topic or
            several to choose from, or no readable image.
    """
    topic, kind, recorded = _read_bag(path, topic, BAG_FRAMES if limit is None else limit)
    shots, refused = [], []
    for time_ns, cdr in tqdm(recorded, desc='reading', unit='frame'):
        shot = Shot(cdr, (time_ns - recorded[0][0]) / 1e9, kind)
        try:
            shot.frame_bgr()
        except ImageError as error:
            refused.append(str(error))
        else:
            shots.append(shot)
    if refused:
        print(f'{len(refused)} of {len(recorded)} messages are left out, first: {refused[0]}')
    if not shots:
        raise DemoError(f'{path} has no readable image on {topic}')
    return [replace(shot, offset_s=shot.offset_s - shots[0].offset_s) for shot in shots]


def _read_bag(path: Path, topic: str, limit: int) -> tuple[str, type, list[tuple[int, bytes]]]:
    """Return the topic, its type, and its first messages with their times in ns."""
    if path.suffix == '.bag':
        raise DemoError(f'{path} is of ROS 1; convert it: rosbags-convert --src {path} --dst NEW')
    try:
        with BagReader(path) as bag:
            topics = sorted(t.name for t in bag.topics.values() if t.type in IMAGE_TYPES)
            topic = _chosen(topic, topics, path)
            count = bag.topics[topic].count
            some = f'the first {limit} (--frames N for more) of ' if count > limit else ''
            print(f'{path}: {some}{count} images of {topic}')
            recorded = [(m.time_ns, m.cdr) for m in islice(bag.messages([topic]), limit)]
    except BagError as error:
        raise DemoError(str(error)) from error
    return topic, IMAGE_TYPES[bag.topics[topic].type], recorded


def _chosen(topic: str, topics: Sequence[str], path: Path) -> str:
    listed = ', '.join(topics)
    if not topics:
        raise DemoError(f'{path} has no topic of {" or ".join(IMAGE_TYPES)}')
    if topic and topic not in topics:
        raise DemoError(f'{path} has no images on {topic}; --topic is one of {listed}')
    if not topic and len(topics) > 1:
        raise DemoError(f'{path} has images on several topics; choose one by --topic: {listed}')
    return topic or topics[0]
