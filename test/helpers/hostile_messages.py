"""Messages of a broken or hostile camera: hypothesis strategies, nearly valid and random.

Strategies whose names end in `_beyond_repair` draw messages that are bad by construction and must
be refused. The others may, by chance, draw a readable picture.
"""

from __future__ import annotations

import struct
import zlib
from array import array

import cv2
import numpy as np
from hypothesis import strategies as st
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header

from fcn_road_seg.ground.lens import COEFFICIENTS
from fcn_road_seg.messages.image import ENCODINGS

UINT32_MAX = 2**32 - 1
PNG_START = b'\x89PNG\r\n\x1a\n'
BYTES_PER_PIXEL = {'rgb8': 3, 'bgr8': 3, '8UC3': 3, 'rgba8': 4, 'bgra8': 4}
BYTES_PER_PIXEL |= dict.fromkeys(('mono16', 'yuv422', 'uyvy', 'yuv422_yuy2', 'yuyv'), 2)
SEMIPLANAR = ('nv12', 'nv21')
# A ROS string ends at a NUL, and UTF-8 has no lone surrogates.
TEXTS = st.text(st.characters(exclude_categories=['Cs'], exclude_characters='\0'), max_size=40)
SIDES = st.integers(1, 12)
GIANT = st.sampled_from([64_000_001, 2**31 - 1, 2**31, UINT32_MAX])
UINT32 = st.integers(0, 60) | st.integers(0, UINT32_MAX) | GIANT


@st.composite
def headers(draw: st.DrawFn) -> Header:
    """Draw any header: stamps before 1970 and with more than a second of nanoseconds, too."""
    header = Header(frame_id=draw(st.sampled_from(['', 'camera']) | TEXTS))
    header.stamp.sec = draw(st.sampled_from([0, -1, -(2**31), 2**31 - 1]))
    header.stamp.nanosec = draw(st.sampled_from([0, 999_999_999, 10**9, UINT32_MAX]))
    return header


@st.composite
def images(draw: st.DrawFn) -> Image:
    """Draw an Image each of whose fields is random."""
    msg = Image(header=draw(headers()), encoding=draw(st.sampled_from(ENCODINGS) | TEXTS))
    msg.height, msg.width, msg.step = draw(UINT32), draw(UINT32), draw(UINT32)
    msg.is_bigendian = draw(st.integers(0, 255))
    msg.data = array('B', draw(st.binary(max_size=400)))
    return msg


@st.composite
def whole_images(draw: st.DrawFn) -> Image:
    """Draw an Image whose size, step and length fit its encoding."""
    msg = Image(header=draw(headers()), encoding=draw(st.sampled_from(ENCODINGS)))
    h, w = msg.height, msg.width = draw(SIDES), draw(SIDES)
    rows = h
    if msg.encoding in SEMIPLANAR:
        rows += (h + 1) // 2
        msg.step = (w + 1) // 2 * 2
    else:
        msg.step = w * BYTES_PER_PIXEL.get(msg.encoding, 1) + draw(st.integers(0, 5))
    msg.is_bigendian = draw(st.integers(0, 255))
    msg.data = array('B', bytes([draw(st.integers(0, 255))]) * (rows * msg.step))
    return msg


@st.composite
def images_beyond_repair(draw: st.DrawFn) -> Image:
    """Draw an Image that is valid except for one field."""
    msg = draw(whole_images())
    fault = draw(st.sampled_from(['encoding', 'zero', 'giant', 'step', 'cut', 'more', 'empty']))
    side = draw(st.sampled_from(['height', 'width']))
    if fault == 'encoding':
        spoilt = [msg.encoding.swapcase(), f' {msg.encoding}', f'{msg.encoding}é', '', '8UC5']
        msg.encoding = draw(
            st.sampled_from(spoilt) | TEXTS.filter(lambda text: text not in ENCODINGS)
        )
    elif fault == 'zero':
        setattr(msg, side, 0)
    elif fault == 'giant':
        setattr(msg, side, draw(GIANT))
    elif fault == 'step':
        # Too short for the width, or too long for the data.
        bytes_per_pixel = BYTES_PER_PIXEL.get(msg.encoding, 1)
        msg.step = draw(st.integers(0, msg.width * bytes_per_pixel - 1) | GIANT)
    elif fault == 'cut':
        msg.data = msg.data[: -draw(st.integers(1, len(msg.data)))]
    elif fault == 'more':
        msg.data.extend(bytes(draw(st.integers(1, 50))))
    else:
        msg.data = array('B')
    return msg


def _picture(kind: str, *settings: int, channels: int = 3, dtype: type = np.uint8) -> bytes:
    y, x = np.mgrid[0:9, 0:14]
    levels = np.stack([18 * x, 28 * y, 255 - 18 * x][:channels], axis=-1).astype(dtype)
    return cv2.imencode(kind, levels, settings)[1].tobytes()


