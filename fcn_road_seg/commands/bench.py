"""The bench's command line: how fast network, segmenter and live node are on this machine."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from fcn_road_seg.bench.options import (
    LABELS,
    REFERENCE,
    BenchError,
    BenchOptions,
    NodeOptions,
    size_text,
)
from fcn_road_seg.commands.arguments import (
    add_machine_arguments,
    positive_number,
    size_hw,
    whole_number,
)
from fcn_road_seg.commands.cli import run_command
from fcn_road_seg.commands.node_arguments import add_parameter_argument
from fcn_road_seg.live.errors import LiveError
from fcn_road_seg.model.input_rule import InputRule

SIZES_HW = ((256, 256), (192, 640), (352, 1216))
FRAME_HW = (375, 1242)


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='bench',
        description='Time the network, whole frames and, with --node, the live node, and compare '
        'them with plain PyTorch, the classic FCN-8s and the theoretical minimum of direct '
        'convolution.',
    )
    add_machine_arguments(parser)
    parser.add_argument(
        '--sizes',
        nargs='+',
        type=size_hw,
        default=SIZES_HW,
        metavar='HxW',
        help='Network input sizes in multiples of 32 '
        f'(default: {" ".join(map(size_text, SIZES_HW))}).',
    )
    parser.add_argument(
        '--frame',
        type=size_hw,
        default=FRAME_HW,
        metavar='HxW',
        help=f'Size of the camera frames (default: {size_text(FRAME_HW)}).',
    )
    others = [name for name in LABELS if name != REFERENCE]
    parser.add_argument(
        '--networks',
        nargs='+',
        choices=others,
        default=[],
        metavar='NAME',
        help=f'Networks to time beside {REFERENCE}: {", ".join(others)} '
        '(default: all that are worthwhile on this machine).',
    )
    parser.add_argument(
        '--rounds',
        type=whole_number(0),
        default=30,
        metavar='N',
        help='Maximum number of timing rounds; 0 skips the network benchmark '
        '(default: %(default)s).',
    )
    parser.add_argument(
        '--seconds',
        type=positive_number,
        default=100.0,
        metavar='S',
        help='Time budget for all rounds (default: %(default)g).',
    )
    parser.add_argument(
        '--node', action='store_true', help='Also time the live node; this needs rclpy.'
    )
    parser.add_argument(
        '--rate',
        type=positive_number,
        default=10.0,
        metavar='HZ',
        help="Frame rate of the live node's camera (default: %(default)g).",
    )
    parser.add_argument(
        '--frames',
        type=whole_number(1),
        default=200,
        metavar='N',
        help='Number of frames to send to the live node, once without and once with the overlay '
        '(default: %(default)s).',
    )
    add_parameter_argument(parser, 'the live node', 'backend:=torch')
    parser.add_argument(
        '--out',
        type=Path,
        default=Path('bench_out'),
        metavar='DIR',
        help='Output folder (default: %(default)s).',
    )
    args = parser.parse_args(argv)
    if args.parameter and not args.node:
        parser.error('--parameter has no effect without --node')
    if not (args.rounds or args.node):
        parser.error('--rounds 0 measures nothing without --node; add --node')
    for hw in args.sizes:
        try:
            InputRule(fixed_hw=hw)
        except ValueError as error:
            parser.error(f'--sizes {size_text(hw)}: {error}')
    return args


def build_options(args: argparse.Namespace) -> BenchOptions:
    """Return the options that the arguments of `parse_args` stand for."""
    return BenchOptions(
        out=args.out,
        sizes_hw=args.sizes,
        frame_hw=args.frame,
        checkpoint=args.checkpoint,
        device=args.device,
        threads=args.threads,
        networks=args.networks,
        rounds=args.rounds,
        budget_s=args.seconds,
        node=NodeOptions(args.rate, args.frames, args.parameter) if args.node else None,
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print and save the figures; return 0, or 130 after an interrupt.

    Raises:
        SystemExit: bad arguments (status 2), or something cannot be measured (status 1, one line
            of text).
    """
    args = parse_args(argv)

    def work() -> None:
        # PyTorch takes seconds to import.
        from fcn_road_seg.bench.run import run_bench

        for line in run_bench(build_options(args)):
            print(line, flush=True)

    return run_command(
        'bench',
        work,
        (BenchError, LiveError, ValueError, OSError),
        lambda: f'interrupted; the tables printed so far are in {args.out}',
        'use --device cpu or smaller --sizes',
    )


if __name__ == '__main__':
    raise SystemExit(main())
