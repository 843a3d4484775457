import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from fcn_road_seg.model.activation_ranges import measure_activation_ranges
from fcn_road_seg.model.checkpoint import Checkpoint
from fcn_road_seg.model.input_rule import InputRule
from fcn_road_seg.model.int8_form import (
    CAP_SHARE,
    LARGEST_INT8,
    int8_weights,
    pixel_weight,
    prepare_for_int8,
    quantized_layers,
)
from fcn_road_seg.model.network_config import CONVOLUTIONS, RoadFCNConfig
from fcn_road_seg.model.road_fcn import RoadFCN
from test.helpers.reference import model_of

PEAKS = tuple(2.0 + i for i in range(CONVOLUTIONS))


@pytest.mark.parametrize('axis', [0, 1])
def test_rounded_weights_are_within_half_a_step(axis):
    weight = np.random.default_rng(0).normal(size=(5, 7, 2, 2)).astype(np.float32)
    rounded, step = int8_weights(weight, axis)
    assert step.shape == tuple(n if i == axis else 1 for i, n in enumerate(weight.shape))
    assert np.array_equal(rounded, rounded.round())
    others = tuple(i for i in range(4) if i != axis)
    assert np.unique(np.abs(rounded).max(others)) == LARGEST_INT8
    assert (np.abs(rounded * step - weight) <= step * 0.5001).all()


def test_channel_of_zeros_stays_zero():
    rounded, step = int8_weights(np.zeros((2, 3)), 0)
    assert not rounded.any()
    assert (step > 0).all()


@pytest.mark.parametrize(
    ('context', 'count'), [(False, CONVOLUTIONS + 3), (True, CONVOLUTIONS + 2)]
)
def test_layers_behind_a_context_block_are_not_quantized(context, count):
    assert len(list(quantized_layers(RoadFCNConfig(context=context)))) == count


@pytest.fixture(scope='module')
def prepared():
    return prepare_for_int8(model_of(RoadFCNConfig('vgg16_bn', width=0.25)).weights(), PEAKS)


def test_weights_of_a_prepared_network_lose_nothing_in_int8(prepared):
    _, *others = layers = list(quantized_layers(prepared.config))
    weight_of = {name: prepared.weight_and_bias(name)[0] for name, _ in layers}
    weights = [(pixel_weight(prepared), 0), *((weight_of[name], axis) for name, axis in others)]
    for weight, axis in weights:
        rounded, step = int8_weights(weight, axis)
        assert (np.abs(rounded * step - weight) < 1e-3 * np.abs(weight).max()).all()
    for weight in weight_of.values():
        assert np.array_equal(np.float32(np.float16(weight)), weight)


def test_first_convolution_of_pixels_is_that_of_normalised_ones(prepared):
    frame = torch.randint(0, 256, (1, 3, 8, 8), generator=torch.Generator().manual_seed(0)).byte()
    model = RoadFCN.from_weights(prepared)
    first = model.encoder.features[0]
    weight = torch.from_numpy(pixel_weight(prepared))
    found = functional.conv2d(frame - 255 * model.mean, weight, first.bias, padding=1)
    assert torch.allclose(found, first(model.normalise(frame)), atol=1e-5)


def test_activations_of_a_prepared_network_end_at_a_share_of_their_peaks(prepared):
    caps = tuple(CAP_SHARE * peak for peak in PEAKS)
    assert prepared.config.activation_caps == caps
    x = 100 * torch.rand(1, 3, 32, 32)
    largest = []
    for layer in RoadFCN.from_weights(prepared).encoder.features:
        x = layer(x)
        if isinstance(layer, nn.Hardtanh):
            largest.append(x.max().item())
    assert largest[0] == pytest.approx(caps[0])
    assert all(one <= cap * 1.000001 for one, cap in zip(largest, caps, strict=True))


def test_network_that_has_caps_is_not_prepared_again(prepared):
    assert prepare_for_int8(prepared, PEAKS) is prepared


def test_preparing_leaves_the_network_itself_alone():
    model = model_of(RoadFCNConfig(width=0.25))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    prepare_for_int8(model.weights(), PEAKS)
    assert model.config.activation_caps == ()
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_int8_is_nearer_to_a_prepared_network():
    backend = pytest.importorskip('fcn_road_seg.inference.backends.openvino_backend')
    model = model_of(RoadFCNConfig(context=True, width=0.25))
    frame_rgb = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    checkpoint = Checkpoint(model, InputRule(fixed_hw=(64, 96)))
    peaks = measure_activation_ranges(checkpoint, [frame_rgb])
    weights = model.weights()
    prepared = prepare_for_int8(weights, peaks)
    errors = []
    for network, its_peaks in ((weights, peaks), (prepared, prepared.config.activation_caps)):
        exact, int8 = (
            backend.OpenVinoBackend(network, precision, its_peaks, 1).road_logit(frame_rgb).copy()
            for precision in ('float32', 'int8')
        )
        errors.append(np.sqrt(np.mean((exact - int8) ** 2)) / exact.std())
    assert errors[1] < 0.8 * errors[0]
