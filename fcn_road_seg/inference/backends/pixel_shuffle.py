"""The decoder's layers in a form that libraries compute faster, with the same result but rounding.

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

import torch
from torch import Tensor, nn

from fcn_road_seg.model.road_fcn import weight_and_bias

CLASSES = 2
SUB_PIXELS = 4


def gain_and_shift(norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Return factor and offset of a batch norm, in float64 to limit rounding errors."""
    assert isinstance(norm, nn.BatchNorm2d)
    state = {name: tensor.double() for name, tensor in norm.state_dict().items()}
    gain = state['weight'] / (state['running_var'] + norm.eps).sqrt()
    return gain, state['bias'] - gain * state['running_mean']


def convert_to_1x1(deconv: nn.Module, norm: nn.Module | None) -> tuple[Tensor, Tensor]:
    """Return weight [4 * O, I, 1, 1] and bias [4 * O], float64, of `deconv` after `norm`.

    Channels are ordered (output, row, column), as a pixel shuffle needs them.
    """
    weight, bias = (parameter.double() for parameter in weight_and_bias(deconv))
    bias = bias[:, None, None].expand(weight.shape[1:])
    if norm is not None:
        gain, shift = gain_and_shift(norm)
        bias = bias + torch.einsum('i,ioyx->oyx', shift, weight)
        weight = weight * gain[:, None, None, None]
    return weight.permute(1, 2, 3, 0).reshape(-1, len(weight), 1, 1), bias.reshape(-1)


def convert_to_3x3(deconv: nn.Module) -> tuple[Tensor, Tensor]:
    """Return weight [4 * O, I, 3, 3] and bias [4 * O], float64, of `deconv` of kernel 4.

    Channels are ordered like those of `convert_to_1x1`.
    """
    weight, bias = (parameter.double() for parameter in weight_and_bias(deconv))
    inputs, outputs = weight.shape[:2]
    converted = weight.new_zeros(outputs, 2, 2, inputs, 3, 3)
    # Along one axis, sub-pixel 0 sees the previous cell and its own through kernel rows 3 and 1;
    # sub-pixel 1 sees its own cell and the next one through 2 and 0.
    seen = {0: (slice(0, 2), [3, 1]), 1: (slice(1, 3), [2, 0])}
    for y, (rows, kernel_rows) in seen.items():
        for x, (columns, kernel_columns) in seen.items():
            part = weight[:, :, kernel_rows][..., kernel_columns]
            converted[:, y, x, :, rows, columns] = part.transpose(0, 1)
    return converted.reshape(-1, inputs, 3, 3), bias.repeat_interleave(SUB_PIXELS)


def convert_last(
    deconv: nn.Module, norm_before: nn.Module | None, norm_after: nn.Module
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return weight and bias of the last 1x1 convolution, and gain and shift after its ReLU.

    All are float64. Their channels are ordered (candidate, class, sub-pixel), so that the maxima
    are those over the candidates.
    """
    weight, bias = convert_to_1x1(deconv, norm_before)
    gain, shift = (t.repeat_interleave(SUB_PIXELS) for t in gain_and_shift(norm_after))
    weight, bias, gain, shift = map(_group_by_candidate, (weight, bias, gain, shift))
    return weight, bias, gain, shift


def _group_by_candidate(channels: Tensor) -> Tensor:
    """Return (class, candidate, sub-pixel) channels in the order (candidate, class, sub-pixel)."""
    grouped = channels.reshape(CLASSES, -1, SUB_PIXELS, *channels.shape[1:])
    return grouped.transpose(0, 1).reshape(channels.shape)
