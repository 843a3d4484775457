from array import array

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from fcn_road_seg.image_msgs import ENCODINGS, ImageError, image_msg, to_frame


def message(pixels, encoding, padding=0, big_endian=False):
    """Return an Image whose rows are `padding` bytes longer than their pixels."""
    pixels = np.asarray(pixels)
    rows = np.ascontiguousarray(pixels).view(np.uint8).reshape(pixels.shape[0], -1)
    padded = np.pad(rows, ((0, 0), (0, padding)), constant_values=77)
    msg = Image(encoding=encoding, height=pixels.shape[0], width=pixels.shape[1])
    msg.step = padded.shape[1]
    msg.is_bigendian = int(big_endian)
    msg.data = array('B', padded.tobytes())
    return msg


def bgr_of(msg):
    frame = to_frame(msg)
    return frame.pixels if frame.channel_order == 'bgr' else frame.pixels[..., ::-1]


def picture(h, w, channels):
    return np.random.default_rng(5).integers(0, 256, (h, w, channels), np.uint8)


@pytest.mark.parametrize('padding', [0, 1, 38])
@pytest.mark.parametrize(
    ('encoding', 'to_bgr'),
    [
        ('bgr8', [0, 1, 2]),
        ('8UC3', [0, 1, 2]),
        ('rgb8', [2, 1, 0]),
        ('bgra8', [0, 1, 2]),
        ('rgba8', [2, 1, 0]),
    ],
)
def test_colour_encodings_give_their_pixels_whatever_the_step(encoding, to_bgr, padding):
    pixels = picture(5, 7, ENCODINGS[encoding].channels)
    assert np.array_equal(bgr_of(message(pixels, encoding, padding)), pixels[..., to_bgr])


@pytest.mark.parametrize('encoding', ['bgr8', 'rgb8', '8UC3'])
def test_three_channel_encodings_are_not_copied(encoding):
    msg = message(picture(4, 6, 3), encoding, padding=2)
    assert np.shares_memory(to_frame(msg).pixels, np.frombuffer(msg.data, np.uint8))


@pytest.mark.parametrize('encoding', ['mono8', '8UC1'])
def test_grey_becomes_three_equal_channels(encoding):
    grey = picture(4, 5, 1)
    assert np.array_equal(bgr_of(message(grey, encoding, padding=3)), grey.repeat(3, axis=2))


@pytest.mark.parametrize('big_endian', [False, True])
def test_mono16_keeps_its_high_byte_in_either_byte_order(big_endian):
    values = np.array([[0x0012, 0x1234], [0xFF00, 0x80FF]], '>u2' if big_endian else '<u2')
    msg = message(values, 'mono16', padding=2, big_endian=big_endian)
    assert bgr_of(msg)[..., 0].tolist() == [[0x00, 0x12], [0xFF, 0x80]]


@pytest.mark.parametrize(
    ('encoding', 'pattern'),
    [
        ('bayer_rggb8', 'rggb'),
        ('bayer_bggr8', 'bggr'),
        ('bayer_gbrg8', 'gbrg'),
        ('bayer_grbg8', 'grbg'),
    ],
)
def test_bayer_pattern_is_read_from_its_first_pixel_on(encoding, pattern):
    color = {'b': 10, 'g': 100, 'r': 200}
    tile = np.array([color[letter] for letter in pattern], np.uint8).reshape(2, 2)
    bgr = bgr_of(message(np.tile(tile, (4, 4)), encoding, padding=1))
    assert (bgr[2:-2, 2:-2] == [10, 100, 200]).all()


@pytest.mark.parametrize('w', [1, 2, 5, 6])
@pytest.mark.parametrize(
    ('encodings', 'luma', 'chroma'),
    [(('yuv422', 'uyvy'), 1, 0), (('yuv422_yuy2', 'yuyv'), 0, 1)],
)
def test_yuv422_gives_brightness_and_colour_of_each_pixel_at_any_width(encodings, luma, chroma, w):
    pixels = np.zeros((3, w, 2), np.uint8)
    pixels[..., luma] = 16 + 219 * np.arange(w) // max(1, w - 1)
    pixels[..., chroma] = 128
    for encoding in encodings:
        bgr = bgr_of(message(pixels, encoding, padding=4))
        assert bgr.shape == (3, w, 3)
        expected = (pixels[..., luma].astype(float) - 16) * 255 / 219
        assert np.abs(bgr - expected[..., None]).max() <= 1


