"""A camera message, Image or CompressedImage, to a Frame."""

from __future__ import annotations

from sensor_msgs.msg import CompressedImage, Image

from fcn_road_seg.messages.compressed_image import compressed_to_frame
from fcn_road_seg.messages.image import Frame, to_frame


def decode_message(msg: Image | CompressedImage) -> Frame:
    """Return the picture of an Image or a CompressedImage.

    Raises:
        ImageError: the message cannot be read.
    """
    return compressed_to_frame(msg) if isinstance(msg, CompressedImage) else to_frame(msg)
