"""sensor_msgs/Image <-> uint8 arrays; untrusted messages are checked before they are read."""

from __future__ import annotations

import functools
import sys
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from fcn_road_seg.ground.errors import MAX_NAME_CHARACTERS
from fcn_road_seg.messages.one_line import one_line
from fcn_road_seg.utils.picture import PictureError, check_size

if TYPE_CHECKING:
    from sensor_msgs.msg import Image
    from std_msgs.msg import Header


class ImageError(ValueError):
    """An image message cannot be read; the text names the wrong value."""


@dataclass(frozen=True)
class Frame:
    """A picture: (H, W, 3) uint8 `pixels`, if possible a view of the message.

    `channel_order` is 'bgr' or 'rgb'.
    """

    pixels: np.ndarray
    channel_order: str = 'bgr'

    def bgr(self) -> np.ndarray:
        """Return the pixels as bgr; they are copied only if they are rgb."""
        if self.channel_order == 'bgr':
            return self.pixels
        return cv2.cvtColor(self.pixels, cv2.COLOR_RGB2BGR)


@dataclass(frozen=True)
class _Encoding:
    channels: int
    decode: Callable[[np.ndarray], Frame]
    dtype: type[np.generic] = np.uint8


def _by_opencv(code: int) -> Callable[[np.ndarray], Frame]:
    return lambda pixels: Frame(cv2.cvtColor(pixels, code))


def _mono16(pixels: np.ndarray) -> Frame:
    return Frame(cv2.cvtColor((pixels >> 8).astype(np.uint8), cv2.COLOR_GRAY2BGR))


def _yuv422(code: int) -> Callable[[np.ndarray], Frame]:
    def decode(pixels: np.ndarray) -> Frame:
        w = pixels.shape[1]
        if w % 2:
            # Two pixels share U and V; without a partner, the last one takes its neighbour's V.
            last = pixels[:, -1:].copy()
            if w > 1:
                last[..., _CHROMA[code]] = pixels[:, -2:-1, _CHROMA[code]]
            pixels = np.concatenate([pixels, last], axis=1)
        return Frame(np.ascontiguousarray(cv2.cvtColor(pixels, code)[:, :w]))

    return decode


# Which of a pixel's two bytes is chroma (U or V); the other one is luma.
_CHROMA = {cv2.COLOR_YUV2BGR_UYVY: 0, cv2.COLOR_YUV2BGR_YUY2: 1}
_GREY = _Encoding(1, _by_opencv(cv2.COLOR_GRAY2BGR))
_BGR = _Encoding(3, Frame)
_UYVY = _Encoding(2, _yuv422(cv2.COLOR_YUV2BGR_UYVY))
_YUYV = _Encoding(2, _yuv422(cv2.COLOR_YUV2BGR_YUY2))

_PACKED = {
    'bgr8': _BGR,
    '8UC3': _BGR,
    'rgb8': _Encoding(3, lambda pixels: Frame(pixels, 'rgb')),
    'bgra8': _Encoding(4, _by_opencv(cv2.COLOR_BGRA2BGR)),
    'rgba8': _Encoding(4, _by_opencv(cv2.COLOR_RGBA2BGR)),
    'mono8': _GREY,
    '8UC1': _GREY,
    'mono16': _Encoding(1, _mono16, np.uint16),
    'yuv422': _UYVY,
    'uyvy': _UYVY,
    'yuv422_yuy2': _YUYV,
    'yuyv': _YUYV,
    # ROS names a pattern after the 2 x 2 pixels from the first one of the first row on; OpenCV
    # names it after those from the second one of the second row on.
    'bayer_rggb8': _Encoding(1, _by_opencv(cv2.COLOR_BayerBG2BGR)),
    'bayer_bggr8': _Encoding(1, _by_opencv(cv2.COLOR_BayerRG2BGR)),
    'bayer_gbrg8': _Encoding(1, _by_opencv(cv2.COLOR_BayerGR2BGR)),
    'bayer_grbg8': _Encoding(1, _by_opencv(cv2.COLOR_BayerGB2BGR)),
}
_SEMIPLANAR = {'nv12': cv2.COLOR_YUV2BGR_NV12, 'nv21': cv2.COLOR_YUV2BGR_NV21}
ENCODINGS = (*_PACKED, *_SEMIPLANAR)


def to_frame(msg: Image) -> Frame:
    """Return the picture of a message with any `step`; bgr8, rgb8 and 8UC3 are not copied.

    Encodings that are not in ENCODINGS are read by cv_bridge, if that is installed.

    Raises:
        ImageError: the encoding is unsupported, the size is not 1 to 64 million pixels, or
            the step or the data length does not fit; all is checked before any data is read.
    """
    h, w = msg.height, msg.width
    try:
        check_size(w, h)
    except PictureError as error:
        raise ImageError(f'{error}; configure the camera to publish another size') from error
    if msg.encoding in _SEMIPLANAR:
        return _yuv420(msg, _SEMIPLANAR[msg.encoding])
    encoding = _PACKED.get(msg.encoding)
    if encoding is None:
        return _frame_by_cv_bridge(msg)
    pixel_bytes = encoding.channels * np.dtype(encoding.dtype).itemsize
    _check_rows(msg, pixel_bytes)
    rows = np.frombuffer(msg.data, np.uint8).reshape(h, msg.step)[:, : w * pixel_bytes]
    if encoding.dtype is np.uint16:
        rows = np.ascontiguousarray(rows).view('>u2' if msg.is_bigendian else '<u2')
    if encoding.channels == 1:
        return encoding.decode(rows)
    return encoding.decode(rows.reshape(h, w, encoding.channels))


