"""The decoder's layers in a form that libraries compute faster, the same up to rounding.

A transposed convolution of kernel 2 and stride 2 is a 1x1 convolution to four times the channels
and a pixel shuffle, as no two of its inputs reach the same output. For the same reason the batch
norm before a transposed convolution folds into its weights and bias.

One of kernel 4 and padding 1 is a 3x3 convolution and a pixel shuffle: each of its four sub-pixels
sees 2 x 2 of the 3 x 3 cells. A batch norm before it cannot be folded: the border is 0 after the
norm.

In the last layer, the maxima and their difference come before the pixel shuffle, which then moves
one channel instead of sixteen.
"""

from __future__ import annotations

import numpy as np

from fcn_road_seg.model.network_config import DECODER_CHANNELS
from fcn_road_seg.model.network_weights import NetworkWeights

CLASSES = 2
SUB_PIXELS = 4
LAST_DECONV = len(DECODER_CHANNELS) - 2

# Factor and offset of a batch norm.
Norm = tuple[np.ndarray, np.ndarray]


def convert_to_1x1(
    weight: np.ndarray, bias: np.ndarray, norm_before: Norm | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return weight (4 * O, I, 1, 1) and bias (4 * O,), float64, of a deconvolution of kernel 2.

    Channels are ordered (output, row, column), as a pixel shuffle needs them.
    """
    weight = weight.astype(np.float64)
    bias = np.broadcast_to(bias.astype(np.float64)[:, None, None], weight.shape[1:])
    if norm_before is not None:
        gain, shift = norm_before
        bias = bias + np.einsum('i,ioyx->oyx', shift, weight)
        weight = weight * gain[:, None, None, None]
    return weight.transpose(1, 2, 3, 0).reshape(-1, len(weight), 1, 1), bias.reshape(-1)


def convert_to_3x3(weight: np.ndarray, bias: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return weight (4 * O, I, 3, 3) and bias (4 * O,), float64, of a deconvolution of kernel 4.

    Channels are ordered like those of `convert_to_1x1`.
    """
    inputs, outputs = weight.shape[:2]
    converted = np.zeros((outputs, 2, 2, inputs, 3, 3))
    # Along one axis, sub-pixel 0 sees the previous cell and its own through kernel rows 3 and 1;
    # sub-pixel 1 sees its own cell and the next one through 2 and 0.
    seen = {0: (slice(0, 2), [3, 1]), 1: (slice(1, 3), [2, 0])}
    for y, (rows, kernel_rows) in seen.items():
        for x, (columns, kernel_columns) in seen.items():
            part = weight[:, :, kernel_rows][..., kernel_columns]
            converted[:, y, x, :, rows, columns] = part.swapaxes(0, 1)
    return converted.reshape(-1, inputs, 3, 3), np.float64(bias).repeat(SUB_PIXELS)


def convert_last(
    network: NetworkWeights, norm_before: Norm | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return weight and bias of the last 1x1 convolution, and gain and shift after its ReLU.

    All are float64. Their channels are ordered (candidate, class, sub-pixel), so that the maxima
    are those over the candidates.
    """
    weight, bias = convert_to_1x1(
        *network.weight_and_bias(f'decoder.deconvs.{LAST_DECONV}'), norm_before
    )
    norm = network.gain_and_shift(f'decoder.norms.{LAST_DECONV}')
    gain, shift = (values.repeat(SUB_PIXELS) for values in norm)
    weight, bias, gain, shift = map(_group_by_candidate, (weight, bias, gain, shift))
    return weight, bias, gain, shift


def _group_by_candidate(channels: np.ndarray) -> np.ndarray:
    """Return (class, candidate, sub-pixel) channels in the order (candidate, class, sub-pixel)."""
    grouped = channels.reshape(CLASSES, -1, SUB_PIXELS, *channels.shape[1:])
    return grouped.swapaxes(0, 1).reshape(channels.shape)
