"""Which pixel of an image shows which point of the ground, as a table."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class PixelRule:
    """Which pixel a coordinate is in.

    The first pixel's reference point has the coordinate `first`, the last one's
    `first` + size - 1; coordinates between these are in the image. `rounding` is added before
    truncation: 0.5 takes the nearest reference point, 0 the last one passed.
    """

    first: float
    rounding: float


# Coordinates of pixel centres from (0, 0), as in ROS and OpenCV.
PIXEL_CENTRES = PixelRule(first=0.0, rounding=0.5)
# Those of KITTI's road development kit: the first pixel is (1, 1), and coordinates are truncated.
KITTI_PIXELS = PixelRule(first=1.0, rounding=0.0)


def project_plane(
    plane_to_image: np.ndarray, first: np.ndarray, second: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return u and v of the points (first, second, 1) of a plane; NaN behind the camera.

    `plane_to_image` is a (3, 3) homography to (u * w, v * w, w), with w > 0 in front of the
    camera. The two coordinates are broadcast.
    """
    with np.errstate(over='ignore', invalid='ignore'):
        u, v, depth = (a * first + b * second + c for a, b, c in plane_to_image)
        depth = np.where(depth > 0, depth, np.nan)
        return u / depth, v / depth


class PixelTable:
    """For each point, the pixel of images of `image_hw` that shows it; made once, used often.

    `u` and `v` are the (...) coordinates of the points, NaN for what is not seen. Points above
    row `first_row` are not seen either. `pixels`, (N,) intp, is the pixel of each of the N points
    in turn, as an index in row-major order; 0 for a point that is not seen.
    """

    def __init__(
        self,
        u: np.ndarray,
        v: np.ndarray,
        image_hw: tuple[int, int],
        rule: PixelRule = PIXEL_CENTRES,
        first_row: int = 0,
    ) -> None:
        self.image_hw = image_hw
        h, w = image_hw
        with np.errstate(invalid='ignore'):
            u, v = u - rule.first, v - rule.first
            inside = (u >= 0) & (u <= w - 1) & (v >= first_row) & (v <= h - 1)
        column = np.where(inside, u + rule.rounding, 0).astype(np.intp)
        row = np.where(inside, v + rule.rounding, 0).astype(np.intp)
        self.inside: np.ndarray = inside
        self.pixels: np.ndarray = (row * w + column).reshape(-1)
        self._outside = np.flatnonzero(~inside)

    def look_up(self, image: np.ndarray, outside: int) -> np.ndarray:
        """Return what an image of `image_hw` shows at each point; `outside` if it is not seen.

        The result has the table's shape and the image's type.
        """
        assert image.shape == self.image_hw, (image.shape, self.image_hw)
        shown = np.ascontiguousarray(image).reshape(-1).take(self.pixels)
        return self.fill(shown.reshape(self.inside.shape), outside)

    def fill(self, values: np.ndarray, outside: int) -> np.ndarray:
        """Set the `values` of points that are not seen, in place, to `outside`; return them."""
        values.reshape(-1)[self._outside] = outside
        return values
