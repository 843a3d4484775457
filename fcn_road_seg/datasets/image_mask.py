"""TODO: one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fcn_road_seg.datasets.frames import LabelledFrame, _images, _pair
from fcn_road_seg.datasets.labels import BACKGROUND, ROAD, VOID, _by_table


def plain_label(mask: np.ndarray) -> np.ndarray:
    """Decode a plain mask: 0 is background, 255 (or 1) road, 127 or 128 void."""
    if mask.ndim == 2 and mask.dtype == np.uint8 and np.any(mask == 1) and np.any(mask == 255):
        raise ValueError('1 and 255 both occur, and only one of them can be road; use 0, 255, 128')
    return _by_table(mask, {0: BACKGROUND, 1: ROAD, 127: VOID, 128: VOID, 255: ROAD})


def _plain_folder(root: Path) -> list[LabelledFrame]:
    return [
        _pair(f, root / 'masks' / f'{f.stem}.png', plain_label) for f in _images(root / 'images')
    ]
