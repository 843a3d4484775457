"""Rendered frames with exact labels, for training, validation and calibration."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from tqdm import tqdm

from fcn_road_seg.synthetic import SyntheticDrive

# A frame, (H, W, 3) uint8 RGB, and its label, (H, W) uint8.
Sample = tuple[np.ndarray, np.ndarray]

RENDERED_SIZES_HW = ((375, 1242), (360, 480), (240, 320), (288, 512))
RENDERED_FRAMES_A_DRIVE = 4
# Long enough for the surroundings to change at 8 m/s or more.
RENDERED_SPACING_S = 7.0
# Far from the seeds of training, which start at 0.
RENDERED_VAL_SEED = 1_000_000
RENDERED_VAL_COUNT = 60


@dataclass(frozen=True)
class RenderedFrame:
    """The frame of size `frame_hw` at `t_s` seconds of the drive that `seed` determines."""

    seed: int
    frame_hw: tuple[int, int]
    t_s: float

    def load(self) -> Sample:
        """Render (frame_rgb (H, W, 3) uint8, label (H, W) uint8, 1 = road).

        If the next frame is of the same drive, it takes only a tenth of the time.
        """
        frame_bgr, label = _drive(self.seed, self.frame_hw).render(self.t_s)
        return np.ascontiguousarray(frame_bgr[..., ::-1]), label

    def version(self) -> tuple[object, ...]:
        """Return what the result of `load` depends on, apart from the code that renders."""
        return (self,)


def find_rendered_frames(count: int, first_seed: int) -> list[RenderedFrame]:
    """Return `count` frames in the sizes of several cameras; those of one drive are adjacent.

    Each drive, with seeds from `first_seed` on, gives four frames, since setting up a drive costs
    as much as rendering ten frames.
    """
    frames = []
    for index in range(count):
        number, step = divmod(index, RENDERED_FRAMES_A_DRIVE)
        size_hw = RENDERED_SIZES_HW[number % len(RENDERED_SIZES_HW)]
        frames.append(RenderedFrame(first_seed + number, size_hw, step * RENDERED_SPACING_S))
    return frames


def rendered_frames(count: int, first_seed: int, text: str) -> Iterator[Sample]:
    """Render the frames of `find_rendered_frames`, with a progress bar labelled `text`."""
    for frame in tqdm(find_rendered_frames(count, first_seed), desc=text, unit='frame'):
        yield frame.load()


@lru_cache(maxsize=1)
def _drive(seed: int, frame_hw: tuple[int, int]) -> SyntheticDrive:
    return SyntheticDrive(seed, frame_hw)
