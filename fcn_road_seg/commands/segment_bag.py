"""Segment every frame of a rosbag2 into another one, without ROS."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from fcn_road_seg.bags.bag_segmenter import (
    BagSegmenter,
    SegmentationCounts,
    camera_topics,
    join_names,
)
from fcn_road_seg.bags.options import BagOptions, GridOptions
from fcn_road_seg.bags.reader import BagReader
from fcn_road_seg.bags.typestore import BagError
from fcn_road_seg.bags.writer import atomic_bag_writer
from fcn_road_seg.commands.arguments import (
    add_output_arguments,
    add_segmenter_arguments,
    add_topics_argument,
    build_segmenter,
)
from fcn_road_seg.commands.cli import ERRORS_SHOWN, print_bad_frames, run_command
from fcn_road_seg.commands.segment_bags import (
    add_fleet_arguments,
    asks_for_many,
    segment_many,
)
from fcn_road_seg.utils.atomic_write import refuse_to_overwrite
from fcn_road_seg.viz.video import atomic_video_writer

VIDEO_RATES_HZ = (1.0, 60.0)


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='segment_bag',
        description='Segment every frame of a rosbag2 as the node does. The masks, with the '
        'stamps of their frames, go to a new rosbag2, which ROS 2 Humble and newer can play.',
    )
    parser.add_argument(
        'bags',
        nargs='+',
        type=Path,
        metavar='IN',
        help='Bags to read: folders of bags, .mcap or .db3 files, or folders that contain bags.',
    )
    add_output_arguments(parser, '; with many bags, the folder for the new ones, which may exist')
    add_topics_argument(parser, 'to segment')
    parser.add_argument('--overlay', action='store_true', help='Write the overlays as well.')
    parser.add_argument(
        '--confidence',
        action='store_true',
        help='Write the confidence images, 255 * max(p(road), 1 - p(road)), as well.',
    )
    parser.add_argument(
        '--road-probability',
        action='store_true',
        help='Write the probability images, 255 * p(road), as well.',
    )
    parser.add_argument(
        '--grid',
        action='store_true',
        help='Write the road from above as well, as the node does; needs camera_info beside the '
        'images, and --camera-height.',
    )
    parser.add_argument(
        '--camera-height',
        type=float,
        metavar='M',
        help='Height of the camera above the road in metres (KITTI: 1.65).',
    )
    turns = (('pitch', 'the camera looks down'), ('roll', "the camera's right side is lowered"))
    for name, moved in turns:
        parser.add_argument(
            f'--camera-{name}',
            type=float,
            default=0.0,
            metavar='RAD',
            help=f'Angle by which {moved} (default: %(default)s).',
        )
    parser.add_argument(
        '--originals', action='store_true', help='Copy all topics of the input bag as well.'
    )
    parser.add_argument(
        '--video',
        type=Path,
        metavar='FILE.mp4',
        help='Write the overlays of one camera as a video as well; FILE must not exist.',
    )
    add_segmenter_arguments(parser)
    add_fleet_arguments(parser)
    args = parser.parse_args(argv)
    if args.grid and args.camera_height is None:
        parser.error('--grid needs the height of the camera; add --camera-height M')
    if args.camera_height is not None and not args.grid:
        parser.error('--camera-height has no effect without --grid; add --grid')
    return args


def main(argv: Sequence[str] | None = None) -> int:
    """Write the bag, or many, and print how many frames were segmented; return the status."""
    args = parse_args(argv)
    return run_command(
        'segment_bag',
        lambda: (segment_many if asks_for_many(args) else segment)(args, bag_options(args)),
        (ValueError, OSError),
        lambda: f'interrupted; {what_is_written(args)}',
    )


def what_is_written(args: argparse.Namespace) -> str:
    """Return what an interrupted run leaves, as text."""
    if asks_for_many(args):
        return f'the bags in {args.out} are complete; run the same command again to continue'
    return f'{args.out} was not written'


def bag_options(args: argparse.Namespace) -> BagOptions:
    """Return the options that the arguments give for each bag."""
    optional = ('confidence', 'road_probability', 'overlay')
    grid = None
    if args.grid:
        angles_rad = (args.camera_pitch, args.camera_roll)
        grid = GridOptions(args.camera_height, *angles_rad, args.roi_top)
    return BagOptions(
        topics=tuple(args.topics),
        outputs=('mask', *(name for name in optional if getattr(args, name))),
        originals=args.originals,
        storage=args.storage,
        grid=grid,
    )


def segment(args: argparse.Namespace, options: BagOptions) -> None:
    """Write the one bag that the arguments ask for.

    Raises:
        BagError, CheckpointError, GroundError, SegmenterError, VideoError, ValueError, OSError: as
            BagReader, GridMaker, Mounting, atomic_bag_writer, build_segmenter,
            atomic_video_writer and refuse_to_overwrite.
    """
    if args.video:
        refuse_to_overwrite(args.video)
    with BagReader(args.bags[0]) as reader:
        cameras = camera_topics(reader.topics, options.topics)
        if args.video and len(cameras) > 1:
            raise BagError(
                f'--video shows one camera; choose it with --topics: {join_names(cameras)}'
            )
        grids = options.grid.makers(reader, cameras) if options.grid else None
        with ExitStack() as stack:
            bag = stack.enter_context(atomic_bag_writer(args.out, options.storage))
            show = None
            if args.video:
                rate_hz = mean_rate_hz(reader, cameras[0])
                show = stack.enter_context(atomic_video_writer(args.video, rate_hz))
            # Last, as it loads the network, which may take seconds.
            segmenter = build_segmenter(args)
            bag_segmenter = BagSegmenter(
                reader, bag, segmenter, cameras, options.outputs, show, grids
            )
            for line in bag_segmenter.copy_originals() if options.originals else ():
                print(line)
            for camera, topics in bag_segmenter.topics.items():
                print(f'{camera} -> {join_names(topics.values())}')
            print(
                f'checkpoint {segmenter.checkpoint_sha256[:12]} on {segmenter.device_name}, '
                f'{segmenter.precision}, {segmenter.backend}'
            )
            bag_segmenter.run()
    print_summary(args.out, bag_segmenter.counts)


def mean_rate_hz(reader: BagReader, topic: str) -> float:
    """Return the mean rate of a topic, as a video's rate within VIDEO_RATES_HZ."""
    low, high = VIDEO_RATES_HZ
    steps = reader.topics[topic].count - 1
    return min(high, max(low, steps / reader.duration_s if reader.duration_s else low))


def print_summary(out: Path, counts: SegmentationCounts) -> None:
    """Print how many frames were segmented, and why others were not."""
    print_bad_frames(counts.errors)
    for reason, count in counts.without_grid.most_common(ERRORS_SHOWN):
        print(f'without a grid: {count} x {reason}')
    if counts.missing > 0:
        print(
            f"missing: {counts.missing} messages listed in the bag's metadata are not in its files"
        )
    size_mb = sum(file.stat().st_size for file in out.iterdir()) / 1e6
    print(
        f'{out}: {counts.segmented} frames segmented, {counts.errors.total()} bad; '
        f'{counts.seconds:.1f} s, {counts.segmented / counts.seconds:.1f} frames/s, '
        f'{size_mb:.1f} MB'
    )


if __name__ == '__main__':
    raise SystemExit(main())
