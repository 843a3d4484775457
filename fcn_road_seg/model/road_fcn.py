"""The network: a VGG16 encoder, two skip connections and a transposed-convolution decoder."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from fcn_road_seg.model.network_config import (
    CONTEXT_CELLS,
    DECODER_CHANNELS,
    OUTPUT_STRIDE,
    OVERLAPPING,
    SKIP_CHANNELS,
    STAGE_CHANNELS,
    RoadFCNConfig,
    channels_at,
)
from fcn_road_seg.model.network_weights import NetworkWeights


class VGG16Encoder(nn.Module):
    """The 13 convolutions and 5 max-pools of VGG16 (Simonyan and Zisserman 2014).

    `features` numbers its layers as torchvision's `vgg16().features` and
    `vgg16_bn().features` do, so that their weights load without renaming.
    """

    def __init__(
        self, *, batch_norm: bool, width: float = 1.0, activation_caps: tuple[float, ...] = ()
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        caps = iter(activation_caps)
        in_channels = 3
        for stage in STAGE_CHANNELS:
            for channels in (channels_at(width, count) for count in stage):
                layers.append(nn.Conv2d(in_channels, channels, kernel_size=3, padding=1))
                if batch_norm:
                    layers.append(nn.BatchNorm2d(channels))
                cap = next(caps, None)
                layers.append(
                    nn.ReLU(inplace=True) if cap is None else nn.Hardtanh(0.0, cap, inplace=True)
                )
                in_channels = channels
            layers.append(nn.MaxPool2d(kernel_size=2, stride=2))
        self.features = nn.Sequential(*layers)
        for layer in layers:
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode='fan_out', nonlinearity='relu')
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def first_stages(self, count: int) -> nn.Sequential:
        """Return the layers of the first `count` stages, each of which ends with a max-pool."""
        ends = [i for i, layer in enumerate(self.features) if isinstance(layer, nn.MaxPool2d)]
        return self.features[: ends[count - 1] + 1 if count else 0]

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return pool3 [N, 256, H/8, W/8], pool4 [N, 512, H/16, W/16], pool5 [N, 512, H/32, W/32].

        These are the channels at width 1. `x` is [N, 3, H, W], normalised, with H and W
        multiples of 32.
        """
        pools = []
        for layer in self.features:
            x = layer(x)
            if isinstance(layer, nn.MaxPool2d):
                pools.append(x)
        return pools[2], pools[3], pools[4]


