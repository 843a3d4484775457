"""How int8 rounds a network's weights, and a form of the network whose masks int8 changes less."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from fcn_road_seg.model.network_config import RoadFCNConfig
from fcn_road_seg.model.network_weights import NetworkWeights, convolution_names

# -128 is not used: the range is symmetric, and 0 stays 0.
LARGEST_INT8 = 127
# Lower caps reduce the steps further, but begin to cost IoU with the labels
# (benchmarks/accuracy.md).
CAP_SHARE = 0.7


def quantized_layers(folded: RoadFCNConfig) -> Iterator[tuple[str, int]]:
    """Yield the layers that compute in int8, and the axis of the output channels of their weights.

    These layers read an activation of the encoder, whose range is known. The output of a context
    block may be negative and has no known range.
    """
    for name in convolution_names(folded):
        yield name, 0
    for i in range(len(folded.skips)):
        yield f'decoder.skips.{i}', 0
    if not folded.context:
        yield 'decoder.deconvs.0', 1


def int8_weights(weight: np.ndarray, output_axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Return integers in [-127, 127] and the steps by which they are multiplied, both float64.

    There is one step for each index of `output_axis`; the steps' other axes have length 1.
    """
    weight = weight.astype(np.float64)
    others = tuple(axis for axis in range(weight.ndim) if axis != output_axis)
    largest = np.abs(weight).max(others, keepdims=True)
    # A channel of zeros works with any step.
    step = np.where(largest > 0, largest, 1.0) / LARGEST_INT8
    return (weight / step).round(), step


def pixel_weight(folded: NetworkWeights) -> np.ndarray:
    """Return the first convolution's weights for pixels in [0, 255] instead of normalised ones."""
    weight, _ = folded.weight_and_bias(convolution_names(folded.config)[0])
    return weight / _pixel_scale(folded.config)


def prepare_for_int8(weights: NetworkWeights, activation_peaks: Sequence[float]) -> NetworkWeights:
    """Return a folded copy whose masks change less when int8 computes it.

    Its activations are capped at CAP_SHARE of their peaks, so that int8 has smaller steps, and its
    weights are rounded as int8 rounds them. The copy is a slightly different network in every
    precision, but differs less between precisions. A network that has caps is returned as it is.
    """
    if weights.config.activation_caps:
        return weights
    folded = weights.folded()
    arrays = dict(folded.arrays)
    first, *_ = convolution_names(folded.config)
    for layer, axis in quantized_layers(folded.config):
        # In int8 the first layer reads pixels in [0, 255]; here it reads normalised ones.
        scale = _pixel_scale(folded.config) if layer == first else np.float32(1)
        weight, _ = folded.weight_and_bias(layer)
        rounded, step = int8_weights(weight / scale, axis)
        # Checkpoints store float16, which can tell multiples of a step apart up to 2048 steps.
        arrays[f'{layer}.weight'] = (rounded * step * scale).astype(np.float16).astype(np.float32)
    caps = tuple(CAP_SHARE * peak for peak in activation_peaks)
    return NetworkWeights(replace(folded.config, activation_caps=caps), arrays)


def _pixel_scale(config: RoadFCNConfig) -> np.ndarray:
    return 255 * np.array(config.std, np.float32)[:, None, None]
