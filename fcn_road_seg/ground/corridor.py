"""The drivable corridor ahead: edges, centre line and width of the road, metre by metre."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fcn_road_seg.ground.grid import FREE, OCCUPIED, UNSEEN, GroundGrid

STEP_M = 1.0
# A narrower corridor is not drivable.
_MIN_WIDTH_M = 1.5
# The largest allowed distance of the nearest road from the vehicle's axis.
_MAX_START_OFFSET_M = 1.5


@dataclass(frozen=True, eq=False)
class Corridor:
    """The corridor where both of its edges are seen: (N,) float64 each, in metres on the ground.

    `x_m` are whole metres ahead, `left_m` and `right_m` the edges' y there, positive to the left.
    N is 0 if no road is seen.
    """

    x_m: np.ndarray
    left_m: np.ndarray
    right_m: np.ndarray

    @property
    def centre_m(self) -> np.ndarray:
        """The centre line's y."""
        return (self.left_m + self.right_m) / 2

    @property
    def width_m(self) -> np.ndarray:
        """The distance between the edges."""
        return self.left_m - self.right_m


def find_corridor(cells: np.ndarray, grid: GroundGrid) -> Corridor:
    """Return the corridor in a grid's cells, (H, W) int8 as GroundView.occupancy makes them.

    At every whole metre, the cells up to half a metre before and behind it are averaged in each
    row of the grid. An edge is where the average crosses the midpoint of free and occupied. The
    corridor begins with the road on or near the vehicle's axis, and follows the road that is
    connected to it; at another vehicle on the road, it takes the wider side. It ends where the
    road does. There is no point at a metre where an edge lies outside the picture or the grid.
    """
    first, last = np.ceil(grid.x_min_m / STEP_M), np.floor(grid.x_max_m / STEP_M)
    metres = np.arange(first, last + 1) * STEP_M
    run: tuple[float, float] | None = None
    found = []
    for x_m, across in zip(metres, _averages(cells, metres, grid), strict=True):
        if np.isnan(across).all():
            continue
        runs = _free_runs(across, grid)
        nearest = [r for r in runs if _overlap(r[:2], run) > 0]
        if not nearest:
            break
        right, left, is_closed = max(nearest, key=lambda r: _overlap(r[:2], run))
        run = (right, left)
        if is_closed:
            found.append((x_m, left, right))
    x, left_m, right_m = np.array(found, np.float64).reshape(-1, 3).T
    return Corridor(x, left_m, right_m)


def _averages(cells: np.ndarray, metres: np.ndarray, grid: GroundGrid) -> np.ndarray:
    """Return the mean of the seen cells around each metre, (N, H) float64; NaN if none is seen."""
    columns = (metres - grid.x_min_m) / grid.resolution_m
    half = STEP_M / 2 / grid.resolution_m
    begins = np.rint(columns - half).clip(0, cells.shape[1]).astype(int)
    ends = np.rint(columns + half).clip(begins + 1, None).clip(0, cells.shape[1]).astype(int)
    seen = cells != UNSEEN

    def sums(values: np.ndarray) -> np.ndarray:
        running = np.zeros((len(cells), cells.shape[1] + 1), np.int32)
        np.cumsum(values, axis=1, out=running[:, 1:])
        total: np.ndarray = (running[:, ends] - running[:, begins]).T
        return total

    with np.errstate(invalid='ignore', divide='ignore'):
        # Unseen cells are -1, so adding their number gives the exact sum of the seen ones.
        count = sums(seen)
        return (sums(cells) + (ends - begins)[:, None] - count) / np.where(count, count, np.nan)


def _free_runs(across: np.ndarray, grid: GroundGrid) -> list[tuple[float, float, bool]]:
    """Return (right, left, whether both edges are seen) of each wide enough run of free rows.

    Edges are in metres. At an end of the run, the edge is where the values on both sides of it,
    interpolated linearly between the cells' centres, cross the midpoint.
    """
    middle = (FREE + OCCUPIED) / 2
    with np.errstate(invalid='ignore'):
        is_free = across < middle
    steps = np.flatnonzero(np.diff(np.concatenate([[False], is_free, [False]])))
    runs = []
    for begin, end in steps.reshape(-1, 2):
        edges, closed = [], True
        for inner, outer in ((begin, begin - 1), (end - 1, end)):
            beyond = across[outer] if 0 <= outer < len(across) else np.nan
            if np.isnan(beyond):
                closed = False
                share = 0.5 * np.sign(outer - inner)
            else:
                share = (middle - across[inner]) / (beyond - across[inner]) * (outer - inner)
            edges.append(grid.origin_xy_m[1] + grid.resolution_m * (inner + 0.5 + share))
        if edges[1] - edges[0] >= _MIN_WIDTH_M:
            runs.append((edges[0], edges[1], closed))
    return runs


def _overlap(run: tuple[float, float], before: tuple[float, float] | None) -> float:
    """Return how many metres a run shares with the one before or, if none, the vehicle's path."""
    low, high = before or (-_MAX_START_OFFSET_M, _MAX_START_OFFSET_M)
    return min(run[1], high) - max(run[0], low)
