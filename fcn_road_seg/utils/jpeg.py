"""The markers of a JPEG, and whether its data are complete.

If data are missing, libjpeg, which OpenCV and Pillow use, makes up the rest of the picture (mostly
grey) and only prints a warning. The markers are parsed here instead of by Pillow, which takes 20
us per frame (4 us here), does not report missing data either, and refuses some files that OpenCV
decodes.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

JPEG_START = b'\xff\xd8\xff'
_END = b'\xff\xd9'
_SCAN_START = b'\xff\xda'
# As in libjpeg, the search for the next marker skips anything in between, even fill bytes (0xFF).
# If the pattern matched all fill bytes, its time would grow with the square of their number: hours
# for a megabyte.
_MARKER = re.compile(rb'\xff([^\x00\xff])')
_FRAME_HEADERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_SEQUENTIAL = frozenset({0xC0, 0xC1})
_ARITHMETIC = frozenset(range(0xC9, 0xD0))
_RESTARTS = frozenset(range(0xD0, 0xD8))
_WITHOUT_LENGTH = _RESTARTS | {0x01, 0xD9}
_END_OF_IMAGE, _SCAN, _RESTART_INTERVAL = 0xD9, 0xDA, 0xDD
# libjpeg fills in zeros for missing bits; with any Huffman table, these bits decode differently.
_MORE_BITS = bytes([0xAA, 0xF6, 0x5B, 0xC9, *range(1, 125)])
# Decoding a scan passes over the whole picture, even if the scan is a few bytes long. With 16
# scans (encoders write up to 10) of 64 million pixels, a picture costs about 10 s.
_MAX_SCANNED_PIXELS = 16 * 64_000_000
# The brightness of a block whose data are missing.
_GREY = 128
_BGR_TO_LUMA = np.array([0.114, 0.587, 0.299])
# Decoded size in bytes up to which decoding a second time costs next to nothing.
_ALWAYS_CHECKED = 1 << 16


@dataclass(frozen=True)
class JpegHeader:
    """What a JPEG's markers say before its first scan.

    Attributes:
        size_wh: width and height in pixels.
        kind: second byte of the marker of the frame header, 0xC0 to 0xCF.
        components: number of colour components, 1 to 4.
        scan_components: number of them in the first scan.
        restart_interval: number of blocks (MCUs) between two restart markers, or 0.
        scan_at: index of the first scan's marker.
    """

    size_wh: tuple[int, int]
    kind: int
    components: int
    scan_components: int
    restart_interval: int
    scan_at: int

    @property
    def has_one_scan(self) -> bool:
        """Whether one scan has all components, Huffman-coded and sequential (not progressive)."""
        return self.kind in _SEQUENTIAL and self.scan_components == self.components


def jpeg_header(data: bytes) -> JpegHeader | None:
    """Return the header of a JPEG, or None if it is cut off or damaged."""
    frame: tuple[int, int] | None = None
    interval = 0
    for kind, start, end in _markers(data, 2):
        if kind in _FRAME_HEADERS:
            frame = kind, end
        elif kind == _RESTART_INTERVAL:
            interval = _number(data, end + 2, 2)
        elif kind == _SCAN and frame:
            frame_kind, at = frame
            size_wh = _number(data, at + 5, 2), _number(data, at + 3, 2)
            components = _number(data, at + 7, 1), _number(data, end + 2, 1)
            return JpegHeader(size_wh, frame_kind, *components, interval, start)
        elif kind == _SCAN:
            return None
    return None


def decode_whole_jpeg(
    data: bytes, header: JpegHeader, decode: Callable[[bytes], np.ndarray | None]
) -> np.ndarray | None:
    """Return what `decode` makes of a JPEG, or None if it cannot decode it or data are missing.

    The end marker may be missing, as some cameras never send it; `decode` then runs twice. Damage
    that does not change the number of blocks in a scan goes unnoticed, and so does the loss of the
    last block or two of a picture that has an end marker. None is also returned for a picture with
    so many scans that decoding it would take longer than decoding any encoder's output.
    """
    w, h = header.size_wh
    if not header.has_one_scan and _scans(data, header) * w * h > _MAX_SCANNED_PIXELS:
        return None
    end = data.rfind(_END, header.scan_at)
    has_end = end >= 0
    if not has_end:
        if not header.has_one_scan:
            return None
        end = len(data)
        data += _END
    pixels = decode(data)
    if pixels is None or header.kind in _ARITHMETIC:
        return pixels
    if header.has_one_scan:
        small = pixels.size < _ALWAYS_CHECKED
        if not has_end or small or header.components > 3 or _ends_grey(pixels):
            # More bits at the end change the picture only if there were too few. As the end marker
            # is left out, libjpeg does not warn about them.
            more = data[:end].rstrip(b'\xff') + _MORE_BITS
            again = decode(more)
            if again is None or not np.array_equal(again, pixels):
                return None
        if not header.restart_interval or not _has_grey_block(pixels):
            return pixels
    return None if _lacks_bits(data, header) else pixels


def _ends_grey(pixels: np.ndarray) -> bool:
    """Return whether the last block may have been made up."""
    # For most pictures the last pixel is enough, which takes 2 us instead of 20.
    if not _is_grey(pixels[-1:, -1:]):
        return False
    h, w = pixels.shape[:2]
    return _is_grey(pixels[(h - 1) // 8 * 8 :, (w - 1) // 8 * 8 :])


def _is_grey(pixels: np.ndarray) -> bool:
    luma = pixels @ _BGR_TO_LUMA if pixels.ndim == 3 else pixels
    # Colour of the previous block can mix in, which leaves the luma grey up to rounding.
    return bool((abs(luma - float(_GREY)) <= 2).all())


def _has_grey_block(pixels: np.ndarray) -> bool:
    """Return whether any block may have been made up: a restart marker ends the loss."""
    h, w = pixels.shape[0] // 8, pixels.shape[1] // 8
    blocks = pixels[: h * 8, : w * 8].reshape(h, 8, w, 8, pixels[0, 0].size)
    # One byte of each block rules most of them out.
    rows, columns = np.nonzero(blocks[:, 4, :, 4, 0] == _GREY)
    inner = blocks[rows, 2:6, columns, 2:6]
    return bool((inner == _GREY).all(axis=(1, 2, 3)).any())


def _lacks_bits(data: bytes, header: JpegHeader) -> bool:
    """Return whether a scan or restart interval has too few bits; False if Pillow cannot tell."""
    if _has_more_restarts_than_blocks(data, header):
        # Adding bits to each interval would take a hundred times the memory of the message.
        return True
    # Not with OpenCV, which would warn about the added bits for every complete picture.
    try:
        from PIL import Image
    except ImportError:
        return False
    try:
        given, more = (
            Image.open(io.BytesIO(picture)).tobytes()
            for picture in (data, _with_more_bits(data, header))
        )
    except (OSError, SyntaxError, ValueError):
        return False
    return given != more


def _has_more_restarts_than_blocks(data: bytes, header: JpegHeader) -> bool:
    restarts = sum(data.count(bytes([0xFF, kind]), header.scan_at) for kind in _RESTARTS)
    w, h = header.size_wh
    blocks = _scans(data, header) * -(-w // 8) * -(-h // 8)
    return restarts * max(1, header.restart_interval) > blocks


def _scans(data: bytes, header: JpegHeader) -> int:
    return data.count(_SCAN_START, header.scan_at)


def _with_more_bits(data: bytes, header: JpegHeader) -> bytes:
    """Return a JPEG with bits added to the end of each scan and restart interval."""
    parts = []
    done = header.scan_at
    in_scan = False
    for kind, start, _ in _markers(data, header.scan_at):
        if in_scan:
            parts += [data[done:start].rstrip(b'\xff'), _MORE_BITS]
            done = start
        in_scan = kind == _SCAN or (in_scan and kind in _RESTARTS)
        if kind == _END_OF_IMAGE:
            break
    return b''.join([data[: header.scan_at], *parts, data[done:]])


def _markers(data: bytes, position: int) -> Iterator[tuple[int, int, int]]:
    """Yield the second byte, the start and the end of each marker from `position` on."""
    while marker := _MARKER.search(data, position):
        kind = marker[1][0]
        position = marker.end()
        yield kind, marker.start(), position
        if kind not in _WITHOUT_LENGTH:
            position += _number(data, position, 2)


def _number(data: bytes, at: int, n_bytes: int) -> int:
    return int.from_bytes(data[at : at + n_bytes], 'big')
