"""Convert a KITTI drive, odometry sequence or road folder to a rosbag2, without ROS."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

from fcn_road_seg.bags.kitti_converter import (
    FRAME_ID,
    IMAGE_TOPIC,
    ConversionCounts,
    ConversionOptions,
    KittiConverter,
)
from fcn_road_seg.bags.writer import atomic_bag_writer
from fcn_road_seg.commands.arguments import add_output_arguments, positive_number, whole_number
from fcn_road_seg.commands.cli import ERRORS_SHOWN, run_command
from fcn_road_seg.datasets.kitti_sequences import (
    DEFAULT_ROAD_RATE_HZ,
    KittiSequence,
    find_sequence,
)

_TOPIC = re.compile(r'(/[A-Za-z_][A-Za-z0-9_]*)+', re.ASCII)


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='kitti_to_bag',
        description='Convert the left colour camera of a KITTI raw drive, odometry sequence or '
        'road folder to a rosbag2 with Image and CameraInfo, which ROS 2 Humble and newer can '
        'play.',
    )
    parser.add_argument(
        'folder',
        type=Path,
        metavar='IN',
        help='Folder to convert: a raw drive (..._sync or ..._extract, with calib_cam_to_cam.txt '
        'beside it), an odometry sequence (sequences/00) or a road folder (data_road/training).',
    )
    add_output_arguments(parser)
    parser.add_argument(
        '--compressed',
        action='store_true',
        help='Write the PNG or JPEG files unchanged as CompressedImage instead of Image in bgr8.',
    )
    parser.add_argument(
        '--start',
        type=whole_number(0),
        metavar='N',
        help='Number of the first frame (default: the first of the folder). The frames of a road '
        'folder are counted from 0 in the order of their names.',
    )
    parser.add_argument(
        '--end',
        type=whole_number(0),
        metavar='N',
        help='Number of the last frame, included (default: the last of the folder).',
    )
    parser.add_argument(
        '--rate',
        type=positive_number,
        metavar='HZ',
        help='Frame rate of a road folder, whose frames have no times '
        f'(default: {DEFAULT_ROAD_RATE_HZ:g}).',
    )
    parser.add_argument(
        '--skip-bad',
        action='store_true',
        help='Skip and count frames that are missing or unreadable, have no time or differ in '
        'size, instead of stopping with an error.',
    )
    parser.add_argument(
        '--image-topic',
        type=_topic,
        default=IMAGE_TOPIC,
        metavar='NAME',
        help=f'Topic of the images (default: {IMAGE_TOPIC}); --compressed appends /compressed.',
    )
    parser.add_argument(
        '--camera-info-topic',
        type=_topic,
        metavar='NAME',
        help='Topic of CameraInfo (default: camera_info beside the image topic).',
    )
    parser.add_argument(
        '--frame-id',
        default=FRAME_ID,
        metavar='ID',
        help=f'Frame ID of the headers (default: {FRAME_ID}).',
    )
    return parser.parse_args(argv)


def _topic(text: str) -> str:
    if not _TOPIC.fullmatch(text):
        raise argparse.ArgumentTypeError(
            f'{text!r} is not an absolute topic name, such as {IMAGE_TOPIC}'
        )
    return text


def main(argv: Sequence[str] | None = None) -> int:
    """Write the bag and print its contents; return the exit status."""
    args = parse_args(argv)
    return run_command(
        'kitti_to_bag',
        lambda: convert(args),
        (ValueError, OSError),
        lambda: f'interrupted; {args.out} was not written',
    )


def convert(args: argparse.Namespace) -> None:
    """Write what the arguments ask for.

    Raises:
        SequenceError, CalibrationError, BagError, FrameError, OSError: as find_sequence,
            atomic_bag_writer and KittiConverter.
    """
    options = ConversionOptions(
        image_topic=args.image_topic,
        camera_info_topic=args.camera_info_topic,
        frame_id=args.frame_id,
        compressed=args.compressed,
        start=args.start,
        end=args.end,
        skip_bad=args.skip_bad,
    )
    sequence = find_sequence(args.folder, args.rate)
    with atomic_bag_writer(args.out, args.storage) as bag:
        converter = KittiConverter(sequence, bag, options)
        converter.run()
    print_summary(args.out, sequence, converter.counts)


def print_summary(out: Path, sequence: KittiSequence, counts: ConversionCounts) -> None:
    """Print what the bag contains, and which frames were left out."""
    for text in counts.bad[:ERRORS_SHOWN]:
        print(f'left out: {text}')
    if len(counts.bad) > ERRORS_SHOWN:
        print(f'left out: {len(counts.bad) - ERRORS_SHOWN} more')
    sizes = ', '.join(f'{w} x {h}' for w, h in sorted(counts.sizes_wh))
    seconds = (counts.last_ns - counts.first_ns) / 1e9
    size_mb = sum(file.stat().st_size for file in out.iterdir()) / 1e6
    print(
        f'{out}: {sequence.kind}, {counts.frames} frames of {sizes} in {seconds:.3f} s, '
        f'{len(counts.bad)} bad frames left out, {size_mb:.1f} MB'
    )
    if counts.without_camera_info:
        print(f'{counts.without_camera_info} frames have no calibration and so no CameraInfo')
    if counts.calibrated_wh:
        w, h = counts.calibrated_wh
        print(f'the calibration is for frames of {w} x {h}: CameraInfo does not fit these frames')


if __name__ == '__main__':
    raise SystemExit(main())
