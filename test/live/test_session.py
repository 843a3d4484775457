import os
import subprocess
import sys

import numpy as np
import pytest
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CompressedImage

from fcn_road_seg.live.camera_message import CameraMessage
from fcn_road_seg.live.diagnostics_listener import frames_between
from fcn_road_seg.live.errors import LiveError
from fcn_road_seg.live.session import live_session
from test.helpers.camera_bags import jpeg_msgs

MESSAGES = [CameraMessage.from_frame(np.full((32, 64, 3), i, np.uint8)) for i in range(2)]


@pytest.fixture
def parameters(random_checkpoint_path):
    return [f'checkpoint:={random_checkpoint_path}', 'device:=cpu']


def test_stream_brings_back_the_answers_to_its_own_frames(parameters, tmp_path):
    log_path = tmp_path / 'node.log'
    with live_session(MESSAGES, parameters, log_path, keep_pictures=True) as session:
        before = session.next_status()
        recording = session.stream([0.0, 0.5, 1.0])
        counts = frames_between(before, session.next_status())
    assert session.process.returncode == 0
    assert len(recording.stamps_ns) == counts['frames_received'] == 3
    for topic, shape in (('mask', (32, 64)), ('overlay', (32, 64, 3))):
        pictures = recording.pictures[topic]
        assert set(pictures) == set(recording.latency_ms[topic]) <= set(recording.stamps_ns)
        assert recording.stamps_ns[-1] in pictures
        assert {picture.shape for picture in pictures.values()} == {shape}


def test_only_the_topics_asked_for_have_a_listener(parameters, tmp_path):
    with live_session(MESSAGES, parameters, tmp_path / 'node.log', ('mask',)) as session:
        recording = session.stream([0.0])
        status = session.next_status()
    assert list(recording.latency_ms) == ['mask']
    assert int(status['published mask']) >= 1
    assert status['published overlay'] == '0'


def test_compressed_messages_go_to_the_compressed_topic(parameters, tmp_path):
    (msg,) = jpeg_msgs([np.full((32, 64, 3), 99, np.uint8)])
    messages = [CameraMessage(serialize_message(msg), type=CompressedImage)]
    with live_session(messages, parameters, tmp_path / 'node.log') as session:
        recording = session.stream([0.0])
    assert list(recording.latency_ms['mask']) == recording.stamps_ns


def test_node_that_cannot_start_is_told_at_once(tmp_path):
    log_path = tmp_path / 'node.log'
    parameters = ['checkpoint:=/nowhere.safetensors']
    text = r'the node ended during startup with status 1; see .*node\.log'
    with pytest.raises(LiveError, match=text), live_session(MESSAGES, parameters, log_path):
        pass
    assert '/nowhere.safetensors does not exist' in log_path.read_text()


# In a process of its own, because logging is set up once in a process.
SESSION = """
import sys
from pathlib import Path
from fcn_road_seg.live.errors import LiveError
from fcn_road_seg.live.session import live_session
from test.live.test_session import MESSAGES

try:
    with live_session(MESSAGES, [], Path(sys.argv[1])):
        pass
except LiveError as error:
    print(error)
"""


def test_ros_that_cannot_write_its_log_is_told(tmp_path):
    done = subprocess.run(
        [sys.executable, '-c', SESSION, tmp_path / 'node.log'],
        env={**os.environ, 'ROS_LOG_DIR': '/proc/log'},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, '')
    assert done.stdout.startswith('ROS 2 cannot start: failed to initialize logging: ')
    assert "'/proc/log'" in done.stdout


def test_node_that_ends_early_is_told(parameters, tmp_path):
    with live_session(MESSAGES, parameters, tmp_path / 'node.log') as session:
        session.process.kill()
        text = r'the node ended with status -9; see .*node\.log'
        with pytest.raises(LiveError, match=text):
            session.stream([0.0, 1.0])


def no_camera(folder, topic, link):
    """End at the first command, as a camera process that fails."""
    link.recv()


def test_camera_that_ends_early_is_told(parameters, tmp_path, monkeypatch):
    monkeypatch.setattr('fcn_road_seg.live.camera_process.run_camera', no_camera)
    with (
        pytest.raises(LiveError, match='the camera process ended early'),
        live_session(MESSAGES, parameters, tmp_path / 'node.log'),
    ):
        pass
