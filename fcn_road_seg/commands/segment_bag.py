"""Segment every frame of a rosbag2 into another one, without ROS."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from fcn_road_seg.bags.bag_segmenter import (
    BagSegmenter,
    SegmentationCounts,
    _listed,
    camera_topics,
)
from fcn_road_seg.bags.reader import BagReader
from fcn_road_seg.bags.typestore import BagError
from fcn_road_seg.bags.writer import atomic_bag_writer
from fcn_road_seg.commands.arguments import add_output_arguments

if TYPE_CHECKING:
    pass

REASONS_SHOWN = 10
VIDEO_RATES_HZ = (1.0, 60.0)


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
) -> tuple[SegmentationCounts, float]:
    """Write what the arguments ask for; return the counts, and the seconds of the frames alone.

    Raises:
        BagError, CheckpointError, SegmenterError, VideoError, ValueError, OSError: as BagReader,
            written_bag, RoadSegmenter and written_video.
    """
    # They bring PyTorch, which takes seconds: not before the bag is known to be right.
    from fcn_road_seg.inference.segmenter import RoadSegmenter
    from fcn_road_seg.model.checkpoint import default_checkpoint_path
    from fcn_road_seg.viz.video import atomic_video_writer

    wanted = {'mask': True, 'confidence': args.confidence, 'overlay': args.overlay}
    outputs = [name for name, is_wanted in wanted.items() if is_wanted]
    with ExitStack() as stack:
        bag = stack.enter_context(atomic_bag_writer(args.out, args.storage))
        show = None
        if args.video:
            rate_hz = _mean_rate_hz(reader, cameras[0])
            show = stack.enter_context(atomic_video_writer(args.video, rate_hz))
        segmenter = RoadSegmenter(
            args.checkpoint or default_checkpoint_path(),
            args.device,
            args.precision,
            tuple(args.input) if args.input else None,
            roi_top=args.roi_top,
        )
        segmenter.threshold = args.threshold or segmenter.threshold
        work = BagSegmenter(reader, bag, segmenter, cameras, outputs, show)
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


def print_summary(out: Path, tally: SegmentationCounts, seconds: float) -> None:
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
