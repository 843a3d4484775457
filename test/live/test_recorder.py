import time

import numpy as np
import pytest
import rclpy
from builtin_interfaces.msg import Time
from nav_msgs.msg import OccupancyGrid
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from fcn_road_seg.ground.grid import GroundGrid
from fcn_road_seg.live.recorder import Recorder, Recording
from fcn_road_seg.messages.ground import grid_msg
from fcn_road_seg.messages.image import image_msg

MASK = np.repeat(np.uint8([[0], [255]]), 3, axis=1)
OVERLAY_BGR = np.arange(18, dtype=np.uint8).reshape(2, 3, 3)


@pytest.fixture
def record():
    """Start a recorder; return it with a function that sends it a picture under a stamp."""
    rclpy.init()
    nodes = []

    def start(*topics, keep_pictures=True):
        recorder = Recorder('here', topics, keep_pictures=keep_pictures)
        publishers = {
            topic: recorder.create_publisher(Image, f'fcn_road_seg/{topic}', 10)
            for topic in topics
            if topic != 'grid'
        }
        nodes.append(recorder)

        def send(topic, pixels, encoding, stamp_ns):
            header = Header()
            header.stamp.sec, header.stamp.nanosec = divmod(stamp_ns, 1_000_000_000)
            publishers[topic].publish(image_msg(pixels, encoding, header))

        return recorder, send

    yield start
    for node in nodes:
        node.destroy_node()
    rclpy.shutdown()


def spin_until(recorder, is_done):
    deadline_s = time.monotonic() + 30
    while not is_done():
        assert time.monotonic() < deadline_s
        rclpy.spin_once(recorder, timeout_sec=0.05)


def test_pictures_are_kept_by_topic_and_stamp(record):
    recorder, send = record('mask', 'overlay')
    recording = recorder.start_recording()
    stamp_ns = time.time_ns()
    send('mask', MASK, 'mono8', stamp_ns)
    send('overlay', OVERLAY_BGR, 'bgr8', stamp_ns + 1)
    spin_until(recorder, recording.has_any)
    assert list(recording.pictures['mask']) == [stamp_ns]
    assert np.array_equal(recording.pictures['mask'][stamp_ns], MASK)
    assert np.array_equal(recording.pictures['overlay'][stamp_ns + 1], OVERLAY_BGR)


def test_latency_is_from_the_stamp_to_the_receipt(record):
    recorder, send = record('mask')
    recording = recorder.start_recording()
    stamp_ns = time.time_ns()
    time.sleep(0.2)
    send('mask', MASK, 'mono8', stamp_ns)
    spin_until(recorder, recording.has_any)
    whole_ms = (time.time_ns() - stamp_ns) / 1e6
    assert 200 <= recording.latency_ms['mask'][stamp_ns] <= whole_ms


def test_pictures_are_not_kept_unless_asked_for(record):
    recorder, send = record('mask', keep_pictures=False)
    recording = recorder.start_recording()
    send('mask', MASK, 'mono8', time.time_ns())
    spin_until(recorder, recording.has_any)
    assert recording.pictures == {}


def test_answers_to_frames_before_the_recording_are_left_out(record):
    recorder, send = record('mask')
    early_ns = time.time_ns()
    recording = recorder.start_recording()
    late_ns = time.time_ns()
    send('mask', MASK, 'mono8', early_ns)
    send('mask', MASK, 'mono8', late_ns)
    spin_until(recorder, recording.has_any)
    assert list(recording.latency_ms['mask']) == [late_ns]


def test_recording_has_the_last_frame_once_every_topic_has_it():
    recording = Recording({'mask': {1: 5.0, 2: 5.0}, 'overlay': {1: 5.0}}, stamps_ns=[1, 2])
    assert not recording.has_last()
    recording.latency_ms['overlay'][2] = 5.0
    assert recording.has_last()


def test_grids_are_kept_as_cells_by_their_stamp(record):
    recorder, _ = record('mask', 'grid')
    publisher = recorder.create_publisher(OccupancyGrid, 'fcn_road_seg/grid', 10)
    recording = recorder.start_recording()
    stamp_ns = time.time_ns()
    sec, nanosec = divmod(stamp_ns, 1_000_000_000)
    cells = np.int8([[-1, 0, 100], [7, 8, 9]])
    msg = grid_msg(cells, GroundGrid(), Header(stamp=Time(sec=sec, nanosec=nanosec)))
    publisher.publish(msg)
    spin_until(recorder, lambda: recording.grids)
    assert list(recording.grids) == list(recording.latency_ms['grid']) == [stamp_ns]
    assert np.array_equal(recording.grids[stamp_ns], cells)
    assert 'grid' not in recording.pictures
