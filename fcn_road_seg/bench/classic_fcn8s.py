"""The FCN-8s of Long, Shelhamer and Darrell (CVPR 2015), for comparing speed."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fcn_road_seg.model.road_fcn import VGG16Encoder

_MEAN_RGB = (122.67891434, 116.66876762, 104.00698793)
_PADDING = 100
_WIDTH = 4096


class ClassicFCN8s(nn.Module):
    """VGG16 with fc6 and fc7 as convolutions: 134 million parameters with random values.

    It follows the authors' voc-fcn8s: frames are padded by 100 pixels, pools round up, and the
    outputs of transposed convolutions with kernels 4, 4 and 16 are cropped. It has two classes
    instead of 21.
    """

    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.encoder = VGG16Encoder(batch_norm=False)
        for layer in self.encoder.features:
            if isinstance(layer, nn.MaxPool2d):
                layer.ceil_mode = True
        first = self.encoder.features[0]
        assert isinstance(first, nn.Conv2d)
        first.padding = (_PADDING, _PADDING)
        self.fc6_fc7 = nn.Sequential(
            nn.Conv2d(512, _WIDTH, kernel_size=7),
            nn.ReLU(inplace=True),
            nn.Conv2d(_WIDTH, _WIDTH, kernel_size=1),
            nn.ReLU(inplace=True),
        )
        self.score = nn.Conv2d(_WIDTH, 2, kernel_size=1)
        self.score_pool4 = nn.Conv2d(512, 2, kernel_size=1)
        self.score_pool3 = nn.Conv2d(256, 2, kernel_size=1)
        self.up_2 = nn.ConvTranspose2d(2, 2, kernel_size=4, stride=2, bias=False)
        self.up_pool4 = nn.ConvTranspose2d(2, 2, kernel_size=4, stride=2, bias=False)
        self.up_8 = nn.ConvTranspose2d(2, 2, kernel_size=16, stride=8, bias=False)
        self.register_buffer('mean', torch.tensor(_MEAN_RGB).view(3, 1, 1), persistent=False)

    def scores(self, frames_rgb: Tensor) -> Tensor:
        """Return scores [N, 2, H, W] for frames [N, 3, H, W] uint8 RGB of any size."""
        pool3, pool4, pool5 = self.encoder(frames_rgb - self.mean)
        y = self.up_2(self.score(self.fc6_fc7(pool5)))
        y = self.up_pool4(y + _crop(self.score_pool4(pool4), 5, y.shape))
        y = self.up_8(y + _crop(self.score_pool3(pool3), 9, y.shape))
        return _crop(y, 31, frames_rgb.shape)


def _crop(x: Tensor, offset: int, shape: torch.Size) -> Tensor:
    h, w = shape[-2:]
    return x[..., offset : offset + h, offset : offset + w]
