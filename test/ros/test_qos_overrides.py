import pytest
import rclpy
from rclpy.qos import QoSPolicyKind, QoSProfile
from sensor_msgs.msg import Image

from fcn_road_seg.ros.qos_overrides import overriding_options

DEPTH = (QoSPolicyKind.DEPTH,)


@pytest.fixture
def node_of():
    """A node that is given ROS arguments: `node_of('-p', 'a:=1')`."""
    contexts = []

    def create(*ros_args):
        contexts.append(rclpy.Context())
        contexts[-1].init(['--ros-args', *ros_args])
        return rclpy.create_node('camera', context=contexts[-1], namespace='front')

    yield create
    for context in contexts:
        context.shutdown()


def depths(node, *depths):
    """Create a publisher with each of these depths in turn; return the depths that they have."""
    found = []
    for depth in depths:
        publisher = node.create_publisher(
            Image,
            '~/mask',
            QoSProfile(depth=depth),
            qos_overriding_options=overriding_options(node, '~/mask', 'publisher', DEPTH),
        )
        (info,) = node.get_publishers_info_by_topic('/front/camera/mask')
        assert info.qos_profile.depth in (0, publisher.qos_profile.depth)  # 0: not told by DDS
        found.append(publisher.qos_profile.depth)
        node.destroy_publisher(publisher)
    return found


def test_publisher_that_is_created_again_has_its_own_depth(node_of):
    node = node_of()
    assert depths(node, 5, 200, 5) == [5, 200, 5]
    assert node.has_parameter('qos_overrides./front/camera/mask.publisher.depth')


def test_depth_that_is_given_holds_each_time(node_of):
    node = node_of('-p', 'qos_overrides./front/camera/mask.publisher.depth:=7')
    assert depths(node, 5, 200) == [7, 7]


def test_depth_that_is_given_for_another_name_of_the_topic_holds(node_of):
    node = node_of('-r', '~/mask:=/road', '-p', 'qos_overrides./road.publisher.depth:=7')
    publisher = node.create_publisher(
        Image,
        '~/mask',
        QoSProfile(depth=5),
        qos_overriding_options=overriding_options(node, '~/mask', 'publisher', DEPTH),
    )
    assert publisher.qos_profile.depth == 7
