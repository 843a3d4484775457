import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from nav_msgs.msg import OccupancyGrid
from rclpy.qos import ReliabilityPolicy
from rclpy.time import Time
from sensor_msgs.msg import CameraInfo

from fcn_road_seg.model.checkpoint import load_checkpoint
from fcn_road_seg.model.shipped_checkpoints import default_checkpoint_path
from fcn_road_seg.ros.frame_statistics import PUBLISHED
from fcn_road_seg.ros.ground_stage import GROUND_OUTPUTS
from fcn_road_seg.ros.publishers import CAMERA_INFO, DEPTH, OUTPUTS, Publishers
from fcn_road_seg.synthetic import SyntheticDrive
from test.helpers.peer import Peer, pixels_of, values_of

EVERY = (*OUTPUTS, CAMERA_INFO)


@pytest.fixture(scope='module')
def peer(start_module_node):
    """A listener to everything, of a node at its defaults."""
    start_module_node('-r', '__ns:=/outputs')
    peer = Peer('outputs', EVERY)
    camera_info = peer.node.create_publisher(CameraInfo, 'camera_info', 1)
    peer.node.create_timer(
        0.05, lambda: camera_info.publish(CameraInfo(width=160, distortion_model='plumb_bob'))
    )
    peer.connect()
    yield peer
    peer.close()


