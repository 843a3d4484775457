"""sensor_msgs/CompressedImage (JPEG, PNG) <-> uint8 arrays; sizes are checked before decoding.

The headers are parsed here and not by Pillow (JPEG 20 us, PNG 10 us per frame, against 4 and
0.5 us here): Pillow 13 accepts a JPEG without its end, refuses some that OpenCV decodes, and does
not tell a size of 0 or over 179 megapixels, so most of this code would be needed beside it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import cv2
import numpy as np

from fcn_road_seg.messages.image import Frame, ImageError, byte_array, check_size

if TYPE_CHECKING:
    from sensor_msgs.msg import CompressedImage
    from std_msgs.msg import Header

_PNG_START = b'\x89PNG\r\n\x1a\n'
_IHDR_START = b'\x00\x00\x00\x0dIHDR'
_JPEG_START = b'\xff\xd8\xff'
_JPEG_END = b'\xff\xd9'
# Like libjpeg, a search for the next marker skips anything in between.
_MARKER = re.compile(rb'\xff([^\x00\xff])')
_FRAME_HEADERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_WITHOUT_LENGTH = frozenset(range(0xD0, 0xD8)) | {0x01}
_SCAN = 0xDA


def compressed_to_frame(msg: CompressedImage) -> Frame:
    """Return the (H, W, 3) uint8 bgr picture of a JPEG or PNG; the data decides which it is.

    16-bit values are reduced to their high byte, alpha is dropped, and an EXIF orientation is not
    applied.

    Raises:
        ImageError: the format is depth, the data is neither JPEG nor PNG, cut off or undecodable,
            or the size, which is checked before decoding, is not 1 to MAX_PIXELS pixels. Data
            missing from the middle of a JPEG goes unnoticed.
    """
    if 'compressedDepth' in msg.format:
        raise ImageError(
            f'format {msg.format!r} is depth, not a picture; subscribe to a camera image instead'
        )
    data = bytes(msg.data)
    if data.startswith(_PNG_START):
        kind, size = 'PNG', _png_size(data)
    elif data.startswith(_JPEG_START):
        kind, size = 'JPEG', _jpeg_size(data)
    else:
        raise ImageError(
            f'data has {len(data)} bytes and begins with {data[:8].hex(" ") or "nothing"}, '
            f'which is neither JPEG nor PNG (format {msg.format!r}); publish one of these'
        )
    if size is not None:
        check_size(*size)
        try:
            pixels = cv2.imdecode(
                np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
            )
        except cv2.error:
            pixels = None
        if pixels is not None:
            return Frame(pixels)
    raise ImageError(
        f'{kind} data of {len(data)} bytes is cut off or damaged; '
        'configure the camera driver to publish whole frames'
    )


def _png_size(data: bytes) -> tuple[int, int] | None:
    """Return width and height in pixels, or None if the data does not begin like a PNG."""
    if data[8:16] != _IHDR_START or len(data) < 24:
        return None
    return int.from_bytes(data[16:20], 'big'), int.from_bytes(data[20:24], 'big')


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Return width and height in pixels, or None if the picture is not complete."""
    size = None
    position = 2
    while marker := _MARKER.search(data, position):
        kind = marker[1][0]
        position = marker.end()
        if kind == _SCAN:
            # Older versions of OpenCV silently pad a picture that is cut off.
            return size if data.rfind(_JPEG_END, position) >= 0 else None
        if kind in _WITHOUT_LENGTH:
            continue
        if kind in _FRAME_HEADERS:
            h = int.from_bytes(data[position + 3 : position + 5], 'big')
            size = int.from_bytes(data[position + 5 : position + 7], 'big'), h
        position += int.from_bytes(data[position : position + 2], 'big')
    return None


def png_msg(pixels: np.ndarray, encoding: str, header: Header) -> CompressedImage:
    """Return a lossless PNG of a (H, W) uint8 array, with `header` unchanged.

    `encoding` is an 8-bit grey one, such as 'mono8'.

    Raises:
        ImageError: the size does not fit into a PNG.
    """
    # image_transport writes the blank at the end, too: a colour order follows it for others.
    return _message(pixels, 'png', [], f'{encoding}; png compressed ', header)


def jpeg_msg(pixels_bgr: np.ndarray, header: Header, quality: int = 90) -> CompressedImage:
    """Return a JPEG of a (H, W, 3) uint8 bgr array, with `header` unchanged.

    `quality` is in [0, 100].

    Raises:
        ImageError: the size does not fit into a JPEG.
    """
    settings = [cv2.IMWRITE_JPEG_QUALITY, quality]
    return _message(pixels_bgr, 'jpeg', settings, 'bgr8; jpeg compressed bgr8', header)


def _message(
    pixels: np.ndarray, kind: str, settings: Sequence[int], text: str, header: Header
) -> CompressedImage:
    # Not at the top: this module also reads bags where ROS is not installed.
    from sensor_msgs.msg import CompressedImage

    try:
        written, data = cv2.imencode(f'.{kind}', pixels, settings)
    except cv2.error:
        written = False
    if not written:
        h, w = pixels.shape[:2]
        raise ImageError(f'size {w} x {h} does not fit into a {kind}; use the uncompressed topic')
    return CompressedImage(header=header, format=text, data=byte_array(data))
