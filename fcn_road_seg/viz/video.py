"""A video file, which is written completely or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

from fcn_road_seg.utils.atomic_write import atomic_write
from fcn_road_seg.viz.contact_sheet import letterbox

SUFFIX = '.mp4'
# The range that MPEG-4, with the time base that OpenCV chooses, can represent to four significant
# digits. OpenCV 4.5.4 (Ubuntu 22.04) writes wrong times at 1000 Hz and more.
RATES_HZ = (0.01, 999.0)


class VideoError(ValueError):
    """A video cannot be written; the text is one line."""


@contextmanager
def atomic_video_writer(
    path: str | Path, rate_hz: float
) -> Iterator[Callable[[np.ndarray], None]]:
    """Yield a function that adds a picture, (H, W, 3) uint8 BGR, to the video `path`.

    The first picture decides the video's size (sides rounded down to even numbers); the others are
    scaled to fit into it. The file stores `rate_hz`, in pictures per second, rounded to four
    significant digits and limited to RATES_HZ.

    Raises:
        VideoError: `path` does not end in SUFFIX or is not UTF-8, its folder does not exist, no
            picture was added, the disk is full, or OpenCV cannot write videos.
    """
    path = Path(path)
    if path.suffix != SUFFIX:
        raise VideoError(f'{path} does not end in {SUFFIX}; use that suffix')
    if not path.parent.is_dir():
        raise VideoError(f'{path.parent} does not exist; create that folder first')
    try:
        str(path.resolve()).encode()
    except UnicodeEncodeError as error:
        # OpenCV would crash.
        raise VideoError(
            f'{path} is not UTF-8, which OpenCV requires for videos; use another name'
        ) from error
    with atomic_write(path) as part:
        # OpenCV derives the format from the suffix.
        video = part.with_name(part.name + SUFFIX)
        writer = _Writer(video, rate_hz, path)
        try:
            yield writer.add
            writer.close()
            os.replace(video, part)
        finally:
            video.unlink(missing_ok=True)


class _Writer:
    def __init__(self, video: Path, rate_hz: float, name: Path) -> None:
        """Write to `video`; errors name `name` instead."""
        self._video = video
        self._name = name
        lowest, highest = RATES_HZ
        # MPEG-4 has 16 bits for the time base: 66.667 Hz, as 66667 / 1000, would be refused.
        self._rate_hz = float(f'{min(max(rate_hz, lowest), highest):.4g}')
        self._hw = (0, 0)
        self._count = 0
        self._writer = cv2.VideoWriter()

    def add(self, picture_bgr: np.ndarray) -> None:
        if not self._count:
            # Some codecs refuse odd sides.
            h, w = (max(2, side // 2 * 2) for side in picture_bgr.shape[:2])
            self._hw = h, w
            codec = cv2.VideoWriter.fourcc(*'mp4v')
            if not self._writer.open(str(self._video), codec, self._rate_hz, (w, h)):
                raise VideoError(
                    f'{self._name} cannot be written by this OpenCV; leave the video out'
                )
        self._writer.write(letterbox(picture_bgr, self._hw))
        self._count += 1

    def close(self) -> None:
        self._writer.release()
        if not self._count:
            raise VideoError(f'{self._name} would have no picture, and is not written')
        # The writer does not report a full disk. The reader returns -1 for a video without its
        # index, which is written last.
        written = max(0, int(cv2.VideoCapture(str(self._video)).get(cv2.CAP_PROP_FRAME_COUNT)))
        if written != self._count:
            raise VideoError(
                f'{self._name} has {written} of {self._count} pictures; is the disk full?'
            )
