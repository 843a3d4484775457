"""Cameras above rendered roads, and their geometry, computed independently of the package."""

from functools import cache

import cv2
import numpy as np

from fcn_road_seg.ground.camera import Camera
from fcn_road_seg.ground.mounting import Mounting
from fcn_road_seg.synthetic import SyntheticDrive

# A typical lens of each model.
LENSES = {
    'pinhole': ('plumb_bob', ()),
    'plumb_bob': ('plumb_bob', (-0.37, 0.2, 1e-3, -5e-4, -0.07)),
    'rational_polynomial': (
        'rational_polynomial',
        (0.2, -0.1, 1e-3, 2e-4, 0.01, 0.5, -0.05, 0.03),
    ),
    'equidistant': ('equidistant', (-0.02, 0.01, -0.005, 0.001)),
}


@cache
def empty_drive(seed: int, frame_hw: tuple[int, int] = (375, 1242)) -> SyntheticDrive:
    """Return a drive on which nothing hides the road."""
    drive = SyntheticDrive(seed, frame_hw)
    drive.things = ()
    return drive


def camera_of(drive: SyntheticDrive, frame_hw: tuple[int, int]) -> tuple[Camera, Mounting]:
    """Return the camera of a drive, without the vehicle's bounce: level, at its height."""
    world = drive.world
    focal = drive.camera(0.0).focal
    matrix = np.array(
        [[focal, 0, frame_hw[1] / 2], [0, focal, world.horizon * frame_hw[0]], [0, 0, 1]]
    )
    return Camera(matrix, frame_hw), Mounting.from_angles(world.camera_height, 0.0, 0.0)


def ground_seen(
    lens: str,
    matrix: np.ndarray,
    frame_hw: tuple[int, int],
    height: float,
    pitch: float,
    roll: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Return x ahead and y to the left, (H, W) in metres, of the ground at each pixel.

    NaN above the horizon. OpenCV's own undistortion gives the directions.
    """
    model, distortion = LENSES[lens]
    v, u = np.mgrid[0 : frame_hw[0], 0 : frame_hw[1]].astype(np.float64)
    pixels = np.stack([u, v], axis=-1).reshape(-1, 1, 2)
    criteria = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 100, 1e-10)
    if model == 'equidistant':
        rays = cv2.fisheye.undistortPoints(pixels, matrix, np.array(distortion))
    elif distortion:
        undistort = getattr(cv2, 'undistortPointsIter', None)
        if undistort is None:
            rays = cv2.undistortPoints(pixels, matrix, np.array(distortion), criteria=criteria)
        else:
            rays = undistort(pixels, matrix, np.array(distortion), None, None, criteria)
    else:
        rays = cv2.undistortPoints(pixels, matrix, None)
    right, down = rays.reshape(*frame_hw, 2).transpose(2, 0, 1)
    # First the roll about the forward axis, which lowers the right side, then the pitch.
    ahead = np.ones_like(right)
    right, down = (
        np.cos(roll) * right - np.sin(roll) * down,
        np.sin(roll) * right + np.cos(roll) * down,
    )
    ahead, down = (
        np.cos(pitch) * ahead - np.sin(pitch) * down,
        np.sin(pitch) * ahead + np.cos(pitch) * down,
    )
    down = np.where(down > 1e-9, down, np.nan)
    return ahead * height / down, -right * height / down


def iou(first: np.ndarray, second: np.ndarray) -> float:
    """Return the intersection over union of two masks."""
    return float((first & second).sum() / (first | second).sum())
