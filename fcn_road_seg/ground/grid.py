"""The road from above, in metres: a grid of cells on the ground, and what a camera sees of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fcn_road_seg.ground.camera import Camera
from fcn_road_seg.ground.errors import GroundError
from fcn_road_seg.ground.mounting import Mounting
from fcn_road_seg.ground.pixel_table import PixelTable

# The frame of a grid, unless another name is given.
GROUND_FRAME = 'ground'
MAX_CELLS = 4_000_000
# Values of an occupancy grid.
FREE, OCCUPIED, UNSEEN = 0, 100, -1
# The value of a cell, by 255 * p(road).
_OCCUPANCY = np.rint((255 - np.arange(256)) * (OCCUPIED / 255)).astype(np.int8)


@dataclass(frozen=True)
class GroundGrid:
    """A grid on the ground: x ahead from `x_min_m` to `x_max_m`, `width_m` across around y = 0.

    Cells are squares of `resolution_m`; all lengths are in metres.

    Raises:
        GroundError: a length is not finite, the grid is empty, or has more than MAX_CELLS cells.
    """

    x_min_m: float = 6.0
    x_max_m: float = 46.0
    width_m: float = 20.0
    resolution_m: float = 0.1

    def __post_init__(self) -> None:
        lengths = (self.x_min_m, self.x_max_m, self.width_m, self.resolution_m)
        if not np.isfinite(lengths).all():
            raise GroundError(f'the grid {lengths} is not finite; use metres such as 6 46 20 0.1')
        if not (self.x_min_m < self.x_max_m and self.width_m > 0 and self.resolution_m > 0):
            raise GroundError(
                f'the grid from {self.x_min_m:g} to {self.x_max_m:g} m, {self.width_m:g} m wide, '
                f'with cells of {self.resolution_m:g} m is empty; use metres such as 6 46 20 0.1'
            )
        cells = (self.x_max_m - self.x_min_m) * self.width_m / self.resolution_m**2
        if cells > MAX_CELLS:
            raise GroundError(
                f'the grid has {cells:.3g} cells; use at most {MAX_CELLS}, '
                'with larger cells or a smaller range'
            )
        if min(self.shape_hw) < 1:
            raise GroundError(
                f'the grid is too small for a cell of {self.resolution_m:g} m; use smaller cells'
            )

    @property
    def shape_hw(self) -> tuple[int, int]:
        """The number of cells along y (rows) and along x (columns)."""
        return (
            round(self.width_m / self.resolution_m),
            round((self.x_max_m - self.x_min_m) / self.resolution_m),
        )

    @property
    def origin_xy_m(self) -> tuple[float, float]:
        """The corner of the first cell: row 0 is the rightmost, column 0 the nearest."""
        return self.x_min_m, -self.width_m / 2

    def centres_m(self) -> tuple[np.ndarray, np.ndarray]:
        """Return x (1, W) and y (H, 1) of the cells' centres in metres."""
        h, w = self.shape_hw
        x_min, y_min = self.origin_xy_m
        x = x_min + self.resolution_m * (np.arange(w)[None] + 0.5)
        y = y_min + self.resolution_m * (np.arange(h)[:, None] + 0.5)
        return x, y


class GroundView:
    """What a mounted camera sees of a grid on the ground, by a table of pixels.

    The topmost share `roi_top` of the images' rows is ignored, as the segmenter ignores it.

    Raises:
        GroundError: no cell of the grid is in the image.
    """

    def __init__(
        self, camera: Camera, mounting: Mounting, grid: GroundGrid, roi_top: float = 0.0
    ) -> None:
        self.grid = grid
        self.camera, self._mounting = camera, mounting
        self._points: dict[int, np.ndarray] = {}
        self._hidden_rows = round(roi_top * camera.image_hw[0])
        u, v = camera.project(mounting.to_camera(*grid.centres_m()))
        self._table = PixelTable(u, v, camera.image_hw, first_row=self._hidden_rows)
        if not self._table.inside.any():
            raise GroundError(
                'no cell of the grid is in the image: the camera looks up or past the grid; '
                'check its pitch and roll, and the range of the grid'
            )

    @property
    def pixels(self) -> np.ndarray:
        """The pixel at the centre of each cell, (H * W,) intp, as an index in row-major order."""
        return self._table.pixels

    def occupancy(self, road_probability: np.ndarray) -> np.ndarray:
        """Return the grid's cells, (H, W) int8, for an image of 255 * p(road), uint8."""
        return self.occupancy_at(self._table.look_up(road_probability, outside=0).reshape(-1))

    def occupancy_at(self, road_probability_at: np.ndarray) -> np.ndarray:
        """Return the grid's cells, (H, W) int8, for 255 * p(road) at `pixels`, (H * W,) uint8.

        A cell is round(100 * (1 - p(road))) of the pixel at its centre: 0 is free and 100 is
        occupied; -1 is not seen. Rows are along y from the right, columns along x.
        """
        cells = _OCCUPANCY.take(road_probability_at).reshape(self.grid.shape_hw)
        return self._table.fill(cells, UNSEEN)

    def points(self, stride: int = 1) -> np.ndarray:
        """Return the points of the ground at the pixels, (h, w, 3) float32, in the optical frame.

        The pixels are those of every `stride`-th row and column, from the first on. The points
        are in metres, and NaN above the horizon and in hidden rows. They are computed once, and
        must not be changed.
        """
        if stride not in self._points:
            points = self._mounting.on_ground(self.camera.pixel_rays(stride))
            points[: -(-self._hidden_rows // stride)] = np.nan
            self._points[stride] = points.astype(np.float32)
        return self._points[stride]
