"""Checks that a message is either used or refused, and tells which."""

from __future__ import annotations

import numpy as np
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from fcn_road_seg.ground.errors import GroundError
from fcn_road_seg.ground.grid import GroundGrid, GroundView
from fcn_road_seg.ground.mounting import Mounting
from fcn_road_seg.messages.camera_info import camera_of_info
from fcn_road_seg.messages.decode import decode_message
from fcn_road_seg.messages.image import ImageError


def is_readable(msg: Image | CompressedImage) -> bool:
    """Return True if a message is decoded to a picture, False if refused; fail if neither."""
    refusal = ''
    try:
        pixels = decode_message(msg).pixels
    except ImageError as error:
        refusal = str(error)
    assert refusal.isprintable()
    if refusal:
        return False
    h, w, channels = pixels.shape
    assert (channels, pixels.dtype) == (3, np.uint8)
    assert h * w > 0
    assert isinstance(msg, CompressedImage) or (h, w) == (msg.height, msg.width)
    return True


def has_ground(msg: CameraInfo, *, rectified: bool) -> bool:
    """Return True if a CameraInfo gives a view of the ground, False if it is refused.

    The images have 48 x 64 pixels (H x W). Fails if neither happens, or if NumPy warns.
    """
    points = None
    refusal = ''
    with np.errstate(all='raise', under='ignore'):
        try:
            camera = camera_of_info(msg, (48, 64), rectified=rectified)
            view = GroundView(camera, Mounting.from_angles(1.5, 0.05, 0.0), GroundGrid())
            points = view.points(1)
        except GroundError as error:
            refusal = str(error)
    assert refusal.isprintable()
    assert refusal or points.shape == (48, 64, 3)
    return not refusal
