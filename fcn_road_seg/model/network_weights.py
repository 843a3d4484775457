"""A network as NumPy arrays: what a checkpoint stores and every library can read.

PyTorch takes more than a second to import. On a CPU, the code that runs the network does without
it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from fcn_road_seg.model.network_config import (
    CONTEXT_CELLS,
    DECODER_CHANNELS,
    LARGEST_NUMBER,
    OVERLAPPING,
    SKIP_CHANNELS,
    STAGE_CHANNELS,
    RoadFCNConfig,
    channels_at,
)

# PyTorch's default, with which every batch norm was trained.
NORM_EPS = 1e-5

Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class NetworkWeights:
    """The arrays of a `RoadFCN` of this config, by the names of its `state_dict`."""

    config: RoadFCNConfig
    arrays: Mapping[str, np.ndarray]

    def weight_and_bias(self, layer: str) -> tuple[np.ndarray, np.ndarray]:
        """Return the two arrays of a convolution, transposed or not."""
        return self.arrays[f'{layer}.weight'], self.arrays[f'{layer}.bias']

    def gain_and_shift(self, norm: str) -> tuple[np.ndarray, np.ndarray]:
        """Return factor and offset of a batch norm, in float64 to limit rounding errors."""
        names = ('weight', 'bias', 'running_mean', 'running_var')
        weight, bias, mean, variance = (np.float64(self.arrays[f'{norm}.{n}']) for n in names)
        gain = weight / np.sqrt(variance + NORM_EPS)
        return gain, bias - gain * mean

    def normalise_table(self) -> np.ndarray:
        """Return (1, 256, 3) float32: the normalised value of each 8-bit value of R, G and B."""
        mean, std = (np.array(v, np.float32) for v in (self.config.mean, self.config.std))
        values = np.arange(256, dtype=np.float32)[None, :, None] / np.float32(255)
        return (values - mean) / std

    def folded(self) -> NetworkWeights:
        """Return the network on plain `vgg16`, with the encoder's batch norm folded in."""
        if self.config.encoder == 'vgg16':
            return self
        config = replace(self.config, encoder='vgg16')
        arrays = {k: v for k, v in self.arrays.items() if not k.startswith('encoder.')}
        names = zip(convolution_names(self.config), convolution_names(config), strict=True)
        for name, folded_name in names:
            weight, bias = self.weight_and_bias(name)
            gain, shift = self.gain_and_shift(_norm_after(name))
            weight = weight * gain[:, None, None, None]
            arrays[f'{folded_name}.weight'] = weight.astype(np.float32)
            arrays[f'{folded_name}.bias'] = (bias * gain + shift).astype(np.float32)
        return NetworkWeights(config, arrays)

    def check(self) -> None:
        """Check that all arrays are present, have the config's shapes and hold usable values.

        Raises:
            ValueError: the message names the arrays and what is wrong with them.
        """
        shapes = array_shapes(self.config)
        missing = sorted(shapes.keys() - self.arrays.keys())
        unexpected = sorted(self.arrays.keys() - shapes.keys())
        if missing or unexpected:
            raise ValueError(f'tensors missing {missing}, unexpected {unexpected}')
        for name, array in self.arrays.items():
            if array.shape != shapes[name]:
                raise ValueError(f'size mismatch: {name} is {array.shape}, not {shapes[name]}')
            # The network would silently find no road, as no comparison with NaN is true.
            if not (np.abs(array) <= LARGEST_NUMBER).all():
                raise ValueError(
                    f'{name} holds values that are not finite or too large; train it again, with '
                    'a lower --learning-rate'
                )
            if name.endswith('running_var') and array.min() < 0:
                raise ValueError(f'{name} holds a negative variance; train it again')


def convolution_names(config: RoadFCNConfig) -> list[str]:
    """Return the names of the encoder's convolutions, in their order."""
    return [name for stage in _stages(config) for name in stage]


def last_of_stages(config: RoadFCNConfig) -> list[str]:
    """Return the names of the five convolutions that a max-pool follows."""
    return [stage[-1] for stage in _stages(config)]


def _stages(config: RoadFCNConfig) -> list[list[str]]:
    # A convolution, its norm if there is one, and its activation; a max-pool ends the stage.
    layers = 3 if config.encoder == 'vgg16_bn' else 2
    stages, first = [], 0
    for channels in STAGE_CHANNELS:
        indices = range(first, first + layers * len(channels), layers)
        stages.append([f'encoder.features.{index}' for index in indices])
        first += layers * len(channels) + 1
    return stages


def _norm_after(convolution: str) -> str:
    prefix, _, index = convolution.rpartition('.')
    return f'{prefix}.{int(index) + 1}'


def array_shapes(config: RoadFCNConfig) -> Shapes:
    """Return the shape of every array of a network of this config, by its name."""
    shapes: Shapes = {}
    inputs = 3
    outputs = [channels_at(config.width, count) for stage in STAGE_CHANNELS for count in stage]
    for name, channels in zip(convolution_names(config), outputs, strict=True):
        shapes |= _convolution(name, channels, inputs, 3)
        if config.encoder == 'vgg16_bn':
            shapes |= _norm(_norm_after(name), channels)
        inputs = channels
    if config.context:
        shapes |= _convolution('context.nearby', inputs, 1, CONTEXT_CELLS)
        shapes |= _convolution('context.everywhere', inputs, inputs, 1)
        shapes |= _norm('context.norm', inputs)
        shapes |= _convolution('context.project', inputs, inputs, 1)
    steps = pairwise(channels_at(config.width, count) for count in DECODER_CHANNELS)
    for i, (inputs, outputs_of) in enumerate(steps):
        size = 4 if config.overlap and i < OVERLAPPING else 2
        shapes[f'decoder.deconvs.{i}.weight'] = (inputs, outputs_of, size, size)
        shapes[f'decoder.deconvs.{i}.bias'] = (outputs_of,)
        shapes |= _norm(f'decoder.norms.{i}', outputs_of)
    for i, skip in enumerate(config.skips):
        inputs, channels = (channels_at(config.width, count) for count in SKIP_CHANNELS[skip])
        shapes |= _convolution(f'decoder.skips.{i}', channels, inputs, 1)
    return shapes


def _convolution(name: str, outputs: int, inputs: int, size: int) -> Shapes:
    return {f'{name}.weight': (outputs, inputs, size, size), f'{name}.bias': (outputs,)}


def _norm(name: str, channels: int) -> Shapes:
    of_channels = ('weight', 'bias', 'running_mean', 'running_var')
    shapes: Shapes = {f'{name}.{array}': (channels,) for array in of_channels}
    return shapes | {f'{name}.num_batches_tracked': ()}
