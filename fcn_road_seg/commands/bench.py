"""How fast the network, what is around it and the live node are on this machine."""

from __future__ import annotations

import argparse
import math
import re
import signal
import sys
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from fcn_road_seg.bench import machine, variants
from fcn_road_seg.bench.errors import BenchError
from fcn_road_seg.bench.memory import Subject, measure_memory
from fcn_road_seg.bench.networks import Hw, measure_networks, size_text
from fcn_road_seg.bench.node import measure_node
from fcn_road_seg.bench.report import head_lines, memory_lines, network_lines, node_lines
from fcn_road_seg.bench.run import (
    CAMERA_FRAMES,
    DRIVE_SEED,
    FORMAT_VERSION,
    draw,
    print_lines,
    save,
)
from fcn_road_seg.inference.cpu_threads import limit_cpu_threads
from fcn_road_seg.inference.options import SegmenterError
from fcn_road_seg.inference.segmenter import RoadSegmenter
from fcn_road_seg.model.checkpoint import CheckpointError, default_checkpoint_path, load_checkpoint
from fcn_road_seg.model.input_rule import InputRule
from fcn_road_seg.synthetic import SyntheticDrive

SIZES_HW = ((256, 256), (192, 640), (352, 1216))
FRAME_HW = (375, 1242)


def require_ros() -> None:
    """Raise BenchError where there is no ROS 2."""
    try:
        import fcn_road_seg.bench.node  # noqa: F401
    except ImportError as error:
        raise BenchError(
            f'--node needs ROS 2 ({error}); source one, or pip install its wheels (README.md)'
        ) from error


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='bench',
        description='Time the network, what is around it and, with --node, the live node on this '
        'machine, beside plain PyTorch, the classic FCN-8s and the least time that is possible.',
    )
    default = '(default: %(default)s)'
    sizes = ' '.join(map(size_text, SIZES_HW))
    parser.add_argument('--checkpoint', type=Path, help='file; without one, that of the package')
    parser.add_argument('--device', default='auto', help=f'auto, cpu, cuda or cuda:N {default}')
    parser.add_argument(
        '--threads', type=int, default=0, metavar='N', help='of the CPU; 0, the default: all'
    )
    parser.add_argument(
        '--sizes',
        nargs='+',
        type=_size,
        default=SIZES_HW,
        metavar='HxW',
        help=f"of the network's input, multiples of 32 (default: {sizes})",
    )
    parser.add_argument(
        '--frame',
        type=_size,
        default=FRAME_HW,
        metavar='HxW',
        help=f"of the camera's frames (default: {size_text(FRAME_HW)})",
    )
    others = [name for name in variants.LABELS if name != variants.REFERENCE]
    parser.add_argument(
        '--networks',
        nargs='+',
        choices=others,
        metavar='NAME',
        help=f'beside {variants.REFERENCE}: {", ".join(others)} (default: all that there are)',
    )
    parser.add_argument(
        '--rounds',
        type=int,
        default=30,
        metavar='N',
        help=f'at most {default}; 0 leaves the networks out',
    )
    parser.add_argument(
        '--seconds', type=float, default=100.0, metavar='S', help=f'of all rounds {default}'
    )
    parser.add_argument('--node', action='store_true', help='the live node, too; needs ROS 2')
    parser.add_argument(
        '--rate', type=float, default=10.0, metavar='HZ', help=f"of the node's camera {default}"
    )
    parser.add_argument(
        '--frames',
        type=int,
        default=200,
        metavar='N',
        help=f'that the node gets with the overlay off, and on {default}',
    )
    parser.add_argument(
        '--parameter',
        action='append',
        default=[],
        metavar='NAME:=VALUE',
        help='for the node, such as backend:=torch; may be given several times',
    )
    parser.add_argument(
        '--out', type=Path, default=Path('bench_out'), help=f'folder to write to {default}'
    )
    args = parser.parse_args(argv)
    for name, least in (('threads', 0), ('rounds', 0), ('frames', 1)):
        if getattr(args, name) < least:
            parser.error(f'--{name} {getattr(args, name)} is too small; use at least {least}')
    for name in ('seconds', 'rate'):
        if not 0 < getattr(args, name) < float('inf'):
            parser.error(f'--{name} {getattr(args, name):g} is not above 0; use 10')
    for hw in args.sizes:
        try:
            InputRule(fixed_hw=hw)
        except ValueError as error:
            parser.error(f'--sizes {size_text(hw)}: {error}')
    return args


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print the figures, write them with their chart; return 0, or 130 if interrupted."""
    args = parse_args(argv)
    # Its default would leave the live node running.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        run(args)
    except (BenchError, CheckpointError, SegmenterError, OSError) as error:
        raise SystemExit(f'bench: {error}') from error
    except KeyboardInterrupt:
        print(f'bench: interrupted; the tables printed so far are in {args.out}', file=sys.stderr)
        return 130
    return 0


def run(args: argparse.Namespace) -> None:
    """Do what the arguments ask for.

    Raises:
        BenchError, CheckpointError, SegmenterError, OSError: it cannot be done; one line.
    """
    if args.node:
        # Now, and not after minutes of networks.
        require_ros()
    args.out.mkdir(parents=True, exist_ok=True)
    path = args.checkpoint or default_checkpoint_path()
    checkpoint = load_checkpoint(path)
    limit_cpu_threads(args.threads)
    segmenter = RoadSegmenter(checkpoint, args.device)
    device = segmenter.device
    drive = SyntheticDrive(DRIVE_SEED, args.frame)
    frames_bgr = np.stack([drive.render(t_s=i / 10)[0] for i in range(CAMERA_FRAMES)])
    report: dict[str, Any] = {
        'format_version': FORMAT_VERSION,
        'began': datetime.now(timezone.utc).isoformat(timespec='seconds'),
        'machine': machine.describe_machine(device),
        'versions': machine.versions(),
        'checkpoint_sha256': checkpoint.sha256,
        'device': str(device),
        'frame': size_text(args.frame),
    }
    print_lines(head_lines(report))
    if args.rounds:
        here = variants.available(device, checkpoint)
        names = [n for n in here if n in (variants.REFERENCE, *(args.networks or here))]
        for name in set(args.networks or ()) - set(names):
            raise BenchError(f'{name} is not to be had on {device}; here are {", ".join(here)}')
        report |= measure_networks(
            checkpoint, segmenter, frames_bgr[0], args.sizes, names, args.rounds, args.seconds
        )
        # At once: what comes next may fail, or take too long for who waits for it.
        save(report, args.out)
        draw(report, args.out)
        print_lines(network_lines(report))
        subject = Subject(path, str(device), args.threads)
        largest_hw = max(args.sizes, key=math.prod)
        report['memory'] = measure_memory(subject, names, largest_hw, args.frame)
        save(report, args.out)
        print_lines(memory_lines(report))
    if args.node:
        # Later ones beat these.
        own = [f'checkpoint:={path}', f'device:={device}', f'num_threads:={args.threads}']
        report['node'] = measure_node(
            frames_bgr, args.rate, args.frames, [*own, *args.parameter], args.out
        )
        save(report, args.out)
        print_lines(node_lines(report))
    print(f'figures are in {args.out}')


def _size(text: str) -> Hw:
    match = re.fullmatch(r'(\d{1,5})x(\d{1,5})', text)
    if not match or not all(map(int, match.groups())):
        raise argparse.ArgumentTypeError(f'{text} is not a height and a width; such as 256x256')
    return int(match[1]), int(match[2])


if __name__ == '__main__':
    raise SystemExit(main())
