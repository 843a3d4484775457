"""A folded network as an OpenVINO model, in floating point or with most of it in int8.

The convolutions that read pixels or an activation of the encoder run in int8. They are 99 % of the
work: those of the encoder and the skips, and the first transposed one. Activations have 8 bits for
[0, peak], as a ReLU's output is never negative, and pixels have 8 bits already. Weights have 8
bits, symmetric about 0, with one step per output channel (`model/int8_form.py`). The rest of the
decoder stays in floating point: this costs 4 % of the time and halves the number of mask pixels
that change.

CPUs without VNNI or AMX multiply an 8-bit activation (from 0) by an 8-bit weight and sum two such
products in 16 bits. The sum cannot exceed 32,767 if activations have 7 bits: 2 * 128 * 127. Pixels
need all their bits, so the first convolution then stays in floating point, too.
"""

from __future__ import annotations

import numpy as np

from fcn_road_seg.inference.backends.openvino_import import openvino, ops
from fcn_road_seg.inference.backends.pixel_shuffle import (
    CLASSES,
    LAST_DECONV,
    SUB_PIXELS,
    convert_last,
)
from fcn_road_seg.model.int8_form import int8_weights, pixel_weight, quantized_layers
from fcn_road_seg.model.network_weights import (
    NORM_EPS,
    NetworkWeights,
    convolution_names,
    last_of_stages,
)

_LEVELS = 256


