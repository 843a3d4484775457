import struct
import zlib
from array import array
from unittest import mock

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sensor_msgs.msg import CompressedImage
from std_msgs.msg import Header

from fcn_road_seg.messages.compressed_image import compressed_to_frame, jpeg_msg, png_msg
from fcn_road_seg.messages.image import ImageError
from fcn_road_seg.utils import picture

GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6


def message(data, text='jpeg'):
    return CompressedImage(format=text, data=array('B', data))


def bgr_of(data, text='jpeg'):
    frame = compressed_to_frame(message(data, text))
    assert frame.pixels.dtype == np.uint8
    return frame.pixels if frame.channel_order == 'bgr' else frame.pixels[..., ::-1]


def noise(*shape, dtype=np.uint8):
    return np.random.default_rng(7).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


def photo(h=48, w=64):
    """Return a smooth BGR picture, which JPEG hardly changes; each corner has its own color."""
    y, x = np.mgrid[0:h, 0:w]
    return np.stack([255 * x // w, 255 * y // h, 255 - 255 * x // w], axis=-1).astype(np.uint8)


def jpeg(pixels, *parameters):
    return cv2.imencode('.jpg', pixels, [cv2.IMWRITE_JPEG_QUALITY, 95, *parameters])[1].tobytes()


def chunk(name, body):
    return struct.pack('>I', len(body)) + name + body + struct.pack('>I', zlib.crc32(name + body))


def png(w, h, depth=8, kind=RGB, rows=b'', extra=b''):
    """Return a PNG of rows that are packed already, without their filter bytes."""
    row_bytes = len(rows) // h if h else 0
    scan = b''.join(b'\0' + rows[i * row_bytes : (i + 1) * row_bytes] for i in range(min(h, 99)))
    header = chunk(b'IHDR', struct.pack('>IIBBBBB', w, h, depth, kind, 0, 0, 0))
    body = chunk(b'IDAT', zlib.compress(scan))
    return b'\x89PNG\r\n\x1a\n' + header + extra + body + chunk(b'IEND', b'')


def segment(marker, body):
    return bytes([0xFF, marker]) + struct.pack('>H', len(body) + 2) + body


def with_segments(data, *segments):
    """Return a JPEG with segments added before its own."""
    return data[:2] + b''.join(segments) + data[2:]


def frame_header_of(data):
    """Return where in a JPEG of OpenCV its size is."""
    return data.index(b'\xff\xc0') + 5


@pytest.mark.parametrize(
    'text', ['png', 'bgr8; png compressed bgr8', 'rgb8; png compressed bgr8', '', 'jpeg']
)
def test_png_gives_its_pixels_whatever_the_format_says(text):
    rgb = noise(5, 7, 3)
    assert np.array_equal(bgr_of(png(7, 5, rows=rgb.tobytes()), text), rgb[..., ::-1])


# As compressed_image_transport's subscriber reads them.
@pytest.mark.parametrize(
    ('text', 'order'),
    [
        ('rgb8; png compressed rgb8', 'rgb'),
        ('bgr8; png compressed rgb8', 'rgb'),
        ('rgb8; jpeg compressed rgb8', 'rgb'),
        ('rgb8; jpeg compressed ', 'rgb'),
        ('rgba8; png compressed rgb8', 'rgb'),
        ('bgr16; png compressed rgb16', 'rgb'),
        ('rgb8; png compressed bgr8', 'bgr'),
        ('rgb16; png compressed bgr16', 'bgr'),
        ('mono8; png compressed ', 'bgr'),
        ('yuv422; jpeg compressed ', 'bgr'),
        ('rgb8', 'bgr'),
        ('jpeg', 'bgr'),
        ('', 'bgr'),
    ],
)
def test_order_of_colours_follows_the_format(text, order):
    pixels = noise(5, 7, 3)
    frame = compressed_to_frame(message(cv2.imencode('.png', pixels)[1].tobytes(), text))
    assert frame.channel_order == order
    assert np.array_equal(frame.pixels, pixels)


def test_png_of_16_bits_gives_the_high_bytes():
    rgb = noise(5, 7, 3, dtype=np.uint16)
    pixels = bgr_of(png(7, 5, 16, RGB, rgb.astype('>u2').tobytes()), 'bgr16; png compressed bgr16')
    assert np.array_equal(pixels, rgb[..., ::-1] >> 8)


@pytest.mark.parametrize(('depth', 'dtype'), [(8, 'u1'), (16, '>u2')])
def test_grey_png_becomes_three_equal_channels(depth, dtype):
    grey = noise(5, 7, 1, dtype=np.dtype(dtype).newbyteorder('=').type)
    pixels = bgr_of(png(7, 5, depth, GREY, grey.astype(dtype).tobytes()), 'mono16; png compressed')
    assert np.array_equal(pixels, (grey >> (depth - 8)).repeat(3, axis=2))


@pytest.mark.parametrize('kind', [GREY_ALPHA, RGBA])
@pytest.mark.parametrize('depth', [8, 16])
def test_alpha_is_dropped(kind, depth):
    values = noise(
        5, 7, 2 if kind == GREY_ALPHA else 4, dtype=np.uint8 if depth == 8 else np.uint16
    )
    rows = values.astype(values.dtype.newbyteorder('>')).tobytes()
    color = values[..., :-1] >> (depth - 8)
    assert np.array_equal(
        bgr_of(png(7, 5, depth, kind, rows)), np.broadcast_to(color[..., ::-1], (5, 7, 3))
    )


def test_png_of_one_bit_or_with_a_palette_is_read():
    bits = png(8, 2, 1, GREY, bytes([0b10000001, 0b01111110]))
    assert bgr_of(bits)[..., 1].tolist() == [[255, *[0] * 6, 255], [0, *[255] * 6, 0]]
    palette = chunk(b'PLTE', bytes([1, 2, 3, 40, 50, 60]))
    assert bgr_of(png(2, 1, 8, PALETTE, bytes([1, 0]), palette)).tolist() == [
        [[60, 50, 40], [3, 2, 1]]
    ]


@pytest.mark.parametrize(
    'text', ['jpeg', 'bgr8; jpeg compressed bgr8', 'rgb8; jpeg compressed bgr8', '', 'png']
)
def test_jpeg_gives_its_picture_whatever_the_format_says(text):
    assert np.abs(bgr_of(jpeg(photo()), text).astype(int) - photo()).max() <= 8


def test_grey_jpeg_becomes_three_equal_channels():
    grey = photo()[..., 0]
    pixels = bgr_of(jpeg(grey), 'mono8; jpeg compressed')
    assert np.ptp(pixels, axis=2).max() == 0
    assert np.abs(pixels[..., 0].astype(int) - grey).max() <= 4


def test_progressive_jpeg_with_restarts_and_a_thumbnail_is_read():
    # The thumbnail's size, and its end, must not be taken for the picture's.
    thumbnail = segment(0xE1, b'Exif\0\0' + jpeg(photo(16, 16)))
    data = jpeg(photo(), cv2.IMWRITE_JPEG_PROGRESSIVE, 1, cv2.IMWRITE_JPEG_RST_INTERVAL, 2)
    data = with_segments(data, thumbnail, segment(0xFE, b'comment'), b'\xff\xff\xff')
    assert np.abs(bgr_of(data).astype(int) - photo()).max() <= 8


@pytest.mark.parametrize('orientation', range(1, 9))
def test_orientation_in_exif_does_not_turn_the_picture(orientation):
    # One TIFF entry: tag 0x112, a short, once, its value.
    exif = b'II*\0' + struct.pack('<IHHHIHHI', 8, 1, 0x112, 3, 1, orientation, 0, 0)
    data = with_segments(jpeg(photo()), segment(0xE1, b'Exif\0\0' + exif))
    assert np.array_equal(bgr_of(data), bgr_of(jpeg(photo())))
    # Elsewhere it does, or this would test nothing.
    assert orientation == 1 or not np.array_equal(
        cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), bgr_of(data)
    )
    rgb = noise(5, 7, 3)
    data = png(7, 5, rows=rgb.tobytes(), extra=chunk(b'eXIf', exif))
    assert np.array_equal(bgr_of(data), rgb[..., ::-1])


@pytest.mark.parametrize(
    'text', ['16UC1; compressedDepth', '16UC1; compressedDepth png', '32FC1; compressedDepth rvl']
)
def test_depth_is_refused(text):
    with pytest.raises(ImageError, match=f'^format {text!r} is for depth images; .*$'):
        compressed_to_frame(message(png(7, 5, rows=noise(5, 7, 3).tobytes()), text))


@pytest.mark.parametrize('text', ['x' * 10**6, 'compressedDepth'.rjust(10**6)])
def test_long_format_is_cut_off_in_the_error(text):
    with pytest.raises(ImageError, match=f"format '{text[:40]}'") as caught:
        compressed_to_frame(message(b'', text))
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ('data', 'error'),
    [
        (b'', 'data has 0 bytes and begins with nothing, which is neither JPEG nor PNG'),
        (b'\xff\xd8', 'data has 2 bytes and begins with ff d8, which is neither'),
        (b'II*\0' + bytes(90), r"begins with 49 49 2a 00 00 .* neither .* \(format 'jpeg'\)"),
        (bytes(12) + png(2, 2, rows=bytes(12)), 'begins with 00 00 00 00 00 00 00 00, which is'),
    ],
)
def test_data_of_another_kind_is_refused_naming_how_it_begins(data, error):
    with pytest.raises(ImageError, match=error):
        bgr_of(data)


