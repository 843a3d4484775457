"""Reproducible corruptions of frames, which show how robust a network is."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import torch

from fcn_road_seg.synthetic.cast_shadows import cast_shadows


def _shadows(frame_rgb: np.ndarray, seed: int) -> np.ndarray:
    x = torch.from_numpy(frame_rgb).permute(2, 0, 1)[None].float() / 255
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        shaded = cast_shadows(x)
    return (shaded[0] * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy()


def _half_light(frame_rgb: np.ndarray, _: int) -> np.ndarray:
    return cv2.convertScaleAbs(frame_rgb, alpha=0.5)


def _twice_light(frame_rgb: np.ndarray, _: int) -> np.ndarray:
    return cv2.convertScaleAbs(frame_rgb, alpha=2.0)


def _blur(frame_rgb: np.ndarray, _: int) -> np.ndarray:
    return cv2.GaussianBlur(frame_rgb, (0, 0), sigmaX=frame_rgb.shape[1] / 256)


# Each takes an (H, W, 3) uint8 RGB frame and a seed, and returns the corrupted frame. Shadows are
# drawn at random from the seed; light is halved, or doubled and clipped; blur is Gaussian with a
# sigma of 1/256 of the frame's width.
CORRUPTIONS: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {
    'shadows': _shadows,
    'half light': _half_light,
    'twice light': _twice_light,
    'blur': _blur,
}
