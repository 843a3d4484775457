"""A folded network as ncnn's two files: layers as text, weights as bytes.

The decoder is written in the form that `pixel_shuffle` explains. ncnn's wiki describes both files:
https://github.com/Tencent/ncnn/wiki/param-and-model-file-structure.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from fcn_road_seg.inference.backends.pixel_shuffle import (
    CLASSES,
    LAST_DECONV,
    SUB_PIXELS,
    Norm,
    convert_last,
    convert_to_1x1,
    convert_to_3x3,
)
from fcn_road_seg.model.network_weights import (
    NetworkWeights,
    convolution_names,
    last_of_stages,
)

INPUT, OUTPUT = 'frame', 'road_logit'

_MAGIC = 7767517
# The tag that ncnn reads before weights in plain float32.
_RAW_FLOAT32 = np.zeros(1)
# Direct convolution: with three channels, the transforms for Winograd or for a matrix product cost
# more than they save.
_DIRECT = '31=96'


class NcnnGraph:
    """The layers of a folded `RoadFCN`.

    `INPUT` is [3, H, W], normalised RGB, H and W multiples of 32; `OUTPUT` is [1, H, W], the
    logit of p(road). Both are float32.
    """

    def __init__(self, network: NetworkWeights) -> None:
        self._network = network
        self._layers: list[str] = []
        self._blob_count = 0
        self._weights: list[np.ndarray] = []
        self._layer('Input', INPUT, [])
        pool5, skipped = self._encoder()
        if network.config.context:
            pool5 = self._context(pool5)
        self._decoder(pool5, skipped)

    def text(self) -> str:
        """Return the content of the .param file."""
        head = [str(_MAGIC), f'{len(self._layers)} {self._blob_count}']
        return '\n'.join([*head, *self._layers, ''])

    def weights(self) -> Iterator[memoryview]:
        """Yield the content of the .bin file, piece by piece."""
        for array in self._weights:
            yield np.ascontiguousarray(array, np.float32).data

    def _encoder(self) -> tuple[str, list[str]]:
        """Return the blob of pool5, and the blobs that the skips read, in their order."""
        config = self._network.config
        blob, pool_count, skipped = INPUT, 0, {}
        names, ends = convolution_names(config), last_of_stages(config)
        caps = config.activation_caps or (math.inf,) * len(names)
        for name, cap in zip(names, caps, strict=True):
            blob = self._convolution(
                name, blob, *self._network.weight_and_bias(name), relu=True, cap=cap
            )
            if name in ends:
                pool_count += 1
                pool = f'pool{pool_count}'
                blob = self._layer('Pooling', pool, [blob], '0=0 1=2 2=2')
                if pool in config.skips:
                    self._layer('Split', [f'{pool}_on', f'{pool}_skip'], [blob])
                    blob, skipped[pool] = f'{pool}_on', f'{pool}_skip'
        return blob, [skipped[pool] for pool in config.skips]

    def _context(self, blob: str) -> str:
        """Add the context block, its batch norm folded into the two convolutions before it."""
        gain, shift = self._network.gain_and_shift('context.norm')
        self._layer('Split', ['pool5_on', 'pool5_nearby', 'pool5_everywhere'], [blob])
        weight, bias = self._network.weight_and_bias('context.nearby')
        size = weight.shape[-1]
        options = f'0={len(bias)} 1={size} 4={size // 2} 5=1 6={weight.size} 7={len(bias)}'
        self._weights += [_RAW_FLOAT32, weight * gain[:, None, None, None], bias * gain + shift]
        nearby = self._layer('ConvolutionDepthWise', 'nearby', ['pool5_nearby'], options)
        mean = self._layer('Pooling', 'mean', ['pool5_everywhere'], '0=1 4=1')
        # Three dimensions, with one value per channel: ncnn would treat a single dimension as a
        # row of values, and add it to each row.
        mean = self._layer('Reshape', 'mean_cell', [mean], f'0=1 1=1 2={len(bias)}')
        weight, bias = self._network.weight_and_bias('context.everywhere')
        weight, bias = weight * gain[:, None, None, None], bias * gain
        everywhere = self._convolution('everywhere', mean, weight, bias, relu=False)
        seen = self._layer('BinaryOp', 'seen', [nearby, everywhere], '0=0')
        seen = self._layer('ReLU', 'seen_relu', [seen])
        weight, bias = self._network.weight_and_bias('context.project')
        projected = self._convolution('project', seen, weight, bias, relu=False)
        return self._layer('BinaryOp', 'context', ['pool5_on', projected], '0=0')

    def _decoder(self, blob: str, skipped: list[str]) -> None:
        norm: Norm | None = None
        for i in range(LAST_DECONV):
            weight, bias = self._network.weight_and_bias(f'decoder.deconvs.{i}')
            if weight.shape[-1] == 4:
                if norm is not None:
                    blob = self._scale(f'norm{i}', blob, *norm)
                weight, bias = convert_to_3x3(weight, bias)
            else:
                weight, bias = convert_to_1x1(weight, bias, norm)
            blob = self._convolution(f'deconv{i}', blob, weight, bias, relu=True)
            blob = self._layer('PixelShuffle', f'shuffle{i}', [blob], '0=2')
            if i < len(skipped):
                weight, bias = self._network.weight_and_bias(f'decoder.skips.{i}')
                weight = weight * self._network.config.skip_scales[i]
                other = self._convolution(f'skip{i}', skipped[i], weight, bias, relu=False)
                blob = self._layer('BinaryOp', f'sum{i}', [blob, other], '0=0')
            norm = self._network.gain_and_shift(f'decoder.norms.{i}')
        self._head(blob, *convert_last(self._network, norm))

    def _head(
        self, blob: str, weight: np.ndarray, bias: np.ndarray, gain: np.ndarray, shift: np.ndarray
    ) -> None:
        size = CLASSES * SUB_PIXELS
        blob = self._convolution('last_deconv', blob, weight, bias, relu=True)
        blob = self._scale('last_norm', blob, gain, shift)
        candidates = [f'candidate{i}' for i in range(len(bias) // size)]
        self._layer('Slice', candidates, [blob], _sizes([size] * len(candidates)))
        blob = self._layer('Eltwise', 'scores', candidates, '0=2')
        self._layer('Slice', ['background', 'road'], [blob], _sizes([SUB_PIXELS] * CLASSES))
        blob = self._layer('BinaryOp', 'difference', ['road', 'background'], '0=1')
        self._layer('PixelShuffle', OUTPUT, [blob], '0=2')

    def _scale(self, name: str, blob: str, gain: np.ndarray, shift: np.ndarray) -> str:
        self._weights += [gain, shift]
        return self._layer('Scale', name, [blob], f'0={len(gain)} 1=1')

    def _convolution(
        self,
        name: str,
        blob: str,
        weight: np.ndarray,
        bias: np.ndarray,
        *,
        relu: bool,
        cap: float = math.inf,
    ) -> str:
        channels, size = weight.shape[0], weight.shape[-1]
        options = f'0={channels} 1={size} 4={size // 2} 5=1 6={weight.size} '
        # Activation 1 is ReLU, 3 is clipping to two parameters.
        options += f'9={int(relu)}' if cap == math.inf else f'9=3 -23310=2,0.0,{cap:.9e}'
        if blob == INPUT:
            options += f' {_DIRECT}'
        self._weights += [_RAW_FLOAT32, weight, bias]
        return self._layer('Convolution', name, [blob], options)

    def _layer(
        self, kind: str, outputs: str | list[str], inputs: list[str], options: str = ''
    ) -> str:
        """Add a layer; return its first output, which is also its name."""
        outputs = [outputs] if isinstance(outputs, str) else outputs
        fields = [kind, outputs[0], len(inputs), len(outputs), *inputs, *outputs, options]
        self._layers.append(' '.join(map(str, fields)))
        self._blob_count += len(outputs)
        return outputs[0]


def _sizes(sizes: list[int]) -> str:
    return f'-23300={len(sizes)},{",".join(map(str, sizes))}'
