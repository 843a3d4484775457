"""ROS 2 messages as rosbags' own classes, which need no ROS installation."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rosbags.typesys.store import Typestore

HEADER = 'std_msgs/msg/Header'
IMAGE = 'sensor_msgs/msg/Image'
COMPRESSED_IMAGE = 'sensor_msgs/msg/CompressedImage'
CAMERA_INFO = 'sensor_msgs/msg/CameraInfo'
# The seconds of a stamp are an int32.
MAX_STAMP_NS = (2**31 - 1) * 1_000_000_000


class BagError(ValueError):
    """A bag or one of its messages cannot be read or written; the text says why in one line."""


def message(type_name: str, **fields: Any) -> Any:
    """Return a message of `type_name`, such as IMAGE; give all fields, arrays as NumPy arrays."""
    return typestore().types[type_name](**fields)


def header(stamp_ns: int, frame_id: str) -> Any:
    """Return a std_msgs Header; `stamp_ns` is in [0, MAX_STAMP_NS]."""
    sec, nanosec = divmod(stamp_ns, 1_000_000_000)
    stamp = message('builtin_interfaces/msg/Time', sec=sec, nanosec=nanosec)
    return message(HEADER, stamp=stamp, frame_id=frame_id)


def require_rosbags() -> None:
    """Raise BagError, with the remedy, if rosbags or mcap is not installed."""
    # They are optional dependencies, so modules import them inside functions.
    try:
        import mcap.reader  # noqa: F401
        import rosbags.rosbag2  # noqa: F401
    except ImportError as error:
        raise BagError(
            f"rosbags or mcap cannot be used ({error}); pip install mcap 'rosbags>=0.11,<0.12'"
        ) from error


@functools.cache
def typestore() -> Typestore:
    """Return the definitions of ROS 2's own message types."""
    from rosbags.typesys import Stores, get_typestore

    # In Jazzy, sensor_msgs has the same definitions and hashes.
    return get_typestore(Stores.ROS2_HUMBLE)
