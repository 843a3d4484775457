"""The demo's command line: camera, node and recorder, each a process of its own, over ROS 2."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from fcn_road_seg.commands.arguments import positive_number, whole_number
from fcn_road_seg.commands.cli import run_command
from fcn_road_seg.commands.node_arguments import add_parameter_argument
from fcn_road_seg.demo.frames import (
    BAG_FRAMES,
    RATE_HZ,
    RENDERED_FRAMES,
    DemoError,
    bag_messages,
    image_messages,
    rendered_messages,
)
from fcn_road_seg.demo.run import run_demo
from fcn_road_seg.live.camera_message import CameraMessage
from fcn_road_seg.live.errors import LiveError
from fcn_road_seg.utils.atomic_write import refuse_unwritable_folder


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='demo',
        description='Send camera frames through the node over ROS 2, write its masks and overlays '
        'as pictures and a video, and check them.',
    )
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        '--images',
        type=Path,
        metavar='DIR',
        help='Send the images of this folder instead of rendered frames; sizes may differ.',
    )
    source.add_argument(
        '--bag',
        type=Path,
        metavar='PATH',
        help='Send the images of this rosbag2 (its folder or file) instead of rendered frames.',
    )
    parser.add_argument(
        '--topic',
        default='',
        metavar='NAME',
        help='Image topic of the bag; required if the bag has several.',
    )
    parser.add_argument(
        '--frames',
        type=whole_number(1),
        metavar='N',
        help=f'Number of rendered frames (default: {RENDERED_FRAMES}), or maximum number of '
        f'frames from --images (default: all) or --bag (default: {BAG_FRAMES}).',
    )
    parser.add_argument(
        '--seed',
        type=int,
        default=2_000_005,
        metavar='N',
        help='Seed of the first rendered drive (default: %(default)s).',
    )
    parser.add_argument(
        '--rate',
        type=positive_number,
        metavar='HZ',
        help=f"Frame rate (default: {RATE_HZ:g}, or the bag's recorded pace).",
    )
    parser.add_argument(
        '--out',
        type=Path,
        default=Path('demo_out'),
        metavar='DIR',
        help='Output folder (default: %(default)s).',
    )
    add_parameter_argument(parser, 'the node', 'device:=cpu')
    args = parser.parse_args(argv)
    if args.topic and not args.bag:
        parser.error(f'--topic {args.topic} needs a bag; add --bag PATH')
    return args


def load_messages(args: argparse.Namespace) -> list[CameraMessage]:
    """Return the messages that the arguments ask for.

    Raises:
        DemoError: there are none.
    """
    if args.bag:
        messages = bag_messages(args.bag, args.topic, args.frames)
    elif args.images:
        messages = image_messages(args.images, args.frames)
    else:
        messages = rendered_messages(args.frames or RENDERED_FRAMES, args.seed)
    if args.rate is None:
        return messages
    return [replace(message, offset_s=i / args.rate) for i, message in enumerate(messages)]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo; return 0 if every check passed, or 130 after an interrupt.

    Raises:
        SystemExit: bad arguments (status 2), or the demo failed (status 1, one line of text).
    """
    args = parse_args(argv)

    def work() -> None:
        refuse_unwritable_folder(args.out)
        args.out.mkdir(parents=True, exist_ok=True)
        for line in run_demo(load_messages(args), args.parameter, args.out):
            print(line, flush=True)

    return run_command('demo', work, (DemoError, LiveError, ValueError, OSError))


if __name__ == '__main__':
    raise SystemExit(main())
