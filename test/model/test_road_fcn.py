from dataclasses import replace

import pytest
import torch
from torch import nn

from fcn_road_seg.model.network_config import SKIPS, RoadFCNConfig
from fcn_road_seg.model.road_fcn import ContextBlock, RoadFCN, fold_batch_norm, group_maxima


def test_decoder_has_864080_parameters():
    assert sum(p.numel() for p in RoadFCN().decoder.parameters()) == 864_080


def test_network_without_context_has_the_tensors_that_it_always_had():
    assert not [name for name in RoadFCN().state_dict() if name.startswith('context.')]


def test_width_1_has_the_channels_that_the_network_always_had():
    encoder = [m for m in RoadFCN().encoder.features if isinstance(m, nn.Conv2d)]
    channels = [conv.out_channels for conv in encoder]
    assert channels == [64] * 2 + [128] * 2 + [256] * 3 + [512] * 6


@pytest.mark.parametrize(
    ('width', 'encoder', 'decoder'),
    [
        (0.5, [32, 64, 128, 256, 256], [128, 64, 32, 16, 16]),
        # Never fewer than 16.
        (0.25, [16, 32, 64, 128, 128], [64, 32, 16, 16, 16]),
    ],
)
def test_width_scales_encoder_context_skips_and_decoder(width, encoder, decoder):
    model = RoadFCN(RoadFCNConfig(width=width, context=True))
    convs = [m for m in model.encoder.features if isinstance(m, nn.Conv2d)]
    assert [convs[i].out_channels for i in (0, 2, 4, 7, 10)] == encoder
    assert model.context.project.out_channels == encoder[-1]
    assert [deconv.out_channels for deconv in model.decoder.deconvs] == decoder
    assert [skip.in_channels for skip in model.decoder.skips] == [encoder[3], encoder[2]]
    assert [skip.out_channels for skip in model.decoder.skips] == decoder[:2]


@pytest.mark.parametrize(('width', 'share'), [(0.5, 4), (0.25, 15)])
def test_narrow_network_has_fewer_parameters_by_nearly_the_square_of_its_width(width, share):
    with torch.device('meta'):
        full, narrow = (
            sum(p.numel() for p in RoadFCN(RoadFCNConfig(width=w)).parameters())
            for w in (1.0, width)
        )
    assert full / narrow > 0.98 * share


@pytest.mark.parametrize(('overlap', 'reach'), [(False, 32), (True, 32 + 16 + 8 + 4)])
def test_cell_reaches_into_its_neighbours_only_with_overlap(overlap, reach):
    decoder = RoadFCN(RoadFCNConfig(skips=(), skip_scales=(), overlap=overlap)).decoder.eval()
    pool5 = torch.zeros(1, 512, 1, 7)
    changed = pool5.clone()
    changed[..., 0] = 100
    pools = torch.zeros(1), torch.zeros(1)
    difference = (decoder(*pools, changed) - decoder(*pools, pool5)).abs().amax(dim=(0, 1, 2))
    assert difference.nonzero().max() == reach - 1


def test_overlap_is_of_the_first_three_transposed_convolutions():
    with torch.device('meta'):
        deconvs = RoadFCN(RoadFCNConfig(overlap=True)).decoder.deconvs
    assert [deconv.kernel_size for deconv in deconvs] == [(4, 4)] * 3 + [(2, 2)] * 2


def test_context_block_starts_as_the_identity():
    x = torch.randn(2, 512, 3, 5)
    assert torch.equal(ContextBlock()(x), x)


def test_context_block_sees_five_cells_around_and_the_mean_of_all():
    torch.manual_seed(0)
    block = ContextBlock(8).eval()
    nn.init.normal_(block.project.weight)
    x = torch.randn(1, 8, 1, 24)
    changed = x.clone()
    changed[..., 0] += 1
    difference = (block(changed) - block(x)).abs().amax(dim=(0, 1, 2))
    assert (difference[1:6] > difference[6:].max()).any()
    # The mean reaches every cell, alike.
    assert (difference > 0).all()


def test_context_costs_less_than_a_hundredth_of_the_multiply_adds():
    block = ContextBlock()
    of_block = block.nearby.weight.numel() + block.project.weight.numel()
    convs = [m for m in RoadFCN().encoder.features if isinstance(m, nn.Conv2d)]
    strides = [1] * 2 + [2] * 2 + [4] * 3 + [8] * 3 + [16] * 3
    # For each cell of 32 x 32 pixels.
    of_encoder = sum(
        c.weight.numel() * (32 // s) ** 2 for c, s in zip(convs, strides, strict=True)
    )
    assert of_block < of_encoder / 100


def test_encoder_layers_are_numbered_as_in_torchvision():
    from torchvision.models import get_model

    with torch.device('meta'):
        for name in ('vgg16', 'vgg16_bn'):
            ours = RoadFCN(RoadFCNConfig(encoder=name)).encoder.features.state_dict()
            theirs = get_model(name, weights=None).features.state_dict()
            assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in theirs.items()}


