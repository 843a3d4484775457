"""The types that pass between the segmenter, its pipelines and its backends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

# The largest share of a frame's height that may be skipped at the top.
MAX_ROI_TOP = 0.9


@dataclass(frozen=True)
class BackendInfo:
    """The library that runs the network; `str` gives name and version: 'ncnn 1.0.20261020'."""

    name: str
    version: str

    def __str__(self) -> str:
        return f'{self.name} {self.version}'


class CpuBackend(Protocol):
    """The network on a CPU, by one library; one call at a time."""

    info: BackendInfo

    def road_logit(self, frame_rgb: np.ndarray) -> np.ndarray:
        """Return the logit of p(road), (H, W) float32, for (H, W, 3) uint8 RGB.

        H and W are multiples of 32. The next call may overwrite the array.
        """
        ...


@dataclass(frozen=True)
class OverlayStyle:
    """How road is painted: `color_rgb` in [0, 255], blended in with `alpha` in [0, 1]."""

    color_rgb: tuple[int, int, int] = (0, 255, 0)
    alpha: float = 0.4


@dataclass(frozen=True)
class Segmentation:
    """The results for one frame of H x W pixels; what was not asked for is None.

    `mask` is (H, W) uint8, 255 = road, 0 = background. `road_probability` is (H, W) uint8,
    round(255 * p(road)), and `confidence` is (H, W) uint8, 255 * max(p(road), 1 - p(road)): the
    certainty of the more likely class, 128 to 255. With a threshold of 0.5 that is the class in
    the mask. `overlay_bgr` is (H, W, 3) uint8. `road_probability_at` is (N,) uint8, the road
    probability of the N pixels that were asked for. `network_s` is the time in seconds that the
    network alone took; it is None on a GPU, where it is not measured.
    """

    mask: np.ndarray
    road_probability: np.ndarray | None = None
    confidence: np.ndarray | None = None
    overlay_bgr: np.ndarray | None = None
    road_probability_at: np.ndarray | None = None
    network_s: float | None = None


@dataclass(frozen=True)
class SegmentationRequest:
    """How to segment one frame.

    The whole frame is resized to `input_hw`; the network sees all of its rows except the topmost
    `hidden_input_rows`, a multiple of the network's stride of 32. The topmost `hidden_rows` of the
    frame are background, whatever the network says. Road is where the logit of p(road) is at least
    `logit_threshold`. `channel_order` is bgr or rgb. `pixels`, (N,) intp, are the row-major
    indices of the pixels for `road_probability_at`.
    """

    input_hw: tuple[int, int]
    hidden_input_rows: int
    hidden_rows: int
    channel_order: str
    logit_threshold: float
    road_probability: bool
    confidence: bool
    overlay: OverlayStyle | None
    pixels: np.ndarray | None = None


class Pipeline(Protocol):
    """All steps from a frame to its results, on one device; one call at a time."""

    @property
    def backend(self) -> BackendInfo: ...

    def run(self, frame: np.ndarray, request: SegmentationRequest) -> Segmentation:
        """Segment one (H, W, 3) uint8 frame, whose rows may be padded (any row stride)."""
        ...
