"""How sure a network is of a frame, and which frames to label next."""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np

# The distance from the edge within which p(road) counts, as a share of the frame's width.
_NEAR_SHARE = 0.01
_P_ROAD = np.clip(np.arange(256) / 255, 1e-9, 1 - 1e-9)
# Binary entropy in bits, by 255 * p(road).
_ENTROPY = -(_P_ROAD * np.log2(_P_ROAD) + (1 - _P_ROAD) * np.log2(1 - _P_ROAD))


def edge_entropy(road_probability: np.ndarray, mask: np.ndarray) -> float:
    """Return the mean entropy of p(road) near the road's edge, 0 (sure) to 1 bit.

    `road_probability` is 255 * p(road) and `mask` the road, both (H, W) uint8. Far from its edge
    the network is sure of nearly every frame. Without an edge the whole frame counts.
    """
    radius = max(1, round(_NEAR_SHARE * mask.shape[1]))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1,) * 2)
    near = cv2.dilate(mask, disc) != cv2.erode(mask, disc)
    p_road = road_probability[near] if near.any() else road_probability
    return float(_ENTROPY[p_road].mean())


def least_sure(entropies: Mapping[int, float], count: int) -> list[int]:
    """Return the numbers, in order, of `count` frames with the highest entropies.

    The keys of `entropies` number the frames in order of time. The chosen frames are spread out:
    any two are at least half as far apart as `count` evenly spaced frames would be. If there are
    no more than `count` frames, all are returned.
    """
    ordered = sorted(entropies)
    distance = max(1, len(ordered) // (2 * count))
    chosen: list[int] = []
    is_free = np.ones(len(ordered), bool)
    for rank in sorted(range(len(ordered)), key=lambda rank: (-entropies[ordered[rank]], rank)):
        if is_free[rank]:
            chosen.append(rank)
            if len(chosen) == count:
                break
            is_free[max(0, rank - distance + 1) : rank + distance] = False
    return [ordered[rank] for rank in sorted(chosen)]
