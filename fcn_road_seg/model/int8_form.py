"""How int8 rounds a network's weights, and a form of the network whose masks int8 changes less."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from fcn_road_seg.model.road_fcn import RoadFCN, fold_batch_norm, weight_and_bias

# -128 is not used: the range is symmetric, and 0 stays 0.
LARGEST_INT8 = 127
# Lower caps halve the steps, but begin to cost IoU with the labels (benchmarks/accuracy.md).
CAP_SHARE = 0.7


def quantized_layers(folded: RoadFCN) -> Iterator[tuple[nn.Module, int]]:
    """Yield the layers that compute in int8, and the axis of the output channels of their weights.

    They read an activation of the encoder, whose range is known. What comes out of a context
    block may be negative and has no known range.
    """
    for layer in [*folded.encoder.features, *folded.decoder.skips]:
        if isinstance(layer, nn.Conv2d):
            yield layer, 0
    if folded.context is None:
        yield folded.decoder.deconvs[0], 1


def int8_weights(weight: Tensor, output_axis: int) -> tuple[Tensor, Tensor]:
    """Return whole numbers in [-127, 127] and the steps by which they are multiplied, float64.

    There is one step for each index of `output_axis`; the steps' other axes have length 1.
    """
    weight = weight.detach().double()
    others = [axis for axis in range(weight.ndim) if axis != output_axis]
    largest = weight.abs().amax(others, keepdim=True)
    # A channel of zeros works with any step.
    step = torch.where(largest > 0, largest, 1.0) / LARGEST_INT8
    return (weight / step).round(), step


def pixel_weight(folded: RoadFCN) -> Tensor:
    """Return the first convolution's weights for pixels in [0, 255] instead of normalised ones."""
    weight, _ = weight_and_bias(folded.encoder.features[0])
    return weight / (255 * folded.std)


@torch.no_grad()
def prepare_for_int8(model: RoadFCN, activation_peaks: Sequence[float]) -> RoadFCN:
    """Return a folded copy whose masks change less when int8 computes it.

    Its activations are capped at CAP_SHARE of their peaks, so that int8 has smaller steps, and its
    weights are rounded as int8 rounds them. The copy is a slightly different network in every
    precision, but differs less between precisions. A network that has caps is returned as it is.
    """
    if model.config.activation_caps:
        return model
    folded = fold_batch_norm(model)
    for layer, axis in quantized_layers(folded):
        weight, _ = weight_and_bias(layer)
        # In int8 the first layer reads pixels in [0, 255]; here it reads normalised ones.
        scale = 255 * folded.std if layer is folded.encoder.features[0] else 1
        rounded, step = int8_weights(weight / scale, axis)
        # Checkpoints store float16, which can tell multiples of a step apart up to 2048 steps.
        weight.copy_((rounded * step * scale).half())
    caps = tuple(CAP_SHARE * peak for peak in activation_peaks)
    prepared = RoadFCN(replace(folded.config, activation_caps=caps))
    prepared.load_state_dict(folded.state_dict())
    return prepared.eval().requires_grad_(False)
