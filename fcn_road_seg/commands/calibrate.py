"""Give a checkpoint what int8 needs: how large its activations get, measured on frames."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from fcn_road_seg.datasets.frames import DatasetError
from fcn_road_seg.datasets.rendered import rendered_frames
from fcn_road_seg.datasets.splits import find_frames
from fcn_road_seg.model.activation_ranges import (
    FRAME_COUNT,
    evenly_spaced,
    measure_activation_ranges,
)
from fcn_road_seg.model.checkpoint import (
    CheckpointError,
    default_checkpoint_path,
    load_checkpoint,
    save_checkpoint,
)
from fcn_road_seg.model.road_fcn import RoadFCN

DATA_HELP = (
    'data sets, as train takes them, of which training frames serve; without any, rendered scenes'
)


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='calibrate',
        description='Write a checkpoint anew with what precision int8 needs. (What train writes '
        'has it already.) The network stays as it is.',
    )
    parser.add_argument('--checkpoint', help='file; without one, that of the package')
    parser.add_argument('--data', nargs='+', default=[], type=Path, metavar='DIR', help=DATA_HELP)
    parser.add_argument('--out', type=Path, required=True, metavar='FILE')
    args = parser.parse_args(argv)
    if not args.out.parent.is_dir():
        parser.error(f'--out {args.out} is not in a folder that exists')
    return args


def main(argv: Sequence[str] | None = None) -> int:
    """Write the checkpoint with its activation peaks and print them; return 0."""
    args = parse_args(argv)
    try:
        checkpoint = load_checkpoint(args.checkpoint or default_checkpoint_path())
        peaks = measure_activation_ranges(checkpoint, frames_of(args.data))
        calibrated = replace(checkpoint, activation_peaks=peaks)
        save_checkpoint(calibrated, args.out, smallest_exact_dtype(checkpoint.model))
    except (CheckpointError, DatasetError, OSError) as error:
        raise SystemExit(f'calibrate: {error}') from error
    print(f'{args.out}: largest activations {", ".join(f"{peak:.2f}" for peak in peaks)}')
    return 0


def frames_of(roots: Sequence[Path]) -> Iterator[np.ndarray]:
    """Yield (H, W, 3) uint8 RGB frames: of each data set's training frames as many, or rendered.

    Raises:
        DatasetError: the first thing wrong with the data, naming the file.
    """
    if not roots:
        yield from (frame_rgb for frame_rgb, _ in rendered_frames(FRAME_COUNT, 0, 'rendered'))
    found = [find_frames(root, 'train') for root in roots]
    for root, frames in zip(roots, found, strict=True):
        if not frames:
            raise DatasetError(f'{root} has no training frames; give another folder')
        for frame in tqdm(evenly_spaced(frames, FRAME_COUNT // len(roots) or 1), root.name):
            yield frame.load()[0]


def smallest_exact_dtype(model: RoadFCN) -> torch.dtype:
    """Return float16 where that loses nothing: what was stored so keeps its bytes and its hash."""
    tensors = [t for t in model.state_dict().values() if t.is_floating_point()]
    exact = all(torch.equal(t.half().float(), t) for t in tensors)
    return torch.float16 if exact else torch.float32


if __name__ == '__main__':
    raise SystemExit(main())
