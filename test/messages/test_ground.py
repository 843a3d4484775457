import numpy as np
import pytest

from fcn_road_seg.ground.grid import GroundGrid
from fcn_road_seg.messages.ground import grid_msg, points_msg

pytest.importorskip('nav_msgs')
from builtin_interfaces.msg import Time
from nav_msgs.msg import OccupancyGrid
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import Header

STAMP = Time(sec=12, nanosec=34)


def test_grid_is_described_by_its_origin_and_resolution():
    grid = GroundGrid(x_min_m=2.0, x_max_m=5.0, width_m=4.0, resolution_m=0.5)
    cells = np.arange(48, dtype=np.int8).reshape(8, 6) - 1
    msg = grid_msg(cells, grid, Header(stamp=STAMP, frame_id='ground'))
    assert (msg.header.stamp, msg.header.frame_id) == (STAMP, 'ground')
    assert msg.info.map_load_time == STAMP
    assert (msg.info.width, msg.info.height, msg.info.resolution) == (6, 8, 0.5)
    origin = msg.info.origin
    assert (origin.position.x, origin.position.y, origin.position.z) == (2, -2, 0)
    assert origin.orientation.w == 1
    # Row by row from the right; a row begins at the nearest cell.
    assert msg.data.tolist() == list(range(-1, 47))
    assert deserialize_message(serialize_message(msg), OccupancyGrid) == msg


def test_points_are_organised_as_the_image():
    points = np.arange(24, dtype=np.float32).reshape(2, 4, 3)
    points[0, 1] = np.nan
    header = Header(stamp=STAMP, frame_id='camera')
    msg = points_msg(points, header)
    assert msg.header == header
    assert (msg.height, msg.width, msg.point_step, msg.row_step) == (2, 4, 12, 48)
    assert [(f.name, f.offset, f.datatype, f.count) for f in msg.fields] == [
        ('x', 0, 7, 1),
        ('y', 4, 7, 1),
        ('z', 8, 7, 1),
    ]
    assert not msg.is_dense
    back = deserialize_message(serialize_message(msg), PointCloud2)
    read = np.frombuffer(back.data, '<f4').reshape(2, 4, 3)
    np.testing.assert_array_equal(read, points)
