"""The road from above beside the frame that it was seen in."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

_LINE_M = 10
# Colours of an occupancy grid's cells: 0 is road, 100 is not road, -1 was not seen.
_ROAD_BGR, _OTHER_BGR, _UNSEEN_BGR = (90, 190, 90), (45, 45, 45), (130, 130, 130)
_LINE_BGR = (0, 200, 255)


def draw_grid(
    cells: np.ndarray,
    x_min_m: float,
    resolution_m: float,
    height: int,
    lines: Sequence[tuple[np.ndarray, np.ndarray]] = (),
) -> np.ndarray:
    """Return a grid as a picture, (height, w, 3) uint8 BGR: ahead is up, left is left.

    `cells` (H, W) int8 are those of an OccupancyGrid: rows from the right, columns from `x_min_m`
    ahead, from 0 (road) to 100 (not road), -1 if unseen. `lines` are drawn on it: x and y, (N,)
    each, in metres ahead and to the left of the grid's middle. White lines every 10 m show the
    distance.
    """
    share = (cells.clip(0, 100) / 100)[..., None]
    painted = (1 - share) * _ROAD_BGR + share * np.array(_OTHER_BGR)
    painted[cells < 0] = _UNSEEN_BGR
    above = np.ascontiguousarray(painted.round().astype(np.uint8).transpose(1, 0, 2)[::-1, ::-1])
    scale = height / above.shape[0]
    size_wh = (max(1, round(above.shape[1] * scale)), height)
    picture = cv2.resize(above, size_wh, interpolation=cv2.INTER_AREA)
    for along_m, left_m in lines:
        columns = size_wh[0] / 2 - left_m / resolution_m * scale
        rows = height - (along_m - x_min_m) / resolution_m * scale
        corners = np.stack([columns, rows], axis=1).round().astype(np.int32)
        cv2.polylines(picture, [corners], False, _LINE_BGR, 2)
    first = int(np.ceil(x_min_m / _LINE_M)) * _LINE_M
    for x_m in range(first, int(x_min_m + cells.shape[1] * resolution_m) + 1, _LINE_M):
        row = round(height - (x_m - x_min_m) / resolution_m * scale)
        cv2.line(picture, (0, row), (size_wh[0], row), (255, 255, 255), 1)
        cv2.putText(
            picture, f'{x_m} m', (3, row - 4), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (255, 255, 255)
        )
    return picture


def ground_panel(
    frame_bgr: np.ndarray, overlay_bgr: np.ndarray, grid_bgr: np.ndarray
) -> np.ndarray:
    """Return frame, overlay and grid side by side, (H, W, 3) uint8 BGR each, at the grid's height.

    If the frame is wider than 1.5 times its height, frame and overlay are one above the other:
    otherwise the grid would be too small to see.
    """
    h = grid_bgr.shape[0]
    is_wide = frame_bgr.shape[1] > 1.5 * frame_bgr.shape[0]
    inner_h = h // 2 if is_wide else h
    size_wh = (max(1, round(frame_bgr.shape[1] * inner_h / frame_bgr.shape[0])), inner_h)
    pictures = [
        cv2.resize(p, size_wh, interpolation=cv2.INTER_AREA) for p in (frame_bgr, overlay_bgr)
    ]
    if not is_wide:
        return np.hstack([*pictures, grid_bgr])
    column = np.vstack([*pictures, np.zeros((h - 2 * inner_h, size_wh[0], 3), np.uint8)])
    return np.hstack([column, grid_bgr])
