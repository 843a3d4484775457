"""TODO: one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fcn_road_seg.datasets.frames import LabelledFrame, _images, _pair
from fcn_road_seg.datasets.labels import BACKGROUND, ROAD, VOID, _by_table

CAMVID_CLASSES = (
    *('sky', 'building', 'pole', 'road', 'pavement', 'tree', 'sign', 'fence', 'car'),
    *('pedestrian', 'bicyclist', 'unlabelled'),
)


def camvid_label(index: np.ndarray) -> np.ndarray:
    """Decode CamVid class indices 0..11: 3 is road, 11 (unlabelled) void."""
    return _by_table(index, {**dict.fromkeys(range(11), BACKGROUND), 3: ROAD, 11: VOID})


def _camvid(root: Path, split: str) -> list[LabelledFrame]:
    annotations = root / f'{split}annot'
    return [
        _pair(f, annotations / f'{f.stem}.png', camvid_label, classes=CAMVID_CLASSES)
        for f in _images(root / split)
    ]
