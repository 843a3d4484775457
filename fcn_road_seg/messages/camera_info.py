"""sensor_msgs/CameraInfo -> the camera of the images beside it; checked before it is used."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fcn_road_seg.ground.camera import Camera
from fcn_road_seg.ground.errors import GroundError
from fcn_road_seg.ground.lens import MAX_COEFFICIENTS

if TYPE_CHECKING:
    from sensor_msgs.msg import CameraInfo

# The tolerance for the sides of binned images, which drivers round up or down.
_MAX_SCALE_DIFFERENCE = 0.01


def shown_region(msg: CameraInfo) -> tuple[int, int, int, int]:
    """Return x, y, width and height of the part of the sensor that the images show, in pixels.

    It is the region of interest or, if that is empty, the whole sensor; 0 if no size is given.
    """
    roi = msg.roi
    if roi.width and roi.height:
        return roi.x_offset, roi.y_offset, roi.width, roi.height
    return 0, 0, msg.width, msg.height


def camera_of_info(msg: CameraInfo, image_hw: tuple[int, int], *, rectified: bool) -> Camera:
    """Return the camera of images of `image_hw` (rows, columns) that belong to a CameraInfo.

    The CameraInfo's matrix K is for the full sensor: the region of interest is cut out, and what
    is left is scaled to the images, which binning or a resizing driver has made smaller. A
    CameraInfo of size 0 x 0 is taken to have the images' size. For `rectified` images the matrix
    is the left 3 x 3 part of P, and there is no distortion.

    Raises:
        GroundError: the camera is not calibrated (its matrix is 0), the images have another aspect
            ratio, there are more coefficients than any distortion model has, or a number is
            impossible for a camera.
    """
    matrix = np.array(msg.p if rectified else msg.k, np.float64)
    matrix = matrix.reshape(3, 4)[:, :3] if rectified else matrix.reshape(3, 3)
    if not matrix.any():
        name = 'projection matrix P' if rectified else 'camera matrix K'
        raise GroundError(
            f'the {name} of camera_info is all zero: calibrate the camera with camera_calibration'
        )
    x, y, width, height = shown_region(msg)
    matrix[:2, 2] -= (x, y)
    height, width = height or image_hw[0], width or image_hw[1]
    by_x, by_y = image_hw[1] / width, image_hw[0] / height
    # Rows and columns of binned images may be rounded.
    tolerance = _MAX_SCALE_DIFFERENCE * max(by_x, by_y) + 1 / min(height, width)
    if abs(by_x - by_y) > tolerance:
        raise GroundError(
            f'camera_info is for {width} x {height} pixels, but the images have '
            f'{image_hw[1]} x {image_hw[0]}; remap camera_info to the topic of the same camera'
        )
    # Integer coordinates are pixel centres: the first one is at 0, and its left edge at -0.5.
    scale = np.array([[by_x, 0, by_x / 2 - 0.5], [0, by_y, by_y / 2 - 0.5], [0, 0, 1]])
    with np.errstate(invalid='ignore', over='ignore'):
        scaled = scale @ matrix
    if rectified:
        return Camera(scaled, image_hw)
    # Checked before they are copied, as there may be millions.
    if len(msg.d) > MAX_COEFFICIENTS:
        raise GroundError(
            f'camera_info has {len(msg.d)} distortion coefficients, but no model has more than '
            f'{MAX_COEFFICIENTS}; calibrate the camera'
        )
    return Camera(scaled, image_hw, msg.distortion_model, tuple(map(float, msg.d)))
