"""Candidates for the GPU's encoder: bias, ReLU and max-pool in one pass behind each convolution.

PyTorch adds the bias, applies ReLU and pools in a kernel each: 1.2 GB through memory at 352 x 1216
in 16 bits, where one pass needs 0.4. `benchmarks/gpu.py` measures what that is worth.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor, nn
from torch.nn import functional

BLOCK = 1024


@triton.jit
def _bias_relu(x, bias, count, channels: tl.constexpr, block: tl.constexpr):
    at = tl.program_id(0) * block + tl.arange(0, block)
    inside = at < count
    value = tl.load(x + at, inside).to(tl.float32)
    value += tl.load(bias + at % channels).to(tl.float32)
    tl.store(x + at, tl.maximum(value, 0.0), inside)


@triton.jit
def _bias_relu_pool(x, bias, y, count, width, channels: tl.constexpr, block: tl.constexpr):
    at = tl.program_id(0) * block + tl.arange(0, block)
    inside = at < count
    channel, pixel = at % channels, at // channels
    row, column = pixel // (width // 2), pixel % (width // 2)
    corner = x + (2 * row * width + 2 * column) * channels + channel
    below = corner + width * channels
    # Adding and rounding keep the order, so that the maximum may come first.
    value = tl.load(corner, inside).to(tl.float32)
    value = tl.maximum(value, tl.load(corner + channels, inside).to(tl.float32))
    value = tl.maximum(value, tl.load(below, inside).to(tl.float32))
    value = tl.maximum(value, tl.load(below + channels, inside).to(tl.float32))
    value += tl.load(bias + channel).to(tl.float32)
    tl.store(y + at, tl.maximum(value, 0.0), inside)


class OnePassEncoder(nn.Module):
    """`VGG16Encoder` without batch norm, for one frame in channels_last."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.stages: list[list[nn.Conv2d]] = [[]]
        for layer in encoder.features:
            if isinstance(layer, nn.Conv2d):
                self.stages[-1].append(layer)
            elif isinstance(layer, nn.MaxPool2d):
                self.stages.append([])
        self.stages.pop()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        pools = []
        for convolutions in self.stages:
            for convolution in convolutions:
                x = functional.conv2d(x, convolution.weight, padding=1)
                assert x.is_contiguous(memory_format=torch.channels_last)
                assert x.shape[0] == 1
                if convolution is not convolutions[-1]:
                    blocks = (triton.cdiv(x.numel(), BLOCK),)
                    _bias_relu[blocks](x, convolution.bias, x.numel(), x.shape[1], BLOCK)
            y = x.new_empty((1, x.shape[1], x.shape[2] // 2, x.shape[3] // 2))
            y = y.contiguous(memory_format=torch.channels_last)
            blocks = (triton.cdiv(y.numel(), BLOCK),)
            _bias_relu_pool[blocks](
                x, convolution.bias, y, y.numel(), x.shape[3], x.shape[1], BLOCK
            )
            pools.append(x := y)
        return pools[2], pools[3], pools[4]
