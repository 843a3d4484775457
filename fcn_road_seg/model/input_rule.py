"""Resizes a frame to the network's input size, and the network's logit back to the frame's."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Integral

import cv2
import numpy as np

from fcn_road_seg.model.network_config import OUTPUT_STRIDE
from fcn_road_seg.utils.picture import MAX_PIXELS


@dataclass(frozen=True)
class InputRule:
    """The network's input size: a fixed size, or a pixel count at the frame's aspect ratio.

    `pixels` is 1024 to MAX_PIXELS; `fixed_hw` is (height, width), both multiples of 32, with no
    more pixels than that.

    Raises:
        ValueError: neither or both are given, or the network does not support the size.
    """

    pixels: int | None = None
    fixed_hw: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if (self.pixels is None) == (self.fixed_hw is None):
            raise ValueError(
                'an input rule is either a pixel count or a fixed size; give one of them'
            )
        if self.pixels is not None and self.pixels < OUTPUT_STRIDE**2:
            raise ValueError(f'pixel count {self.pixels} is too small; use at least 1024')
        sides = self.fixed_hw or ()
        if len(sides) not in (0, 2) or not all(isinstance(side, Integral) for side in sides):
            raise ValueError(f'input size {sides} is not a whole height and width')
        pixels = self.pixels if self.fixed_hw is None else math.prod(self.fixed_hw)
        # NaN must fail, too.
        if pixels is None or not pixels <= MAX_PIXELS:
            raise ValueError(f'pixel count {pixels} is too large; use at most {MAX_PIXELS}')
        for name, size in zip(('height', 'width'), sides, strict=False):
            if size < OUTPUT_STRIDE or size % OUTPUT_STRIDE:
                ok = max(OUTPUT_STRIDE, round(size / OUTPUT_STRIDE) * OUTPUT_STRIDE)
                raise ValueError(f'input {name} {size} is not a multiple of 32; use {ok}')

    def input_hw(self, frame_hw: tuple[int, int]) -> tuple[int, int]:
        """Return the (height, width) at which the network sees a frame of size `frame_hw`.

        Both are multiples of 32. A pixel count keeps the frame's aspect ratio, but a very long
        frame is squashed, so that neither memory nor time depends on the frame.
        """
        if self.fixed_hw is not None:
            return self.fixed_hw
        assert self.pixels is not None
        longest = self.pixels // OUTPUT_STRIDE
        scale = math.sqrt(self.pixels / (frame_hw[0] * frame_hw[1]))
        h, w = (
            round(min(max(side * scale, OUTPUT_STRIDE), longest) / OUTPUT_STRIDE) * OUTPUT_STRIDE
            for side in frame_hw
        )
        return h, w


def resize_to_input(frame: np.ndarray, input_hw: tuple[int, int]) -> np.ndarray:
    """Return an (H, W, 3) uint8 frame, RGB or BGR, at the network's input size."""
    h, w = input_hw
    if frame.shape[:2] == (1, 1):
        # OpenCV 4.5.4 (Ubuntu 22.04) refuses a picture of one pixel.
        return np.tile(frame, (h, w, 1))
    # Reducing by area averages the pixels that bilinear sampling would skip (aliasing).
    reduces = h < frame.shape[0] and w < frame.shape[1]
    method = cv2.INTER_AREA if reduces else cv2.INTER_LINEAR
    return cv2.resize(frame, (w, h), interpolation=method)


def resize_to_frame(
    logit: np.ndarray, frame_hw: tuple[int, int], out: np.ndarray | None = None
) -> np.ndarray:
    """Return the (H, W) float32 logit of p(road) at the frame's size, by bilinear interpolation.

    `out`, a C-contiguous float32 array of `frame_hw`, saves an allocation.
    """
    return cv2.resize(logit, frame_hw[::-1], dst=out, interpolation=cv2.INTER_LINEAR)


def logit_threshold(threshold: float) -> float:
    """Return the logit of a p(road) in (0, 1); a pixel is road if its logit is at least that.

    Raises:
        ValueError: `threshold` is not in (0, 1).
    """
    # NaN must fail, too.
    if not 0 < threshold < 1:
        raise ValueError(f'threshold {threshold} is not between 0 and 1')
    return math.log(threshold / (1 - threshold))
