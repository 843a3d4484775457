"""Contact sheets: frames beside their masks and overlays, or painted with the masks' errors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from fcn_road_seg.datasets.labels import ROAD, VOID
from fcn_road_seg.utils.atomic_write import atomic_write
from fcn_road_seg.utils.picture import encode_png

FOUND_RGB, MISSED_RGB, INVENTED_RGB = (0, 200, 0), (0, 60, 255), (255, 0, 0)


def draw_errors(frame_rgb: np.ndarray, road: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Return the frame with the errors of `road` painted over it, (H, W, 3) uint8 BGR.

    Road that was found is green, missed road blue, and background taken for road red; void is
    darkened. `frame_rgb` is (H, W, 3) uint8, `road` (H, W) bool, and `label` (H, W) uint8 with
    the values of `datasets.labels`.
    """
    painted = frame_rgb.astype(np.float32)
    for where, color_rgb in (
        (road & (label == ROAD), FOUND_RGB),
        (~road & (label == ROAD), MISSED_RGB),
        (road & (label != ROAD) & (label != VOID), INVENTED_RGB),
        (label == VOID, (0, 0, 0)),
    ):
        painted[where] = 0.55 * painted[where] + 0.45 * np.array(color_rgb)
    return painted[..., ::-1].round().astype(np.uint8)


def letterbox(picture_bgr: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """Return an (H, W, 3) uint8 picture scaled to fit and centred in a black one of `size_hw`."""
    if picture_bgr.shape[:2] == (1, 1):
        # OpenCV 4.5.4 (Ubuntu 22.04) refuses a picture of one pixel.
        picture_bgr = np.tile(picture_bgr, (2, 2, 1))
    h, w = size_hw
    scale = min(h / picture_bgr.shape[0], w / picture_bgr.shape[1])
    inner_h, inner_w = (max(1, round(side * scale)) for side in picture_bgr.shape[:2])
    inner = cv2.resize(
        picture_bgr, (min(inner_w, w), min(inner_h, h)), interpolation=cv2.INTER_AREA
    )
    top, left = (h - inner.shape[0]) // 2, (w - inner.shape[1]) // 2
    canvas = np.zeros((h, w, 3), np.uint8)
    canvas[top : top + inner.shape[0], left : left + inner.shape[1]] = inner
    return canvas


def make_contact_sheet(
    pictures_bgr: Sequence[np.ndarray], columns: int, cell_width: int = 480
) -> np.ndarray:
    """Return (H, W, 3) uint8 pictures, row by row, as one picture.

    Each cell is `cell_width` wide; a row is as high as its tallest picture needs.
    """
    rows = []
    for start in range(0, len(pictures_bgr), columns):
        row = list(pictures_bgr[start : start + columns])
        height = max(max(1, round(cell_width * p.shape[0] / p.shape[1])) for p in row)
        cells = [letterbox(picture, (height, cell_width)) for picture in row]
        cells += [np.zeros_like(cells[0])] * (columns - len(cells))
        rows.append(np.hstack(cells))
    return np.vstack(rows)


def write_png(picture_bgr: np.ndarray, path: Path) -> None:
    """Write an (H, W, 3) uint8 picture.

    OpenCV's own `imwrite` does not report a full disk, and takes UTF-8 paths only.

    Raises:
        OSError: the file cannot be written.
    """
    with atomic_write(path) as part:
        part.write_bytes(encode_png(picture_bgr))
