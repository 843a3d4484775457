import itertools

import numpy as np
import pytest
import torch

from fcn_road_seg.model.network_config import SKIPS, WIDTHS, RoadFCNConfig
from fcn_road_seg.model.network_weights import (
    NORM_EPS,
    NetworkWeights,
    array_shapes,
    convolution_names,
    last_of_stages,
)
from fcn_road_seg.model.road_fcn import RoadFCN
from test.helpers.reference import model_of

CONFIGS = [
    RoadFCNConfig(encoder, SKIPS[:skips], (1.0,) * skips, context=pieces, overlap=pieces, width=w)
    for encoder, skips, pieces, w in itertools.product(
        ('vgg16', 'vgg16_bn'), range(3), (False, True), WIDTHS
    )
]


@pytest.mark.parametrize('config', CONFIGS)
def test_names_and_shapes_are_those_of_the_network(config):
    with torch.device('meta'):
        model = RoadFCN(config)
    assert array_shapes(config) == {k: tuple(t.shape) for k, t in model.state_dict().items()}


@pytest.mark.parametrize('encoder', ['vgg16', 'vgg16_bn'])
def test_convolutions_are_named_in_their_order_and_a_max_pool_ends_each_stage(encoder):
    model = model_of(RoadFCNConfig(encoder, width=0.25))
    kinds = {f'encoder.features.{i}': type(m) for i, m in model.encoder.features.named_children()}
    names = [name for name, kind in kinds.items() if kind is torch.nn.Conv2d]
    assert convolution_names(model.config) == names
    order = [name for name, kind in kinds.items() if kind in (torch.nn.Conv2d, torch.nn.MaxPool2d)]
    ends = [one for one, following in itertools.pairwise(order) if following not in names]
    assert last_of_stages(model.config) == ends


def test_look_up_table_normalises_as_the_network_does(random_model):
    values = torch.arange(256, dtype=torch.uint8).expand(3, 1, 256)
    expected = random_model.normalise(values).permute(1, 2, 0).numpy()
    table = random_model.weights().normalise_table()
    assert table.dtype == np.float32
    assert np.array_equal(table, expected)


def test_gain_and_shift_are_the_batch_norm(random_model):
    gain, shift = random_model.weights().gain_and_shift('decoder.norms.1')
    x = torch.randn(1, 32, 2, 3)
    expected = random_model.decoder.norms[1](x).numpy()
    assert random_model.decoder.norms[1].eps == NORM_EPS
    found = x.numpy() * gain[:, None, None] + shift[:, None, None]
    assert np.allclose(found, expected, atol=1e-5)


def changed(weights, name, value):
    return NetworkWeights(weights.config, {**weights.arrays, name: value})


def test_arrays_of_a_network_are_accepted(random_model):
    weights = random_model.weights()
    weights.check()
    # A channel that ReLU always sets to 0 has no variance.
    changed(weights, 'decoder.norms.0.running_var', np.zeros(64)).check()


@pytest.mark.parametrize(
    ('name', 'value', 'message'),
    [
        ('more', np.zeros(3), r"missing \[\], unexpected \['more'\]"),
        ('encoder.features.0.bias', np.zeros(7), r'mismatch: .*0\.bias is \(7,\), not \(16,\)'),
        ('encoder.features.0.bias', np.full(16, np.nan), r'0\.bias holds .* not finite'),
        ('encoder.features.0.bias', np.full(16, -1e30), r'0\.bias holds .* too large'),
        ('decoder.norms.0.running_var', np.full(64, -1.0), 'holds a negative variance'),
    ],
)
def test_arrays_that_no_network_has_are_refused(random_model, name, value, message):
    with pytest.raises(ValueError, match=message):
        changed(random_model.weights(), name, value).check()


def test_array_that_is_missing_is_named(random_model):
    weights = random_model.weights()
    arrays = {k: v for k, v in weights.arrays.items() if k != 'decoder.norms.4.weight'}
    with pytest.raises(ValueError, match=r"missing \['decoder\.norms\.4\.weight'\]"):
        NetworkWeights(weights.config, arrays).check()
