"""The bird's-eye view of the KITTI road benchmark."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fcn_road_seg.evaluation.metrics import check_image
from fcn_road_seg.ground.pixel_table import KITTI_PIXELS, PixelTable, project_plane


@dataclass(frozen=True)
class BirdsEyeView:
    """A grid of square cells on the road plane, with x to the right and z ahead.

    `x_m` and `z_m` are its ranges and `cell_m` the side of a cell, all in metres; both ranges are
    whole numbers of cells. The defaults are the benchmark's.
    """

    x_m: tuple[float, float] = (-10.0, 10.0)
    z_m: tuple[float, float] = (6.0, 46.0)
    cell_m: float = 0.05

    @property
    def shape_hw(self) -> tuple[int, int]:
        """Number of cells along z and along x."""
        return (
            round((self.z_m[1] - self.z_m[0]) / self.cell_m),
            round((self.x_m[1] - self.x_m[0]) / self.cell_m),
        )

    def project(self, image: np.ndarray, road_to_image: np.ndarray, outside: int) -> np.ndarray:
        """Return an (H, W) uint8 image seen from above, `shape_hw` in size.

        `road_to_image` is the (3, 3) homography that `kitti_calibration.road_to_image` returns.
        The top row is the farthest, the left column has the least x. A cell takes the pixel under
        its centre, by truncation; as in the development kit, the pixel in row 0, column 0 has the
        coordinates (1, 1). Cells outside the image or behind the camera get the value `outside`:
        VOID for labels, 0 for confidences.

        Raises:
            ValueError: the image or the homography has the wrong type or shape.
        """
        check_image(image, 'image')
        if road_to_image.shape != (3, 3):
            raise ValueError(
                f'road_to_image must be 3 x 3, but is {road_to_image.shape}; '
                'use kitti_calibration.road_to_image'
            )
        h, w = self.shape_hw
        x = self.x_m[0] + self.cell_m * (np.arange(w) + 0.5)
        z = self.z_m[1] - self.cell_m * (np.arange(h)[:, None] + 0.5)
        u, v = project_plane(road_to_image, x, z)
        return PixelTable(u, v, image.shape, KITTI_PIXELS).look_up(image, outside)
