"""sensor_msgs/CompressedImage (JPEG, PNG) <-> uint8 arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import cv2
import numpy as np

from fcn_road_seg.ground.errors import MAX_NAME_CHARACTERS
from fcn_road_seg.messages.image import Frame, ImageError, byte_array
from fcn_road_seg.utils.picture import PictureError, decode_picture

if TYPE_CHECKING:
    from sensor_msgs.msg import CompressedImage
    from std_msgs.msg import Header


_COLOUR_ENCODINGS = frozenset(
    f'{order}{bits}' for order in ('rgb', 'bgr', 'rgba', 'bgra') for bits in (8, 16)
)


def compressed_to_frame(msg: CompressedImage) -> Frame:
    """Decode a JPEG or PNG by `decode_picture`; the data, not the format, tell which it is.

    The message's format determines the order of its channels, by the rule of image_transport.

    Raises:
        ImageError: the format is depth, or `decode_picture` refuses the data.
    """
    name = msg.format[:MAX_NAME_CHARACTERS]
    if 'compressedDepth' in msg.format:
        raise ImageError(
            f'format {name!r} is for depth images; subscribe to a camera image instead'
        )
    try:
        pixels = decode_picture(bytes(msg.data))
    except PictureError as error:
        raise ImageError(
            f'{error} (format {name!r}); '
            'configure the camera driver to publish whole JPEG or PNG pictures'
        ) from error
    return Frame(pixels, _channel_order(msg.format))


def _channel_order(text: str) -> str:
    """Return the true order of the channels that a decoder calls bgr.

    Source: compressed_image_transport, CompressedSubscriber. A sender of 'rgb8; png compressed
    rgb8', as in old versions, gave rgb pixels to an encoder that expects bgr.
    """
    encoding, separator, compression = text.partition(';')
    swapped = separator and encoding in _COLOUR_ENCODINGS and 'compressed bgr' not in compression
    return 'rgb' if swapped else 'bgr'


def png_msg(pixels: np.ndarray, encoding: str, header: Header) -> CompressedImage:
    """Return a lossless PNG of an (H, W) uint8 array, with `header` unchanged.

    `encoding` is an 8-bit grey one, such as 'mono8'.

    Raises:
        ImageError: the size does not fit into a PNG.
    """
    # image_transport also writes the blank at the end; in colour, the channel order follows it.
    return _message(pixels, 'png', [], f'{encoding}; png compressed ', header)


def jpeg_msg(pixels_bgr: np.ndarray, header: Header, quality: int = 90) -> CompressedImage:
    """Return a JPEG of an (H, W, 3) uint8 bgr array, with `header` unchanged.

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
