import sys
from array import array

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from fcn_road_seg.messages import image as image_msgs
from fcn_road_seg.messages.image import ENCODINGS, ImageError, image_msg, to_frame


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
    pixels = picture(5, 7, 4 if 'a' in encoding else 3)
    assert np.array_equal(bgr_of(message(pixels, encoding, padding)), pixels[..., to_bgr])


@pytest.mark.parametrize('padding', [0, 2])
@pytest.mark.parametrize('encoding', ['bgr8', 'rgb8', '8UC3'])
def test_three_channel_encodings_are_not_copied(encoding, padding):
    msg = message(picture(4, 6, 3), encoding, padding)
    pixels = to_frame(msg).pixels
    assert np.shares_memory(pixels, np.frombuffer(msg.data, np.uint8))
    assert pixels.strides == (18 + padding, 3, 1)


@pytest.mark.parametrize('padding', [0, 3])
@pytest.mark.parametrize('encoding', ['mono8', '8UC1'])
def test_grey_becomes_three_equal_channels(encoding, padding):
    grey = picture(4, 5, 1)
    assert np.array_equal(bgr_of(message(grey, encoding, padding)), grey.repeat(3, axis=2))


@pytest.mark.parametrize('padding', [0, 1, 2])
@pytest.mark.parametrize('big_endian', [False, True])
def test_mono16_keeps_its_high_byte_in_either_byte_order(big_endian, padding):
    values = np.array([[0x0012, 0x1234], [0xFF00, 0x80FF]], '>u2' if big_endian else '<u2')
    msg = message(values, 'mono16', padding, big_endian)
    expected = np.array([[0x00, 0x12], [0xFF, 0x80]])
    assert np.array_equal(bgr_of(msg), np.stack([expected] * 3, axis=-1))


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


@pytest.mark.parametrize('padding', [0, 1, 3])
@pytest.mark.parametrize('pattern', ['rggb', 'bggr', 'gbrg', 'grbg'])
def test_bayer_keeps_the_color_that_each_pixel_saw(pattern, padding):
    raw = picture(9, 11, 1)
    bgr = bgr_of(message(raw, f'bayer_{pattern}8', padding))
    for y in range(1, 8):
        for x in range(1, 10):
            seen = 'bgr'.index(pattern[2 * (y % 2) + x % 2])
            assert bgr[y, x, seen] == raw[y, x, 0]


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


def bgr_of_yuv(luma, u, v):
    """Return what ITU-R BT.601 says of Y in 16..235, U and V in 16..240."""
    y = (luma - 16.0) * 255 / 219
    u, v = (u - 128.0) * 255 / 224, (v - 128.0) * 255 / 224
    bgr = np.stack([y + 1.772 * u, y - 0.344136 * u - 0.714136 * v, y + 1.402 * v], axis=-1)
    return np.clip(bgr, 0, 255)


@pytest.mark.parametrize('padding', [0, 1, 4])
@pytest.mark.parametrize('w', [2, 3, 7, 8])
@pytest.mark.parametrize(
    ('encodings', 'luma', 'chroma'),
    [(('yuv422', 'uyvy'), 1, 0), (('yuv422_yuy2', 'yuyv'), 0, 1)],
)
def test_yuv422_pixels_share_their_color_in_pairs(encodings, luma, chroma, w, padding):
    pixels = np.random.default_rng(6).integers(16, 236, (40, w, 2), np.uint8)
    color = pixels[..., chroma]
    u = color[:, 0::2].repeat(2, axis=1)[:, :w]
    # The single last pixel of an odd row has no V but its neighbour's.
    v = color[:, 1::2].repeat(2, axis=1)
    v = np.pad(v, ((0, 0), (0, w % 2)), mode='edge')
    expected = bgr_of_yuv(pixels[..., luma], u, v)
    for encoding in encodings:
        bgr = bgr_of(message(pixels, encoding, padding))
        assert np.abs(bgr - expected).max() <= 1.5


def test_yuv422_red_is_red():
    uyvy = np.zeros((2, 4, 2), np.uint8)
    uyvy[..., 1] = 81
    uyvy[:, 0::2, 0], uyvy[:, 1::2, 0] = 90, 240
    assert np.abs(bgr_of(message(uyvy, 'yuv422')).astype(int) - [0, 0, 255]).max() <= 3


def test_known_encodings_are_these():
    assert set(ENCODINGS) == {
        *('rgb8', 'bgr8', 'rgba8', 'bgra8', 'mono8', '8UC1', '8UC3', 'mono16'),
        *('yuv422', 'uyvy', 'yuv422_yuy2', 'yuyv'),
        *('bayer_rggb8', 'bayer_bggr8', 'bayer_gbrg8', 'bayer_grbg8'),
        *('nv12', 'nv21'),
    }


