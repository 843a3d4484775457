"""Training augmentation on batches, on the training device."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional
from torchvision.transforms.v2.functional import gaussian_blur

from fcn_road_seg.datasets.labels import BACKGROUND, VOID
from fcn_road_seg.model.input_rule import InputRule
from fcn_road_seg.synthetic.cast_shadows import cast_shadows, draw_chosen

# At a zoom below 1, a whole frame does not fill its crop: the margin is void.
LOWEST_WHOLE_ZOOM = 0.85
# Styles are exchanged up to a random frequency of at most this many cycles per crop.
HIGHEST_STYLE_CYCLES = 10


@dataclass(frozen=True)
class Augmentation:
    """Random crops with random geometry, occluders and light.

    Labels are resampled by nearest neighbour; pixels outside the frame are void. A value of 0 (for
    `zoom`, (1, 1)) disables that augmentation.

    Attributes:
        crop_hw: size of the crops, at the scale of the network's input; None is the network's
            input size for the frame.
        input_rule: the rule that gives the network's input size for a frame.
        zoom: range of the factor by which a crop is enlarged; if `crop_hw` is None, both ends are
            at least LOWEST_WHOLE_ZOOM.
        stretch: a crop is made wider or narrower by a factor of up to exp(stretch), usually far
            less.
        rotation_deg: largest rotation to either side.
        mirror: whether each crop is mirrored with a probability of 1/2.
        style: probability that a crop moves towards the style of another one (`exchange_styles`).
        light: exposure, contrast, saturation, colour cast and gamma each change by a random
            factor whose logarithm is at most `light` times its usual range; sensor noise is added.
        shadows: probability that shadows are cast on a crop.
        occluders: probability that an object from another crop is pasted onto a crop.
        blur: probability that a crop is blurred.
    """

    crop_hw: tuple[int, int] | None
    input_rule: InputRule
    zoom: tuple[float, float] = (1.0, 1.0)
    stretch: float = 0.0
    rotation_deg: float = 0.0
    mirror: bool = False
    style: float = 0.0
    light: float = 0.0
    shadows: float = 0.0
    occluders: float = 0.0
    blur: float = 0.0

    def __call__(
        self, frames: Sequence[Tensor], labels: Sequence[Tensor]
    ) -> list[tuple[Tensor, Tensor]]:
        """Return ([N, 3, h, w] float RGB in [0, 1], [N, h, w] uint8 labels) for each crop size.

        `frames` are [3, H, W] uint8 RGB of any size, `labels` [H, W] uint8, all on one device.
        """
        pairs_by_hw: dict[tuple[int, int], list[tuple[Tensor, Tensor]]] = {}
        for frame, label in zip(frames, labels, strict=True):
            h, w = label.shape
            crop_hw = self.crop_hw or self.input_rule.input_hw((h, w))
            pairs_by_hw.setdefault(crop_hw, []).append(self._crop(frame, label, crop_hw))
        xs = [torch.stack([x for x, _ in pairs]) for pairs in pairs_by_hw.values()]
        ys = [torch.stack([y for _, y in pairs]) for pairs in pairs_by_hw.values()]
        if self.style:
            xs = exchange_styles(xs, self.style)
        return [self._alter(x, y) for x, y in zip(xs, ys, strict=True)]

    def _alter(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        if self.occluders:
            x, y = paste_occluders(x, y, draw_chosen(x, self.occluders))
        if self.shadows:
            x = torch.where(draw_chosen(x, self.shadows), cast_shadows(x), x)
        if self.blur:
            x = torch.stack([_blur(c) if _uniform(0, 1) < self.blur else c for c in x])
        return self._relight(x), y

    def _crop(
        self, frame: Tensor, label: Tensor, crop_hw: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        theta = self._theta(label.shape[0], label.shape[1], crop_hw).to(frame.device)
        grid = functional.affine_grid(theta[None], [1, 1, *crop_hw], align_corners=False)
        crop = functional.grid_sample(
            frame[None].float() / 255, grid, padding_mode='reflection', align_corners=False
        )
        # Labels are shifted by 1, since grid_sample returns 0 outside the frame.
        shifted = label[None, None].float() + 1
        shifted = functional.grid_sample(shifted, grid, mode='nearest', align_corners=False)
        cropped = torch.where(shifted == 0, float(VOID), shifted - 1)
        return crop[0], cropped[0, 0].to(torch.uint8)

    def _theta(self, h: int, w: int, crop_hw: tuple[int, int]) -> Tensor:
        """Return the 2x3 affine map from the crop's to the frame's coordinates in [-1, 1]."""
        lowest, highest = self.zoom
        if self.crop_hw is None:
            lowest, highest = (max(bound, LOWEST_WHOLE_ZOOM) for bound in self.zoom)
        zoom = math.exp(_uniform(math.log(lowest), math.log(highest)))
        seen_h, seen_w = self.input_rule.input_hw((h, w))
        crop_h = crop_hw[0] * h / seen_h / zoom
        crop_w = crop_hw[1] * w / seen_w / zoom
        # Cubed, so that half of the crops are stretched by less than exp(stretch / 8).
        crop_w *= math.exp(self.stretch * _uniform(-1, 1) ** 3)
        # The centre varies only so far that the smaller of crop and frame stays inside the larger.
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


def exchange_styles(batches: Sequence[Tensor], share: float) -> list[Tensor]:
    """Return `batches` with a `share` of their crops moved towards the style of another crop.

    `batches` are [N, 3, h, w] in [0, 1]; the other crop may be of another size. A style is the
    amplitudes of the lowest spatial frequencies, including the mean: exposure, colour cast and
    large-scale light, by which cameras and times of day differ. The phases, and with them the
    contents, stay (Yang and Soatto 2020, FDA: Fourier Domain Adaptation for Semantic Segmentation;
    there, the amplitudes are replaced, while here they move a random part of the way).
    """
    smallest = min(side for x in batches for side in x.shape[-2:])
    cycles = min(1 + int(torch.randint(HIGHEST_STYLE_CYCLES, ())), (smallest - 1) // 2)
    # Negative frequencies are the last rows; rfft2 leaves out negative columns.
    low = (..., [*range(cycles + 1), *range(-cycles, 0)], slice(cycles + 1))
    # With this norm, amplitudes do not depend on the size of a crop.
    spectra = [torch.fft.rfft2(x, norm='forward') for x in batches]
    lows = torch.cat([spectrum[low] for spectrum in spectra])
    amplitudes = lows.abs()
    others = amplitudes.roll(1 + int(torch.randint(max(len(lows) - 1, 1), ())), dims=0)
    moved = amplitudes.lerp(others, torch.rand(len(lows), 1, 1, 1, device=lows.device))
    new_lows = torch.polar(moved, lows.angle()).split([len(x) for x in batches])
    styled = []
    for x, spectrum, new_low in zip(batches, spectra, new_lows, strict=True):
        spectrum[low] = new_low
        altered = torch.fft.irfft2(spectrum, x.shape[-2:], norm='forward').clamp(0, 1)
        styled.append(torch.where(draw_chosen(x, share), altered, x))
    return styled


def paste_occluders(x: Tensor, y: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
    """Return crops and labels with a piece of another crop pasted onto each of the `chosen`.

    `x` is [N, 3, H, W], `y` [N, H, W] uint8, `chosen` [N, 1, 1, 1] bool. A piece is a rounded box
    from the previous crop, without its road and void pixels. It is taken from higher up in that
    crop, where there are vehicles and people rather than pavement, and is labelled background.
    """
    n, _, h, w = x.shape
    down = int(h * _uniform(0.15, 0.4))
    other_x = x.roll(1, dims=0).roll(down, dims=2)
    other_y = y.roll(1, dims=0).roll(down, dims=1)
    centre_y, centre_x, half_h, half_w = torch.rand(4, n, 1, 1, device=x.device)
    rows = torch.linspace(0, 1, h, device=x.device)[:, None]
    columns = torch.linspace(0, w / h, w, device=x.device)[None, :]
    dy = (rows - (0.4 + 0.6 * centre_y)) / (0.05 + 0.25 * half_h)
    dx = (columns - centre_x * (w / h)) / (0.04 + 0.3 * half_w)
    pasted = (dy**4 + dx**4 < 1) & (other_y == BACKGROUND) & chosen[:, 0]
    y = y.masked_fill(pasted, BACKGROUND)
    return torch.where(pasted[:, None], other_x, x), y


def _blur(crop: Tensor) -> Tensor:
    """Return a [3, h, w] crop blurred by a Gaussian, or reduced and enlarged again."""
    if _uniform(0, 1) < 0.5:
        return gaussian_blur(crop, [9, 9], [_uniform(0.4, 2.0)] * 2)
    h, w = crop.shape[-2:]
    factor = _uniform(1.2, 3.5)
    small = (max(1, round(h / factor)), max(1, round(w / factor)))
    reduced = functional.interpolate(crop[None], small, mode='bilinear', antialias=True)
    return functional.interpolate(reduced, (h, w), mode='bilinear')[0]


def _uniform(low: float, high: float) -> float:
    # Always drawn on the CPU: a scalar drawn on a GPU would cost a synchronisation.
    return low + (high - low) * torch.rand(()).item()
