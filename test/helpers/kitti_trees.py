"""KITTI folders as they are after unpacking, with rendered frames and real calibrations."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from fcn_road_seg.synthetic import SyntheticDrive

# The calibration of 2011_09_26.
CALIB_CAM_TO_CAM = """\
calib_time: 09-Jan-2012 13:57:47
corner_dist: 9.950000e-02
S_02: 1.392000e+03 5.120000e+02
K_02: 9.597910e+02 0 6.960217e+02 0 9.569251e+02 2.241806e+02 0 0 1
D_02: -3.691481e-01 1.968681e-01 1.353473e-03 5.677587e-04 -6.770705e-02
R_02: 9.999758e-01 -5.267463e-03 -4.552439e-03 5.251945e-03 9.999804e-01 -3.413835e-03 \
4.570332e-03 3.389843e-03 9.999838e-01
T_02: 5.956621e-02 2.900141e-04 2.577209e-03
S_rect_02: 1.242000e+03 3.750000e+02
R_rect_02: 9.998817e-01 1.511453e-02 -2.841595e-03 -1.511724e-02 9.998853e-01 -9.338510e-04 \
2.827154e-03 9.766976e-04 9.999955e-01
P_rect_02: 7.215377e+02 0 6.095593e+02 4.485728e+01 0 7.215377e+02 1.728540e+02 2.163791e-01 \
0 0 1 2.745884e-03
"""
P2 = [721.5377, 0, 609.5593, 44.85728, 0, 721.5377, 172.854, 0.2163791, 0, 0, 1, 0.002745884]
# Those of the road benchmark's um frames and of odometry sequence 00.
ROAD_CALIB = f'P2: {" ".join(map(str, P2))}\nR0_rect: 1 0 0 0 1 0 0 0 1\n'
ODOMETRY_P2 = [718.856, 0, 607.1928, 45.38225, 0, 718.856, 185.2157, -0.1130887, 0, 0, 1, 0.0038]
ODOMETRY_CALIB = f'P2: {" ".join(map(str, ODOMETRY_P2))}\n'
DAY = '2011_09_26'
FRAME_HW = (60, 200)


# About the median of what the tests' random network says of `rendered`: half of each mask is road.
HALF_ROAD_THRESHOLD = 0.486


@functools.cache
def rendered(count: int, frame_hw: tuple[int, int] = FRAME_HW) -> list[np.ndarray]:
    """Return `count` frames of one drive, (H, W, 3) uint8 BGR."""
    drive = SyntheticDrive(3_000_002, frame_hw)
    return [drive.render(t_s=index / 10)[0] for index in range(count)]


def timestamps(count: int) -> list[str]:
    """Return lines of a timestamps.txt, 1.000000007 s apart."""
    return [f'2011-09-26 13:02:{25 + i}.{964389445 + 7 * i:09}' for i in range(count)]


def write_images(folder: Path, names: Sequence[str], frame_hw: tuple[int, int] = FRAME_HW) -> None:
    folder.mkdir(parents=True)
    for name, frame in zip(names, rendered(len(names), frame_hw), strict=True):
        assert cv2.imwrite(str(folder / name), frame)


def raw_drive(root: Path, count: int = 4, kind: str = 'sync', suffix: str = '.png') -> Path:
    """Write a raw drive and return its folder."""
    drive = root / DAY / f'{DAY}_drive_0005_{kind}'
    write_images(drive / 'image_02/data', [f'{i:010}{suffix}' for i in range(count)])
    (drive / 'image_02/timestamps.txt').write_text('\n'.join(timestamps(count)) + '\n')
    (root / DAY / 'calib_cam_to_cam.txt').write_text(CALIB_CAM_TO_CAM)
    return drive


def odometry_sequence(root: Path, times: Sequence[str]) -> Path:
    """Write an odometry sequence with these times, and return its folder."""
    sequence = root / 'sequences/00'
    write_images(sequence / 'image_2', [f'{i:06}.png' for i in range(len(times))])
    (sequence / 'times.txt').write_text('\n'.join(times) + '\n')
    (sequence / 'calib.txt').write_text(ODOMETRY_CALIB)
    return sequence


def road_folder(root: Path, names: Sequence[str] = ('um_000000', 'umm_000004')) -> Path:
    """Write the training folder of the road benchmark, and return its parent folder."""
    write_images(root / 'data_road/training/image_2', [f'{name}.png' for name in names])
    (root / 'data_road/training/calib').mkdir()
    for name in names:
        (root / f'data_road/training/calib/{name}.txt').write_text(ROAD_CALIB)
    return root / 'data_road'
