"""Paints road onto a frame, on a CPU."""

from __future__ import annotations

import cv2
import numpy as np

from fcn_road_seg.inference.interfaces import OverlayStyle


class OverlayPainter:
    """Paints overlays; keeps the memory that frames of one size need."""

    def __init__(self) -> None:
        # New memory costs more (page faults) than filling it.
        self._tint = self._blended = np.empty((0, 0, 3), np.uint8)

    def paint(
        self, frame: np.ndarray, channel_order: str, mask: np.ndarray, style: OverlayStyle
    ) -> np.ndarray:
        """Return a new (H, W, 3) uint8 BGR picture: the frame, with the road of `mask` painted."""
        painted = _bgr_copy(frame, channel_order)
        color_bgr = style.color_rgb[::-1]
        if self._tint.shape != painted.shape or tuple(self._tint[0, 0]) != color_bgr:
            # Not np.full_like: it copies a memory layout that OpenCV cannot write to.
            self._tint = np.full(painted.shape, color_bgr, np.uint8)
            self._blended = np.empty_like(self._tint)
        alpha = style.alpha
        cv2.addWeighted(painted, 1 - alpha, self._tint, alpha, 0, dst=self._blended)
        return cv2.copyTo(self._blended, mask, painted)


def _bgr_copy(frame: np.ndarray, channel_order: str) -> np.ndarray:
    if channel_order == 'bgr':
        return frame.copy()
    if frame.shape[:2] == (1, 1):
        # As in resize_to_input.
        return np.ascontiguousarray(frame[..., ::-1])
    return cv2.cvtColor(frame, cv2.COLOR_RGB2BGR)
