"""The pipeline of a CPU: OpenCV on uint8 frames before and after the network."""

from __future__ import annotations

import time

import cv2
import numpy as np

from fcn_road_seg.inference.interfaces import (
    CpuBackend,
    Segmentation,
    SegmentationRequest,
)
from fcn_road_seg.inference.overlay import OverlayPainter
from fcn_road_seg.model.input_rule import resize_to_frame, resize_to_input


class CpuPipeline:
    """All steps from a frame to its results, around a backend; one call at a time."""

    def __init__(self, backend: CpuBackend) -> None:
        self.backend = backend.info
        self._network = backend
        # Kept from frame to frame: new memory costs more (page faults) than filling it.
        self._logit = np.empty((0, 0), np.float32)
        self._painter = OverlayPainter()

    def run(self, frame: np.ndarray, request: SegmentationRequest) -> Segmentation:
        """Segment one (H, W, 3) uint8 frame, whose rows may be padded."""
        frame_rgb = _input_rgb(frame, request)
        began_s = time.perf_counter()
        logit = self._network.road_logit(frame_rgb)
        network_s = time.perf_counter() - began_s
        logit = self._frame_logit(logit, frame.shape[:2], request)
        # Not cv2.compare: with a 1 x 1 or 4 x 1 frame it treats the scalar as an array.
        mask = (logit >= request.logit_threshold).view(np.uint8)
        mask *= 255
        overlay = None
        if request.overlay is not None:
            overlay = self._painter.paint(frame, request.channel_order, mask, request.overlay)
        probability = confidence = None
        if request.road_probability or request.confidence:
            probability = _road_probability(logit)
            # In 8 bits ~p is 255 - p.
            confidence = np.maximum(probability, ~probability) if request.confidence else None
        probability_at = None
        if request.pixels is not None:
            probability_at = _road_probability(logit.reshape(-1).take(request.pixels))
        return Segmentation(
            mask,
            road_probability=probability if request.road_probability else None,
            confidence=confidence,
            overlay_bgr=overlay,
            road_probability_at=probability_at,
            network_s=network_s,
        )

    def _frame_logit(
        self, logit: np.ndarray, frame_hw: tuple[int, int], request: SegmentationRequest
    ) -> np.ndarray:
        if request.hidden_input_rows:
            logit = np.pad(logit, ((request.hidden_input_rows, 0), (0, 0)), mode='edge')
        if self._logit.shape != frame_hw:
            self._logit = np.empty(frame_hw, np.float32)
        resize_to_frame(logit, frame_hw, out=self._logit)
        self._logit[: request.hidden_rows] = -np.inf
        return self._logit


def _input_rgb(frame: np.ndarray, request: SegmentationRequest) -> np.ndarray:
    scaled = resize_to_input(frame, request.input_hw)[request.hidden_input_rows :]
    if request.channel_order == 'bgr':
        cv2.cvtColor(scaled, cv2.COLOR_BGR2RGB, dst=scaled)
    return scaled


def _road_probability(logit: np.ndarray) -> np.ndarray:
    # exp(inf), of hidden rows, is inf, and p(road) then 0.
    with np.errstate(over='ignore'):
        x = np.exp(-logit)
    x += 1
    np.divide(255, x, out=x)
    return np.rint(x, out=x).astype(np.uint8)
