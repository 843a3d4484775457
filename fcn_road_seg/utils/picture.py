"""Decodes pictures (JPEG, PNG) to arrays, with all checks of untrusted data; encodes PNGs.

All parts of the package read pictures with this module, so that they accept and refuse the same
ones: frames and labels on disk as well as compressed messages.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from fcn_road_seg.utils.jpeg import JPEG_START, decode_whole_jpeg, jpeg_header

MAX_PIXELS = 64_000_000
_PNG_START = b'\x89PNG\r\n\x1a\n'
_IHDR_START = b'\x00\x00\x00\x0dIHDR'
# Bytes of a chunk besides its data: length and type before them, checksum after them.
_CHUNK_FRAME = 12


class PictureError(ValueError):
    """Data are not a readable picture; the text says what is wrong with them."""


def decode_picture(data: bytes, unchanged: bool = False) -> np.ndarray:
    """Return the (H, W, 3) uint8 BGR picture of a JPEG or PNG; the data decide which it is.

    The pixels are those that the file stores: an EXIF orientation is never applied, since masks
    and ROS messages have none. 16-bit values are reduced to their high byte, and alpha is dropped.
    With `unchanged`, for labels, the number of channels and the dtype are the file's own: (H, W)
    or (H, W, C), uint8 or uint16.

    Raises:
        PictureError: the data are neither JPEG nor PNG, cut off or undecodable, or the size, which
            is checked before decoding, is not 1 to MAX_PIXELS pixels. `decode_whole_jpeg` says
            which damage to a JPEG is noticed.
    """
    flags = cv2.IMREAD_UNCHANGED if unchanged else cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION

    def decode(picture: bytes) -> np.ndarray | None:
        try:
            return cv2.imdecode(np.frombuffer(picture, np.uint8), flags)
        except cv2.error:
            return None

    pixels = None
    if data.startswith(_PNG_START):
        kind = 'PNG'
        # The 13 bytes of the first chunk begin with the size.
        if data[8:16] == _IHDR_START and len(data) >= 24:
            check_size(int.from_bytes(data[16:20], 'big'), int.from_bytes(data[20:24], 'big'))
            if _has_all_chunks(data):
                pixels = decode(data)
    elif data.startswith(JPEG_START):
        kind = 'JPEG'
        header = jpeg_header(data)
        if header is not None:
            check_size(*header.size_wh)
            pixels = decode_whole_jpeg(data, header, decode)
    else:
        raise PictureError(
            f'data has {len(data)} bytes and begins with {data[:8].hex(" ") or "nothing"}, '
            'which is neither JPEG nor PNG'
        )
    if pixels is None:
        raise PictureError(f'{kind} data of {len(data)} bytes is cut off or damaged')
    return pixels


def read_picture(path: Path, unchanged: bool = False) -> np.ndarray:
    """Return the picture of a file, as `decode_picture` does.

    Raises:
        PictureError: the file cannot be read, or as for `decode_picture`.
    """
    # Not cv2.imread: it cannot open names that are not UTF-8.
    try:
        data = path.read_bytes()
    except OSError as error:
        raise PictureError(error.strerror or str(error)) from error
    return decode_picture(data, unchanged)


def encode_png(pixels: np.ndarray) -> bytes:
    """Return a PNG of (H, W, 3) uint8 BGR or (H, W) uint8 grey pixels."""
    return cv2.imencode('.png', pixels)[1].tobytes()


def is_shown_turned(data: bytes, pixels_bgr: np.ndarray) -> bool:
    """Return whether viewers, which apply EXIF orientations, show a picture turned or mirrored.

    `pixels_bgr` is what `decode_picture` returns for `data`.
    """
    # OpenCV's default is to apply the orientation, too.
    shown_bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    return shown_bgr is None or not np.array_equal(shown_bgr, pixels_bgr)


def _has_all_chunks(png: bytes) -> bool:
    """Return whether each chunk, up to the last one, has as many bytes as it says.

    OpenCV 5 allocates what a chunk claims before it looks for the data: 4 GiB for 92 bytes of PNG.
    """
    at = len(_PNG_START)
    while at + _CHUNK_FRAME <= len(png):
        kind = png[at + 4 : at + 8]
        at += _CHUNK_FRAME + int.from_bytes(png[at : at + 4], 'big')
        if kind == b'IEND':
            return at <= len(png)
    return False


def check_size(w: int, h: int) -> None:
    """Raise PictureError unless a picture of `w` x `h` pixels has 1 to MAX_PIXELS pixels."""
    if not 0 < h * w <= MAX_PIXELS:
        raise PictureError(f'size {w} x {h} is outside of 1 to {MAX_PIXELS} pixels')