def semiplanar(encoding, luma, u, v, row_bytes):
    """Return an nv12 or nv21 Image of (H, W) luma and (ceil(H / 2), ceil(W / 2)) U and V."""
    chroma = np.stack([u, v] if encoding == 'nv12' else [v, u], axis=-1)
    chroma = chroma.reshape(len(u), -1)
    rows = np.full((len(luma) + len(chroma), row_bytes), 77, np.uint8)
    rows[: len(luma), : luma.shape[1]] = luma
    rows[len(luma) :, : chroma.shape[1]] = chroma
    h, w = luma.shape
    return Image(
        encoding=encoding, height=h, width=w, step=row_bytes, data=array('B', rows.tobytes())
    )


@pytest.mark.parametrize('padding', [0, 1, 64])
@pytest.mark.parametrize(('h', 'w'), [(2, 2), (6, 8), (1, 1), (1, 4), (5, 4), (6, 7), (5, 7)])
@pytest.mark.parametrize('encoding', ['nv12', 'nv21'])
def test_semiplanar_pixels_share_their_colour_by_four(encoding, h, w, padding):
    random = np.random.default_rng(8)
    luma = random.integers(16, 236, (h, w), np.uint8)
    u, v = random.integers(60, 200, (2, (h + 1) // 2, (w + 1) // 2), np.uint8)
    bgr = bgr_of(semiplanar(encoding, luma, u, v, 2 * u.shape[1] + padding))
    whole_u, whole_v = (c.repeat(2, axis=0).repeat(2, axis=1)[:h, :w] for c in (u, v))
    assert bgr.shape == (h, w, 3)
    assert np.abs(bgr - bgr_of_yuv(luma, whole_u, whole_v)).max() <= 1.5


def test_step_of_a_semiplanar_frame_may_be_its_data_by_its_height():
    luma, u = picture(6, 8, 1)[..., 0], picture(3, 4, 1)[..., 0]
    msg = semiplanar('nv12', luma, u, u, 8)
    expected = bgr_of(msg)
    msg.step = 12
    assert np.array_equal(bgr_of(msg), expected)


@pytest.mark.parametrize(
    ('encoding', 'share'), [('nv24', 3), ('i420', 1.5), ('yuv420', 1.5), ('NV12', 1.5)]
)
def test_planar_encoding_that_is_not_read_is_named(encoding, share):
    msg = Image(encoding=encoding, height=480, width=640, step=640)
    msg.data = array('B', bytes(int(640 * 480 * share)))
    with pytest.raises(ImageError, match=f"^encoding '{encoding}' is not supported; use one of"):
        to_frame(msg)


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
        (bad(encoding='x' * 10**6), f"encoding '{'x' * 40}' is not supported"),
        (bad(height=0), 'size 6 x 0 is outside'),
        (bad(width=0), 'size 0 x 4 is outside'),
        (bad(height=2**32 - 1, width=2**32 - 1), 'is outside of 1 to 64000000 pixels'),
        (bad(height=8001, width=8000), 'size 8000 x 8001 is outside'),
        (bad(step=17), "step 17 is too short for 6 pixels of 'bgr8'"),
        (bad(step=19), 'data has 72 bytes, but 4 rows of step 19 have 76'),
        (bad(height=5), 'data has 72 bytes, but 5 rows of step 18 have 90'),
        (bad(data=array('B')), 'data has 0 bytes'),
        (bad(encoding='rgb16', height=0), 'size 6 x 0 is outside'),
        (bad(encoding='rgb16', height=8001, width=8000), 'size 8000 x 8001 is outside'),
        # The encoding comes first: what step and length mean depends on it.
        (bad(encoding='rgb16', step=5), "encoding 'rgb16' is not supported"),
        (bad(encoding='rgb\n16', step=5), r"encoding 'rgb\\n16' is not supported"),
        (bad(encoding='rgb16', step=19), "encoding 'rgb16' is not supported"),
        (bad(encoding='nv12', step=6), "72 bytes, but 6 x 4 pixels of 'nv12' .* step 6 need 36"),
        (bad(encoding='nv21', step=4, height=12), 'a step of at least 6$'),
    ],
)
def test_bad_message_is_refused_naming_the_value(msg, error):
    with pytest.raises(ImageError, match=error) as caught:
        to_frame(msg)
    assert '\n' not in str(caught.value)


@pytest.fixture
def cv_bridge(tmp_path, monkeypatch):
    """Give a function that makes a stand-in of this source the cv_bridge that is imported."""
    monkeypatch.syspath_prepend(tmp_path)
    # Set first, so that it is restored: deleting what is not there leaves nothing to undo.
    monkeypatch.setitem(sys.modules, 'cv_bridge', None)
    monkeypatch.delitem(sys.modules, 'cv_bridge')
    image_msgs._cv_bridge.cache_clear()
    yield (tmp_path / 'cv_bridge.py').write_text
    image_msgs._cv_bridge.cache_clear()


WORKING = """
import numpy as np
class CvBridge:
    def encoding_to_dtype_with_channels(self, encoding):
        return {'bgr8': ('uint8', 3), 'rgb16': ('uint16', 3)}[encoding]
    def imgmsg_to_cv2(self, msg, encoding):
        assert encoding == 'bgr8'
        rows = np.frombuffer(msg.data, '<u2').reshape(msg.height, -1, 3)[:, :msg.width]
        return (rows[..., ::-1] >> 8).astype(np.uint8)
"""