def test_yuv422_red_is_red():
    uyvy = np.zeros((2, 4, 2), np.uint8)
    uyvy[..., 1] = 81
    uyvy[:, 0::2, 0], uyvy[:, 1::2, 0] = 90, 240
    assert np.abs(bgr_of(message(uyvy, 'yuv422')).astype(int) - [0, 0, 255]).max() <= 3


def bad(**changes):
    msg = message(picture(4, 6, 3), 'bgr8')
    for name, value in changes.items():
        setattr(msg, name, value)
    return msg


@pytest.mark.parametrize(
    ('msg', 'error'),
    [
        (bad(encoding='rgb7'), "encoding 'rgb7' is not supported; use one of bgr8"),
        (bad(encoding=''), "encoding '' is not supported"),
        (bad(height=0), 'size 6 x 0 is outside'),
        (bad(width=0), 'size 0 x 4 is outside'),
        (bad(height=2**32 - 1, width=2**32 - 1), 'is outside of 1 to 64000000 pixels'),
        (bad(height=8001, width=8000), 'size 8000 x 8001 is outside'),
        (bad(step=17), 'step 17 is too short for 6 pixels of bgr8'),
        (bad(step=19), 'data has 72 bytes, but 4 rows of step 19 have 76'),
        (bad(height=5), 'data has 72 bytes, but 5 rows of step 18 have 90'),
        (bad(data=array('B')), 'data has 0 bytes'),
    ],
)
def test_bad_message_is_refused_naming_the_value(msg, error):
    with pytest.raises(ImageError, match=error):
        to_frame(msg)


@given(
    encoding=st.sampled_from([*ENCODINGS, 'nonsense', '32FC1']),
    height=st.integers(0, 12) | st.integers(0, 2**32 - 1),
    width=st.integers(0, 12) | st.integers(0, 2**32 - 1),
    step=st.integers(0, 60) | st.integers(0, 2**32 - 1),
    data=st.binary(max_size=600),
    big_endian=st.integers(0, 255),
)
def test_any_message_gives_a_frame_of_its_size_or_an_image_error(
    encoding, height, width, step, data, big_endian
):
    msg = Image(encoding=encoding, height=height, width=width, step=step)
    msg.is_bigendian = big_endian
    msg.data = array('B', data)
    try:
        pixels = to_frame(msg).pixels
    except ImageError:
        return
    assert pixels.shape == (height, width, 3)
    assert pixels.dtype == np.uint8


@given(
    encoding=st.sampled_from(list(ENCODINGS)),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    padding=st.integers(0, 5),
)
def test_every_well_formed_size_of_every_encoding_is_read(encoding, height, width, padding):
    kind = ENCODINGS[encoding]
    pixels = np.full((height, width, kind.channels), 128, kind.dtype)
    assert to_frame(message(pixels, encoding, padding)).pixels.shape == (height, width, 3)


def test_image_msg_keeps_header_size_and_pixels():
    header = Header(frame_id='camera')
    header.stamp.sec, header.stamp.nanosec = 12, 34
    mask = picture(5, 7, 1)[..., 0]
    msg = image_msg(mask, 'mono8', header)
    assert msg.header == header
    assert (msg.height, msg.width, msg.step, msg.encoding) == (5, 7, 7, 'mono8')
    assert bytes(msg.data) == mask.tobytes()


def test_image_msg_of_a_view_holds_only_its_pixels():
    view = picture(6, 8, 3)[1:5, 2:7]
    msg = image_msg(view, 'bgr8', Header())
    assert msg.step == 15
    assert np.array_equal(bgr_of(msg), view)
