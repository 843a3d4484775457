"""Add what precisions below float32 need to a checkpoint, measured on frames."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from fcn_road_seg.commands.arguments import add_checkpoint_argument
from fcn_road_seg.commands.cli import run_command
from fcn_road_seg.datasets.frames import DatasetError
from fcn_road_seg.datasets.rendered import rendered_frames
from fcn_road_seg.datasets.splits import find_frames
from fcn_road_seg.model.activation_ranges import FRAME_COUNT, evenly_spaced
from fcn_road_seg.model.checkpoint import (
    CheckpointError,
    load_checkpoint,
    save_checkpoint,
    smallest_exact_dtype,
)
from fcn_road_seg.model.shipped_checkpoints import checkpoint_path


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='calibrate',
        description='Copy a checkpoint and add what precisions below float32 need: the ranges of '
        'its activations (for int8), and how far the masks of each precision agree with those of '
        'float32 (for precision auto). The network does not change. Checkpoints written by train '
        'already have both.',
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
        '--out', type=Path, required=True, metavar='FILE', help='Checkpoint file to write.'
    )
    args = parser.parse_args(argv)
    if not args.out.parent.is_dir():
        parser.error(f'--out {args.out} is not in an existing folder')
    return args


def main(argv: Sequence[str] | None = None) -> int:
    """Write the checkpoint and print its activation ranges; return the exit status."""
    args = parse_args(argv)
    return run_command(
        'calibrate', lambda: calibrate_file(args), (CheckpointError, DatasetError, OSError)
    )


def calibrate_file(args: argparse.Namespace) -> None:
    """Write what the arguments ask for; the tensors, and so their hash, stay the same.

    Raises:
        CheckpointError, DatasetError, OSError: as load_checkpoint, calibration_frames and
            save_checkpoint.
    """
    # It brings PyTorch's and OpenVINO's libraries: not before the arguments are known.
    from fcn_road_seg.inference.calibration import calibrate

    checkpoint = load_checkpoint(checkpoint_path(args.checkpoint))
    calibrated = calibrate(checkpoint, list(calibration_frames(args.data)), say=print)
    save_checkpoint(calibrated, args.out, smallest_exact_dtype(checkpoint.model))
    peaks = calibrated.activation_peaks or ()
    print(f'{args.out}: largest activations {", ".join(f"{peak:.2f}" for peak in peaks)}')


def calibration_frames(roots: Sequence[Path]) -> Iterator[np.ndarray]:
    """Yield (H, W, 3) uint8 RGB frames: equally many of each data set, or rendered ones.

    Raises:
        DatasetError: the first problem of the data; the text names the file.
    """
    if not roots:
        yield from (frame_rgb for frame_rgb, _ in rendered_frames(FRAME_COUNT, 0, 'rendered'))
    found = [find_frames(root, 'train') for root in roots]
    for root, frames in zip(roots, found, strict=True):
        if not frames:
            raise DatasetError(f'{root} has no training frames; give another folder')
        for frame in tqdm(evenly_spaced(frames, FRAME_COUNT // len(roots) or 1), root.name):
            yield frame.load()[0]


if __name__ == '__main__':
    raise SystemExit(main())