def test_cv_bridge_reads_an_encoding_that_we_do_not_know(cv_bridge):
    cv_bridge(WORKING)
    rgb = picture(4, 5, 3).astype('<u2') * 256
    frame = to_frame(message(rgb, 'rgb16', padding=12))
    assert frame.channel_order == 'bgr'
    assert np.array_equal(frame.pixels, rgb[..., ::-1] >> 8)


def test_padding_of_no_whole_pixel_is_not_given_to_cv_bridge(cv_bridge):
    cv_bridge(WORKING)
    msg = message(picture(4, 5, 3).astype('<u2'), 'rgb16', padding=2)
    with pytest.raises(ImageError, match='step 32 is not a multiple of 6 bytes per pixel'):
        to_frame(msg)


@pytest.mark.parametrize(
    ('changes', 'reason'),
    [
        ({'step': 29}, "step 29 is too short for 5 pixels of 'rgb16'"),
        ({'step': 36}, 'data has 120 bytes, but 4 rows of step 36 have 144'),
    ],
)
def test_message_whose_length_does_not_fit_is_not_given_to_cv_bridge(cv_bridge, changes, reason):
    cv_bridge(WORKING)
    msg = message(picture(4, 5, 3).astype('<u2'), 'rgb16')
    for name, value in changes.items():
        setattr(msg, name, value)
    with pytest.raises(ImageError, match=reason):
        to_frame(msg)


def test_cv_bridge_is_not_imported_for_an_encoding_that_we_know(cv_bridge):
    cv_bridge("raise SystemExit('imported')")
    assert to_frame(message(picture(4, 5, 1), 'bayer_rggb8')).pixels.shape == (4, 5, 3)


COUNTED = "open(__file__ + '.count', 'a').write('x')\n"
FAILING_AT_USE = """
class CvBridge:
    def encoding_to_dtype_with_channels(self, encoding):
        raise SystemError('initialization of cv_bridge_boost raised unreported exception')
"""


@pytest.mark.parametrize(
    ('source', 'reason'),
    [
        ("raise AttributeError('_ARRAY_API not found')", 'AttributeError: _ARRAY_API not found'),
        ("raise ImportError('A module\\n\\nof NumPy 1.x')", 'ImportError: A module of NumPy 1.x'),
        ("raise RuntimeError('module compiled against ABI 1')", 'RuntimeError: module compiled'),
        ('', "ImportError: cannot import name 'CvBridge'"),
        (FAILING_AT_USE, 'SystemError: initialization of cv_bridge_boost'),
    ],
)
def test_broken_cv_bridge_is_tried_once_and_named(cv_bridge, tmp_path, source, reason):
    cv_bridge(COUNTED + source)
    for _ in range(2):
        with pytest.raises(ImageError) as caught:
            to_frame(bad(encoding='rgb16'))
        error = str(caught.value)
        assert error.startswith("encoding 'rgb16' is not supported; use one of bgr8, 8UC3, rgb8,")
        assert f'; cv_bridge is not usable ({reason}' in error
        assert '\n' not in error
    assert (tmp_path / 'cv_bridge.py.count').read_text() == 'x'


def test_missing_cv_bridge_is_named(cv_bridge, monkeypatch):
    monkeypatch.setitem(sys.modules, 'cv_bridge', None)
    with pytest.raises(ImageError, match=r'not usable \(ModuleNotFoundError: .*cv_bridge'):
        to_frame(bad(encoding='32FC1'))


@pytest.mark.parametrize(
    ('convert', 'reason'),
    [
        (
            "raise RuntimeError('[32FC1] is not a color format')",
            r'RuntimeError: \[32FC1\] is not a color format',
        ),
        ('return np.zeros((4, 5, 3), np.uint8)', r'it returned \(4, 5, 3\) uint8'),
        ('return np.zeros((4, 6, 3), np.float32)', r'it returned \(4, 6, 3\) float32'),
        ('return None', 'AttributeError'),
    ],
)
def test_what_cv_bridge_cannot_read_is_refused_with_its_reason(cv_bridge, convert, reason):
    cv_bridge(f"""
import numpy as np
class CvBridge:
    def encoding_to_dtype_with_channels(self, encoding):
        return 'float32', 1
    def imgmsg_to_cv2(self, msg, encoding):
        {convert}
""")
    with pytest.raises(ImageError, match=rf'cv_bridge cannot read it \({reason}'):
        to_frame(bad(encoding='32FC1', data=array('B', bytes(96)), step=24))


@given(
    encoding=st.sampled_from([*ENCODINGS, '32FC1', 'rgb16', 'nv24']) | st.text(),
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
    encoding=st.sampled_from(list(image_msgs._PACKED)),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    padding=st.integers(0, 5),
)
def test_every_well_formed_size_of_every_packed_encoding_is_read(encoding, height, width, padding):
    kind = image_msgs._PACKED[encoding]
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
