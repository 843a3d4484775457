"""A calibrated camera: points to pixels and pixels to rays, through the lens's distortion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from fcn_road_seg.ground.errors import GroundError
from fcn_road_seg.ground.lens import MAX_NUMBER, Lens

MIN_FOCAL_PX = 1e-3


@dataclass(frozen=True, eq=False)
class Camera:
    """Intrinsics of a camera, for images of `image_hw` (rows, columns).

    The optical frame has x to the right, y down and z ahead, in metres. A pixel (u, v) is (column,
    row), and (0, 0) is the centre of the first pixel. A point (x, y, z) in front of the camera is
    at `matrix` @ (x', y', 1), where (x', y') is (x / z, y / z) moved by the distortion (see Lens).

    Raises:
        GroundError: a number is not finite or above MAX_NUMBER, the matrix is singular or not one
            of a camera, or the distortion model is unknown or has a wrong number of coefficients.
    """

    matrix: np.ndarray
    image_hw: tuple[int, int]
    distortion_model: str = 'plumb_bob'
    distortion: Sequence[float] = ()

    def __post_init__(self) -> None:
        matrix = np.asarray(self.matrix, np.float64)
        if matrix.shape != (3, 3) or not np.isfinite(matrix).all():
            raise GroundError(
                f'the camera matrix {matrix.ravel().tolist()} is not 3 x 3 with finite numbers; '
                'calibrate the camera'
            )
        if min(matrix[0, 0], matrix[1, 1]) <= 0 or matrix[1, 0] or matrix[2].tolist() != [0, 0, 1]:
            raise GroundError(
                f'the camera matrix {matrix.ravel().tolist()} is singular or not of the form '
                'fx 0 cx 0 fy cy 0 0 1; calibrate the camera'
            )
        if min(matrix[0, 0], matrix[1, 1]) < MIN_FOCAL_PX or abs(matrix).max() > MAX_NUMBER:
            raise GroundError(
                f'the camera matrix {matrix.ravel().tolist()} is impossible: focal lengths are at '
                f'least {MIN_FOCAL_PX:g} pixels, and no number is above {MAX_NUMBER:g}; calibrate '
                'the camera'
            )
        self._lens  # noqa: B018  checks the distortion

    def project(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return u and v, (...) float64, of (..., 3) points in the optical frame.

        They are NaN for what is behind the camera, or so far off its axis that the distortion
        would fold it back into the image.
        """
        x, y, z = np.moveaxis(np.asarray(points, np.float64), -1, 0)
        with np.errstate(divide='ignore', invalid='ignore', over='ignore'):
            z = np.where(z > 0, z, np.nan)
            x, y = x / z, y / z
            x, y = np.where(np.hypot(x, y) <= self._lens.max_radius, (x, y), np.nan)
        x, y = self._lens.distort(x, y)
        (fx, skew, cx), (_, fy, cy), _ = np.asarray(self.matrix, np.float64)
        return fx * x + skew * y + cx, fy * y + cy

    def rays(self, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        """Return the direction, (..., 3) float64 with z = 1, in which the pixels (u, v) look.

        It is NaN if no direction is seen there: beyond the edge of a fisheye's picture.
        """
        (fx, skew, cx), (_, fy, cy), _ = np.asarray(self.matrix, np.float64)
        y_seen = (np.asarray(v, np.float64) - cy) / fy
        x_seen = (np.asarray(u, np.float64) - cx - skew * y_seen) / fx
        x, y = self._lens.undistort(x_seen, y_seen)
        return np.stack([x, y, np.where(np.isnan(x), np.nan, 1.0)], axis=-1)

    def pixel_rays(self, stride: int = 1) -> np.ndarray:
        """Return `rays` of every `stride`-th row and column, (h, w, 3), from the first on.

        They are computed once: with a distortion, that takes a second for 375 x 1242 pixels.
        """
        if stride not in self._pixel_rays:
            h, w = self.image_hw
            v, u = np.mgrid[0:h:stride, 0:w:stride].astype(np.float64)
            self._pixel_rays[stride] = self.rays(u, v)
        return self._pixel_rays[stride]

    @cached_property
    def _pixel_rays(self) -> dict[int, np.ndarray]:
        return {}

    @cached_property
    def _lens(self) -> Lens:
        return Lens(self.distortion_model, self.distortion)
