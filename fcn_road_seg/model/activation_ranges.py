"""How large the activations of a network get, which int8 needs to know."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import nn

from fcn_road_seg.model.checkpoint import Checkpoint
from fcn_road_seg.model.input_rule import resize_to_input
from fcn_road_seg.model.road_fcn import RoadFCN, fold_batch_norm

# Rendered frames and driving frames give nearly the same ranges, so 64 of any mix are enough.
FRAME_COUNT = 64
# For a layer whose activations are all 0: an empty range cannot be divided into steps.
_SMALLEST_PEAK = 1e-6


def measure_activation_ranges(
    checkpoint: Checkpoint, frames_rgb: Iterable[np.ndarray]
) -> tuple[float, ...]:
    """Return the largest activation after each convolution of the encoder, in the layers' order.

    Each is the mean, over the (H, W, 3) uint8 frames, of the largest activation on a frame at the
    network's input size, with batch norm folded. (Percentiles, which clip more, changed more
    pixels of the mask.) If the network has activation caps, these are returned instead.

    Raises:
        ValueError: there is no frame.
    """
    if caps := checkpoint.model.config.activation_caps:
        return caps
    model = fold_batch_norm(checkpoint.model)
    input_hw = checkpoint.input_rule.input_hw
    peaks = [
        _peaks_of(model, resize_to_input(frame_rgb, input_hw(frame_rgb.shape[:2])))
        for frame_rgb in frames_rgb
    ]
    if not peaks:
        raise ValueError('no frame to measure activations on; give at least one')
    return tuple(max(float(peak), _SMALLEST_PEAK) for peak in np.mean(peaks, axis=0))


@torch.inference_mode()
def _peaks_of(model: RoadFCN, frame_rgb: np.ndarray) -> list[float]:
    peaks = []
    x = torch.from_numpy(frame_rgb).permute(2, 0, 1)[None]
    x = model.normalise(x.to(model.mean.device))
    for layer in model.encoder.features:
        x = layer(x)
        if isinstance(layer, nn.ReLU):
            peaks.append(x.max().item())
    return peaks
