import threading
from collections import Counter

import numpy as np
import pytest
import rclpy
from rclpy.lifecycle import TransitionCallbackReturn
from std_srvs.srv import SetBool

from fcn_road_seg.inference.segmenter import RoadSegmenter
from fcn_road_seg.ros import frame_stream
from fcn_road_seg.ros.frame_stream import FrameStream
from fcn_road_seg.ros.managed_node import StartError
from fcn_road_seg.ros.node import SegmentNode
from fcn_road_seg.ros.publishers import OUTPUTS
from fcn_road_seg.ros.rclpy_compat import lifecycle_state
from test.helpers.peer import Peer

SUCCESS, FAILURE, ERROR = (
    TransitionCallbackReturn.SUCCESS,
    TransitionCallbackReturn.FAILURE,
    TransitionCallbackReturn.ERROR,
)


@pytest.fixture
def start_ros():
    """Start ROS in this process: `start_ros('-p', 'device:=cpu')`."""
    yield lambda *ros_args: rclpy.init(args=['--ros-args', '-r', '__ns:=/managed', *ros_args])
    rclpy.try_shutdown()


@pytest.fixture
def node(start_ros, random_checkpoint_path):
    start_ros('-p', f'checkpoint:={random_checkpoint_path}', '-p', 'device:=cpu')
    node = SegmentNode()
    yield node
    node.end()
    node.destroy_node()


def entities_of(node):
    """Return how many entities of each kind and topic the node has."""
    return Counter(
        [
            *(('publisher', node.resolve_topic_name(p.topic)) for p in node.publishers),
            *(('subscription', node.resolve_topic_name(s.topic)) for s in node.subscriptions),
            *(('service', service.srv_name) for service in node.services),
            *('timer' for _ in node.timers),
        ]
    )


def fail_once(*_, **__):
    raise RuntimeError('it fails\nfor a test')


