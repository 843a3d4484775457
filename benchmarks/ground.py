"""Print how accurate the road from above is on rendered drives, with exact and with real masks.

PYTHONPATH=. python benchmarks/ground.py [--checkpoint FILE] [--drives 24]

Nothing hides the road in these drives. Cameras are calibrated at rest, but the vehicle bounces.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from itertools import count, islice

import numpy as np
from tqdm import tqdm

from fcn_road_seg import RoadSegmenter, default_checkpoint_path
from fcn_road_seg.ground.camera import Camera
from fcn_road_seg.ground.corridor import find_corridor
from fcn_road_seg.ground.grid import UNSEEN, GroundGrid, GroundView
from fcn_road_seg.ground.mounting import Mounting
from fcn_road_seg.synthetic import SyntheticDrive

HW = (375, 1242)
FIRST_SEED = 5_000_000
TIMES_S = (0.0, 2.3, 5.1)
DISTANCES_M = (10, 20, 30)
GRID = GroundGrid()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--checkpoint', default=default_checkpoint_path())
    parser.add_argument('--drives', type=int, default=24)
    args = parser.parse_args()
    segment = RoadSegmenter(args.checkpoint)
    areas = defaultdict(lambda: np.zeros(2))
    errors_m = defaultdict(list)
    frames = 0
    drives = (drive for drive in map(render, count()) if not drive.world.bonnet)
    x, y = np.broadcast_arrays(*GRID.centres_m())
    for drive in tqdm(islice(drives, args.drives), total=args.drives):
        view = view_of(drive)
        for t_s in TIMES_S:
            frames += 1
            frame_bgr, label = drive.render(t_s)
            truth = drive.is_road(t_s, x, -y)
            found = segment(frame_bgr, road_probability=True).road_probability
            for kind, probability in (('exact', label * np.uint8(255)), ('real', found)):
                cells = view.occupancy(probability)
                near = (cells != UNSEEN) & (x < 20)
                road = cells < 50
                areas[kind] += ((road & truth & near).sum(), ((road | truth) & near).sum())
                corridor = find_corridor(cells, GRID)
                for at_m in DISTANCES_M:
                    right_m = float(drive.camera(t_s).centre(np.array(float(at_m))))
                    centre_m = corridor.centre_m[corridor.x_m == at_m]
                    errors_m[kind, at_m] += np.abs(centre_m + right_m).tolist()
    for kind, (common, either) in areas.items():
        print(f'{kind} masks: IoU of the grids to 20 m {common / either:.3f}')
        for at_m in DISTANCES_M:
            errors = errors_m[kind, at_m]
            p50, p95 = np.percentile(errors, (50, 95))
            print(
                f'  centre at {at_m} m, {len(errors)} of {frames} frames: '
                f'error p50 {p50:.2f} m, p95 {p95:.2f} m'
            )


def render(index: int) -> SyntheticDrive:
    """Return a drive on which nothing hides the road."""
    drive = SyntheticDrive(FIRST_SEED + index, HW)
    drive.things = ()
    return drive


def view_of(drive: SyntheticDrive) -> GroundView:
    """Return what the camera of a drive, at rest, sees of the grid."""
    focal, world = drive.camera(0.0).focal, drive.world
    matrix = np.array([[focal, 0, HW[1] / 2], [0, focal, world.horizon * HW[0]], [0, 0, 1]])
    return GroundView(
        Camera(matrix, HW), Mounting.from_angles(world.camera_height, 0.0, 0.0), GRID
    )


if __name__ == '__main__':
    main()
