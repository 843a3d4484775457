"""Reference networks, with which the faster implementations are compared."""

import numpy as np
import torch

from fcn_road_seg.inference.interfaces import BackendInfo
from fcn_road_seg.model.network_config import RoadFCNConfig
from fcn_road_seg.model.road_fcn import RoadFCN, road_logit

NETWORKS = [
    RoadFCNConfig('vgg16_bn'),
    RoadFCNConfig(skip_scales=(0.01, 0.001)),
    RoadFCNConfig(skips=('pool4',), skip_scales=(1.0,)),
    RoadFCNConfig(skips=(), skip_scales=()),
    RoadFCNConfig(context=True),
    RoadFCNConfig(width=0.5),
    RoadFCNConfig('vgg16_bn', context=True, width=0.25),
    RoadFCNConfig(overlap=True),
    RoadFCNConfig(skips=('pool4',), skip_scales=(2.0,), context=True, width=0.25, overlap=True),
    RoadFCNConfig(activation_caps=tuple(1 + i / 10 for i in range(13))),
]
INPUT_SIZES_HW = [(32, 32), (32, 96), (64, 32), (96, 128)]


class ReferenceBackend:
    """The checkpoint's network as it is: not folded, in PyTorch's own layout."""

    info = BackendInfo('reference', torch.__version__)

    def __init__(self, model):
        self._model = model

    def road_logit(self, frame_rgb):
        x = torch.from_numpy(frame_rgb).permute(2, 0, 1)[None]
        return road_logit(self._model.scores(x))[0].numpy()


def model_of(config):
    """Return a network with non-trivial batch norms, some of whose gains are negative."""
    torch.manual_seed(5)
    model = RoadFCN(config).eval().requires_grad_(False)
    if model.context is not None:
        # The context module starts as the identity, which would hide errors in it.
        torch.nn.init.normal_(model.context.project.weight, std=0.05)
    for norm in model.modules():
        if isinstance(norm, torch.nn.BatchNorm2d):
            norm.running_mean.uniform_(-0.5, 0.5)
            norm.running_var.uniform_(0.5, 2.0)
            norm.weight.uniform_(-1.0, 1.5)
            norm.bias.uniform_(-0.5, 0.5)
    return model


def assert_logit_is_that_of_the_network(make_network, config):
    """Compare the logit of a network made of folded weights, on noise of several sizes."""
    model = model_of(config)
    network = make_network(model.weights().folded())
    for hw in INPUT_SIZES_HW:
        frame_rgb = np.random.default_rng(0).integers(0, 256, (*hw, 3), np.uint8)
        expected = ReferenceBackend(model).road_logit(frame_rgb)
        logit = network.road_logit(frame_rgb)
        assert logit.shape == hw
        assert logit.dtype == np.float32
        assert np.ptp(expected) > 1e-3
        assert np.abs(logit - expected).max() < 1e-5