@pytest.mark.parametrize(
    'whole',
    [
        jpeg(photo()),
        with_segments(jpeg(photo()), segment(0xE1, b'Exif\0\0' + jpeg(photo(16, 16)))),
        png(7, 5, rows=noise(5, 7, 3).tobytes()),
    ],
)
def test_data_cut_off_anywhere_is_refused(whole):
    bgr_of(whole)
    kind = 'PNG' if whole[1:4] == b'PNG' else 'JPEG'
    # Of a JPEG, the last two bytes are the end marker.
    for end in [*range(8, len(whole) - 2, 41), 20, len(whole) - 4, len(whole) - 3]:
        with pytest.raises(ImageError, match=f'{kind} data of {end} bytes is cut off or damaged'):
            bgr_of(whole[:end])


def test_jpeg_without_its_end_marker_is_read():
    whole = jpeg(photo())
    for end in (len(whole) - 2, len(whole) - 1):
        assert np.array_equal(bgr_of(whole[:end]), bgr_of(whole))


@pytest.mark.parametrize(
    'data',
    [
        png(7, 5, rows=bytes(4)),
        png(7, 5, depth=3, rows=bytes(105)),
        png(7, 5, rows=bytes(105)).replace(b'IHDR', b'IHDT'),
        png(7, 5, rows=bytes(105)).replace(b'IDAT', b'IDAS'),
        jpeg(photo()).replace(b'\xff\xc0', b'\xff\xc5'),
        jpeg(photo()).replace(b'\xff\xc0', b'\xff\xe0'),
        b'\xff\xd8' + segment(0xC0, bytes([8, 0, 9, 0, 9])) + segment(0xDA, b'') + b'\xff\xd9',
    ],
)
def test_undecodable_data_is_refused(data):
    with pytest.raises(ImageError, match=f'data of {len(data)} bytes is cut off or damaged'):
        bgr_of(data)


