"""comma10k: `imgs` beside `masks` in five colours (MIT licence)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from fcn_road_seg.datasets.frames import LabelledFrame, pair_folders
from fcn_road_seg.datasets.labels import BACKGROUND, ROAD, UNMATCHED, match_colours

# RGB, from comma10k's README: road, lane markings; undrivable, movable, ego car.
_ROAD_COLOURS = ((0x40, 0x20, 0x20), (0xFF, 0x00, 0x00))
_COLOURS = (*_ROAD_COLOURS, (0x80, 0x80, 0x60), (0x00, 0xFF, 0x66), (0xCC, 0x00, 0xFF))


def comma10k_label(mask_bgr: np.ndarray) -> np.ndarray:
    """Decode an (H, W, 3) or (H, W, 4) uint8 BGR(A) mask: road and lane markings are road.

    Raises:
        ValueError: the mask has a colour that comma10k does not have, or no 8-bit colours.
    """
    if mask_bgr.ndim != 3 or mask_bgr.dtype != np.uint8:
        raise ValueError('a comma10k mask has 8-bit colours; this one has none')
    rgb = mask_bgr[..., 2::-1]
    index = match_colours(rgb, _COLOURS)
    unknown = rgb[index == UNMATCHED]
    if len(unknown):
        names = ', '.join(map(_hex, _COLOURS))
        raise ValueError(f'colour {_hex(unknown[0])} is unknown; comma10k has {names}')
    return np.where(index < len(_ROAD_COLOURS), ROAD, BACKGROUND).astype(np.uint8)


def _hex(colour: Iterable[int]) -> str:
    return '#' + ''.join(f'{value:02x}' for value in colour)


def find_comma10k_frames(root: Path) -> list[LabelledFrame]:
    """Return the frames of `imgs`, each with the mask of the same name.

    Raises:
        DatasetError: a frame has no mask.
    """
    return pair_folders(root / 'imgs', root / 'masks', comma10k_label)
