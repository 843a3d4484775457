"""The label values, and how label files are decoded to them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

BACKGROUND, ROAD, VOID = 0, 1, 255
UNMATCHED = 255

# Turns a label file's pixels into (H, W) uint8 of BACKGROUND, ROAD, VOID.
LabelDecoder = Callable[[np.ndarray], np.ndarray]


def decode_by_table(index: np.ndarray, meaning: dict[int, int]) -> np.ndarray:
    """Return the (H, W) uint8 label of class indices, (H, W) uint8, by a table.

    Raises:
        ValueError: the shape or type is wrong, or an index is not in the table.
    """
    if index.ndim != 2 or index.dtype != np.uint8:
        raise ValueError(
            f'a label must have one 8-bit channel, but is {index.shape} {index.dtype}'
        )
    unknown = sorted(set(np.flatnonzero(np.bincount(index.ravel(), minlength=256))) - set(meaning))
    if unknown:
        raise ValueError(f'label value {unknown[0]} is unknown; known are {sorted(meaning)}')
    table = np.full(256, VOID, np.uint8)
    table[list(meaning)] = list(meaning.values())
    return table[index]


def match_colours(rgb: np.ndarray, colours: Sequence[tuple[int, int, int]]) -> np.ndarray:
    """Return the (H, W) uint8 index in `colours` of each pixel of (H, W, 3) uint8 RGB.

    At most 255 colours; a pixel of another colour gets UNMATCHED.
    """
    index = np.full(rgb.shape[:2], UNMATCHED, np.uint8)
    for number, colour in enumerate(colours):
        index[(rgb == np.array(colour, np.uint8)).all(axis=2)] = number
    return index
