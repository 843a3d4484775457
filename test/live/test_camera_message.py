import numpy as np
import pytest
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import CompressedImage, Image

from fcn_road_seg.live.camera_message import CameraMessage
from fcn_road_seg.messages.image import ImageError
from test.helpers.camera_bags import jpeg_msgs, raw_msgs

FRAME_BGR = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)


def test_frame_becomes_a_bgr8_image_and_comes_back_unchanged():
    message = CameraMessage.from_frame(FRAME_BGR, offset_s=0.5)
    assert deserialize_message(message.cdr, Image).encoding == 'bgr8'
    assert message.offset_s == 0.5
    assert message.label is None
    assert np.array_equal(message.frame_bgr(), FRAME_BGR)


def test_rgb_message_is_decoded_to_bgr():
    (msg,) = raw_msgs([FRAME_BGR], 'rgb8')
    assert np.array_equal(CameraMessage(serialize_message(msg)).frame_bgr(), FRAME_BGR)


def test_compressed_message_is_decoded():
    smooth = np.full((20, 30, 3), (10, 100, 200), np.uint8)
    (msg,) = jpeg_msgs([smooth])
    frame_bgr = CameraMessage(serialize_message(msg), type=CompressedImage).frame_bgr()
    assert frame_bgr.shape == smooth.shape
    assert np.abs(frame_bgr.astype(int) - smooth).max() <= 4


def test_bytes_that_are_not_a_message_are_refused_in_one_line():
    with pytest.raises(ImageError, match=r'^4 bytes are not a valid Image; record it again$'):
        CameraMessage(b'none').frame_bgr()
