"""The road on the ground as messages: nav_msgs/OccupancyGrid and sensor_msgs/PointCloud2."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

import numpy as np

from fcn_road_seg.ground.grid import GroundGrid
from fcn_road_seg.messages.image import byte_array

if TYPE_CHECKING:
    from nav_msgs.msg import OccupancyGrid
    from sensor_msgs.msg import PointCloud2
    from std_msgs.msg import Header

_POINT_BYTES = 12


def grid_msg(cells: np.ndarray, grid: GroundGrid, header: Header) -> OccupancyGrid:
    """Return the OccupancyGrid of (H, W) int8 cells: rows along y from the right, columns along x.

    The frame of `header` is the ground's.
    """
    from nav_msgs.msg import OccupancyGrid

    msg = OccupancyGrid(header=header)
    msg.info.map_load_time = header.stamp
    msg.info.resolution = grid.resolution_m
    msg.info.height, msg.info.width = cells.shape
    msg.info.origin.position.x, msg.info.origin.position.y = grid.origin_xy_m
    data = array('b')
    data.frombytes(np.ascontiguousarray(cells).data.cast('B'))
    msg.data = data
    return msg


def points_msg(points: np.ndarray, header: Header) -> PointCloud2:
    """Return the organised PointCloud2 of (h, w, 3) float32 points, with `header` unchanged."""
    from sensor_msgs.msg import PointCloud2, PointField

    h, w = points.shape[:2]
    return PointCloud2(
        header=header,
        height=h,
        width=w,
        fields=[
            PointField(name=name, offset=4 * i, datatype=PointField.FLOAT32, count=1)
            for i, name in enumerate('xyz')
        ],
        is_bigendian=False,
        point_step=_POINT_BYTES,
        row_step=_POINT_BYTES * w,
        data=byte_array(points.astype('<f4', copy=False)),
        is_dense=False,
    )
