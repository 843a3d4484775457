"""Exports frames of bags and folders with the network's masks, for people to correct."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from fcn_road_seg.bags.bag_segmenter import camera_topics, decode_ahead
from fcn_road_seg.bags.reader import BAG_SUFFIXES, BagMessage, BagReader, is_bag_folder
from fcn_road_seg.bags.typestore import BagError
from fcn_road_seg.datasets.frames import NoImageError, find_images, read_image
from fcn_road_seg.datasets.label_folder import LabelFolder
from fcn_road_seg.inference.uncertainty import edge_entropy, least_sure
from fcn_road_seg.utils.picture import encode_png, is_shown_turned

if TYPE_CHECKING:
    from fcn_road_seg.inference.segmenter import RoadSegmenter


@dataclass(frozen=True)
class NumberedFrame:
    """A frame, (H, W, 3) uint8 BGR, its `number` among those of its input, and a name.

    `path` is its file if the input is a folder.
    """

    number: int
    name: str
    frame_bgr: np.ndarray
    path: Path | None = None


@dataclass
class ExportCounts:
    """Numbers of frames: read, written, and bad ones in bags, by error."""

    read: int = 0
    written: int = 0
    errors: Counter[str] = field(default_factory=Counter)


class LabelExport:
    """Segments the frames of `inputs`, bags or folders of images, into a label folder.

    `topics` are the image topics of bags (see `camera_topics`); `counts` has numbers of frames.
    """

    def __init__(
        self, inputs: Sequence[Path], topics: Sequence[str], segmenter: RoadSegmenter
    ) -> None:
        self._inputs = inputs
        self._topics = topics
        self._segmenter = segmenter
        self.counts = ExportCounts()

    def run(self, folder: LabelFolder, count: int | None = None) -> None:
        """Write all frames, or the `count` frames of which the network is least sure.

        To choose, all frames are segmented; those chosen are then read and segmented again.

        Raises:
            BagError, DatasetError: an input cannot be read, or there is no frame.
        """
        chosen = [None] * len(self._inputs) if count is None else self._choose(count)
        for path, only in zip(self._inputs, chosen, strict=True):
            for frame in tqdm(self._frames(path, only), desc=f'{path.name} labels', unit='frame'):
                found = self._segmenter(frame.frame_bgr, confidence=False)
                folder.add(frame.name, *_picture_of(frame), found.mask)
                self.counts.written += 1
        if count is None:
            self.counts.read = self.counts.written
        if not self.counts.written:
            empty = 'the inputs contain none; give other bags or folders'
            ((reason, _),) = self.counts.errors.most_common(1) or [(empty, 0)]
            raise BagError(f'no frame can be read: {reason}')

    def _choose(self, count: int) -> list[set[int]]:
        """Return the numbers of the chosen frames of each input."""
        entropies: dict[int, float] = {}
        # Numbering continues from one input to the next.
        starts = [0]
        for path in self._inputs:
            end = starts[-1]
            for frame in tqdm(self._frames(path), desc=f'{path.name} choice', unit='frame'):
                found = self._segmenter(frame.frame_bgr, confidence=False, road_probability=True)
                assert found.road_probability is not None
                end = starts[-1] + frame.number + 1
                entropies[end - 1] = edge_entropy(found.road_probability, found.mask)
            starts.append(end)
        self.counts.read = len(entropies)
        chosen = least_sure(entropies, count)
        return [
            {number - start for number in chosen if start <= number < end}
            for start, end in pairwise(starts)
        ]

    def _frames(self, path: Path, only: Collection[int] | None = None) -> Iterator[NumberedFrame]:
        if path.is_dir() and not is_bag_folder(path):
            yield from _image_frames(path, only)
            return
        for frame in _bag_frames(path, self._topics, only):
            if isinstance(frame, str):
                self.counts.errors[frame] += 1
            else:
                yield frame


def refuse_other_inputs(inputs: Sequence[Path]) -> None:
    """Check that all `inputs` are bags or folders of images, before the hours of work.

    Raises:
        BagError, DatasetError: one is neither.
    """
    for path in inputs:
        if not path.exists():
            raise BagError(f'{path} does not exist; give a bag or a folder of images')
        # BagReader advises how to convert a .bag.
        if path.is_file() and path.suffix not in (*BAG_SUFFIXES, '.bag'):
            raise BagError(f'{path} is not a bag; give a bag, or the folder that holds the images')
        if path.is_dir() and not is_bag_folder(path):
            try:
                find_images(path)
            except NoImageError as error:
                raise BagError(
                    f'{error} and is not a bag; give bags one by one, or a folder of images'
                ) from error


def _picture_of(frame: NumberedFrame) -> tuple[bytes, str]:
    """Return the bytes and the suffix of an image file that tools show as the network sees it."""
    if frame.path is not None:
        data = frame.path.read_bytes()
        if not is_shown_turned(data, frame.frame_bgr):
            return data, frame.path.suffix
    return encode_png(frame.frame_bgr), '.png'


def _image_frames(folder: Path, only: Collection[int] | None) -> Iterator[NumberedFrame]:
    for number, path in enumerate(find_images(folder)):
        if only is None or number in only:
            name = '_'.join(path.relative_to(folder).with_suffix('').parts)
            yield NumberedFrame(number, name, read_image(path), path)


def _bag_frames(
    path: Path, topics: Sequence[str], only: Collection[int] | None
) -> Iterator[NumberedFrame | str]:
    """Yield the frames of a bag; for a message that the node would refuse, yield the reason."""
    numbers: deque[int] = deque()

    def chosen(messages: Iterator[BagMessage]) -> Iterator[BagMessage]:
        for number, item in enumerate(messages):
            if only is None or number in only:
                numbers.append(number)
                yield item

    with BagReader(path) as reader:
        cameras = camera_topics(reader.topics, topics)
        for item in decode_ahead(chosen(reader.messages(cameras)), cameras):
            number = numbers.popleft()
            if item.frame is None:
                yield f'{path}: {item.error}'
                continue
            camera = item.message.topic.strip('/').replace('/', '_')
            name = f'{path.stem}_{camera}_{item.message.time_ns}'
            yield NumberedFrame(number, name, item.frame.bgr())
