"""TODO: one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fcn_road_seg.datasets.frames import LabelledFrame, _images, _pair
from fcn_road_seg.datasets.labels import BACKGROUND, ROAD, VOID, _by_table

IDD_LITE_CLASSES = (
    *('drivable', 'non-drivable', 'living things', 'vehicles', 'roadside objects'),
    *('far objects', 'sky'),
)


def idd_lite_label(index: np.ndarray) -> np.ndarray:
    """Decode IDD Lite class indices: 0 is drivable, 1..6 are not, 255 is void."""
    return _by_table(index, {0: ROAD, **dict.fromkeys(range(1, 7), BACKGROUND), 255: VOID})


def _idd_lite(root: Path, split: str) -> list[LabelledFrame]:
    frames = root / 'leftImg8bit' / split
    labels = root / 'gtFine' / split
    return [
        _pair(
            f,
            labels / f.parent.relative_to(frames) / f'{f.stem.removesuffix("_image")}_label.png',
            idd_lite_label,
            classes=IDD_LITE_CLASSES,
        )
        for f in _images(frames)
    ]
