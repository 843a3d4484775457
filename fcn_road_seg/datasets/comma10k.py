"""comma10k: `imgs` beside `masks` in five colours (MIT licence)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fcn_road_seg.datasets.frames import LabelledFrame, find_images, pair_with_label
from fcn_road_seg.datasets.labels import BACKGROUND, ROAD

# RGB, as its README has them.
_COLOURS = {
    0x402020: ROAD,
    0xFF0000: ROAD,  # lane markings
    0x808060: BACKGROUND,  # undrivable
    0x00FF66: BACKGROUND,  # movable
    0xCC00FF: BACKGROUND,  # the own car
}


def comma10k_label(mask_bgr: np.ndarray) -> np.ndarray:
    """Decode an (H, W, 3) or (H, W, 4) uint8 BGR(A) mask: road and lane markings are road.

    Raises:
        ValueError: a colour that comma10k does not have, or no colours.
    """
    if mask_bgr.ndim != 3 or mask_bgr.dtype != np.uint8:
        raise ValueError('a comma10k mask has 8-bit colours; this one has none')
    b, g, r = (mask_bgr[..., i].astype(np.uint32) for i in range(3))
    colours = r << 16 | g << 8 | b
    label = np.full(colours.shape, BACKGROUND, np.uint8)
    known = np.zeros(colours.shape, bool)
    for colour, meaning in _COLOURS.items():
        here = colours == colour
        label[here] = meaning
        known |= here
    if not known.all():
        names = ', '.join(f'#{colour:06x}' for colour in _COLOURS)
        raise ValueError(f'colour #{colours[~known][0]:06x} is unknown; comma10k has {names}')
    return label


def find_comma10k_frames(root: Path) -> list[LabelledFrame]:
    """Return the frames of `imgs`, each with the mask of its name.

    Raises:
        DatasetError: a frame has no mask.
    """
    return [
        pair_with_label(path, root / 'masks' / f'{path.stem}.png', comma10k_label)
        for path in find_images(root / 'imgs')
    ]
