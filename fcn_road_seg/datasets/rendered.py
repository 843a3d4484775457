"""TODO: one line."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from tqdm import tqdm

from fcn_road_seg.synthetic import SyntheticDrive

Sample = tuple[np.ndarray, np.ndarray]

RENDERED_SIZES_HW = ((375, 1242), (360, 480), (240, 320), (288, 512))
RENDERED_FRAMES_A_DRIVE = 4
# Far enough apart for other surroundings: 8 m/s or more.
RENDERED_SPACING_S = 7.0
# Seeds far from those that training draws: rendered validation scenes are unseen ones.
RENDERED_VAL_SEED = 1_000_000
RENDERED_VAL_COUNT = 60


def rendered_frames(count: int, first_seed: int, text: str) -> Iterator[Sample]:
    """Render `count` frames at cameras' sizes; a drive, seeds `first_seed` and up, gives four.

    Setting up a drive costs as much as rendering ten of its frames.
    """
    for index in tqdm(range(count), desc=text, unit='frame'):
        number, step = divmod(index, RENDERED_FRAMES_A_DRIVE)
        if step == 0:
            size_hw = RENDERED_SIZES_HW[number % len(RENDERED_SIZES_HW)]
            drive = SyntheticDrive(first_seed + number, size_hw)
        frame_bgr, label = drive.render(t_s=step * RENDERED_SPACING_S)
        yield np.ascontiguousarray(frame_bgr[..., ::-1]), label
