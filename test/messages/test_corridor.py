import numpy as np
import pytest

from fcn_road_seg.ground.corridor import Corridor
from fcn_road_seg.messages.corridor import edges_msg, path_msg

pytest.importorskip('visualization_msgs')
from builtin_interfaces.msg import Duration, Time
from nav_msgs.msg import Path
from rclpy.serialization import deserialize_message, serialize_message
from std_msgs.msg import Header
from visualization_msgs.msg import Marker, MarkerArray

HEADER = Header(stamp=Time(sec=12, nanosec=34), frame_id='ground')
EMPTY = Corridor(*np.empty((3, 0)))
BENT = Corridor(np.array([6.0, 7, 8]), np.array([3.0, 4, 5]), np.array([-1.0, 0, 1]))


def test_path_is_the_centre_line_and_looks_along_it():
    path = path_msg(BENT, HEADER)
    assert path.header == HEADER
    assert all(pose.header == HEADER for pose in path.poses)
    places = [(pose.pose.position.x, pose.pose.position.y) for pose in path.poses]
    assert places == [(6, 1), (7, 2), (8, 3)]
    for pose in path.poses:
        # 45 degrees to the left.
        assert pose.pose.orientation.z == pytest.approx(np.sin(np.pi / 8))
        assert pose.pose.orientation.w == pytest.approx(np.cos(np.pi / 8))
    assert deserialize_message(serialize_message(path), Path) == path


def test_edges_are_two_lines_with_the_points_of_the_path():
    array = edges_msg(BENT, HEADER)
    left, right = array.markers
    assert (left.ns, right.ns) == ('left', 'right')
    assert [(p.x, p.y, p.z) for p in left.points] == [(6, 3, 0), (7, 4, 0), (8, 5, 0)]
    assert [(p.x, p.y, p.z) for p in right.points] == [(6, -1, 0), (7, 0, 0), (8, 1, 0)]
    for marker in array.markers:
        assert (marker.header, marker.type, marker.action) == (
            HEADER,
            Marker.LINE_STRIP,
            Marker.ADD,
        )
        assert marker.scale.x > 0
        assert marker.color.a > 0
        assert marker.lifetime == Duration(sec=1)
        assert marker.pose.orientation.w == 1
    assert deserialize_message(serialize_message(array), MarkerArray) == array


def test_without_a_corridor_the_path_is_empty_and_the_edges_are_deleted():
    assert list(path_msg(EMPTY, HEADER).poses) == []
    assert path_msg(EMPTY, HEADER).header == HEADER
    assert [marker.action for marker in edges_msg(EMPTY, HEADER).markers] == [Marker.DELETE] * 2


def test_single_metre_looks_ahead_and_is_too_short_for_edges():
    one = Corridor(np.array([6.0]), np.array([3.0]), np.array([-1.0]))
    (pose,) = path_msg(one, HEADER).poses
    assert (pose.pose.orientation.z, pose.pose.orientation.w) == (0, 1)
    assert [marker.action for marker in edges_msg(one, HEADER).markers] == [Marker.DELETE] * 2
