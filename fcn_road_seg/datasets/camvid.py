"""CamVid: `train`, `trainannot`, `val`, `valannot`, with class indices as labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fcn_road_seg.datasets.frames import LabelledFrame, pair_folders
from fcn_road_seg.datasets.labels import BACKGROUND, ROAD, VOID, decode_by_table

CAMVID_CLASSES = (
    *('sky', 'building', 'pole', 'road', 'pavement', 'tree', 'sign', 'fence', 'car'),
    *('pedestrian', 'bicyclist', 'unlabelled'),
)


def camvid_label(index: np.ndarray) -> np.ndarray:
    """Decode CamVid class indices, (H, W) uint8 in 0..11: 3 is road, 11 (unlabelled) is void."""
    return decode_by_table(index, {**dict.fromkeys(range(11), BACKGROUND), 3: ROAD, 11: VOID})


def find_camvid_frames(root: Path, split: str) -> list[LabelledFrame]:
    """Return the frames of the data set's own 'train' or 'val' split.

    Raises:
        DatasetError: there is no frame, or a frame has no label.
    """
    return pair_folders(root / split, root / f'{split}annot', camvid_label, CAMVID_CLASSES)