def jpeg_claiming(w, h):
    data = bytearray(jpeg(photo()))
    at = frame_header_of(data)
    data[at : at + 4] = struct.pack('>HH', h, w)
    return bytes(data)


@pytest.mark.parametrize(
    'hiding', [b'\xff\xd0', b'\xff\x01', b'\xff\0', b'\0\xff\xff', b'\xff\xe0\0\0']
)
def test_size_of_a_jpeg_is_found_behind_whatever_its_decoder_skips(hiding):
    with pytest.raises(ImageError, match='size 60000 x 60000 is outside'):
        bgr_of(with_segments(jpeg_claiming(60000, 60000), segment(0xFE, b''), hiding))
    data = with_segments(jpeg(photo()), segment(0xFE, b''), hiding)
    assert np.array_equal(bgr_of(data), bgr_of(jpeg(photo())))


@pytest.mark.parametrize('claiming', [png, jpeg_claiming])
@pytest.mark.parametrize(('w', 'h'), [(0, 5), (5, 0), (60000, 60000), (8000, 8001), (1000, 64001)])
def test_size_outside_of_the_limit_is_refused_before_decoding(claiming, w, h):
    with (
        mock.patch('cv2.imdecode', side_effect=AssertionError('decoded')),
        pytest.raises(ImageError, match=f'size {w} x {h} is outside of 1 to 64000000 pixels'),
    ):
        bgr_of(claiming(w, h))


@pytest.mark.parametrize('claiming', [png, jpeg_claiming])
def test_size_of_just_the_limit_is_given_to_the_decoder(claiming):
    with (
        mock.patch('cv2.imdecode', return_value=None) as decode,
        pytest.raises(ImageError, match='cut off or damaged'),
    ):
        bgr_of(claiming(8000, 8000))
    assert decode.called