def _check_rows(msg: Image, pixel_bytes: int) -> None:
    """Raise ImageError unless step and data length fit a packed encoding."""
    h, w = msg.height, msg.width
    if msg.step < w * pixel_bytes:
        raise ImageError(
            f'step {msg.step} is too short for {w} pixels of {msg.encoding!r} '
            f'(at least {w * pixel_bytes} bytes)'
        )
    if len(msg.data) != h * msg.step:
        raise ImageError(
            f'data has {len(msg.data)} bytes, but {h} rows of step {msg.step} have {h * msg.step} '
            f'({msg.encoding!r})'
        )


def _yuv420(msg: Image, code: int) -> Frame:
    """Read nv12 or nv21: rows of luma, then half as many of chroma, with 2 bytes for 2 columns."""
    h, w = msg.height, msg.width
    chroma_h, chroma_w = (h + 1) // 2, (w + 1) // 2
    # Drivers differ in the step: it is the length of a row of luma (libcamera, some of DepthAI's)
    # or that of all data divided by the height (others, some of DepthAI's), in bytes.
    for row_bytes in (msg.step, msg.step * 2 // 3):
        if row_bytes >= 2 * chroma_w and len(msg.data) == row_bytes * (h + chroma_h):
            break
    else:
        raise ImageError(
            f'data has {len(msg.data)} bytes, but {w} x {h} pixels of {msg.encoding!r} with step '
            f'{msg.step} need {msg.step * (h + chroma_h)}, and a step of at least {2 * chroma_w}'
        )
    rows = np.frombuffer(msg.data, np.uint8).reshape(h + chroma_h, row_bytes)
    luma = rows[:h, :w]
    if h % 2 or w % 2:
        # OpenCV reads even sizes only.
        luma = np.pad(luma, ((0, h % 2), (0, w % 2)), mode='edge')
    chroma = np.ascontiguousarray(rows[h:, : 2 * chroma_w]).reshape(chroma_h, chroma_w, 2)
    return Frame(cv2.cvtColorTwoPlane(luma, chroma, code)[:h, :w])


def _frame_by_cv_bridge(msg: Image) -> Frame:
    bridge, reason = _cv_bridge()
    if bridge is not None:
        try:
            dtype, channels = bridge.encoding_to_dtype_with_channels(msg.encoding)
            pixel_bytes = np.dtype(dtype).itemsize * channels
            _check_rows(msg, pixel_bytes)
            if msg.step % pixel_bytes:
                # cv_bridge would drop the rest of each row, which shears the picture.
                raise ValueError(
                    f'step {msg.step} is not a multiple of {pixel_bytes} bytes per pixel'
                )
            pixels = bridge.imgmsg_to_cv2(msg, 'bgr8')
            if pixels.shape == (msg.height, msg.width, 3) and pixels.dtype == np.uint8:
                return Frame(pixels)
            reason = f'it returned {pixels.shape} {pixels.dtype}'
        except Exception as error:  # cv_bridge may raise anything
            reason = _reason(error)
    raise ImageError(
        f'encoding {msg.encoding[:MAX_NAME_CHARACTERS]!r} is not supported; '
        f'use one of {", ".join(ENCODINGS)}; '
        f'{"cv_bridge is not usable" if bridge is None else "cv_bridge cannot read it"} ({reason})'
    )


@functools.cache
def _cv_bridge() -> tuple[Any, str]:
    """Return the converter of cv_bridge and '', or None and the reason why there is none."""
    # An import can raise anything (AttributeError: _ARRAY_API not found, if it was built with an
    # older NumPy), and frames that do not need cv_bridge must still be read.
    try:
        from cv_bridge import CvBridge

        bridge = CvBridge()
        # Such a build may be importable, but fail at each use and print a page to stderr.
        bridge.encoding_to_dtype_with_channels('bgr8')
    except Exception as error:
        return None, _reason(error)
    return bridge, ''


def _reason(error: Exception) -> str:
    return one_line(f'{type(error).__name__}: {error}')


def image_msg(pixels: np.ndarray, encoding: str, header: Header) -> Image:
    """Return the Image of an (H, W) or (H, W, C) uint8 array, with `header` unchanged."""
    # Not at the top: this module also reads bags where ROS is not installed.
    from sensor_msgs.msg import Image

    fields = image_fields(pixels, encoding)
    return Image(header=header, **{**fields, 'data': byte_array(pixels)})


def image_fields(pixels: np.ndarray, encoding: str) -> dict[str, Any]:
    """Return the fields of an Image, without its header, of an (H, W) or (H, W, C) uint8 array.

    `data` is flat uint8, if possible a view of `pixels`.
    """
    h, w = pixels.shape[:2]
    return {
        'height': h,
        'width': w,
        'encoding': encoding,
        'is_bigendian': int(sys.byteorder == 'big'),
        'step': pixels.nbytes // h,
        'data': np.ascontiguousarray(pixels).reshape(-1),
    }


def byte_array(values: np.ndarray) -> array[int]:
    """Return the bytes of an array of any shape and type, in the type that messages accept."""
    # If given bytes, a message checks them one by one (over 1 s per frame).
    data = array('B')
    data.frombytes(np.ascontiguousarray(values).data.cast('B'))
    return data
