"""Measure a checkpoint on labelled frames, through the segmenter that the node runs."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

from fcn_road_seg.commands.arguments import add_split_arguments, split_rule
from fcn_road_seg.datasets.frames import DatasetError
from fcn_road_seg.datasets.splits import SPLITS, find_frames
from fcn_road_seg.evaluation.evaluator import Evaluation, examples_of, measure, rendered_examples
from fcn_road_seg.evaluation.report import print_figures, write_report
from fcn_road_seg.evaluation.submission import write_submission
from fcn_road_seg.inference.segmenter import RoadSegmenter
from fcn_road_seg.model.checkpoint import default_checkpoint_path

try:
    from fcn_road_seg.viz.plots import plot_precision_recall
except ImportError as missing:
    raise SystemExit(f'evaluate: {missing}; pip install matplotlib') from missing


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='evaluate',
        description='Measure a checkpoint on labelled frames: the KITTI road measure, IoU, F1 and '
        'accuracy, a plot of precision and recall, and the worst frames.',
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        '--data',
        nargs='+',
        default=[],
        type=Path,
        metavar='DIR',
        help='KITTI road, CamVid, IDD Lite or images + masks folders',
    )
    parser.add_argument('--split', choices=SPLITS, default='val')
    add_split_arguments(parser)
    parser.add_argument(
        '--rendered', type=int, default=0, metavar='COUNT', help='also COUNT unseen scenes'
    )
    parser.add_argument(
        '--stress',
        action='store_true',
        help='also measure under cast shadows, other light and blur (five times as long)',
    )
    parser.add_argument('--checkpoint', help='file; without one, that of the package')
    parser.add_argument('--device', default='auto')
    parser.add_argument('--precision', default='auto')
    parser.add_argument(
        '--input', type=int, nargs=2, metavar=('H', 'W'), help="instead of the checkpoint's rule"
    )
    parser.add_argument(
        '--out',
        type=Path,
        default=Path('evaluation'),
        help='folder for report.json, precision_recall.png and worst_*.png',
    )
    parser.add_argument(
        '--submission',
        type=Path,
        metavar='DIR',
        help="measure nothing: write the KITTI server's zip for the test set in --data to DIR",
    )
    args = parser.parse_args(argv)
    if args.submission and len(args.data) != 1:
        parser.error('--submission needs one --data DIR, that of KITTI road')
    if not args.data and not args.rendered:
        parser.error('nothing to measure on; give --data DIR or --rendered COUNT')
    return args


def main(argv: Sequence[str] | None = None) -> int:
    """Print figures of each data set and write them, with pictures, to a folder; return 0."""
    args = parse_args(argv)
    try:
        segmenter = RoadSegmenter(
            args.checkpoint or default_checkpoint_path(),
            args.device,
            args.precision,
            tuple(args.input) if args.input else None,
        )
        if args.submission:
            print(write_submission(segmenter, args.data[0], args.submission))
            return 0
        tallies = dict(tally_all(segmenter, args))
    except ValueError as error:
        raise SystemExit(f'evaluate: {error}') from error
    write_report(args.out, segmenter, tallies)
    print(f'checkpoint {segmenter.checkpoint_sha256[:12]} on {segmenter.device}')
    for name, tally in tallies.items():
        print_figures(name, tally.report())
    print(f'figures and pictures are in {args.out}')
    return 0


def tally_all(
    segmenter: RoadSegmenter, args: argparse.Namespace
) -> Iterator[tuple[str, Evaluation]]:
    """Yield the name and the counts of each data set that the arguments name."""
    rule = split_rule(args)
    for root in args.data:
        frames = find_frames(root, args.split, rule)
        if not frames:
            raise DatasetError(f'{root} has no {args.split} frames; use --split all')
        name = f'{root.resolve().name} {args.split} ({len(frames)} frames)'
        yield name, measure(segmenter, examples_of(frames, name), stress=args.stress)
    if args.rendered:
        scenes = rendered_examples(args.rendered)
        name = f'rendered ({args.rendered} frames)'
        yield name, measure(segmenter, scenes, stress=args.stress)


if __name__ == '__main__':
    raise SystemExit(main())
