import tempfile
import time
from dataclasses import replace

import numpy as np
import pytest
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import CameraInfo, Image

from fcn_road_seg.live.camera_message import CameraMessage
from fcn_road_seg.live.camera_process import replace_stamp, running_camera
from fcn_road_seg.live.errors import LiveError
from test.helpers.camera_bags import raw_msgs
from test.helpers.full_disk import file_size_limit
from test.helpers.peer import Peer


def test_camera_repeats_its_messages_and_answers_with_their_stamps():
    peer = Peer(namespace='here', topics=())
    received = []
    peer.node.create_subscription(Image, '/here/camera', received.append, 10)
    messages = [CameraMessage.from_frame(np.full((2, 3, 3), i, np.uint8)) for i in range(2)]
    with running_camera(messages, '/here/camera') as link:
        # The first ones may be lost until the two have found each other.
        while not received:
            link.send([0.0])
            link.recv()
            peer.spin_for(0.2)
        received.clear()
        asked_ns = time.time_ns()
        link.send([0.0, 0.1, 0.3])
        peer.spin_until(lambda: len(received) == 3)
        stamps_ns = link.recv()
    peer.close()
    assert [msg.data[0] for msg in received] == [0, 1, 0]
    stamps = [(msg.header.stamp.sec, msg.header.stamp.nanosec) for msg in received]
    assert stamps == [divmod(stamp_ns, 1_000_000_000) for stamp_ns in stamps_ns]
    # Never early; late if others keep the processor. The camera waits on another clock.
    assert np.all(np.subtract(stamps_ns, asked_ns) > [0.0, 0.09e9, 0.29e9])


def test_frames_that_do_not_fit_into_the_temporary_folder_say_where_to_make_space(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(tempfile, 'tempdir', str(tmp_path))
    messages = [CameraMessage.from_frame(np.zeros((20, 30, 3), np.uint8))]
    with (
        file_size_limit(100),
        pytest.raises(LiveError) as refused,
        running_camera(messages, '/full/image'),
    ):
        pass
    assert str(refused.value) == (
        f'the frames cannot be written to {tmp_path} (File too large); set TMPDIR to a folder '
        'with more space'
    )
    assert list(tmp_path.iterdir()) == []


def test_stamp_alone_of_a_message_is_replaced():
    (msg,) = raw_msgs([np.arange(72, dtype=np.uint8).reshape(4, 6, 3)])
    again = deserialize_message(replace_stamp(serialize_message(msg), 7_000_000_009), Image)
    assert (again.header.stamp.sec, again.header.stamp.nanosec) == (7, 9)
    again.header.stamp = msg.header.stamp
    assert again == msg


def test_stamp_of_a_big_endian_message_is_replaced():
    replaced = replace_stamp(bytes(16), 7_000_000_009)
    assert replaced == bytes([*[0] * 7, 7, *[0] * 3, 9, *[0] * 4])


def test_camera_info_comes_under_the_stamp_of_its_image():
    peer = Peer(namespace='beside', topics=())
    images, infos = [], []
    peer.node.create_subscription(Image, '/beside/image', images.append, 10)
    peer.node.create_subscription(CameraInfo, '/beside/camera_info', infos.append, 10)
    frame = np.zeros((2, 3, 3), np.uint8)
    message = CameraMessage.from_frame(frame)
    info = serialize_message(CameraInfo(width=3, height=2))
    with running_camera([replace(message, camera_info=info), message], '/beside/image') as link:
        while not (images and infos):
            link.send([0.0])
            link.recv()
            peer.spin_for(0.2)
        images.clear()
        infos.clear()
        link.send([0.0, 0.1])
        peer.spin_until(lambda: len(images) == 2 and infos)
    peer.close()
    (only,) = infos
    assert only.width == 3
    assert only.header.stamp == images[0].header.stamp
