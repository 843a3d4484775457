"""A film of pictures, which appears whole or not at all."""

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


class VideoError(ValueError):
    """A film cannot be written; one line says why."""


@contextmanager
def atomic_video_writer(
    path: str | Path, rate_hz: float
) -> Iterator[Callable[[np.ndarray], None]]:
    """Give a function that adds a picture, (H, W, 3) uint8 bgr, to the film `path`.

    The first picture decides the film's size; others are scaled to fit into it.

    Raises:
        VideoError: `path` does not end in SUFFIX, its folder is not there, there was no picture
            or is no room, or OpenCV cannot write films.
    """
    path = Path(path)
    if path.suffix != SUFFIX:
        raise VideoError(f'{path} does not end in {SUFFIX}; name it so')
    if not path.parent.is_dir():
        raise VideoError(f'{path.parent} does not exist; make that folder first')
    with atomic_write(path) as part:
        # OpenCV takes the format from the name's end.
        film = part.with_name(part.name + SUFFIX)
        writer = _Writer(film, rate_hz, path)
        try:
            yield writer.add
            writer.close()
            os.replace(film, part)
        finally:
            film.unlink(missing_ok=True)


class _Writer:
    def __init__(self, film: Path, rate_hz: float, name: Path) -> None:
        """Write to `film`; errors speak of `name`."""
        self._film = film
        self._name = name
        self._rate_hz = rate_hz
        self._hw = (0, 0)
        self._count = 0
        self._writer = cv2.VideoWriter()

    def add(self, picture_bgr: np.ndarray) -> None:
        if not self._count:
            # Odd sides are not for every codec.
            h, w = (max(2, side // 2 * 2) for side in picture_bgr.shape[:2])
            self._hw = h, w
            codec = cv2.VideoWriter.fourcc(*'mp4v')
            if not self._writer.open(str(self._film), codec, self._rate_hz, (w, h)):
                raise VideoError(f'{self._name} cannot be written by this OpenCV; leave it out')
        self._writer.write(letterbox(picture_bgr, self._hw))
        self._count += 1

    def close(self) -> None:
        self._writer.release()
        if not self._count:
            raise VideoError(f'{self._name} would have no picture, and is not written')
        # The writer does not tell of a full disk; the reader tells -1 of a film without its index,
        # which is written last.
        written = max(0, int(cv2.VideoCapture(str(self._film)).get(cv2.CAP_PROP_FRAME_COUNT)))
        if written != self._count:
            raise VideoError(
                f'{self._name} has {written} of {self._count} pictures; is the disk full?'
            )
