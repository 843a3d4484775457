"""BACKGROUND, ROAD, VOID"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

BACKGROUND, ROAD, VOID = 0, 1, 255

LabelDecoder = Callable[[np.ndarray], np.ndarray]


def _by_table(index: np.ndarray, meaning: dict[int, int]) -> np.ndarray:
    if index.ndim != 2 or index.dtype != np.uint8:
        raise ValueError(f'a label has one 8-bit channel, this one {index.shape}, {index.dtype}')
    unknown = sorted(set(np.flatnonzero(np.bincount(index.ravel(), minlength=256))) - set(meaning))
    if unknown:
        raise ValueError(f'label value {unknown[0]} is unknown; known are {sorted(meaning)}')
    table = np.full(256, VOID, np.uint8)
    table[list(meaning)] = list(meaning.values())
    return table[index]
