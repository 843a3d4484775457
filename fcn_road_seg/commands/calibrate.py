"""Add to a checkpoint what precisions below float32 need, measured on frames."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from fcn_road_seg.commands.arguments import (
    add_checkpoint_argument,
    add_split_arguments,
    split_rule,
)
from fcn_road_seg.commands.cli import run_command
from fcn_road_seg.datasets.frames import DatasetError
from fcn_road_seg.datasets.rendered import rendered_frames
from fcn_road_seg.datasets.splits import SplitRule, find_frames, refuse_unknown_hold_outs
from fcn_road_seg.model.checkpoint_file import CheckpointOf
from fcn_road_seg.model.int8_form import prepare_for_int8
from fcn_road_seg.model.shipped_checkpoints import checkpoint_path
from fcn_road_seg.utils.atomic_write import refuse_to_overwrite
from fcn_road_seg.utils.sampling import evenly_spaced

if TYPE_CHECKING:
    from fcn_road_seg.model.checkpoint import Checkpoint

# This many frames determine the scale and bias of the logit to a hundredth.
FIT_FRAMES = 100


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='calibrate',
        description='Copy a checkpoint and add what precisions below float32 need: the ranges of '
        'its activations (for int8), and how well the masks of each precision agree with those of '
        'float32 (for precision auto). Checkpoints written by train already have both. Only '
        '--prepare-int8 and --probabilities change the network.',
    )
    add_checkpoint_argument(parser)
    parser.add_argument(
        '--data',
        nargs='+',
        default=[],
        type=Path,
        metavar='DIR',
        help='Data sets, in the layouts that train reads, whose training frames are used '
        '(default: rendered scenes).',
    )
    parser.add_argument(
        '--prepare-int8',
        action='store_true',
        help='Also cap the activations and round the weights of the network, so that its int8 '
        'masks agree better with its float32 masks.',
    )
    parser.add_argument(
        '--probabilities',
        action='store_true',
        help='Also fit p(road) to the labels of the validation frames of --data, and set the '
        f'threshold to {CheckpointOf.threshold:g}.',
    )
    add_split_arguments(parser)
    parser.add_argument(
        '--out',
        type=Path,
        required=True,
        metavar='FILE',
        help='Checkpoint file to write; it must not exist.',
    )
    args = parser.parse_args(argv)
    if not args.out.parent.is_dir():
        parser.error(f'--out {args.out} is not in an existing folder; create that folder first')
    if args.probabilities and not args.data:
        parser.error('--probabilities needs labels; give --data DIR')
    return args


def main(argv: Sequence[str] | None = None) -> int:
    """Write the checkpoint and print its activation ranges; return the exit status."""
    args = parse_args(argv)
    return run_command('calibrate', lambda: calibrate_file(args), (ValueError, OSError))


def calibrate_file(args: argparse.Namespace) -> None:
    """Write what the arguments ask for.

    Tensors and hash change only with --prepare-int8 and --probabilities.

    Raises:
        ValueError, OSError: the checkpoint, the data or the output cannot be used.
    """
    # PyTorch and OpenVINO take seconds to import.
    from fcn_road_seg.inference.calibration import calibrate
    from fcn_road_seg.model.activation_ranges import measure_activation_ranges
    from fcn_road_seg.model.checkpoint import (
        load_checkpoint,
        save_checkpoint,
        smallest_exact_dtype,
    )
    from fcn_road_seg.model.road_fcn import RoadFCN

    refuse_to_overwrite(args.out)
    rule = split_rule(args)
    refuse_unknown_hold_outs(args.data, rule)
    checkpoint = load_checkpoint(checkpoint_path(args.checkpoint))
    frames_rgb = list(calibration_frames(args.data, rule))
    if args.prepare_int8:
        peaks = measure_activation_ranges(checkpoint, frames_rgb)
        prepared = prepare_for_int8(checkpoint.model.weights(), peaks)
        checkpoint = replace(checkpoint, model=RoadFCN.from_weights(prepared))
    if args.probabilities:
        checkpoint = fit_probabilities(checkpoint, args.data, rule)
    calibrated = calibrate(checkpoint, frames_rgb, say=print)
    save_checkpoint(calibrated, args.out, smallest_exact_dtype(checkpoint.model))
    peaks = calibrated.activation_peaks or ()
    print(f'{args.out}: largest activations {", ".join(f"{peak:.2f}" for peak in peaks)}')


def fit_probabilities(
    checkpoint: Checkpoint, roots: Sequence[Path], rule: SplitRule
) -> Checkpoint:
    """Return the checkpoint with p(road) fitted to the validation frames of the data sets.

    Each data set has the same weight; at most FIT_FRAMES of each are used.

    Raises:
        ValueError: a data set has no validation frames, no road, or an invalid file.
    """
    from fcn_road_seg.evaluation.evaluator import load_examples, measure
    from fcn_road_seg.evaluation.probability_fit import fit_logit
    from fcn_road_seg.inference.segmenter import RoadSegmenter
    from fcn_road_seg.model.rescaling import rescale_logit

    segmenter = RoadSegmenter(checkpoint, 'cpu', 'float32')
    histograms = []
    for root in roots:
        frames = evenly_spaced(find_frames(root, 'val', rule), FIT_FRAMES)
        if not frames:
            raise DatasetError(f'{root} has no validation frames; give --val-fraction')
        evaluation = measure(segmenter, load_examples(frames, root.name), stress=False)
        histograms.append(evaluation.pooled())
    scale, bias = fit_logit(histograms)
    print(f'logit of p(road): {scale:.4f} * logit {bias:+.4f}')
    rescaled = rescale_logit(checkpoint.model, scale, bias)
    return replace(checkpoint, model=rescaled, threshold=CheckpointOf.threshold)


def calibration_frames(roots: Sequence[Path], rule: SplitRule) -> Iterator[np.ndarray]:
    """Yield (H, W, 3) uint8 RGB frames: equally many from each data set, or rendered ones.

    Raises:
        DatasetError: the first problem of the data; the text names the file.
    """
    from fcn_road_seg.model.activation_ranges import FRAME_COUNT

    if not roots:
        yield from (frame_rgb for frame_rgb, _ in rendered_frames(FRAME_COUNT, 0, 'rendered'))
    found = [find_frames(root, 'train', rule) for root in roots]
    for root, frames in zip(roots, found, strict=True):
        if not frames:
            raise DatasetError(f'{root} has no training frames; give another folder')
        for frame in tqdm(evenly_spaced(frames, FRAME_COUNT // len(roots) or 1), root.name):
            yield frame.load()[0]


if __name__ == '__main__':
    raise SystemExit(main())