PROGRESSIVE = (cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
JPEGS = [
    _picture('.jpg'),
    _picture('.jpg', channels=1),
    _picture('.jpg', *PROGRESSIVE),
    _picture('.jpg', cv2.IMWRITE_JPEG_RST_INTERVAL, 1),
]
PNGS = [_picture('.png'), _picture('.png', channels=1), _picture('.png', dtype=np.uint16)]
FORMATS = st.sampled_from(['jpeg', 'png', 'rgb8; png compressed rgb8', 'bgr8; jpeg']) | TEXTS


def _compressed(header: Header, text: str, data: bytes) -> CompressedImage:
    return CompressedImage(header=header, format=text, data=array('B', data))


@st.composite
def compressed_images(draw: st.DrawFn) -> CompressedImage:
    """Draw a picture in which some bytes are changed, missing or duplicated.

    Half of those that are cut off end properly all the same.
    """
    data = bytearray(draw(st.sampled_from([*JPEGS, *PNGS, b'', b'\xff\xd8\xff', PNG_START])))
    for _ in range(draw(st.integers(0, 4))):
        at, length = draw(st.integers(0, len(data))), draw(st.integers(1, 20))
        fault = draw(st.sampled_from(['other', 'lost', 'twice', 'flip', 'cut', 'cut_and_ended']))
        if fault == 'other':
            data[at : at + length] = draw(st.binary(min_size=length, max_size=length))
        elif fault == 'lost':
            del data[at : at + length]
        elif fault == 'twice':
            data[at:at] = data[at : at + length]
        elif fault == 'flip' and at < len(data):
            data[at] ^= 1 << length % 8
        elif fault == 'cut':
            del data[at:]
        elif fault == 'cut_and_ended':
            data[at:] = b'\xff\xd9' if data.startswith(b'\xff\xd8') else data[-12:]
    return _compressed(draw(headers()), draw(FORMATS), bytes(data))


@st.composite
def compressed_images_beyond_repair(draw: st.DrawFn) -> CompressedImage:
    """Draw a picture that is cut off, has a size out of bounds, is none, or is called depth."""
    fault = draw(st.sampled_from(['cut', 'size', 'kind', 'depth']))
    data = draw(st.sampled_from([*JPEGS, *PNGS]))
    text = draw(FORMATS)
    if fault == 'cut':
        # Some cameras never send a JPEG's end marker, its last two bytes.
        data = data[: draw(st.integers(0, len(data) - 3))]
    elif fault == 'size':
        sides = draw(st.tuples(GIANT, GIANT) | st.sampled_from([(0, 9), (9, 0), (0, 0)]))
        data = claiming(data, *sides)
    elif fault == 'kind':
        data = bytes([draw(st.integers(0, 254))]) + data[1:]
        data = data.replace(b'\x89PNG', b'\x88PNG', 1)
    else:
        text = f'16UC1; compressedDepth {text}'
    return _compressed(draw(headers()), text, data)


def claiming(data: bytes, w: int, h: int) -> bytes:
    """Return a JPEG or PNG whose header claims another size, limited to 16 bits in a JPEG."""
    changed = bytearray(data)
    if data.startswith(PNG_START):
        changed[16:24] = struct.pack('>II', w, h)
        changed[29:33] = struct.pack('>I', zlib.crc32(changed[12:29]))
    else:
        at = max(data.find(b'\xff\xc0'), data.find(b'\xff\xc2')) + 5
        changed[at : at + 4] = struct.pack('>HH', min(h, 65_535), min(w, 65_535))
    return bytes(changed)


NUMBERS = st.sampled_from([0.0, -1.0, 1.0, 700.0, 1e-320, 1e300, -1e300]) | st.floats()
POSITIVE = st.sampled_from([1e-320, 1e-3, 50.0, 1e9, 1e300]) | st.floats(1e-9, 1e9)


@st.composite
def camera_infos(draw: st.DrawFn) -> CameraInfo:
    """Draw a CameraInfo some or all of whose numbers may make no sense."""
    msg = CameraInfo(header=draw(headers()), height=48, width=64)
    msg.k, msg.p = (50.0, 0.0, 32.0, 0.0, 50.0, 24.0, 0.0, 0.0, 1.0), (0.0,) * 12
    for field, length in (('k', 9), ('p', 12), ('r', 9)):
        if draw(st.booleans()):
            setattr(msg, field, draw(st.lists(NUMBERS, min_size=length, max_size=length)))
    if draw(st.booleans()):
        # Matrices of the right form.
        fx, fy, cx, cy = draw(POSITIVE), draw(POSITIVE), draw(NUMBERS), draw(NUMBERS)
        msg.k = (fx, draw(NUMBERS), cx, 0.0, fy, cy, 0.0, 0.0, 1.0)
        msg.p = (fx, 0.0, cx, 0.0, 0.0, fy, cy, 0.0, 0.0, 0.0, 1.0, 0.0)
    if draw(st.booleans()):
        msg.distortion_model = draw(st.sampled_from([*COEFFICIENTS, 'fisheye']) | TEXTS)
        msg.d = draw(st.lists(NUMBERS, max_size=15))
        if counts := COEFFICIENTS.get(msg.distortion_model):
            count = draw(st.sampled_from(counts))
            msg.d = draw(st.lists(NUMBERS, min_size=count, max_size=count))
    if draw(st.booleans()):
        msg.height, msg.width = draw(UINT32), draw(UINT32)
    if draw(st.booleans()):
        roi = msg.roi
        roi.x_offset, roi.y_offset = draw(UINT32), draw(UINT32)
        roi.height, roi.width = draw(UINT32), draw(UINT32)
    msg.binning_x, msg.binning_y = draw(UINT32), draw(UINT32)
    return msg
