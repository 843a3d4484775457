"""Segments every frame of a rosbag2 into another one."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Generator, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from fcn_road_seg.bags.grids import GRID, GridMaker
from fcn_road_seg.bags.reader import BagMessage, BagReader, Topic
from fcn_road_seg.bags.typestore import COMPRESSED_IMAGE, IMAGE, BagError, message
from fcn_road_seg.bags.writer import BagWriter
from fcn_road_seg.ground.errors import GroundError
from fcn_road_seg.messages.decode import decode_message
from fcn_road_seg.messages.image import Frame, ImageError, image_fields

if TYPE_CHECKING:
    from fcn_road_seg.inference.interfaces import Segmentation
    from fcn_road_seg.inference.segmenter import RoadSegmenter

# The name of the node, under which it publishes its own topics.
NAMESPACE = 'fcn_road_seg'
# Number of messages that can wait, decoded, for the network.
MAX_DECODED_AHEAD = 8
DECODING_THREADS = 4
_GRID = 'grid'
OUTPUTS: Mapping[str, tuple[str, Callable[[Segmentation], np.ndarray | None]]] = {
    'mask': ('mono8', lambda found: found.mask),
    'confidence': ('mono8', lambda found: found.confidence),
    'road_probability': ('mono8', lambda found: found.road_probability),
    'overlay': ('bgr8', lambda found: found.overlay_bgr),
}


@dataclass(frozen=True)
class DecodedMessage:
    """A message of the bag. If a camera published it: its header and frame, or the error."""

    message: BagMessage
    header: Any = None
    frame: Frame | None = None
    error: str = ''


@dataclass
class SegmentationCounts:
    """Numbers of frames: segmented, and bad ones by error; `seconds` is the time they took.

    `missing` counts the messages of all topics read that are in the bag's metadata, but not in
    its files. `without_grid` counts the segmented frames that got no grid, by the reason.
    """

    segmented: int = 0
    missing: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    without_grid: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    def add(self, other: SegmentationCounts) -> None:
        """Add the counts of another part of the same bag."""
        self.segmented += other.segmented
        self.missing += other.missing
        self.errors += other.errors
        self.without_grid += other.without_grid
        self.seconds += other.seconds

    def refuse_none(self, total: int) -> None:
        """Raise BagError, with the most frequent reason, if none of `total` was segmented."""
        if not self.segmented:
            missing = 'its files do not contain them; copy the bag again, or give another one'
            ((reason, _),) = self.errors.most_common(1) or [(missing, 0)]
            raise BagError(f'none of the {total} frames of the bag can be read: {reason}')


def camera_topics(topics: Mapping[str, Topic], names: Sequence[str]) -> list[str]:
    """Return the image topics `names`, or, if that is empty, all image topics of cameras.

    Topics `.../fcn_road_seg/...`, which a node has published, are taken only if they are named.

    Raises:
        BagError: a topic in `names` has no images, or no topic has.
    """
    images = [t.name for t in topics.values() if t.type in (IMAGE, COMPRESSED_IMAGE) and t.count]
    for name in names:
        if name not in images:
            raise BagError(f'{name} has no images; topics with images: {join_names(images)}')
    chosen = list(dict.fromkeys(names)) or [
        name for name in images if NAMESPACE not in name.split('/')
    ]
    if not chosen:
        raise BagError(f'the bag has no images to segment; its topics: {join_names(topics)}')
    return chosen


def output_topics(cameras: Sequence[str], outputs: Iterable[str]) -> dict[str, dict[str, str]]:
    """Return the topic of each output for each camera topic.

    For one camera they are the node's, such as `/fcn_road_seg/mask`; for several they are prefixed
    with the camera's topic.
    """
    several = len(cameras) > 1
    return {
        camera: {name: f'{camera if several else ""}/{NAMESPACE}/{name}' for name in outputs}
        for camera in cameras
    }


def decode_ahead(
    messages: Iterable[BagMessage], cameras: Collection[str]
) -> Generator[DecodedMessage, None, None]:
    """Yield all messages in their order; threads decode those of `cameras` ahead of time.

    If the node would refuse a message, its `error` says why; nothing is raised.
    """
    # OpenCV decodes without the GIL, and thus while the network or the GPU is busy.
    with ThreadPoolExecutor(DECODING_THREADS) as pool:
        waiting: deque[Future[DecodedMessage]] = deque()
        for item in messages:
            waiting.append(pool.submit(_decode, item, item.topic in cameras))
            if len(waiting) > MAX_DECODED_AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _decode(item: BagMessage, is_frame: bool) -> DecodedMessage:
    if not is_frame:
        return DecodedMessage(item)
    try:
        msg = item.parsed()
        return DecodedMessage(item, msg.header, decode_message(msg))
    except (BagError, ImageError) as error:
        return DecodedMessage(item, error=str(error))


class BagSegmenter:
    """Segments the frames of `reader` into `bag`, and counts them in `counts`.

    `topics` are the output topics by camera topic and output.
    """

    def __init__(
        self,
        reader: BagReader,
        bag: BagWriter,
        segmenter: RoadSegmenter,
        cameras: Sequence[str],
        outputs: Sequence[str],
        show: Callable[[np.ndarray], None] | None = None,
        grids: Mapping[str, GridMaker] | None = None,
    ) -> None:
        """Add the topics of `outputs` (keys of OUTPUTS) and of `grids` (by camera topic) to `bag`.

        `show` is called with each overlay, (H, W, 3) uint8 bgr.
        """
        self._reader = reader
        self._bag = bag
        self._segmenter = segmenter
        self._copied: set[str] = set()
        self._show = show
        self._grids = grids or {}
        self.topics = output_topics(cameras, [*outputs, *([_GRID] if grids else [])])
        self.counts = SegmentationCounts()
        for topics in self.topics.values():
            for name, topic in topics.items():
                bag.add(topic, GRID if name == _GRID else IMAGE)

    def copy_originals(self) -> list[str]:
        """Also copy the topics of the input bag; return one line for each that is left out."""
        added = {topic for topics in self.topics.values() for topic in topics.values()}
        left_out = []
        for topic in self._reader.topics.values():
            if topic.name in added:
                left_out.append(f'{topic.name} is left out: an output has the same name')
            elif self._bag.add_like(self._reader.connection(topic.name)):
                self._copied.add(topic.name)
            else:
                left_out.append(
                    f'{topic.name} is left out: neither the bag nor ROS defines {topic.type}'
                )
        return left_out

    @property
    def frame_count(self) -> int:
        """Number of frames, by the bag's metadata."""
        return self._count_in_metadata(self.topics)

    @property
    def message_count(self) -> int:
        """Number of frames and copied messages, by the bag's metadata."""
        return self._count_in_metadata(self.topics.keys() | self._copied)

    def run(self) -> None:
        """Segment every frame, with a progress bar.

        Raises:
            BagError: the bag is damaged, or none of its frames can be read.
        """
        with tqdm(total=self.frame_count, desc='segment_bag', unit='frame') as progress:
            self.run_range(progress.update)
        self.counts.refuse_none(self.frame_count)

    def run_range(
        self, advance: Callable[[], object], first: int = 0, end: int | None = None
    ) -> None:
        """Segment and copy messages `first` to `end`, the latter excluded (None: all remaining).

        All frames and copied messages are numbered together, in the order of their times. What
        is written for a message depends on no other message except the bag's CameraInfo, so
        consecutive ranges add up to the whole bag. `advance` is called after each frame.

        Raises:
            BagError: the bag is damaged.
        """
        cameras = self.topics.keys()
        total = self.message_count
        stop = total if end is None else min(end, total)
        self.counts.missing = stop - min(first, total)
        began_s = time.monotonic()
        messages = islice(self._reader.messages(cameras | self._copied), first, end)
        with closing(decode_ahead(messages, cameras)) as items:
            for item in items:
                self.counts.missing -= 1
                if item.message.topic in self._copied:
                    self._bag.write(item.message.topic, item.message.time_ns, item.message.cdr)
                if item.message.topic not in self.topics:
                    continue
                if item.frame is None:
                    camera = f'{item.message.topic}: ' if len(cameras) > 1 else ''
                    self.counts.errors[f'{camera}{item.error}'] += 1
                else:
                    self._segment(item, item.frame)
                advance()
        self.counts.seconds = time.monotonic() - began_s

    def _count_in_metadata(self, topics: Iterable[str]) -> int:
        return sum(self._reader.topics[topic].count for topic in topics)

    def _segment(self, item: DecodedMessage, frame: Frame) -> None:
        topics = self.topics[item.message.topic]
        found = self._segmenter(
            frame.pixels,
            channel_order=frame.channel_order,
            road_probability='road_probability' in topics or _GRID in topics,
            confidence='confidence' in topics,
            overlay='overlay' in topics or self._show is not None,
        )
        for name, topic in topics.items():
            if name == _GRID:
                self._write_grid(item, found)
                continue
            encoding, pixels_of = OUTPUTS[name]
            pixels = pixels_of(found)
            assert pixels is not None
            msg = message(IMAGE, header=item.header, **image_fields(pixels, encoding))
            self._bag.write(topic, item.message.time_ns, msg)
        if self._show is not None:
            assert found.overlay_bgr is not None
            self._show(found.overlay_bgr)
        self.counts.segmented += 1

    def _write_grid(self, item: DecodedMessage, found: Segmentation) -> None:
        camera = item.message.topic
        assert found.road_probability is not None
        try:
            msg = self._grids[camera].message(
                item.message.time_ns, item.header.stamp, found.road_probability
            )
        except GroundError as error:
            self.counts.without_grid[str(error)] += 1
        else:
            self._bag.write(self.topics[camera][_GRID], item.message.time_ns, msg)


def join_names(names: Iterable[str]) -> str:
    """Return the names as one text for a human."""
    return ', '.join(names) or 'none'
