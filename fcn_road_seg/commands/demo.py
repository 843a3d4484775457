"""The newcomer's run: a camera, the node and a recorder, each its own process, over ROS 2."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from fcn_road_seg.demo.frames import (
    BAG_FRAMES,
    RATE_HZ,
    RENDERED_FRAMES,
    bag_messages,
    image_messages,
    rendered_messages,
)
from fcn_road_seg.demo.report import check, mean_rate_hz, summarise, write_pictures
from fcn_road_seg.live.camera_process import CameraMessage, DemoError
from fcn_road_seg.live.session import play
from fcn_road_seg.viz.video import VideoError


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='demo',
        description='Send camera frames through the node over ROS 2 and show what it makes.',
    )
    source = parser.add_mutually_exclusive_group()
    source.add_argument('--images', type=Path, metavar='DIR', help='real frames, of any sizes')
    source.add_argument('--bag', type=Path, help='folder or file of a rosbag2 with images')
    parser.add_argument('--topic', default='', help="of the bag's images, if it has several")
    parser.add_argument(
        '--frames',
        type=int,
        metavar='N',
        help=f'number of rendered frames (default: {RENDERED_FRAMES}), or at most so many of the '
        f'pictures (default: all) or the bag (default: {BAG_FRAMES})',
    )
    parser.add_argument(
        '--seed',
        type=int,
        default=2_000_000,
        help='of the first rendered drive (default: %(default)s)',
    )
    rate_help = f"default: {RATE_HZ:g}, or the bag's own pace"
    parser.add_argument('--rate', type=float, metavar='HZ', help=rate_help)
    parser.add_argument(
        '--out',
        type=Path,
        default=Path('demo_out'),
        help='folder to write to (default: %(default)s)',
    )
    parser.add_argument(
        '--parameter',
        action='append',
        default=[],
        metavar='NAME:=VALUE',
        help='for the node, such as device:=cpu; may be given several times',
    )
    args = parser.parse_args(argv)
    if args.topic and not args.bag:
        parser.error(f'--topic {args.topic} is for a bag; give --bag PATH')
    if args.frames is not None and args.frames < 1:
        parser.error(f'--frames {args.frames} is too small; use at least 1')
    if args.rate is not None and not 0 < args.rate < float('inf'):
        parser.error(f'--rate {args.rate} is no rate; use more than 0')
    return args


def load_messages(args: argparse.Namespace) -> list[CameraMessage]:
    """Render or read what the arguments ask for; raise DemoError where there is nothing."""
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
    """Run the demo; return 0 if every check held, or 130 after an interrupt."""
    args = parse_args(argv)
    # Its default would leave the node running.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        args.out.mkdir(parents=True, exist_ok=True)
        messages = load_messages(args)
        stamps_ns, recording, frame_counts = play(messages, args.parameter, args.out / 'node.log')
        summary = summarise(messages, stamps_ns, recording, frame_counts)
        (args.out / 'summary.json').write_text(json.dumps(summary, indent=2) + '\n')
        write_pictures(args.out, messages, stamps_ns, recording)
        latency_ms = summary['latency_ms']
        print(
            f'{summary["frames_sent"]} frames sent at {mean_rate_hz(messages):.3g} Hz, '
            f'{frame_counts["frames_received"]} received by the node, '
            f'{frame_counts["frames_segmented"]} segmented, '
            f'{frame_counts["frames_dropped"]} dropped for a newer frame, '
            f'{frame_counts["frames_refused"]} refused; '
            f'{summary["masks_received"]} masks received, '
            f'latency p50 {latency_ms["p50"]} ms, p95 {latency_ms["p95"]} ms'
        )
        if summary['iou'] is not None:
            print(f'IoU of the masks with the exact labels: {summary["iou"]:.3f}')
        check(messages, stamps_ns, recording, summary)
    except (DemoError, VideoError, OSError) as error:
        print(f'demo: {error}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print('demo: interrupted', file=sys.stderr)
        return 130
    print(f'look at {args.out}/contact_sheet.png and {args.out}/overlay.mp4')
    return 0


if __name__ == '__main__':
    raise SystemExit(main())
