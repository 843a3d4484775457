"""OpenCV's `resize` of 8-bit frames as tensor operations, which run on a GPU and in its graphs."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

# The fixed point of OpenCV's 8-bit bilinear resize.
_LINEAR_BITS = 11
# Below this, a source pixel's share of an area does not count.
_AREA_EPSILON = 1e-3


class CudaResize:
    """`cv2.resize` of a frame of size `frame_hw` to `input_hw`, without its first rows.

    By area where both sides are reduced, else bilinear, as on the CPU: the network must see the
    same numbers on both. All is looked up in tables, since a matrix product over whole rows would
    be a hundred times the arithmetic, and would need cuBLAS, whose workspace graphs share.
    """

    def __init__(
        self,
        frame_hw: tuple[int, int],
        input_hw: tuple[int, int],
        first_row: int,
        reverse_channels: bool,
        device: torch.device,
    ) -> None:
        self._by_area = input_hw[0] < frame_hw[0] and input_hw[1] < frame_hw[1]
        self._scale, self._offset = 1.0, 0.0
        if self._by_area:
            (row_at, row_share), (column_at, column_share) = (
                _area_taps(n, m) for n, m in zip(frame_hw, input_hw, strict=True)
            )
            if frame_hw[0] % input_hw[0] == 0 and frame_hw[1] % input_hw[1] == 0:
                # OpenCV has ways of its own for whole factors: it divides once, and rounds the
                # halves of four pixels' mean up, not to even.
                factors = frame_hw[0] // input_hw[0], frame_hw[1] // input_hw[1]
                row_share, column_share = np.sign(row_share), np.sign(column_share)
                self._scale = float(np.float32(1 / (factors[0] * factors[1])))
                self._offset = 0.125 if factors == (2, 2) else 0.0
        else:
            (row_at, row_share), (column_at, column_share) = (
                _linear_taps(frame_hw[0], input_hw[0], clamp=False),
                _linear_taps(frame_hw[1], input_hw[1], clamp=True),
            )
        row_at, row_share = row_at[:, first_row:], row_share[:, first_row:]
        # Rows that only hidden ones depend on are not read.
        self._first_source_row = int(row_at.min())
        channels = np.arange(3)[::-1] if reverse_channels else np.arange(3)
        column_at = column_at[..., None] * 3 + channels
        column_share = np.broadcast_to(column_share[..., None], column_at.shape)
        self._taps = len(row_at), len(column_at)
        self._row_at = torch.from_numpy(row_at.ravel() - self._first_source_row).to(device)
        self._row_share = torch.from_numpy(row_share[..., None].copy()).to(device)
        self._column_at = torch.from_numpy(column_at.ravel()).to(device)
        self._column_share = torch.from_numpy(column_share.reshape(len(column_at), -1)).to(device)
        self._columns = input_hw[1]

    def __call__(self, frame: Tensor) -> Tensor:
        """Return (h, w, 3) whole numbers in [0, 255], float32, for an (H, W, 3) uint8 frame."""
        rows = frame[self._first_source_row :].flatten(1)
        # Columns before rows, as OpenCV does: it shows in the last digit.
        taps = rows.index_select(1, self._column_at).unflatten(1, (self._taps[1], -1))
        narrow = _added_in_order((taps * self._column_share).unbind(1))
        if not self._by_area:
            narrow = narrow >> 4
        taps = narrow.index_select(0, self._row_at).unflatten(0, (self._taps[0], -1))
        taps = taps * self._row_share
        if self._by_area:
            scaled = _added_in_order(taps.unbind(0))
            scaled = scaled.mul_(self._scale).add_(self._offset).round_()
        else:
            whole = _added_in_order((taps >> 16).unbind(0))
            scaled = ((whole + 2) >> 2).float()
        return scaled.unflatten(1, (self._columns, 3))


def _added_in_order(taps: tuple[Tensor, ...]) -> Tensor:
    """Return the sum of `taps`, the first of which is overwritten.

    One after the other, as OpenCV adds them. `Tensor.sum` has another order on each device, and
    where a mean lies between two grey levels, as one of thousands does, its last digit decides.
    """
    total = taps[0]
    for tap in taps[1:]:
        total += tap
    return total


def _area_taps(n: int, m: int) -> tuple[np.ndarray, np.ndarray]:
    """Return which of `n` pixels each of `m` < `n` covers, and with which share: (taps, m).

    The shares are float32; a tap that is not needed looks at pixel 0 with a share of 0.
    """
    factor = n / m
    begin = np.arange(m) * factor
    end = begin + factor
    size = np.minimum(factor, n - begin)
    last = np.minimum(np.floor(end).astype(np.int64), n - 1)
    first = np.minimum(np.ceil(begin).astype(np.int64), last)
    before, after = first - begin, end - last
    at = [np.where(before > _AREA_EPSILON, first - 1, 0)]
    share = [np.where(before > _AREA_EPSILON, before / size, 0)]
    for i in range(int((last - first).max())):
        covered = first + i < last
        at.append(np.where(covered, first + i, 0))
        share.append(np.where(covered, 1 / size, 0))
    at.append(np.where(after > _AREA_EPSILON, last, 0))
    share.append(np.where(after > _AREA_EPSILON, np.minimum(np.minimum(after, 1), size) / size, 0))
    used = [i for i, s in enumerate(share) if s.any()]
    return np.stack([at[i] for i in used]), np.stack([share[i] for i in used]).astype(np.float32)


def _linear_taps(n: int, m: int, *, clamp: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return the two of `n` pixels that each of `m` lies between, and their shares: (2, m).

    The shares are int32 with _LINEAR_BITS binary digits. Outside of the first and the last
    pixel's centre both are the same pixel; with `clamp`, as OpenCV does along a row, it has the
    whole share, else each a part, whose digits are cut off one by one.
    """
    position = ((np.arange(m) + 0.5) * (1 / (m / n)) - 0.5).astype(np.float32)
    below = np.floor(position).astype(np.int64)
    fraction = position - below.astype(np.float32)
    if clamp:
        fraction[(below < 0) | (below >= n - 1)] = 0
    at = np.stack([below, below + 1]).clip(0, n - 1)
    share = np.stack([1 - fraction, fraction]) * np.float32(2**_LINEAR_BITS)
    return at, np.rint(share).astype(np.int32)
