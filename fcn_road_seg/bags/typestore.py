"""message classes without ROS"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rosbags.typesys.store import Typestore

HEADER = 'std_msgs/msg/Header'
IMAGE = 'sensor_msgs/msg/Image'
COMPRESSED_IMAGE = 'sensor_msgs/msg/CompressedImage'
CAMERA_INFO = 'sensor_msgs/msg/CameraInfo'
# A stamp's seconds are an int32.
MAX_STAMP_NS = (2**31 - 1) * 1_000_000_000


class BagError(ValueError):
    """A bag or a message of it cannot be read, or a bag not be written; one line says why."""


def message(type_name: str, **fields: Any) -> Any:
    """Return a message of `type_name`, such as IMAGE; every field is given, arrays as numpy's."""
    return _typestore().types[type_name](**fields)


def header(stamp_ns: int, frame_id: str) -> Any:
    """Return a std_msgs Header; `stamp_ns` is 0 to MAX_STAMP_NS."""
    sec, nanosec = divmod(stamp_ns, 1_000_000_000)
    stamp = message('builtin_interfaces/msg/Time', sec=sec, nanosec=nanosec)
    return message(HEADER, stamp=stamp, frame_id=frame_id)


def _require_rosbags() -> None:
    # It is an extra; hence the imports within functions.
    try:
        import rosbags.rosbag2  # noqa: F401
    except ImportError as error:
        raise BagError(f"rosbags cannot be used ({error}); pip install 'rosbags>=0.11'") from error


@functools.cache
def _typestore() -> Typestore:
    from rosbags.typesys import Stores, get_typestore

    # The definitions and hashes of sensor_msgs are Jazzy's, too.
    return get_typestore(Stores.ROS2_HUMBLE)
