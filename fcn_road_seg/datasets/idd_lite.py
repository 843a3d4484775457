"""IDD Lite: `leftImg8bit` and `gtFine`, with class indices as labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fcn_road_seg.datasets.frames import LabelledFrame, find_images, pair_with_label
from fcn_road_seg.datasets.labels import BACKGROUND, ROAD, VOID, decode_by_table

IDD_LITE_CLASSES = (
    *('drivable', 'non-drivable', 'living things', 'vehicles', 'roadside objects'),
    *('far objects', 'sky'),
)


def idd_lite_label(index: np.ndarray) -> np.ndarray:
    """Decode IDD Lite class indices, (H, W) uint8: 0 is road, 1..6 are background, 255 is void."""
    return decode_by_table(index, {0: ROAD, **dict.fromkeys(range(1, 7), BACKGROUND), 255: VOID})


def find_idd_lite_frames(root: Path, split: str) -> list[LabelledFrame]:
    """Return the frames of the data set's own 'train' or 'val' split.

    Raises:
        DatasetError: there is no frame, or a frame has no label.
    """
    frames = root / 'leftImg8bit' / split
    labels = root / 'gtFine' / split
    return [
        pair_with_label(
            f,
            labels / f.parent.relative_to(frames) / f'{f.stem.removesuffix("_image")}_label.png',
            idd_lite_label,
            classes=IDD_LITE_CLASSES,
        )
        for f in find_images(frames)
    ]