def test_group_maxima_equal_adaptive_max_pool_3d_bit_for_bit():
    features = torch.randn(2, 16, 40, 56)
    assert torch.equal(group_maxima(features), nn.AdaptiveMaxPool3d((2, 40, 56))(features))


def test_first_half_of_the_channels_is_background_second_is_road():
    features = torch.zeros(1, 16, 1, 1)
    features[0, 3], features[0, 11] = 2.0, 5.0
    assert group_maxima(features).flatten().tolist() == [2.0, 5.0]


@pytest.mark.parametrize('hw', [(64, 96), (33, 70), (1, 1), (100, 31)])
def test_output_is_a_distribution_at_the_size_of_any_frame(random_model, hw):
    p = random_model(torch.rand(2, 3, *hw))
    assert p.shape == (2, 2, *hw)
    assert torch.allclose(p.sum(dim=1), torch.ones(2, *hw), atol=1e-6)
    assert p.min() >= 0


def test_road_probability_is_the_sigmoid_of_the_score_difference(random_model):
    frames = torch.rand(1, 3, 64, 64)
    scores = random_model.scores(frames)
    expected = torch.sigmoid(scores[:, 1] - scores[:, 0])
    assert torch.allclose(random_model(frames)[:, 1], expected, atol=1e-6)


def test_uint8_frames_are_normalised_as_imagenet_expects(random_model):
    frame = torch.tensor([0, 127, 255], dtype=torch.uint8).view(1, 3, 1, 1)
    expected = [(0 - 0.485) / 0.229, (127 / 255 - 0.456) / 0.224, (1 - 0.406) / 0.225]
    assert random_model.normalise(frame).flatten().tolist() == pytest.approx(expected)


def test_decoder_joins_skips_after_relu_and_before_batch_norm(random_model):
    decoder = random_model.decoder
    pools = torch.randn(1, 64, 8, 8), torch.randn(1, 128, 4, 4), torch.randn(1, 128, 2, 2)
    y = pools[2]
    for i, skip in enumerate((decoder.skips[0](pools[1]), decoder.skips[1](pools[0]), 0, 0, 0)):
        y = decoder.norms[i](torch.relu(decoder.deconvs[i](y)) + skip)
    assert torch.allclose(decoder(*pools), y, atol=1e-5)


@pytest.mark.parametrize('count', [0, 1, 2])
def test_fcn_32_16_and_8_have_as_many_skips(count):
    model = RoadFCN(RoadFCNConfig(skips=SKIPS[:count], skip_scales=(1.0,) * count)).eval()
    assert len(model.decoder.skips) == count
    assert model(torch.rand(1, 3, 32, 32)).shape == (1, 2, 32, 32)


def test_skip_scale_zero_leaves_only_the_skips_bias(random_model):
    scaled = RoadFCN(replace(random_model.config, skip_scales=(0.0, 1.0))).eval()
    scaled.load_state_dict(random_model.state_dict())
    pools = torch.randn(1, 64, 8, 8), torch.randn(1, 128, 4, 4), torch.randn(1, 128, 2, 2)
    silenced = (pools[0], torch.zeros_like(pools[1]), pools[2])
    assert torch.allclose(scaled.decoder(*pools), random_model.decoder(*silenced), atol=1e-5)


def test_folding_batch_norm_changes_scores_by_less_than_1e_4():
    torch.manual_seed(0)
    model = RoadFCN(RoadFCNConfig(encoder='vgg16_bn'))
    frames = torch.rand(4, 3, 64, 96)
    with torch.no_grad():
        for _ in range(3):
            model.train().scores(frames)
        folded = fold_batch_norm(model)
        difference = folded.scores(frames) - model.eval().scores(frames)
    assert folded.config.encoder == 'vgg16'
    assert not any(isinstance(m, nn.BatchNorm2d) for m in folded.encoder.modules())
    assert difference.abs().max() < 1e-4


def test_network_of_its_own_weights_is_the_same(random_model):
    again = RoadFCN.from_weights(random_model.weights())
    expected = random_model.state_dict()
    assert not again.training
    assert again.config == random_model.config
    assert again.state_dict().keys() == expected.keys()
    assert all(torch.equal(t, expected[name]) for name, t in again.state_dict().items())


def test_folding_leaves_the_original_as_it_was():
    model = RoadFCN(RoadFCNConfig(encoder='vgg16_bn')).train()
    before = {name: t.clone() for name, t in model.state_dict().items()}
    fold_batch_norm(model)
    assert model.training
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())
