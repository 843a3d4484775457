"""TODO: one line."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Collection, Generator, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from fcn_road_seg.bags.reader import BagMessage, BagReader, Topic
from fcn_road_seg.bags.typestore import COMPRESSED_IMAGE, IMAGE, BagError, message
from fcn_road_seg.bags.writer import BagWriter
from fcn_road_seg.messages.compressed_image import compressed_to_frame
from fcn_road_seg.messages.image import Frame, ImageError, image_fields, to_frame

if TYPE_CHECKING:
    from fcn_road_seg.inference.segmenter import RoadSegmenter, Segmentation

# As the node names its own.
NAMESPACE = 'fcn_road_seg'
# Messages that may wait, decoded, for the network.
AHEAD = 8
DECODING_THREADS = 4
_DECODERS: Mapping[str, Callable[[Any], Frame]] = {
    IMAGE: to_frame,
    COMPRESSED_IMAGE: compressed_to_frame,
}
_PICTURES: Mapping[str, tuple[str, Callable[[Segmentation], np.ndarray | None]]] = {
    'mask': ('mono8', lambda found: found.mask),
    'confidence': ('mono8', lambda found: found.confidence),
    'overlay': ('bgr8', lambda found: found.overlay_bgr),
}


@dataclass(frozen=True)
class Decoded:
    """A message of the bag; of a camera's topic also its header and its frame, or why not."""

    message: BagMessage
    header: Any = None
    frame: Frame | None = None
    refusal: str = ''


@dataclass
class SegmentationCounts:
    """What became of the frames; `refusals` counts the bad ones by their reason.

    `missing` are the messages that the bag tells of, but does not have.
    """

    segmented: int = 0
    missing: int = 0
    refusals: Counter[str] = field(default_factory=Counter)


def camera_topics(topics: Mapping[str, Topic], named: Sequence[str]) -> list[str]:
    """Return the named image topics, or without a name all that have images, but for masks.

    What a node has published as `.../fcn_road_seg/...` is no camera, unless it is named.

    Raises:
        BagError: a topic that is named has no images, or there is none.
    """
    images = [t.name for t in topics.values() if t.type in _DECODERS and t.count]
    for name in named:
        if name not in images:
            raise BagError(f'{name} has no images; topics with images are {_listed(images)}')
    chosen = list(dict.fromkeys(named)) or [
        name for name in images if NAMESPACE not in name.split('/')
    ]
    if not chosen:
        raise BagError(f'there are no images to segment; the topics are {_listed(topics)}')
    return chosen


def output_topics(cameras: Sequence[str], outputs: Iterable[str]) -> dict[str, dict[str, str]]:
    """Return the topic of each output for each camera topic.

    As the node's, `/fcn_road_seg/mask`; with several cameras behind the camera's own name.
    """
    several = len(cameras) > 1
    return {
        camera: {name: f'{camera if several else ""}/{NAMESPACE}/{name}' for name in outputs}
        for camera in cameras
    }


def decoded(
    messages: Iterable[BagMessage], cameras: Collection[str]
) -> Generator[Decoded, None, None]:
    """Yield all messages in their order, those of `cameras` decoded, which is done ahead.

    What the node would refuse is told, not raised.
    """
    # OpenCV decodes without the GIL, so while the network or the GPU is at work.
    with ThreadPoolExecutor(DECODING_THREADS) as pool:
        waiting: deque[Future[Decoded]] = deque()
        for item in messages:
            waiting.append(pool.submit(_decoded, item, item.topic in cameras))
            if len(waiting) > AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _decoded(item: BagMessage, is_frame: bool) -> Decoded:
    if not is_frame:
        return Decoded(item)
    try:
        msg = item.parsed()
        return Decoded(item, msg.header, _DECODERS[item.type](msg))
    except (BagError, ImageError) as error:
        return Decoded(item, refusal=str(error))


class BagSegmenter:
    """One bag's way through the network into another one, counted in `tally`.

    `outputs` has the topics of what is made, by camera topic and name.
    """

    def __init__(
        self,
        reader: BagReader,
        bag: BagWriter,
        segmenter: RoadSegmenter,
        cameras: Sequence[str],
        outputs: Sequence[str],
        show: Callable[[np.ndarray], None] | None = None,
    ) -> None:
        """Announce the `outputs`, of _PICTURES; `show` is given each overlay."""
        self._reader = reader
        self._bag = bag
        self._segmenter = segmenter
        self.outputs = output_topics(cameras, outputs)
        self._copied: set[str] = set()
        self._show = show
        self.tally = SegmentationCounts()
        for topics in self.outputs.values():
            for topic in topics.values():
                bag.add(topic, IMAGE)

    def copy_originals(self) -> list[str]:
        """Take the bag's own topics along; return a line for each that cannot be."""
        made = {topic for topics in self.outputs.values() for topic in topics.values()}
        left_out = []
        for topic in self._reader.topics.values():
            if topic.name in made:
                left_out.append(f'{topic.name} is left out: what is made now has this name')
            elif self._bag.add_like(self._reader.connection(topic.name)):
                self._copied.add(topic.name)
            else:
                left_out.append(
                    f'{topic.name} is left out: neither the bag nor ROS defines {topic.type}'
                )
        return left_out

    def run(self) -> None:
        """Segment every frame, with a progress bar.

        Raises:
            BagError: the bag is damaged, or none of its frames can be read.
        """
        cameras = self.outputs.keys()
        topics = cameras | self._copied
        messages = self._reader.messages(topics)
        total = self._told_of(cameras)
        self.tally.missing = self._told_of(topics)
        with (
            tqdm(total=total, desc='segment_bag', unit='frame') as progress,
            closing(decoded(messages, cameras)) as items,
        ):
            for item in items:
                self.tally.missing -= 1
                if item.message.topic in self._copied:
                    self._bag.write(item.message.topic, item.message.time_ns, item.message.cdr)
                if item.message.topic not in self.outputs:
                    continue
                if item.frame is None:
                    of = f'{item.message.topic}: ' if len(cameras) > 1 else ''
                    self.tally.refusals[f'{of}{item.refusal}'] += 1
                else:
                    self._segment(item, item.frame)
                progress.update()
        if not self.tally.segmented:
            not_there = "they are not in its files; try 'ros2 bag reindex' or 'mcap recover'"
            ((reason, _),) = self.tally.refusals.most_common(1) or [(not_there, 0)]
            raise BagError(f'none of {total} frames can be read: {reason}')

    def _told_of(self, topics: Iterable[str]) -> int:
        """Return the number of messages that the bag tells of."""
        return sum(self._reader.topics[topic].count for topic in topics)

    def _segment(self, item: Decoded, frame: Frame) -> None:
        topics = self.outputs[item.message.topic]
        found = self._segmenter(
            frame.pixels,
            channel_order=frame.channel_order,
            confidence='confidence' in topics,
            overlay='overlay' in topics or self._show is not None,
        )
        for name, topic in topics.items():
            encoding, picture = _PICTURES[name]
            pixels = picture(found)
            assert pixels is not None
            msg = message(IMAGE, header=item.header, **image_fields(pixels, encoding))
            self._bag.write(topic, item.message.time_ns, msg)
        if self._show is not None:
            assert found.overlay_bgr is not None
            self._show(found.overlay_bgr)
        self.tally.segmented += 1


def _listed(names: Iterable[str]) -> str:
    return ', '.join(names) or 'none'
