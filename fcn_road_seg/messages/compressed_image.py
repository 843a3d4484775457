"""sensor_msgs/CompressedImage (JPEG, PNG) <-> uint8 arrays; sizes are checked before decoding."""

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
# As libjpeg looks for the next one: over anything in between.
_MARKER = re.compile(rb'\xff([^\x00\xff])')
_FRAME_HEADERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_WITHOUT_LENGTH = frozenset(range(0xD0, 0xD8)) | {0x01}
_SCAN = 0xDA


def compressed_to_frame(msg: CompressedImage) -> Frame:
    """Return the (H, W, 3) uint8 bgr picture of a JPEG or PNG, whichever the data is.

    Of 16 bits the high byte is kept, alpha is dropped, an orientation in EXIF is not applied.

    Raises:
        ImageError: a depth format, data that is neither JPEG nor PNG, cut off or undecodable, or
            a size outside of 1 to MAX_PIXELS, which is found before anything is decoded. What is
            lost in the middle of a JPEG cannot be noticed.
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
        'have the camera driver publish whole frames'
    )


def _png_size(data: bytes) -> tuple[int, int] | None:
    """Return width and height, or None if the data does not begin as each PNG does."""
    if data[8:16] != _IHDR_START or len(data) < 24:
        return None
    return int.from_bytes(data[16:20], 'big'), int.from_bytes(data[20:24], 'big')


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Return width and height, or None if there is no whole picture."""
    size = None
    position = 2
    while marker := _MARKER.search(data, position):
        kind = marker[1][0]
        position = marker.end()
        if kind == _SCAN:
            # Older OpenCV fills up a picture that is cut off, and says nothing.
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

    `encoding` is a grey one of 8 bits, such as 'mono8'.

    Raises:
        ImageError: the size does not fit into a PNG.
    """
    # The blank at the end is image_transport's, which names a colour order there.
    return _message(pixels, 'png', [], f'{encoding}; png compressed ', header)


def jpeg_msg(pixels_bgr: np.ndarray, header: Header, quality: int = 90) -> CompressedImage:
    """Return a JPEG of a (H, W, 3) uint8 bgr array, with `header` unchanged.

    `quality` is 0 to 100.

    Raises:
        ImageError: the size does not fit into a JPEG.
    """
    settings = [cv2.IMWRITE_JPEG_QUALITY, quality]
    return _message(pixels_bgr, 'jpeg', settings, 'bgr8; jpeg compressed bgr8', header)


def _message(
    pixels: np.ndarray, kind: str, settings: Sequence[int], text: str, header: Header
) -> CompressedImage:
    # Here and not above: pictures of bags are read where no ROS message is installed.
    from sensor_msgs.msg import CompressedImage

    try:
        written, data = cv2.imencode(f'.{kind}', pixels, settings)
    except cv2.error:
        written = False
    if not written:
        h, w = pixels.shape[:2]
        raise ImageError(f'size {w} x {h} does not fit into a {kind}; use the uncompressed topic')
    return CompressedImage(header=header, format=text, data=byte_array(data))
