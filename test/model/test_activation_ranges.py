from dataclasses import replace

import numpy as np
import pytest
import torch

from fcn_road_seg.model.activation_ranges import measure_activation_ranges
from fcn_road_seg.model.checkpoint import Checkpoint
from fcn_road_seg.model.input_rule import InputRule
from fcn_road_seg.model.network_config import RoadFCNConfig
from fcn_road_seg.model.road_fcn import RoadFCN, fold_batch_norm
from test.helpers.reference import model_of

RULE = InputRule(fixed_hw=(32, 64))


@pytest.fixture
def counting():
    """A checkpoint whose i-th convolution gives i + 1 times its input's first channel."""
    model = RoadFCN(RoadFCNConfig(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))).eval()
    convolutions = [c for c in model.encoder.features if isinstance(c, torch.nn.Conv2d)]
    with torch.no_grad():
        for i, layer in enumerate(convolutions):
            layer.weight.zero_()
            layer.bias.zero_()
            layer.weight[0, 0, 1, 1] = i + 1
    return Checkpoint(model, RULE)


def frame_of(value, hw=(32, 64)):
    return np.full((*hw, 3), value, np.uint8)


def test_known_activations_give_their_peaks(counting):
    expected = np.cumprod(np.arange(1.0, 14.0))
    assert measure_activation_ranges(counting, [frame_of(255)]) == pytest.approx(expected)


def test_peak_is_the_mean_over_frames_of_a_frames_largest(counting):
    spotted = frame_of(0)
    spotted[10, 20] = 51
    peaks = measure_activation_ranges(counting, [frame_of(255), spotted])
    assert peaks[0] == pytest.approx((1.0 + 0.2) / 2)


def test_frames_are_seen_at_the_networks_size(counting):
    # A spot of one pixel in 4 x 4 keeps a 16th of its light when the frame is reduced.
    large = frame_of(0, (128, 256))
    large[4, 8] = 240
    assert measure_activation_ranges(counting, [large])[0] == pytest.approx(15 / 255)


@pytest.mark.parametrize(('hw', 'level'), [((16, 32), 135), ((64, 32), 90)])
def test_frames_are_enlarged_as_the_pipeline_does(counting, hw, level):
    # Between pixels: 3/4 of a spot's light along a side that doubles, 1/2 along one that halves.
    spotted = frame_of(0, hw)
    spotted[10, 20] = 240
    assert measure_activation_ranges(counting, [spotted])[0] == pytest.approx(level / 255)


def test_silent_layer_has_a_peak_that_a_checkpoint_takes(counting):
    peaks = measure_activation_ranges(counting, [frame_of(0)])
    assert set(peaks) == {1e-6}
    assert replace(counting, activation_peaks=peaks).activation_peaks == peaks


def test_batch_norm_is_folded_before():
    model = model_of(RoadFCNConfig(encoder='vgg16_bn'))
    frames = [np.random.default_rng(0).integers(0, 256, (32, 64, 3), np.uint8)]
    folded = Checkpoint(fold_batch_norm(model), RULE)
    assert measure_activation_ranges(Checkpoint(model, RULE), frames) == measure_activation_ranges(
        folded, frames
    )


def test_peaks_of_a_network_with_caps_are_these():
    caps = tuple(0.1 + i / 100 for i in range(13))
    model = model_of(RoadFCNConfig(activation_caps=caps))
    assert measure_activation_ranges(Checkpoint(model, RULE), [frame_of(0)]) == caps


def test_no_frames_are_refused(counting):
    with pytest.raises(ValueError, match='no frame to measure activations on; give at least one'):
        measure_activation_ranges(counting, [])