class OpenVinoGraph:
    """The layers of a folded `RoadFCN`; `model` is OpenVINO's.

    Its input is [1, H, W, 3] uint8 RGB, H and W multiples of 32; its output is the logit of
    p(road), [1, H, W] float32. With a checkpoint's `activation_peaks` it computes in int8, with
    activations of `activation_bits`, 8 or 7.
    """

    def __init__(
        self,
        network: NetworkWeights,
        activation_peaks: tuple[float, ...] | None,
        activation_bits: int = 8,
    ) -> None:
        self._network = network
        self._activation_bits = activation_bits
        # The axis of the output channels in the weights of each layer that computes in int8.
        self._int8_axes = dict(quantized_layers(network.config)) if activation_peaks else {}
        frame = ops.parameter([1, -1, -1, 3], np.uint8, name='frame_rgb')
        pixels = ops.transpose(ops.convert(frame, np.float32), _integers(0, 3, 1, 2))
        first, *_ = convolution_names(network.config)
        if activation_peaks and activation_bits == 8:
            x = self._convolution_of_pixels(pixels, first)
        else:
            mean, std = (_channels(np.array(v)) for v in (network.config.mean, network.config.std))
            x = ops.divide(pixels, _constant(255 * np.ones((1, 3, 1, 1))))
            x = ops.divide(ops.subtract(x, mean), std)
            self._int8_axes.pop(first, None)
            x = self._convolution(x, first)
        pools = self._encoder(x, activation_peaks)
        if network.config.context:
            pools[-1] = self._context(pools[-1])
        logit = self._decoder(*pools)
        self.model = openvino.Model([logit], [frame], 'road_fcn')

    def _encoder(self, x: openvino.Node, peaks: tuple[float, ...] | None) -> list[openvino.Node]:
        """Add all layers but the first convolution; return pool3, pool4 and pool5."""
        config = self._network.config
        ends, caps = last_of_stages(config), config.activation_caps
        pools = []
        for i, name in enumerate(convolution_names(config)):
            if i:
                x = self._convolution(x, name)
            x = ops.clamp(x, 0.0, caps[i]).output(0) if caps else ops.relu(x)
            # Quantized after the activation that follows each convolution.
            if peaks is not None:
                x = self._quantized_activation(x, peaks[i])
            if name in ends:
                x = ops.max_pool(x, [2, 2], [1, 1], [0, 0], [0, 0], [2, 2]).output(0)
                pools.append(x)
        return pools[2:]

    def _quantized_activation(self, x: openvino.Node, peak: float) -> openvino.Node:
        if self._activation_bits == 8:
            return _fake_quantize(x, 0.0, peak)
        # OpenVINO supports only 8 bits; 7 bits are the lower half of their steps.
        return _fake_quantize(ops.clamp(x, 0.0, peak).output(0), 0.0, 2 * peak)

    def _context(self, x: openvino.Node) -> openvino.Node:
        weight, bias = self._network.weight_and_bias('context.nearby')
        border = [weight.shape[-1] // 2] * 2
        # [groups, outputs, inputs, H, W], one channel per group.
        kernels = _constant(weight[:, None])
        nearby = ops.group_convolution(x, kernels, [1, 1], border, border, [1, 1])
        nearby = ops.add(nearby, _channels(bias))
        mean = ops.reduce_mean(x, _integers(2, 3), keep_dims=True)
        everywhere = self._convolution(mean, 'context.everywhere')
        seen = ops.relu(_batch_norm(ops.add(nearby, everywhere), self._network, 'context.norm'))
        return ops.add(x, self._convolution(seen, 'context.project'))

    def _decoder(
        self, pool3: openvino.Node, pool4: openvino.Node, pool5: openvino.Node
    ) -> openvino.Node:
        pools = (pool4, pool3)
        scales = self._network.config.skip_scales
        y = pool5
        for i in range(LAST_DECONV):
            y = ops.relu(self._deconvolution(y, f'decoder.deconvs.{i}'))
            if i < len(scales):
                y = ops.add(y, self._convolution(pools[i], f'decoder.skips.{i}', scales[i]))
            y = _batch_norm(y, self._network, f'decoder.norms.{i}')
        return self._head(y)

    def _head(self, y: openvino.Node) -> openvino.Node:
        """Add the last layer and the logit, with only one channel at the input's full size.

        Applying the transposed convolution itself and then taking maxima over half of the channels
        took a tenth longer in int8 at width 0.25, and 1 % longer at width 1.
        """
        # One convolution for each pair of candidates: splitting the channels of a single one takes
        # as long as the convolution itself (4 % of the time at width 0.25).
        layer = convert_last(self._network, None)
        count = len(layer[0]) // (2 * CLASSES * SUB_PIXELS)
        parts = [np.split(part, count) for part in layer]
        ys = [self._candidates(y, *part) for part in zip(*parts, strict=True)]
        while len(ys) > 1:
            ys = [ops.maximum(*pair) for pair in zip(ys[::2], ys[1::2], strict=True)]
        y = ops.maximum(*ops.split(ys[0], ops.constant(1), 2).outputs())
        background, road = ops.split(y, ops.constant(1), CLASSES).outputs()
        logit = ops.depth_to_space(ops.subtract(road, background), 'depth_first', 2)
        return ops.squeeze(logit, _integers(1))

    def _candidates(
        self,
        y: openvino.Node,
        weight: np.ndarray,
        bias: np.ndarray,
        gain: np.ndarray,
        shift: np.ndarray,
    ) -> openvino.Node:
        y = ops.convolution(y, _constant(weight), [1, 1], [0, 0], [0, 0], [1, 1])
        y = ops.relu(ops.add(y, _channels(bias)))
        return ops.add(ops.multiply(y, _channels(gain)), _channels(shift))

    def _convolution(self, x: openvino.Node, layer: str, scale: float = 1.0) -> openvino.Node:
        """Add `layer` for `scale * x`."""
        weight, bias = self._network.weight_and_bias(layer)
        border = [weight.shape[-1] // 2] * 2
        weights = _weight(weight * np.float32(scale), self._int8_axes.get(layer))
        y = ops.convolution(x, weights, [1, 1], border, border, [1, 1])
        return ops.add(y, _channels(bias))

    def _convolution_of_pixels(self, pixels: openvino.Node, layer: str) -> openvino.Node:
        """Add the first convolution, for unnormalised pixels: these need no rounding.

        The border, which is 0 after normalisation, has the whole pixel values nearest to the mean.
        """
        rounded, step = int8_weights(pixel_weight(self._network), 0)
        mean = 255 * np.array(self._network.config.mean)
        border = _channels(mean.round())
        sides = _integers(0, 0, 1, 1)
        x = ops.pad(
            ops.subtract(pixels, border), sides, sides, 'constant', _constant(np.zeros(()))
        )
        x = _fake_quantize(ops.add(x, border), 0.0, 255.0)
        y = ops.convolution(x, _int8(rounded, step), [1, 1], [0, 0], [0, 0], [1, 1])
        _, bias = self._network.weight_and_bias(layer)
        offset = (rounded * step * mean[:, None, None]).sum((1, 2, 3))
        return ops.add(y, _channels(bias - offset))

    def _deconvolution(self, x: openvino.Node, layer: str) -> openvino.Node:
        weight, bias = self._network.weight_and_bias(layer)
        weights = _weight(weight, self._int8_axes.get(layer))
        border = [weight.shape[-1] // 2 - 1] * 2
        y = ops.convolution_backprop_data(x, weights, [2, 2], pads_begin=border, pads_end=border)
        return ops.add(y, _channels(bias))


def _batch_norm(x: openvino.Node, network: NetworkWeights, layer: str) -> openvino.Node:
    names = ('weight', 'bias', 'running_mean', 'running_var')
    arrays = (_constant(network.arrays[f'{layer}.{name}']) for name in names)
    return ops.batch_norm_inference(x, *arrays, NORM_EPS)


def _fake_quantize(x: openvino.Node, low: float, high: float) -> openvino.Node:
    ends = [_constant(np.full((1, 1, 1, 1), end)) for end in (low, high)]
    return ops.fake_quantize(x, *ends, *ends, _LEVELS)


def _weight(weight: np.ndarray, int8_axis: int | None) -> openvino.Node:
    if int8_axis is None:
        return _constant(weight)
    return _int8(*int8_weights(weight, int8_axis))


def _int8(rounded: np.ndarray, step: np.ndarray) -> openvino.Node:
    values = ops.constant(rounded.astype(np.int8))
    return ops.multiply(ops.convert(values, np.float32), _constant(step))


def _channels(values: np.ndarray) -> openvino.Node:
    return _constant(values.reshape(1, -1, 1, 1))


def _constant(values: np.ndarray) -> openvino.Node:
    return ops.constant(values.astype(np.float32))


def _integers(*values: int) -> openvino.Node:
    return ops.constant(np.array(values, np.int64))