class ContextBlock(nn.Module):
    """A residual block that gives pool5 the whole scene as context; the identity until trained.

    The receptive field of a pool5 cell is 212 pixels, but what tells grey road from grey pavement
    is often farther away. A depthwise convolution of 11 x 11 cells (352 pixels) and a 1x1
    convolution of the mean of all cells are added, normalised and projected by a 1x1 convolution.
    The block costs 0.2 % of the network's multiply-adds.
    """

    def __init__(self, channels: int = DECODER_CHANNELS[0]) -> None:
        super().__init__()
        size = CONTEXT_CELLS
        self.nearby = nn.Conv2d(channels, channels, size, padding=size // 2, groups=channels)
        self.everywhere = nn.Conv2d(channels, channels, kernel_size=1)
        self.norm = nn.BatchNorm2d(channels)
        self.project = nn.Conv2d(channels, channels, kernel_size=1)
        nn.init.zeros_(self.project.weight)
        nn.init.zeros_(self.project.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """Return features of the shape of `x`, [N, C, H, W]."""
        seen = self.nearby(x) + self.everywhere(x.mean(dim=(2, 3), keepdim=True))
        return x + self.project(functional.relu(self.norm(seen), inplace=True))


class Decoder(nn.Module):
    """Five transposed convolutions, with skip connections from pool4 and pool3.

    In FCN-8 at width 1 without `overlap`, it has 864,080 parameters.
    """

    def __init__(
        self, skips: tuple[str, ...], skip_scales: tuple[float, ...], width: float, overlap: bool
    ) -> None:
        super().__init__()
        steps = list(pairwise(channels_at(width, count) for count in DECODER_CHANNELS))
        # Kernel 4 with padding 1 gives the same size as kernel 2.
        paddings = [int(overlap and i < OVERLAPPING) for i in range(len(steps))]
        self.deconvs = nn.ModuleList(
            nn.ConvTranspose2d(i, o, kernel_size=2 + 2 * p, stride=2, padding=p)
            for (i, o), p in zip(steps, paddings, strict=True)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(o) for _, o in steps)
        joins = [[channels_at(width, count) for count in SKIP_CHANNELS[name]] for name in skips]
        self.skips = nn.ModuleList(nn.Conv2d(i, o, kernel_size=1) for i, o in joins)
        self.skip_scales = skip_scales
        for layer in (*self.deconvs, *self.skips):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, pool3: Tensor, pool4: Tensor, pool5: Tensor) -> Tensor:
        """Return features [N, 16, H, W] for the three pools of `VGG16Encoder.forward`."""
        pools = (pool4, pool3)
        y = pool5
        for i, (deconv, norm) in enumerate(zip(self.deconvs, self.norms, strict=True)):
            y = functional.relu(deconv(y), inplace=True)
            if i < len(self.skips):
                y = y + self.skips[i](pools[i] * self.skip_scales[i])
            y = norm(y)
        return y


def group_maxima(features: Tensor) -> Tensor:
    """Return [N, 2, H, W]: the maxima over the first and the second half of the channels.

    This equals `nn.AdaptiveMaxPool3d((2, H, W))` bit for bit, but needs no fixed size, can be
    exported to ONNX and takes a twentieth of its time on a CPU.
    """
    n, c, h, w = features.shape
    return features.reshape(n, 2, c // 2, h, w).amax(dim=2)


def road_logit(scores: Tensor) -> Tensor:
    """Return road minus background score, [N, H, W] float32: the logit of p(road).

    `scores` are [N, 2, H, W] of any float type; everything after the network is float32.
    """
    scores = scores.float()
    return scores[:, 1] - scores[:, 0]


class RoadFCN(nn.Module):
    """FCN-8/16/32 on VGG16 (after Long, Shelhamer and Darrell 2015) for road / not road.

    Frames are [N, 3, H, W] RGB of any size, uint8 in [0, 255] or float in [0, 1];
    normalisation and padding to multiples of 32 happen inside. Without a config it is FCN-8 on
    `vgg16`. Weights are random; nothing is ever downloaded.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, config: RoadFCNConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or RoadFCNConfig()
        self.encoder = VGG16Encoder(
            batch_norm=config.encoder == 'vgg16_bn',
            width=config.width,
            activation_caps=config.activation_caps,
        )
        pool5_channels = channels_at(config.width, DECODER_CHANNELS[0])
        self.context = ContextBlock(pool5_channels) if config.context else None
        self.decoder = Decoder(config.skips, config.skip_scales, config.width, config.overlap)
        # Not persistent: only the config stores them.
        self.register_buffer('mean', torch.tensor(config.mean).view(3, 1, 1), persistent=False)
        self.register_buffer('std', torch.tensor(config.std).view(3, 1, 1), persistent=False)

    @classmethod
    def from_weights(cls, weights: NetworkWeights) -> RoadFCN:
        """Return the network of these arrays, in evaluation mode, without gradients.

        It is float32, on the CPU, even if the caller has set another default dtype or device.
        """
        config = weights.config
        with torch.device('cpu'):
            model = cls(config).float()
            # In a default dtype of 16 bits, they have just been rounded.
            model.mean = torch.tensor(config.mean, dtype=torch.float32).view(3, 1, 1)
            model.std = torch.tensor(config.std, dtype=torch.float32).view(3, 1, 1)
        model.load_state_dict({k: torch.from_numpy(v) for k, v in weights.arrays.items()})
        return model.eval().requires_grad_(False)

    def weights(self) -> NetworkWeights:
        """Return the network as arrays, which share its memory on a CPU."""
        state = self.state_dict()
        return NetworkWeights(self.config, {k: v.cpu().numpy() for k, v in state.items()})

    def normalise(self, frames_rgb: Tensor) -> Tensor:
        """Return normalised float frames [N, 3, H, W] for uint8 in [0, 255] or float in [0, 1]."""
        if frames_rgb.dtype == torch.uint8:
            frames_rgb = frames_rgb.to(self.mean.dtype) / 255
        return (frames_rgb - self.mean) / self.std

    def scores_of_normalised(self, x: Tensor) -> Tensor:
        """Return scores [N, 2, H, W] of (background, road) for normalised frames."""
        h, w = x.shape[-2:]
        x = functional.pad(x, (0, -w % OUTPUT_STRIDE, 0, -h % OUTPUT_STRIDE))
        pool3, pool4, pool5 = self.encoder(x)
        if self.context is not None:
            pool5 = self.context(pool5)
        return group_maxima(self.decoder(pool3, pool4, pool5))[..., :h, :w]

    def scores(self, frames_rgb: Tensor) -> Tensor:
        """Return scores [N, 2, H, W] of (background, road), before the softmax."""
        return self.scores_of_normalised(self.normalise(frames_rgb))

    def forward(self, frames_rgb: Tensor) -> Tensor:
        """Return [N, 2, H, W]: each pixel's distribution over (background, road).

        Its road channel is sigmoid(road score - background score).
        """
        return self.scores(frames_rgb).softmax(dim=1)


def fold_batch_norm(model: RoadFCN) -> RoadFCN:
    """Return a copy in evaluation mode on plain `vgg16`, with the encoder's batch norm folded in.

    A model without batch norm in its encoder is only copied. The copy's parameters need no
    gradient, and it is on the device of `model`.
    """
    return RoadFCN.from_weights(model.weights().folded()).to(model.mean.device)
