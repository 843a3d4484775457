"""Segment every frame of a rosbag2 into another one, without ROS."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Generator, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from fcn_road_seg.bags import (
    COMPRESSED_IMAGE,
    IMAGE,
    BagError,
    BagMessage,
    BagReader,
    BagWriter,
    Topic,
    add_output_arguments,
    message,
    written_bag,
)
from fcn_road_seg.compressed_msgs import compressed_to_frame
from fcn_road_seg.image_msgs import Frame, ImageError, image_fields, to_frame

if TYPE_CHECKING:
    from fcn_road_seg.segmenter import RoadSegmenter, Segmentation

# As the node names its own.
NAMESPACE = 'fcn_road_seg'
# Messages that may wait, decoded, for the network.
AHEAD = 8
DECODING_THREADS = 4
REASONS_SHOWN = 10
VIDEO_RATES_HZ = (1.0, 60.0)
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
class Tally:
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


class BagSegmentation:
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
        self.tally = Tally()
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


def _mean_rate_hz(reader: BagReader, camera: str) -> float:
    """Return the mean rate of a camera over the bag."""
    low, high = VIDEO_RATES_HZ
    steps = reader.topics[camera].count - 1
    return min(high, max(low, steps / reader.duration_s if reader.duration_s else low))


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='segment_bag',
        description='Segment every frame of a rosbag2 as the node does: masks under the stamps of '
        'their frames, in a rosbag2 that ROS 2 plays from Humble on.',
    )
    parser.add_argument('bag', type=Path, metavar='IN', help='its folder, or a .mcap or .db3 file')
    add_output_arguments(parser)
    parser.add_argument(
        '--topics',
        nargs='+',
        action='extend',
        default=[],
        metavar='NAME',
        help='of Image or CompressedImage; without it all of them',
    )
    parser.add_argument('--overlay', action='store_true', help='also write the overlays')
    parser.add_argument('--confidence', action='store_true', help='also write 255 * p(road)')
    parser.add_argument(
        '--originals', action='store_true', help="also write all topics of the bag's own"
    )
    parser.add_argument(
        '--video', type=Path, metavar='FILE.mp4', help="also write one camera's overlays as a film"
    )
    parser.add_argument('--checkpoint', help='file; without one, that of the package')
    parser.add_argument('--device', default='auto', help='auto, cpu, cuda or cuda:N')
    parser.add_argument(
        '--precision', default='auto', help='auto, float32, float16, bfloat16 or int8'
    )
    parser.add_argument(
        '--input', type=int, nargs=2, metavar=('H', 'W'), help="instead of the checkpoint's rule"
    )
    parser.add_argument(
        '--roi-top',
        type=float,
        default=0.0,
        metavar='SHARE',
        help="of a frame's height, left out at its top; default: 0",
    )
    parser.add_argument(
        '--threshold',
        type=_probability,
        metavar='P',
        help="p(road) from which on a pixel is road; without it the checkpoint's",
    )
    return parser.parse_args(argv)


def _probability(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f'{text!r} is no number above 0 and below 1')
    return value


def main(argv: Sequence[str] | None = None) -> int:
    """Write the bag and say what became of the frames; return 0, or 130 after an interrupt."""
    args = parse_args(argv)
    # Its default would end the process with the half-written bag left behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with BagReader(args.bag) as reader:
            cameras = camera_topics(reader.topics, args.topics)
            if args.video and len(cameras) > 1:
                raise BagError(
                    f'--video is of one camera; name it by --topics: {_listed(cameras)}'
                )
            tally, seconds = segment(reader, cameras, args)
    except (ValueError, OSError) as error:
        raise SystemExit(f'segment_bag: {error}') from error
    except KeyboardInterrupt:
        print(f'segment_bag: interrupted; {args.out} is not written', file=sys.stderr)
        return 130
    print_summary(args.out, tally, seconds)
    return 0


def segment(
    reader: BagReader, cameras: Sequence[str], args: argparse.Namespace
) -> tuple[Tally, float]:
    """Write what the arguments ask for; return the counts, and the seconds of the frames alone.

    Raises:
        BagError, CheckpointError, SegmenterError, VideoError, ValueError, OSError: as BagReader,
            written_bag, RoadSegmenter and written_video.
    """
    # They bring PyTorch, which takes seconds: not before the bag is known to be right.
    from fcn_road_seg.checkpoint import default_checkpoint_path
    from fcn_road_seg.segmenter import RoadSegmenter
    from fcn_road_seg.video import written_video

    wanted = {'mask': True, 'confidence': args.confidence, 'overlay': args.overlay}
    outputs = [name for name, is_wanted in wanted.items() if is_wanted]
    with ExitStack() as stack:
        bag = stack.enter_context(written_bag(args.out, args.storage))
        show = None
        if args.video:
            rate_hz = _mean_rate_hz(reader, cameras[0])
            show = stack.enter_context(written_video(args.video, rate_hz))
        segmenter = RoadSegmenter(
            args.checkpoint or default_checkpoint_path(),
            args.device,
            args.precision,
            tuple(args.input) if args.input else None,
            roi_top=args.roi_top,
        )
        segmenter.threshold = args.threshold or segmenter.threshold
        work = BagSegmentation(reader, bag, segmenter, cameras, outputs, show)
        for line in work.copy_originals() if args.originals else ():
            print(line)
        for camera, topics in work.outputs.items():
            print(f'{camera} -> {_listed(topics.values())}')
        print(
            f'checkpoint {segmenter.checkpoint_sha256[:12]} on {segmenter.device_name}, '
            f'{segmenter.precision}, {segmenter.backend}'
        )
        began_s = time.monotonic()
        work.run()
        seconds = time.monotonic() - began_s
    return work.tally, seconds


def print_summary(out: Path, tally: Tally, seconds: float) -> None:
    """Print how many frames were segmented, and why others were not."""
    reasons = tally.refusals.most_common()
    for reason, count in reasons[:REASONS_SHOWN]:
        print(f'bad: {count} x {reason}')
    if others := sum(count for _, count in reasons[REASONS_SHOWN:]):
        print(f'bad: {others} more')
    if tally.missing > 0:
        print(f'missing: {tally.missing} messages that the bag tells of are not in its files')
    size_mb = sum(file.stat().st_size for file in out.iterdir()) / 1e6
    print(
        f'{out}: {tally.segmented} frames segmented, {tally.refusals.total()} bad; '
        f'{seconds:.1f} s, {tally.segmented / seconds:.1f} frames/s, {size_mb:.1f} MB'
    )


if __name__ == '__main__':
    raise SystemExit(main())
