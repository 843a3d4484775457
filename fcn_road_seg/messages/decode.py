"""sensor_msgs/Image or CompressedImage -> uint8 array, for callers that accept both."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fcn_road_seg.messages.compressed_image import compressed_to_frame
from fcn_road_seg.messages.image import Frame, to_frame

if TYPE_CHECKING:
    from sensor_msgs.msg import CompressedImage, Image


def decode_message(msg: Image | CompressedImage) -> Frame:
    """Return the picture of an Image or CompressedImage, of ROS's classes or of rosbags'.

    Raises:
        ImageError: as `to_frame` and `compressed_to_frame`.
    """
    # Only CompressedImage has a format. Its class may not exist: bags are read without ROS.
    return compressed_to_frame(msg) if hasattr(msg, 'format') else to_frame(msg)
