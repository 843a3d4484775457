"""Removes regions of a mask that are too small to be road, or to be a hole in it."""

from __future__ import annotations

import cv2
import numpy as np

# A vehicle ahead makes a hole in the road that is larger than this share of a frame.
MAX_MIN_REGION = 0.05
_AREA = cv2.CC_STAT_AREA


def remove_small_regions(mask: np.ndarray, min_share: float) -> None:
    """Change regions that have less than `min_share` of the pixels to the other class, in place.

    `mask` is (H, W) uint8 of 0 and 255. First the small regions of road become background, then
    small regions of background become road. Road pixels that touch at a corner are connected.
    """
    for value, connectivity in ((255, 8), (0, 4)):
        of_value = (mask == value).view(np.uint8)
        _, regions, stats, _ = cv2.connectedComponentsWithStats(
            of_value, connectivity=connectivity
        )
        # Region 0 contains all pixels of the other value, which they keep.
        small = stats[:, _AREA] < min_share * mask.size
        if small.any():
            mask[small[regions]] = 255 - value
