"""Rendered frames with exact labels, for training, validation and calibration."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from tqdm import tqdm

from fcn_road_seg.synthetic import SyntheticDrive

# A frame, (H, W, 3) uint8 RGB, and its label, (H, W) uint8.
Sample = tuple[np.ndarray, np.ndarray]

RENDERED_SIZES_HW = ((375, 1242), (360, 480), (240, 320), (288, 512))
RENDERED_FRAMES_A_DRIVE = 4
# At 8 m/s or more this is far enough for other surroundings.
RENDERED_SPACING_S = 7.0
# Far from the seeds of training, which count from 0.
RENDERED_VAL_SEED = 1_000_000
RENDERED_VAL_COUNT = 60


def rendered_frames(count: int, first_seed: int, text: str) -> Iterator[Sample]:
    """Render `count` frames in the sizes of several cameras, with a progress bar labelled `text`.

    Each drive, with seeds from `first_seed` on, gives four frames, since setting one up costs as
    much as rendering ten.
    """
    for index in tqdm(range(count), desc=text, unit='frame'):
        number, step = divmod(index, RENDERED_FRAMES_A_DRIVE)
        if step == 0:
            size_hw = RENDERED_SIZES_HW[number % len(RENDERED_SIZES_HW)]
            drive = SyntheticDrive(first_seed + number, size_hw)
        frame_bgr, label = drive.render(t_s=step * RENDERED_SPACING_S)
        yield np.ascontiguousarray(frame_bgr[..., ::-1]), label
