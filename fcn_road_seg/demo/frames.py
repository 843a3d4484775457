"""The demo's frames: rendered scenes, a folder's images or a bag's messages."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from pathlib import Path

from sensor_msgs.msg import CompressedImage, Image
from tqdm import tqdm

from fcn_road_seg.bags.bag_segmenter import camera_topics, join_names
from fcn_road_seg.bags.reader import BagReader
from fcn_road_seg.bags.typestore import COMPRESSED_IMAGE, IMAGE, BagError
from fcn_road_seg.datasets.frames import DatasetError, find_images, read_image
from fcn_road_seg.demo.ground import CAMERA_HEIGHT_M, camera_info_of, road_cells
from fcn_road_seg.live.camera_message import CameraMessage
from fcn_road_seg.messages.image import ImageError
from fcn_road_seg.synthetic import SyntheticDrive

CAMERA_HW = (375, 1242)
FRAMES_PER_DRIVE = 30
RATE_HZ = 30.0
RENDERED_FRAMES = 90
# Each frame, its mask and its overlay are kept until the end: 3.3 MB for a frame of KITTI.
BAG_FRAMES = 300
IMAGE_TYPES = {IMAGE: Image, COMPRESSED_IMAGE: CompressedImage}


class DemoError(RuntimeError):
    """The demo got no frames, or its masks are missing or wrong; the text is one line."""


def rendered_messages(count: int, seed: int) -> list[CameraMessage]:
    """Render `count` frames at RATE_HZ, with their labels, calibrations and true road cells.

    Every FRAMES_PER_DRIVE frames a new drive begins; the first one's seed is `seed`, the next
    one's `seed` + 1, and so on.
    """
    messages = []
    for index in tqdm(range(count), desc='rendering', unit='frame'):
        drive, step = divmod(index, FRAMES_PER_DRIVE)
        if step == 0:
            scene = SyntheticDrive(seed + drive, CAMERA_HW, CAMERA_HEIGHT_M)
            camera_info = camera_info_of(scene, CAMERA_HW)
        t_s = step / RATE_HZ
        frame_bgr, label = scene.render(t_s)
        message = CameraMessage.from_frame(frame_bgr, index / RATE_HZ, label)
        messages.append(
            replace(message, camera_info=camera_info, road_cells=road_cells(scene, t_s))
        )
    return messages


def image_messages(folder: Path, limit: int | None = None) -> list[CameraMessage]:
    """Read the images that `find_images` finds in a folder, as frames at RATE_HZ; at most `limit`.

    Raises:
        DemoError: the folder holds no image.
        DatasetError: one is not readable.
    """
    try:
        paths = find_images(folder)[:limit]
    except DatasetError as error:
        raise DemoError(f'{error}; give another folder') from error
    return [
        CameraMessage.from_frame(read_image(path), index / RATE_HZ)
        for index, path in enumerate(tqdm(paths, desc='reading', unit='frame'))
    ]


def bag_messages(path: Path, topic: str = '', limit: int | None = None) -> list[CameraMessage]:
    """Read a rosbag2's images at the pace at which they were recorded; at most `limit`.

    `path` is a bag's folder or file; `topic` may be empty if the bag has one camera (see
    `camera_topics`). Messages that the node would refuse are left out, with a note.

    Raises:
        DemoError: rosbags or mcap is not installed, the bag does not exist or is not readable, it
            has no such topic or several to choose from, or no readable image.
    """
    topic, kind, recorded = _read_bag(path, topic, BAG_FRAMES if limit is None else limit)
    messages, refused = [], []
    for time_ns, cdr in tqdm(recorded, desc='reading', unit='frame'):
        message = CameraMessage(cdr, (time_ns - recorded[0][0]) / 1e9, kind)
        try:
            message.frame_bgr()
        except ImageError as error:
            refused.append(str(error))
        else:
            messages.append(message)
    if refused:
        print(
            f'{len(refused)} of {len(recorded)} messages are left out; first error: {refused[0]}'
        )
    if not messages:
        raise DemoError(f'{path} has no readable image on {topic}; give another bag or --topic')
    return [
        replace(message, offset_s=message.offset_s - messages[0].offset_s) for message in messages
    ]


def _read_bag(path: Path, topic: str, limit: int) -> tuple[str, type, list[tuple[int, bytes]]]:
    """Return the topic, its type, and its first messages with their times in ns."""
    try:
        with BagReader(path) as bag:
            cameras = camera_topics(bag.topics, [topic] if topic else [])
            if len(cameras) > 1:
                listed = join_names(sorted(cameras))
                raise DemoError(
                    f'{path} has images on several topics; choose one with --topic: {listed}'
                )
            topic = cameras[0]
            count = bag.topics[topic].count
            some = f'the first {limit} (--frames N for more) of ' if count > limit else ''
            print(f'{path}: {some}{count} images of {topic}')
            recorded = [(m.time_ns, m.cdr) for m in islice(bag.messages([topic]), limit)]
    except BagError as error:
        raise DemoError(str(error)) from error
    return topic, IMAGE_TYPES[bag.topics[topic].type], recorded
