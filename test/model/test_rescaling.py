"""Rescaled networks: the same scores, a scale that float16 holds."""

import pytest
import torch

from fcn_road_seg.model.network_config import RoadFCNConfig
from fcn_road_seg.model.rescaling import rescale_logit, rescale_norms
from fcn_road_seg.model.road_fcn import road_logit
from test.helpers.reference import model_of


def scaled(config, factor):
    """Return a network whose weights before its norms are `factor` times as large as usual."""
    model = model_of(config)
    with torch.no_grad():
        for i, (deconv, norm) in enumerate(
            zip(model.decoder.deconvs, model.decoder.norms, strict=True)
        ):
            layers = [deconv, model.decoder.skips[i]] if i < len(model.decoder.skips) else [deconv]
            for layer in layers:
                layer.weight.mul_(factor)
                layer.bias.mul_(factor)
            norm.running_mean.mul_(factor)
            norm.running_var.mul_(factor**2)
    return model


@pytest.fixture(params=[RoadFCNConfig(), RoadFCNConfig(skips=(), skip_scales=())])
def grown(request):
    """A network whose weights before its norms have grown as far as training was seen to go."""
    return scaled(request.param, 300)


def test_scores_stay_the_same(grown):
    frames = torch.rand(1, 3, 64, 96)
    expected = grown.scores(frames)
    assert torch.allclose(rescale_norms(grown).scores(frames), expected, rtol=1e-4, atol=1e-4)


def test_scores_stay_the_same_if_variances_are_as_small_as_a_norms_eps():
    shrunk, frames = scaled(RoadFCNConfig(), 1 / 300), torch.rand(1, 3, 64, 96)
    expected = shrunk.scores(frames)
    assert torch.allclose(rescale_norms(shrunk).scores(frames), expected, rtol=1e-4, atol=1e-4)


def test_variances_are_around_one(grown):
    assert max(norm.running_var.max() for norm in grown.decoder.norms) > 65_504
    # That of a channel that never changes.
    grown.decoder.norms[0].running_var[0] = 0
    for norm in rescale_norms(grown).decoder.norms:
        assert norm.running_var.mean() == pytest.approx(1, rel=1e-3)
        assert norm.running_var.min() >= 0


def test_given_network_is_left_as_it_is(grown):
    before = {name: tensor.clone() for name, tensor in grown.state_dict().items()}
    rescale_norms(grown)
    assert all(torch.equal(tensor, before[name]) for name, tensor in grown.state_dict().items())


def test_logit_is_scaled_and_shifted():
    model, frames = model_of(RoadFCNConfig()), torch.rand(1, 3, 64, 96)
    expected = 1.7 * road_logit(model.scores(frames)) - 0.4
    actual = road_logit(rescale_logit(model, 1.7, -0.4).scores(frames))
    assert torch.allclose(actual, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('scale', [0.0, -1.0, float('nan')])
def test_scale_that_would_turn_the_mask_round_is_refused(scale):
    with pytest.raises(ValueError, match='of the logit is not positive'):
        rescale_logit(model_of(RoadFCNConfig()), scale, 0.0)
