"""Convert a KITTI drive, odometry sequence or road folder to a rosbag2, without ROS."""

from __future__ import annotations

import argparse
import re
import signal
import sys
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

from fcn_road_seg.bags.kitti_converter import (
    FRAME_ID,
    IMAGE_TOPIC,
    ConversionCounts,
    ConversionOptions,
    KittiConverter,
)
from fcn_road_seg.bags.writer import atomic_bag_writer
from fcn_road_seg.commands.arguments import add_output_arguments
from fcn_road_seg.datasets.kitti_sequences import (
    DEFAULT_ROAD_RATE_HZ,
    KittiSequence,
    find_sequence,
)

BAD_SHOWN = 10
_TOPIC = re.compile(r'(/[A-Za-z_][A-Za-z0-9_]*)+', re.ASCII)


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='kitti_to_bag',
        description='Convert the left colour camera of a KITTI raw drive, odometry sequence or '
        'road folder to a rosbag2 with Image and CameraInfo, which ROS 2 plays from Humble on.',
    )
    parser.add_argument(
        'folder',
        type=Path,
        metavar='IN',
        help='..._sync or ..._extract, with calib_cam_to_cam.txt beside it; sequences/00; or '
        'data_road/training',
    )
    add_output_arguments(parser)
    parser.add_argument(
        '--compressed',
        action='store_true',
        help="the files' own PNG or JPEG bytes as CompressedImage, instead of Image in bgr8",
    )
    parser.add_argument(
        '--start', type=int, metavar='N', help='number of the first frame; of a road folder, 0 on'
    )
    parser.add_argument('--end', type=int, metavar='N', help='number of the last frame, included')
    parser.add_argument(
        '--rate',
        type=_rate,
        metavar='HZ',
        help='of a road folder, whose frames have no times; '
        f'default: {float(DEFAULT_ROAD_RATE_HZ):g}',
    )
    parser.add_argument(
        '--skip-bad',
        action='store_true',
        help='leave out and count frames that are missing, unreadable, without a time or of '
        'another size, instead of ending',
    )
    parser.add_argument(
        '--image-topic',
        type=_topic,
        default=IMAGE_TOPIC,
        metavar='NAME',
        help=f'default: {IMAGE_TOPIC}; /compressed comes behind it with --compressed',
    )
    parser.add_argument(
        '--camera-info-topic',
        type=_topic,
        metavar='NAME',
        help='default: camera_info beside the image',
    )
    parser.add_argument('--frame-id', default=FRAME_ID, metavar='ID', help=f'default: {FRAME_ID}')
    return parser.parse_args(argv)


def _rate(text: str) -> Fraction:
    try:
        rate_hz = Fraction(text)
    except (ValueError, ZeroDivisionError):
        rate_hz = Fraction(0)
    if rate_hz <= 0:
        raise argparse.ArgumentTypeError(f'{text!r} is no rate above 0, such as 10')
    return rate_hz


def _topic(text: str) -> str:
    if not _TOPIC.fullmatch(text):
        raise argparse.ArgumentTypeError(f'{text!r} is no topic such as {IMAGE_TOPIC}')
    return text


def main(argv: Sequence[str] | None = None) -> int:
    """Write the bag and say what is in it; return 0, or 130 after an interrupt."""
    args = parse_args(argv)
    # Its default would end the process with the half-written bag left behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    plan = ConversionOptions(
        image_topic=args.image_topic,
        camera_info_topic=args.camera_info_topic,
        frame_id=args.frame_id,
        compressed=args.compressed,
        start=args.start,
        end=args.end,
        skip_bad=args.skip_bad,
    )
    try:
        sequence = find_sequence(args.folder, args.rate)
        with atomic_bag_writer(args.out, args.storage) as bag:
            conversion = KittiConverter(sequence, bag, plan)
            conversion.run()
    except (ValueError, OSError) as error:
        raise SystemExit(f'kitti_to_bag: {error}') from error
    except KeyboardInterrupt:
        print(f'kitti_to_bag: interrupted; {args.out} is not written', file=sys.stderr)
        return 130
    print_summary(args.out, sequence, conversion.tally)
    return 0


def print_summary(out: Path, sequence: KittiSequence, tally: ConversionCounts) -> None:
    """Print what the bag holds, and which frames it does not."""
    for text in tally.bad[:BAD_SHOWN]:
        print(f'left out: {text}')
    if len(tally.bad) > BAD_SHOWN:
        print(f'left out: {len(tally.bad) - BAD_SHOWN} more')
    sizes = ', '.join(f'{w} x {h}' for w, h in sorted(tally.sizes_wh))
    seconds = (tally.last_ns - tally.first_ns) / 1e9
    size_mb = sum(file.stat().st_size for file in out.iterdir()) / 1e6
    print(
        f'{out}: {sequence.kind}, {tally.frames} frames of {sizes} in {seconds:.3f} s, '
        f'{len(tally.bad)} bad ones left out, {size_mb:.1f} MB'
    )
    if tally.without_camera_info:
        print(f'{tally.without_camera_info} frames have no calibration, and no CameraInfo')
    if tally.calibrated_wh:
        w, h = tally.calibrated_wh
        print(f'the calibration is for frames of {w} x {h}: CameraInfo does not fit these')


if __name__ == '__main__':
    raise SystemExit(main())
