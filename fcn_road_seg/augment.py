"""Training augmentation, on the device that trains."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from fcn_road_seg.datasets import VOID


@dataclass(frozen=True)
class Augmentation:
    """Random crops with changed geometry and light; labels follow by their nearest pixel.

    A crop of `crop_hw` is taken from a frame as the network sees it (at `pixels` pixels),
    zoomed by a factor from `zoom`, stretched sideways by up to `stretch`, turned by up to
    `rotation_deg` degrees and mirrored every other time. What lies outside of the frame is
    void. Light: exposure, contrast, saturation, colour cast and gamma each by a random factor
    whose logarithm is at most `light` times its usual range, and sensor noise. 0 switches a
    part off.
    """

    crop_hw: tuple[int, int]
    pixels: int
    zoom: tuple[float, float] = (0.7, 1.8)
    stretch: float = 0.15
    rotation_deg: float = 4.0
    mirror: bool = True
    light: float = 1.0

    def __call__(
        self, frames: Sequence[Tensor], labels: Sequence[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Return ([N, 3, h, w] float RGB in [0, 1], [N, h, w] uint8 labels) of `crop_hw`.

        `frames` are [3, H, W] uint8 RGB of any sizes, `labels` [H, W] uint8, all on one device.
        """
        pairs = [self._crop(f, lb) for f, lb in zip(frames, labels, strict=True)]
        crops = torch.stack([crop for crop, _ in pairs])
        return self._relight(crops), torch.stack([label for _, label in pairs])

    def _crop(self, frame: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        theta = self._theta(label.shape[0], label.shape[1]).to(frame.device)
        grid = functional.affine_grid(theta[None], [1, 1, *self.crop_hw], align_corners=False)
        crop = functional.grid_sample(
            frame[None].float() / 255, grid, padding_mode='reflection', align_corners=False
        )
        # One more than the label, so that the zeros sampled outside of the frame are told apart.
        shifted = label[None, None].float() + 1
        shifted = functional.grid_sample(shifted, grid, mode='nearest', align_corners=False)
        cropped = torch.where(shifted == 0, float(VOID), shifted - 1)
        return crop[0], cropped[0, 0].to(torch.uint8)

    def _theta(self, h: int, w: int) -> Tensor:
        """Return the 2x3 affine map from the crop's to the frame's coordinates in [-1, 1]."""
        zoom = math.exp(_uniform(math.log(self.zoom[0]), math.log(self.zoom[1])))
        to_frame = math.sqrt(h * w / self.pixels) / zoom
        crop_h = self.crop_hw[0] * to_frame
        crop_w = self.crop_hw[1] * to_frame * math.exp(_uniform(-self.stretch, self.stretch))
        # The crop's centre goes as far to a side as keeps the smaller inside the larger.
        x = _uniform(-1, 1) * abs(w - crop_w) / w
        y = _uniform(-1, 1) * abs(h - crop_h) / h
        angle = math.radians(_uniform(-self.rotation_deg, self.rotation_deg))
        cos, sin = math.cos(angle), math.sin(angle)
        flip = -1 if self.mirror and _uniform(0, 1) < 0.5 else 1
        return torch.tensor(
            [
                [flip * crop_w / w * cos, -crop_h / w * sin, x],
                [flip * crop_w / h * sin, crop_h / h * cos, y],
            ]
        )

    def _relight(self, x: Tensor) -> Tensor:
        if not self.light:
            return x

        def factor(log_range: float, channels: int = 1) -> Tensor:
            u = torch.rand(len(x), channels, 1, 1, device=x.device) * 2 - 1
            return torch.exp(u * log_range * self.light)

        x = (x * factor(0.3) * factor(0.08, channels=3)).clamp(1e-4, 1) ** factor(0.35)
        grey = x.mean(dim=1, keepdim=True)
        x = grey + (x - grey) * factor(0.5)
        middle = grey.mean(dim=(2, 3), keepdim=True)
        x = middle + (x - middle) * factor(0.25)
        noise = torch.rand(len(x), 1, 1, 1, device=x.device) * 0.03 * self.light
        return (x + torch.randn_like(x) * noise).clamp(0, 1)


def _uniform(low: float, high: float) -> float:
    # On the CPU whatever the device: a scalar drawn on a GPU would cost a synchronisation.
    return low + (high - low) * torch.rand(()).item()
