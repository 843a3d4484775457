"""What is asked of a frame, and what is found in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np


class CpuBackend(Protocol):
    """A network that takes and gives arrays; `backend` is what computes it, with its version."""

    backend: str

    def road_logit(self, frame_rgb: np.ndarray) -> np.ndarray:
        """Return the logit of p(road), (H, W) float32, for (H, W, 3) uint8 with sides in 32s.

        What is returned may be overwritten by the next call.
        """
        ...


@dataclass(frozen=True)
class OverlayStyle:
    """How road is painted: `color_rgb` in [0, 255], mixed in by `alpha` in [0, 1]."""

    color_rgb: tuple[int, int, int] = (0, 255, 0)
    alpha: float = 0.4


@dataclass(frozen=True)
class Segmentation:
    """What was asked for, each at the frame's size.

    `mask` is (H, W) uint8, 255 = road; `confidence` (H, W) uint8, round(255 * p(road));
    `overlay_bgr` (H, W, 3) uint8. `network_s` is the time that the network alone took, None
    where it cannot be told apart (on a GPU).
    """

    mask: np.ndarray
    confidence: np.ndarray | None = None
    overlay_bgr: np.ndarray | None = None
    network_s: float | None = None


@dataclass(frozen=True)
class SegmentationRequest:
    """How to segment one frame.

    The whole frame is scaled to `input_hw`, of which the network sees all but the topmost
    `hidden_input_rows`, a multiple of its stride. The frame's topmost `hidden_rows` are no road,
    whatever the network says. Road is where the logit of p(road) >= `logit_threshold`.
    """

    input_hw: tuple[int, int]
    hidden_input_rows: int
    hidden_rows: int
    channel_order: str
    logit_threshold: float
    confidence: bool
    overlay: OverlayStyle | None


class Pipeline(Protocol):
    """A network on its device with everything around it; one call at a time.

    `backend` is what computes the network, with its version.
    """

    @property
    def backend(self) -> str: ...

    def run(self, frame: np.ndarray, request: SegmentationRequest) -> Segmentation:
        """Segment one (H, W, 3) uint8 frame, whose rows may be padded."""
        ...
