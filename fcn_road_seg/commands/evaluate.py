"""Measure a checkpoint on labelled frames, through the segmenter that the node runs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from fcn_road_seg.commands.arguments import (
    add_segmenter_arguments,
    add_split_arguments,
    build_segmenter,
    split_rule,
    whole_number,
)
from fcn_road_seg.commands.cli import run_command
from fcn_road_seg.datasets.frames import DatasetError, LabelledFrame
from fcn_road_seg.datasets.kitti_road import find_test_frames
from fcn_road_seg.datasets.splits import (
    RENDERED_NAME,
    SPLITS,
    find_frames,
    name_data_sets,
    refuse_unknown_hold_outs,
)
from fcn_road_seg.evaluation.output import REPORT_NAME, SUBMISSION_NAME
from fcn_road_seg.utils.atomic_write import refuse_to_overwrite

if TYPE_CHECKING:
    from fcn_road_seg.evaluation.report import DataSetResult
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
        help='Frames to measure on (default: val, or all of a data set that has no val frames).',
    )
    add_split_arguments(data)
    data.add_argument(
        '--rendered',
        type=whole_number(0),
        default=0,
        metavar='COUNT',
        help='Also measure on COUNT rendered scenes that no training uses (default: %(default)s).',
    )
    add_segmenter_arguments(parser.add_argument_group('network'))
    output = parser.add_argument_group('output')
    output.add_argument(
        '--stress',
        action='store_true',
        help='Also measure with cast shadows, other light and blur (takes five times as long).',
    )
    output.add_argument(
        '--out',
        type=Path,
        default=Path('evaluation'),
        metavar='DIR',
        help='Folder for report.json, precision_recall.png and worst_*.png; it must not contain '
        'a report (default: %(default)s).',
    )
    output.add_argument(
        '--submission',
        type=Path,
        metavar='DIR',
        help="Write the zip for KITTI's server, for the test set in --data, to DIR instead of "
        'measuring.',
    )
    args = parser.parse_args(argv)
    if args.submission and len(args.data) != 1:
        parser.error('--submission needs one --data DIR, that of KITTI road')
    if not args.data and not args.rendered:
        parser.error('nothing to evaluate on; give --data DIR or --rendered COUNT')
    return args


def main(argv: Sequence[str] | None = None) -> int:
    """Print the figures of each data set and write them, with pictures; return the exit status."""
    args = parse_args(argv)
    return run_command('evaluate', lambda: evaluate(args), (ValueError, OSError))


def evaluate(args: argparse.Namespace) -> None:
    """Measure what the arguments name, or write the submission that they ask for.

    Raises:
        ValueError, OSError: an argument or a file is invalid. Arguments, folders and labels'
            names are checked before the network is loaded.
    """
    if args.submission:
        refuse_to_overwrite(args.submission / SUBMISSION_NAME, 'folder')
        frames = find_test_frames(args.data[0])
        from fcn_road_seg.evaluation.submission import write_submission

        print(write_submission(build_segmenter(args), frames, args.submission))
        return
    refuse_to_overwrite(args.out / REPORT_NAME, 'folder')
    chosen = list(choose_frames(args))
    # It imports matplotlib.
    from fcn_road_seg.evaluation.report import format_report, write_report

    segmenter = build_segmenter(args)
    results = list(measure_all(segmenter, chosen, args))
    print(
        f'checkpoint {segmenter.checkpoint_sha256[:12]} on {segmenter.device}, '
        f'{segmenter.precision}'
    )
    for result in results:
        print(*format_report(result.title, result.evaluation.report()), sep='\n')
    write_report(args.out, segmenter, results)
    print(f'Figures and pictures are in {args.out}')


class ChosenFrames(NamedTuple):
    """The frames of a data set to measure on, and its unique name."""

    name: str
    split: str
    frames: list[LabelledFrame]


def choose_frames(args: argparse.Namespace) -> Iterator[ChosenFrames]:
    """Yield the frames of each data set that the arguments name.

    Without `--split` these are the validation frames, or all if there are none.

    Raises:
        ValueError: the split rule or a data set is invalid.
    """
    rule = split_rule(args)
    refuse_unknown_hold_outs(args.data, rule)
    for name, root in zip(name_data_sets(args.data), args.data, strict=True):
        split = args.split or 'val'
        frames = find_frames(root, split, rule)
        if not frames and not args.split:
            split, frames = 'all', find_frames(root, 'all', rule)
            print(
                f'evaluate: {root} has no validation frames; all {len(frames)} frames are '
                'measured, some of which may have been used for training',
                file=sys.stderr,
            )
        if not frames:
            raise DatasetError(f'{root} has no {split} frames; use --split all')
        yield ChosenFrames(name, split, frames)


def measure_all(
    segmenter: RoadSegmenter, chosen: Sequence[ChosenFrames], args: argparse.Namespace
) -> Iterator[DataSetResult]:
    """Yield the result on each data set and on the rendered scenes.

    Raises:
        ValueError: a file of a data set is missing or invalid; the message names it.
    """
    from fcn_road_seg.evaluation.evaluator import load_examples, measure, render_examples
    from fcn_road_seg.evaluation.report import DataSetResult

    for name, split, frames in chosen:
        title = f'{name} {split} ({len(frames)} frames)'
        examples = load_examples(frames, title)
        yield DataSetResult(name, title, measure(segmenter, examples, stress=args.stress))
    if args.rendered:
        title = f'{RENDERED_NAME} ({args.rendered} frames)'
        scenes = render_examples(args.rendered)
        yield DataSetResult(RENDERED_NAME, title, measure(segmenter, scenes, stress=args.stress))


if __name__ == '__main__':
    raise SystemExit(main())
