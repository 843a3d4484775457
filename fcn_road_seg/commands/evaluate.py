"""Measure a checkpoint on labelled frames, through the segmenter that the node runs."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fcn_road_seg.commands.arguments import (
    add_segmenter_arguments,
    add_split_arguments,
    build_segmenter,
    split_rule,
)
from fcn_road_seg.commands.cli import run_command
from fcn_road_seg.datasets.frames import DatasetError
from fcn_road_seg.datasets.splits import SPLITS, find_frames

if TYPE_CHECKING:
    from fcn_road_seg.evaluation.evaluator import Evaluation
    from fcn_road_seg.inference.segmenter import RoadSegmenter


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='evaluate',
        description='Measure a checkpoint on labelled frames: the KITTI road measure, IoU, F1 and '
        'accuracy, a plot of precision and recall, and the worst frames.',
    )
    data = parser.add_argument_group('data')
    data.add_argument(
        '--data',
        nargs='+',
        default=[],
        type=Path,
        metavar='DIR',
        help='Data set folders, identified by their layout (docs/training.md lists them).',
    )
    data.add_argument(
        '--split',
        choices=SPLITS,
        default='val',
        help='Frames to measure on (default: %(default)s).',
    )
    add_split_arguments(data)
    data.add_argument(
        '--rendered',
        type=int,
        default=0,
        metavar='COUNT',
        help='Also measure on COUNT rendered scenes that no training uses (default: %(default)s).',
    )
    add_segmenter_arguments(parser.add_argument_group('network'))
    output = parser.add_argument_group('output')
    output.add_argument(
        '--stress',
        action='store_true',
        help='Also measure under cast shadows, other light and blur (takes five times as long).',
    )
    output.add_argument(
        '--out',
        type=Path,
        default=Path('evaluation'),
        metavar='DIR',
        help='Folder for report.json, precision_recall.png and worst_*.png '
        '(default: %(default)s).',
    )
    output.add_argument(
        '--submission',
        type=Path,
        metavar='DIR',
        help="Write the KITTI server's zip for the test set in --data to DIR, and measure "
        'nothing.',
    )
    args = parser.parse_args(argv)
    if args.submission and len(args.data) != 1:
        parser.error('--submission needs one --data DIR, that of KITTI road')
    if not args.data and not args.rendered:
        parser.error('nothing to measure on; give --data DIR or --rendered COUNT')
    return args


def main(argv: Sequence[str] | None = None) -> int:
    """Print the figures of each data set and write them, with pictures; return the exit status."""
    try:
        from fcn_road_seg.evaluation.report import format_report, write_report
    except ImportError as missing:
        raise SystemExit(f'evaluate: {missing}; pip install matplotlib') from missing
    from fcn_road_seg.evaluation.submission import write_submission

    args = parse_args(argv)

    def work() -> None:
        segmenter = build_segmenter(args)
        if args.submission:
            print(write_submission(segmenter, args.data[0], args.submission))
            return
        evaluations = dict(evaluate_all(segmenter, args))
        write_report(args.out, segmenter, evaluations)
        print(f'checkpoint {segmenter.checkpoint_sha256[:12]} on {segmenter.device}')
        for name, evaluation in evaluations.items():
            print(*format_report(name, evaluation.report()), sep='\n')
        print(f'Figures and pictures are in {args.out}')

    return run_command('evaluate', work, (ValueError, OSError))


def evaluate_all(
    segmenter: RoadSegmenter, args: argparse.Namespace
) -> Iterator[tuple[str, Evaluation]]:
    """Yield the name and the evaluation of each data set that the arguments name.

    Raises:
        ValueError: the split rule or a data set is invalid.
    """
    from fcn_road_seg.evaluation.evaluator import load_examples, measure, render_examples

    rule = split_rule(args)
    for root in args.data:
        frames = find_frames(root, args.split, rule)
        if not frames:
            raise DatasetError(f'{root} has no {args.split} frames; use --split all')
        name = f'{root.resolve().name} {args.split} ({len(frames)} frames)'
        yield name, measure(segmenter, load_examples(frames, name), stress=args.stress)
    if args.rendered:
        scenes = render_examples(args.rendered)
        name = f'rendered ({args.rendered} frames)'
        yield name, measure(segmenter, scenes, stress=args.stress)


if __name__ == '__main__':
    raise SystemExit(main())