def test_decoder_that_raises_is_an_image_error():
    with (
        mock.patch('cv2.imdecode', side_effect=cv2.error('out of memory')),
        pytest.raises(ImageError, match='cut off or damaged'),
    ):
        bgr_of(jpeg(photo()))


@st.composite
def damaged(draw):
    """Draw a small picture file, a few of whose bytes are others, cut off or not."""
    data = bytearray(draw(st.sampled_from(SMALL_FILES)))
    places = st.integers(0, 200) | st.integers(0, len(data) - 1)
    for place, value in draw(st.lists(st.tuples(places, st.integers(0, 255)), max_size=4)):
        data[min(place, len(data) - 1)] = value
    return bytes(data[: draw(st.none() | st.integers(0, len(data)))])


SMALL_FILES = [
    jpeg(photo(9, 14)),
    jpeg(photo(9, 14), cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
    png(14, 9, rows=noise(9, 14, 3).tobytes()),
    png(14, 9, 16, GREY, noise(9, 14, dtype=np.uint16).tobytes()),
]
# By hand, as few random bytes would come so far.
BEGINNINGS = [b'', b'\xff\xd8\xff', b'\xff\xd8\xff\xc0\0\x0b\x08', png(9, 9)[:16], png(9, 9)[:29]]


@settings(deadline=None)
@given(
    data=damaged() | st.builds(bytes.__add__, st.sampled_from(BEGINNINGS), st.binary(max_size=80)),
    text=st.sampled_from(['jpeg', 'mono8; png compressed ', '16UC1; compressedDepth']) | st.text(),
)
def test_any_data_gives_a_frame_within_the_limit_or_an_image_error(data, text):
    # So low that a size which the decoder reads otherwise than we do would show.
    with mock.patch.object(picture, 'MAX_PIXELS', 200):
        try:
            pixels = bgr_of(data, text)
        except ImageError:
            return
    assert pixels.shape[0] * pixels.shape[1] <= 200
    assert pixels.shape[2:] == (3,)


@given(w=st.integers(0, 2**32 - 1), h=st.integers(0, 2**32 - 1), depth=st.sampled_from([8, 16]))
def test_no_size_above_the_limit_is_ever_decoded(w, h, depth):
    allowed = 0 < w * h <= picture.MAX_PIXELS
    with mock.patch('cv2.imdecode', return_value=None) as decode, pytest.raises(ImageError):
        bgr_of(png(w, h, depth, RGBA))
    assert decode.called == allowed


def header():
    made = Header(frame_id='camera')
    made.stamp.sec, made.stamp.nanosec = 12, 34
    return made


def test_mask_comes_back_exactly_from_its_png():
    mask = np.where(noise(37, 53) > 99, 255, 0).astype(np.uint8)
    msg = png_msg(mask, 'mono8', header())
    assert msg.header == header()
    assert msg.format == 'mono8; png compressed '
    assert np.array_equal(compressed_to_frame(msg).pixels, np.stack([mask] * 3, axis=-1))


def test_confidence_comes_back_exactly_from_the_png_of_a_view():
    confidence = noise(40, 60)[3:, 5:50]
    pixels = compressed_to_frame(png_msg(confidence, 'mono8', Header())).pixels
    assert np.array_equal(pixels[..., 0], confidence)


def test_overlay_comes_back_from_its_jpeg_within_a_small_error():
    msg = jpeg_msg(photo(), header())
    assert msg.header == header()
    assert msg.format == 'bgr8; jpeg compressed bgr8'
    assert np.abs(compressed_to_frame(msg).pixels.astype(int) - photo()).max() <= 12


def test_lower_quality_makes_a_smaller_jpeg():
    sizes = [len(jpeg_msg(noise(48, 64, 3), Header(), quality).data) for quality in (20, 60, 95)]
    assert sizes == sorted(set(sizes))


@pytest.mark.parametrize(
    ('write', 'w', 'kind'),
    [
        (lambda w: jpeg_msg(np.zeros((1, w, 3), np.uint8), Header()), 70_000, 'jpeg'),
        (lambda w: png_msg(np.zeros((1, w), np.uint8), 'mono8', Header()), 1_000_001, 'png'),
    ],
)
def test_size_that_the_file_cannot_hold_is_refused(write, w, kind):
    with pytest.raises(ImageError, match=f'size {w} x 1 does not fit into a {kind}; use'):
        write(w)


def test_data_is_assigned_as_an_array():
    assert isinstance(png_msg(noise(3, 4), 'mono8', Header()).data, array)
