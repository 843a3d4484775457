"""Arithmetic shared by all textures: noise, blending, soft edges, downscaling."""

import cv2
import numpy as np
from numpy.random import Generator


def fractal(
    rng: Generator, size: tuple[int, int], cells: tuple[int, ...], fall: float = 0.8
) -> np.ndarray:
    """Return value noise, `size` float32: mean near 0, standard deviation 1, periodic in axis 0.

    Octave i has `cells[i]` cells along each axis and the amplitude `fall` ** i.
    """
    total = np.zeros(size, np.float32)
    for i, n in enumerate(cells):
        grid = rng.standard_normal((min(n, size[0]), min(n, size[1])), np.float32)
        cell = size[0] / len(grid)
        # Two more rows at both ends give cubic interpolation its neighbours across the seam.
        around = np.concatenate([grid[-2:], grid, grid[:2]])
        wide = cv2.resize(
            around, (size[1], round(len(around) * cell)), interpolation=cv2.INTER_CUBIC
        )
        total += wide[round(2 * cell) :][: size[0]] * np.float32(fall**i)
    return total / max(float(total.std()), 1e-6)


def blend(image: np.ndarray, other: np.ndarray, share: np.ndarray) -> None:
    """Blend `other` into `image`, (H, W, 3) float32, in place; `share` (.., W) is in [0, 1]."""
    image += (other.astype(np.float32) - image) * share[..., None].astype(np.float32)


def cover(inside_m: np.ndarray, per_m: float) -> np.ndarray:
    """Return the share of a texel that lies inside an edge, float32.

    `inside_m` is the distance in metres of its centre from the edge, negative outside.
    """
    return np.clip(inside_m * per_m + 0.5, 0, 1).astype(np.float32)


def span(chosen: np.ndarray) -> slice:
    """Return the slice from the first to the last True of `chosen`, (N,) bool."""
    hits = np.flatnonzero(chosen)
    return slice(int(hits[0]), int(hits[-1]) + 1) if len(hits) else slice(0, 0)


def shrink(image: np.ndarray, down: int, across: int) -> np.ndarray:
    """Return the image with its height halved `down` times and its width halved `across` times."""
    size_wh = (max(image.shape[1] >> across, 1), max(image.shape[0] >> down, 1))
    return cv2.resize(image, size_wh, interpolation=cv2.INTER_AREA)
