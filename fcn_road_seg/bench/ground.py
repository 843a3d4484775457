"""Times for the road from above: the pixel table, the grid of a frame and the corridor in it."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from fcn_road_seg.bench.timing import Spread
from fcn_road_seg.ground.camera import Camera
from fcn_road_seg.ground.corridor import find_corridor
from fcn_road_seg.ground.grid import GroundGrid, GroundView
from fcn_road_seg.ground.mounting import Mounting

ROUNDS = 50
# A barrel distortion like that of KITTI's raw cameras.
DISTORTION = (-0.37, 0.2, 0.0014, 0.0006, -0.068)


def measure_ground(frame_hw: tuple[int, int]) -> dict[str, dict[str, float]]:
    """Return the spreads (ms) of `table`, `grid` and `corridor` for the default grid.

    The frames are of size `frame_hw`, and half of what they show is road. `table` is made once for
    each calibration, here one with lens distortion.
    """
    h, w = frame_hw
    camera = Camera(np.array([[w / 2, 0, w / 2], [0, w / 2, h / 2], [0, 0, 1]]), frame_hw)
    distorted = Camera(camera.matrix, frame_hw, 'plumb_bob', DISTORTION)
    mounting, grid = Mounting.from_angles(1.65, 0.0, 0.0), GroundGrid()
    view = GroundView(camera, mounting, grid)
    column = np.arange(w)
    is_road = np.abs(column - w / 2) < w / 4
    road_probability = np.tile(np.where(is_road, 255, 0).astype(np.uint8), (h, 1))
    cells = view.occupancy(road_probability)
    steps: dict[str, Callable[[], object]] = {
        'table': lambda: GroundView(distorted, mounting, grid),
        'grid': lambda: view.occupancy(road_probability),
        'corridor': lambda: find_corridor(cells, grid),
    }
    return {name: _spread_ms(step) for name, step in steps.items()}


def _spread_ms(step: Callable[[], object]) -> dict[str, float]:
    step()
    times_s = []
    for _ in range(ROUNDS):
        began_s = time.perf_counter()
        step()
        times_s.append(time.perf_counter() - began_s)
    return Spread.of(times_s, scale=1e3).as_dict(4)
