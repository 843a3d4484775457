"""BDD100K: `images` beside drivable-area or semantic masks."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from fcn_road_seg.datasets.frames import DatasetError, LabelledFrame, find_images, pair_with_label
from fcn_road_seg.datasets.labels import BACKGROUND, ROAD, VOID, decode_by_table

_DRIVABLE = Path('labels/drivable/masks')
_SEMANTIC = Path('labels/sem_seg/masks')
DRIVABLE_CLASSES = ('direct', 'alternative', 'background')
SEMANTIC_CLASSES = (
    *('road', 'sidewalk', 'building', 'wall', 'fence', 'pole', 'traffic light', 'traffic sign'),
    *('vegetation', 'terrain', 'sky', 'person', 'rider', 'car', 'truck', 'bus', 'train'),
    *('motorcycle', 'bicycle'),
)


def drivable_label(index: np.ndarray) -> np.ndarray:
    """Decode drivable areas: 0 (direct) and 1 (alternative) are road, 2 is background, 255 void.

    These are the codes of `labels/drivable/masks`; those of the older `drivable_maps` differ.
    """
    return decode_by_table(index, {0: ROAD, 1: ROAD, 2: BACKGROUND, 255: VOID})


def semantic_label(index: np.ndarray) -> np.ndarray:
    """Decode semantic train ids: 0 is road, 1..18 are background, 255 is void."""
    return decode_by_table(index, {0: ROAD, **dict.fromkeys(range(1, 19), BACKGROUND), 255: VOID})


def is_bdd100k(root: Path) -> bool:
    """Return whether `root` has one of the mask folders of BDD100K."""
    return (root / _DRIVABLE).is_dir() or (root / _SEMANTIC).is_dir()


def find_bdd100k_frames(root: Path, split: str) -> list[LabelledFrame]:
    """Return the frames that have masks: drivable-area masks if present, else semantic ones.

    Raises:
        DatasetError: a mask has no frame.
    """
    if (root / _DRIVABLE).is_dir():
        masks, images = root / _DRIVABLE / split, root / 'images/100k' / split
        read = partial(pair_with_label, decode=drivable_label, classes=DRIVABLE_CLASSES)
    else:
        masks, images = root / _SEMANTIC / split, root / 'images/10k' / split
        read = partial(pair_with_label, decode=semantic_label, classes=SEMANTIC_CLASSES)
    found = []
    # Not every frame has a mask.
    for path in find_images(masks):
        frame_path = images / path.relative_to(masks).with_suffix('.jpg')
        if not frame_path.is_file():
            raise DatasetError(f'{frame_path} does not exist, but its label {path} does')
        found.append(read(frame_path, path))
    return found
