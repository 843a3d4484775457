"""What int8 has to know of a network: how large its activations get."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

import numpy as np
import torch
from torch import nn

from fcn_road_seg.model.checkpoint import Checkpoint
from fcn_road_seg.model.input_rule import resize_to_input
from fcn_road_seg.model.road_fcn import RoadFCN, fold_batch_norm

# Of the rendered alone or of driving frames alone, they hardly differ: 64 of any mix will do.
FRAME_COUNT = 64
# Where a layer is silent on all frames: a range of nothing has no steps.
_SMALLEST_PEAK = 1e-6

Item = TypeVar('Item')


def measure_activation_ranges(
    checkpoint: Checkpoint, frames_rgb: Iterable[np.ndarray]
) -> tuple[float, ...]:
    """Return the largest activation behind each convolution of the encoder, in their order.

    Each is the mean over the (H, W, 3) uint8 frames of a frame's largest, at the network's input
    size, with its batch norm folded. (Percentiles, which cut off more, changed more pixels.)

    Raises:
        ValueError: there is no frame.
    """
    model = fold_batch_norm(checkpoint.model)
    input_hw = checkpoint.input_rule.input_hw
    peaks = [
        _peaks_of(model, resize_to_input(frame_rgb, input_hw(frame_rgb.shape[:2])))
        for frame_rgb in frames_rgb
    ]
    if not peaks:
        raise ValueError('no frame to measure activations on; give one at least')
    return tuple(max(float(peak), _SMALLEST_PEAK) for peak in np.mean(peaks, axis=0))


def evenly_spaced(items: Sequence[Item], count: int) -> list[Item]:
    """Return at most `count` of `items`, evenly spaced."""
    count = min(count, len(items))
    return [items[i * len(items) // count] for i in range(count)]


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
