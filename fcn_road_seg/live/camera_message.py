"""What the camera publishes: one serialised Image or CompressedImage."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from fcn_road_seg.messages.decode import decode_message
from fcn_road_seg.messages.image import ImageError, image_msg


@dataclass(frozen=True)
class CameraMessage:
    """One message of the camera: `type` (Image or CompressedImage), serialised as `cdr`.

    `offset_s` is when it is due, in s after the first one. `label` is the exact (H, W) uint8 label
    of its frame, and `road_cells` the exact road from above, (H, W) bool, if they are known.
    `camera_info` is the serialised CameraInfo that is published before it, or None.
    """

    cdr: bytes
    offset_s: float = 0.0
    type: type = Image
    label: np.ndarray | None = None
    camera_info: bytes | None = None
    road_cells: np.ndarray | None = None

    @classmethod
    def from_frame(
        cls, frame_bgr: np.ndarray, offset_s: float = 0.0, label: np.ndarray | None = None
    ) -> CameraMessage:
        """Return the bgr8 Image of an (H, W, 3) uint8 frame."""
        msg = image_msg(frame_bgr, 'bgr8', Header(frame_id='camera'))
        return cls(serialize_message(msg), offset_s, label=label)

    def frame_bgr(self) -> np.ndarray:
        """Return the frame, (H, W, 3) uint8 BGR.

        Raises:
            ImageError: the message cannot be decoded; the node would refuse it, too.
        """
        try:
            msg = deserialize_message(self.cdr, self.type)
        except RuntimeError as error:
            # rclpy's own text names its C++ source file.
            raise ImageError(
                f'{len(self.cdr)} bytes are not a valid {self.type.__name__}; record it again'
            ) from error
        return decode_message(msg).bgr()