def test_all_outputs_of_one_frame_agree_and_carry_its_header(peer):
    frame, _ = SyntheticDrive(3_000_004, (120, 160)).render(t_s=0.0)
    stamp = peer.send(frame)
    peer.answer(stamp)
    msgs = {topic: peer.received[topic][stamp] for topic in EVERY}
    for topic in OUTPUTS:
        assert msgs[topic].header.frame_id == f'camera_{stamp}', topic
        assert msgs[topic].header.stamp.nanosec == 123_456_789, topic
    pixels = {topic: pixels_of(msgs[topic]) for topic in OUTPUTS}
    mask = pixels['mask']
    assert mask.shape == (120, 160)
    assert set(np.unique(mask)) == {0, 255}
    assert np.array_equal(pixels['class_mask'], mask // 255)
    assert np.array_equal(pixels['mask/compressed'], mask)
    limit = 255 * load_checkpoint(default_checkpoint_path()).threshold
    p_road = pixels['road_probability']
    clear = np.abs(p_road - limit) > 1
    assert np.array_equal((p_road > limit)[clear], (mask > 0)[clear])
    assert np.array_equal(pixels['confidence'], np.maximum(p_road, 255 - p_road))
    assert np.array_equal(pixels['overlay'][mask == 0], frame[mask == 0])
    assert not np.array_equal(pixels['overlay'], frame)
    jpeg = pixels['overlay/compressed'].astype(int)
    assert np.abs(jpeg - pixels['overlay']).mean() < 8


def test_camera_info_is_relayed_under_the_frames_stamp(peer):
    stamp = peer.send(np.zeros((32, 32, 3), np.uint8))
    peer.answer(stamp)
    camera_info = peer.received[CAMERA_INFO][stamp]
    assert camera_info.header.stamp.nanosec == 123_456_789
    assert (camera_info.width, camera_info.distortion_model) == (160, 'plumb_bob')


def published(peer):
    values = values_of(peer.next_diagnostics())
    return {topic: int(values[f'published {topic}']) for topic in EVERY}


def test_only_what_is_listened_to_is_made(peer):
    for topic in [topic for topic in EVERY if topic != 'class_mask']:
        peer.stop_listening(topic)
    frame = np.zeros((32, 32, 3), np.uint8)
    # Until the node has heard that the listeners are gone.
    peer.spin_for(1.0)
    before = published(peer)
    for _ in range(4):
        peer.answer(peer.send(frame))
    after = published(peer)
    assert after.pop('class_mask') == before.pop('class_mask') + 4
    assert after == before


def test_outputs_are_reliable_and_volatile(peer):
    (info,) = peer.node.get_publishers_info_by_topic('/outputs/fcn_road_seg/mask')
    assert info.qos_profile.reliability == ReliabilityPolicy.RELIABLE
    assert info.qos_profile.durability.name == 'VOLATILE'
    assert DEPTH == 5


def test_diagnostics_count_every_output():
    assert set(PUBLISHED) == {*EVERY, *GROUND_OUTPUTS}


def test_qos_of_one_output_can_be_overridden(start_node, random_checkpoint_path):
    topic = '/overridden/fcn_road_seg/mask'
    start_node(
        *('-r', '__ns:=/overridden', '-p', f'checkpoint:={random_checkpoint_path}'),
        *('-p', f'qos_overrides.{topic}.publisher.reliability:=best_effort'),
    )
    peer = Peer('overridden', ())
    best_effort = set()
    for name in EVERY:
        other = f'/overridden/fcn_road_seg/{name}'
        peer.spin_until(lambda other=other: peer.node.get_publishers_info_by_topic(other))
        (info,) = peer.node.get_publishers_info_by_topic(other)
        if info.qos_profile.reliability == ReliabilityPolicy.BEST_EFFORT:
            best_effort.add(other)
    assert best_effort == {topic}
    peer.close()


def test_camera_info_alone_is_relayed_for_every_frame_without_the_network(
    start_node, random_checkpoint_path
):
    namespace = ('-r', '__ns:=/relayed', '-p', 'input_reliability:=reliable')
    start_node(*namespace, '-p', f'checkpoint:={random_checkpoint_path}')
    peer = Peer('relayed', (CAMERA_INFO,))
    camera_info = peer.node.create_publisher(CameraInfo, 'camera_info', 1)
    peer.node.create_timer(0.05, lambda: camera_info.publish(CameraInfo(width=160)))
    peer.connect()
    stamps = []
    for _ in range(3):
        stamps.append(peer.send(np.zeros((32, 32, 3), np.uint8)))
        (relayed,) = peer.answer(stamps[-1])
        assert relayed.width == 160
    values = values_of(peer.next_diagnostics())
    assert values['frames segmented'] == '0'
    assert int(values['published camera_info']) >= 3
    peer.close()


def test_camera_info_is_relayed_without_the_network_beside_a_grid_that_cannot_be_made(
    start_node, random_checkpoint_path
):
    # camera_height is 0, and there is no tf.
    namespace = ('-r', '__ns:=/no_ground', '-p', 'input_reliability:=reliable')
    start_node(*namespace, '-p', f'checkpoint:={random_checkpoint_path}')
    peer = Peer('no_ground', (CAMERA_INFO,))
    grids = []
    peer.node.create_subscription(OccupancyGrid, 'fcn_road_seg/grid', grids.append, 1)
    camera_info = peer.node.create_publisher(CameraInfo, 'camera_info', 1)
    peer.node.create_timer(0.05, lambda: camera_info.publish(CameraInfo(width=160)))
    peer.connect()
    small = np.zeros((32, 32, 3), np.uint8)

    def is_grid_wanted():
        peer.send(small)
        return values_of(peer.next_diagnostics())['frames without ground'] != '0'

    peer.spin_until(is_grid_wanted)
    (relayed,) = peer.answer(peer.send(small))
    assert relayed.width == 160
    assert values_of(peer.next_diagnostics())['frames segmented'] == '0'
    assert grids == []
    peer.close()


class FakeNode:
    """Creates publishers that keep what they publish."""

    def __init__(self):
        self.published = {}
        self._parameter_overrides = {}

    def resolve_topic_name(self, topic):
        return topic

    def has_parameter(self, name):
        return False

    def create_publisher(self, kind, topic, qos, **_):
        messages = self.published[topic] = []
        return SimpleNamespace(publish=messages.append)

    def destroy_publisher(self, publisher):
        pass

    def get_clock(self):
        return SimpleNamespace(now=lambda: Time(seconds=12))


@pytest.fixture
def vision_msgs(monkeypatch):
    # PyPI does not have vision_msgs.
    module = ModuleType('vision_msgs.msg')
    module.LabelInfo = module.VisionClass = lambda **fields: SimpleNamespace(**fields)
    monkeypatch.setitem(sys.modules, 'vision_msgs', ModuleType('vision_msgs'))
    monkeypatch.setitem(sys.modules, 'vision_msgs.msg', module)


def test_label_info_names_the_classes_the_threshold_and_the_time(vision_msgs):
    node = FakeNode()
    publishers = Publishers(node, every_frame=False)
    assert node.published['~/label_info'] == []
    publishers.publish_label_info(0.7)
    (info,) = node.published['~/label_info']
    assert [(c.class_id, c.class_name) for c in info.class_map] == [(0, 'background'), (1, 'road')]
    assert (info.threshold, info.header.stamp.sec) == (0.7, 12)


def test_label_info_is_sent_again_only_when_the_threshold_changes(vision_msgs):
    node = FakeNode()
    publishers = Publishers(node, every_frame=False)
    for threshold in (0.5, 0.5, 0.6, 0.6, 0.5):
        publishers.publish_label_info(threshold)
    assert [info.threshold for info in node.published['~/label_info']] == [0.5, 0.6, 0.5]
