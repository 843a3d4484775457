"""OpenCV's `resize` of 8-bit frames as tensor operations, which run on a GPU and in its graphs.

The network is sensitive to the resize: with `torch.nn.functional.interpolate` the IoU of the mask
with the CPU's is 0.988 (bilinear), 0.993 (area) or 0.995 (antialiased) on KITTI frames, while with
this class it is 1.00000 (benchmarks/README.md). Only values whose exact mean lies halfway between
two levels may differ.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

# The fractional bits of the fixed-point shares in OpenCV's 8-bit bilinear resize.
_LINEAR_BITS = 11


class CudaResize:
    """`cv2.resize` of an (H, W, 3) frame to `input_hw`, as `resize_to_input` does it.

    By area if both sides shrink, else bilinear. Tables say which pixels to add: a matrix product
    over whole rows would take a hundred times the arithmetic, and would need cuBLAS, whose
    workspace the CUDA graphs would share.
    """

    def __init__(
        self,
        frame_hw: tuple[int, int],
        input_hw: tuple[int, int],
        reverse_channels: bool,
        device: torch.device,
    ) -> None:
        self._by_area = input_hw[0] < frame_hw[0] and input_hw[1] < frame_hw[1]
        if self._by_area:
            row_at, row_share = _area_taps(frame_hw[0], input_hw[0])
            column_at, column_share = _area_taps(frame_hw[1], input_hw[1])
        else:
            row_at, row_share = _linear_taps(frame_hw[0], input_hw[0], clamp=False)
            column_at, column_share = _linear_taps(frame_hw[1], input_hw[1], clamp=True)
        # OpenCV rounds halves to even, except that it rounds them up if four pixels become one.
        self._offset = 0.125 if frame_hw == (2 * input_hw[0], 2 * input_hw[1]) else 0.0
        # A frame is treated as rows of W * 3 values.
        channels = np.arange(3)[::-1] if reverse_channels else np.arange(3)
        column_at = column_at[..., None] * 3 + channels
        self._taps = len(row_at), len(column_at)
        self._row_at = torch.from_numpy(row_at.ravel()).to(device)
        self._row_share = torch.from_numpy(row_share[..., None]).to(device)
        self._column_at = torch.from_numpy(column_at.ravel()).to(device)
        self._column_share = torch.from_numpy(np.repeat(column_share, 3, axis=1)).to(device)

    def __call__(self, frame: Tensor) -> Tensor:
        """Return (h, w, 3) whole numbers in [0, 255], float32, for an (H, W, 3) uint8 frame."""
        taps = frame.flatten(1).index_select(1, self._column_at).unflatten(1, (self._taps[1], -1))
        taps = taps * self._column_share
        narrow = taps.sum(1, dtype=taps.dtype)
        if not self._by_area:
            narrow >>= 4
        taps = narrow.index_select(0, self._row_at).unflatten(0, (self._taps[0], -1))
        taps *= self._row_share
        if self._by_area:
            scaled = taps.sum(0).add_(self._offset).round_()
        else:
            scaled = (((taps >> 16).sum(0, dtype=taps.dtype) + 2) >> 2).float()
        return scaled.unflatten(1, (-1, 3))


def _area_taps(n: int, m: int) -> tuple[np.ndarray, np.ndarray]:
    """Return which of `n` pixels each of `m` < `n` covers, and their float32 shares: (taps, m)."""
    size = n / m
    begin = np.arange(m) * size
    at = np.floor(begin) + np.arange(math.ceil(size) + 1)[:, None]
    share = (np.minimum(begin + size, at + 1) - np.maximum(begin, at)).clip(0) / size
    # The last tap has no share if the factor is whole.
    used = share.max(axis=1) > 1e-6
    return at[used].clip(max=n - 1).astype(np.int64), share[used].astype(np.float32)


def _linear_taps(n: int, m: int, *, clamp: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return the two of `n` pixels that each of `m` lies between, and their shares: (2, m).

    The shares are int32 with _LINEAR_BITS fractional bits. Beyond the centres of the first and the
    last pixel, both taps are the same pixel. With `clamp`, as OpenCV does along a row, the first
    tap then has the whole share; without it, each has a part, and each product is truncated.
    """
    position = ((np.arange(m) + 0.5) * (1 / (m / n)) - 0.5).astype(np.float32)
    below = np.floor(position).astype(np.int64)
    fraction = position - below.astype(np.float32)
    if clamp:
        fraction[(below < 0) | (below >= n - 1)] = 0
    at = np.stack([below, below + 1]).clip(0, n - 1)
    share = np.stack([1 - fraction, fraction]) * np.float32(2**_LINEAR_BITS)
    return at, np.rint(share).astype(np.int32)