def test_configuring_that_fails_leaves_nothing_behind(node, monkeypatch):
    before = entities_of(node)
    create = node.create_publisher

    def create_all_but_the_last(message_type, topic, *args, **kwargs):
        if topic == f'~/{list(OUTPUTS)[-1]}':
            fail_once()
        return create(message_type, topic, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(node, 'create_publisher', create_all_but_the_last)
        assert node.trigger_configure() == FAILURE
    assert node.failure == 'RuntimeError: it fails'
    assert lifecycle_state(node) == 'unconfigured'
    assert entities_of(node) == before
    assert node.trigger_configure() == SUCCESS
    created = entities_of(node) - before
    assert created[('publisher', '/managed/fcn_road_seg/mask')] == 1
    assert set(created.values()) == {1}
    assert node.trigger_cleanup() == SUCCESS
    assert entities_of(node) == before


def test_activating_that_fails_leaves_nothing_behind(node, monkeypatch):
    assert node.trigger_configure() == SUCCESS
    before = entities_of(node)
    with monkeypatch.context() as patch:
        patch.setattr(frame_stream, 'ImageSubscription', fail_once)
        assert node.trigger_activate() == FAILURE
    assert lifecycle_state(node) == 'inactive'
    assert entities_of(node) == before
    assert node.trigger_activate() == SUCCESS
    created = entities_of(node) - before
    assert created[('subscription', '/managed/camera_info')] == 1
    assert created[('subscription', '/managed/image')] == 1
    assert node.trigger_deactivate() == SUCCESS
    assert entities_of(node) == before


def test_worker_that_cannot_start_leaves_nothing_behind(node, monkeypatch):
    assert node.trigger_configure() == SUCCESS
    before = entities_of(node)
    monkeypatch.setattr(frame_stream.FrameWorker, 'start', fail_once)
    assert node.trigger_activate() == FAILURE
    assert entities_of(node) == before


@pytest.fixture
def peer():
    peer = Peer('managed', ('mask',))
    yield peer
    peer.close()


@pytest.mark.parametrize('end', ['deactivated', 'disabled'])
def test_frames_at_work_and_waiting_are_counted_and_not_published_after_the_end(
    node, peer, monkeypatch, end
):
    assert node.start()
    segment, stop = RoadSegmenter.__call__, FrameStream.stop
    at_work, released = threading.Event(), threading.Event()

    def segment_when_released(*args, **kwargs):
        at_work.set()
        released.wait()
        return segment(*args, **kwargs)

    def stop_and_release(stream, timeout_s=None):
        stopped = stop(stream, timeout_s)
        released.set()
        return stopped

    def sent_until(is_done):
        peer.send(np.zeros((32, 32, 3), np.uint8))
        rclpy.spin_once(node, timeout_sec=0.05)
        return is_done()

    def totals():
        return Counter(node._statistics.snapshot().totals)

    monkeypatch.setattr(RoadSegmenter, '__call__', segment_when_released)
    monkeypatch.setattr(FrameStream, 'stop', stop_and_release)
    peer.spin_until(lambda: sent_until(at_work.is_set))
    peer.spin_until(lambda: sent_until(lambda: node._stream.frames_waiting))
    before = totals()
    if end == 'deactivated':
        assert node.trigger_deactivate() == SUCCESS
        assert totals() - before == {'dropped': 2}
    else:
        node._on_enable(SetBool.Request(data=False), SetBool.Response())
        released.set()
        peer.spin_until(lambda: (totals() - before)['ignored'] >= 2)
        assert totals() - before == {'ignored': 2}
    assert not peer.spin_for(0.3, lambda: peer.received['mask'])


def test_node_that_fails_to_deactivate_is_unconfigured_and_can_start_again(node, monkeypatch):
    before = entities_of(node)
    assert node.start()
    stop = FrameStream.stop

    def stop_late(stream, timeout_s=None):
        monkeypatch.setattr(FrameStream, 'stop', stop)
        fail_once()

    monkeypatch.setattr(FrameStream, 'stop', stop_late)
    assert node.trigger_deactivate() == ERROR
    assert node.failure == 'RuntimeError: it fails'
    assert lifecycle_state(node) == 'unconfigured'
    assert entities_of(node) == before
    assert node.start()


def test_node_whose_gpu_is_lost_is_unconfigured_after_cleaning_up(node, monkeypatch):
    before = entities_of(node)
    assert node.start()
    assert node.trigger_deactivate() == SUCCESS
    # From now on every call of CUDA fails, in this process.
    monkeypatch.setattr(RoadSegmenter, 'close', fail_once)
    assert node.trigger_cleanup() == ERROR
    assert node.failure == 'RuntimeError: it fails'
    assert lifecycle_state(node) == 'unconfigured'
    assert entities_of(node) == before


@pytest.mark.parametrize(
    ('ros_args', 'reason'),
    [
        (('-p', 'use_sim_time:=1'), "'use_sim_time' to '1' of type 'INTEGER', expecting type"),
        (('-p', 'threshold:=2.0'), 'threshold must be a decimal number, 0.0 to 0.999'),
        (('-p', 'overlay_color:=[]'), 'overlay_color must be 3 integers, 0 to 255'),
        (('-p', 'qos_overrides./diagnostics.publisher.depth:=1.5'), "to '1.5' of type 'DOUBLE'"),
        (('-p', 'qos_overrides./diagnostics.publisher.reliability:=maybe'), '`maybe`'),
    ],
)
def test_parameter_that_is_not_allowed_is_an_error_with_the_logger_of_the_node(
    start_ros, ros_args, reason
):
    start_ros('-r', '__node:=seg', *ros_args)
    with pytest.raises(StartError) as caught:
        SegmentNode()
    assert reason in str(caught.value)
    assert '\n' not in str(caught.value)
    assert caught.value.node.get_logger().name == 'managed.seg'
