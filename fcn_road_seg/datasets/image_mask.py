"""Your own frames: folders `images` and `masks` with the same file names, also in subfolders."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fcn_road_seg.datasets.frames import LabelledFrame, pair_folders
from fcn_road_seg.datasets.labels import BACKGROUND, ROAD, VOID, decode_by_table


def plain_label(mask: np.ndarray) -> np.ndarray:
    """Decode a mask, (H, W) uint8: 0 is background, 255 (or 1) road, 127 or 128 void.

    Raises:
        ValueError: there are other values, or both 1 and 255.
    """
    label = decode_by_table(mask, {0: BACKGROUND, 1: ROAD, 127: VOID, 128: VOID, 255: ROAD})
    if np.any(mask == 1) and np.any(mask == 255):
        raise ValueError(
            '1 and 255 both occur, but only one of them can be road; use 0, 255 and 128'
        )
    return label


def find_image_mask_frames(root: Path) -> list[LabelledFrame]:
    """Return all frames in `root/images`, with their labels in `root/masks`.

    Raises:
        DatasetError: there is no frame, or a frame has no label.
    """
    return pair_folders(root / 'images', root / 'masks', plain_label)
