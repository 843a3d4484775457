"""Random soft shadows on frames, for training and for robustness tests."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional


def cast_shadows(frames: Tensor) -> Tensor:
    """Return `frames` [N, 3, H, W] in [0, 1] with random soft shadows, different on each.

    Bands and edges at any angle imitate poles, walls and vehicles; dapples imitate foliage. Shade
    keeps 25 to 70 % of the light, and a little more of the blue, as the sky still lights it.
    """
    n, _, h, w = frames.shape
    y = torch.linspace(-0.5, 0.5, h, device=frames.device)[:, None]
    x = torch.linspace(-0.5, 0.5, w, device=frames.device)[None, :] * (w / h)
    shade = torch.zeros(n, 1, h, w, device=frames.device)
    for _ in range(3):
        angle, offset_x, offset_y, width, soft, there = torch.rand(6, n, 1, 1, 1).to(frames.device)
        angle = angle * math.pi
        distance = (x - (offset_x - 0.5) * (w / h)) * angle.cos()
        distance = distance + (y - (offset_y - 0.5)) * angle.sin()
        half_width = 0.02 * 30**width
        band = torch.sigmoid((half_width - distance.abs()) / (0.003 * 15**soft))
        shade = torch.maximum(shade, band * (there < 0.6))
    leaves = functional.interpolate(
        torch.rand(n, 1, max(2, h // 12), max(2, w // 12), device=frames.device),
        (h, w),
        mode='bicubic',
        align_corners=False,
    )
    dappled = torch.sigmoid((leaves - 0.5) * 25)
    under_trees = draw_chosen(frames, 0.4)
    shade = torch.where(under_trees, shade * dappled, shade)
    light, blue = torch.rand(2, n, 1, 1, 1).to(frames.device)
    kept = (0.25 + 0.45 * light) * (1 + 0.2 * blue * _WARM_TO_COLD.to(frames.device))
    return frames * (1 - shade * (1 - kept))


# Shade has less red and more blue.
_WARM_TO_COLD = torch.tensor([-1.0, 0.0, 1.0]).view(3, 1, 1)


def draw_chosen(x: Tensor, probability: float) -> Tensor:
    """Return [N, 1, 1, 1] bool: whether each of the N items of `x` is chosen, at random."""
    return torch.rand(len(x), 1, 1, 1, device=x.device) < probability
