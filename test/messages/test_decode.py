import numpy as np
import pytest
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from fcn_road_seg.messages.compressed_image import jpeg_msg
from fcn_road_seg.messages.decode import decode_message
from fcn_road_seg.messages.image import ImageError, image_msg
from test.helpers.bag_files import PIXELS, compressed_image, image


def test_image_of_ros_is_read():
    frame = decode_message(image_msg(PIXELS, 'rgb8', Header()))
    assert frame.channel_order == 'rgb'
    assert np.array_equal(frame.pixels, PIXELS)


def test_compressed_image_of_ros_is_read():
    grey = np.full((16, 24, 3), 99, np.uint8)
    frame = decode_message(jpeg_msg(grey, Header()))
    assert frame.channel_order == 'bgr'
    assert np.abs(frame.pixels.astype(int) - grey).max() <= 1


@pytest.mark.parametrize('msg', [image(), compressed_image(PIXELS)], ids=['raw', 'png'])
def test_messages_of_a_bag_are_read_without_the_classes_of_ros(msg):
    assert not isinstance(msg, Image | CompressedImage)
    assert np.array_equal(decode_message(msg).pixels, PIXELS)


@pytest.mark.parametrize(
    ('msg', 'reason'),
    [
        (Image(encoding='bgr8'), 'size 0 x 0 is outside of'),
        (CompressedImage(format='jpeg'), 'begins with nothing, which is neither JPEG nor PNG'),
    ],
)
def test_bad_message_is_refused(msg, reason):
    with pytest.raises(ImageError, match=reason):
        decode_message(msg)
