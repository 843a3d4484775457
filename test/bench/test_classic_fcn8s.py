import pytest
import torch

from fcn_road_seg.bench.classic_fcn8s import ClassicFCN8s


@pytest.fixture(scope='module')
def classic():
    with torch.device('meta'):
        return ClassicFCN8s().eval()


def test_classic_network_has_the_published_layers(classic):
    # VGG16's convolutions, fc6, fc7, three scores of two classes, three transposed convolutions.
    counts = (14_714_688, 102_764_544, 16_781_312, 8194 + 1026 + 514, 64 + 64 + 1024)
    assert sum(p.numel() for p in classic.parameters()) == sum(counts)


@pytest.mark.parametrize('hw', [(256, 256), (192, 640), (352, 1216), (33, 65), (1, 1)])
def test_scores_have_the_size_of_any_frame(classic, hw):
    with torch.inference_mode():
        scores = classic.scores(torch.empty(2, 3, *hw, dtype=torch.uint8, device='meta'))
    assert scores.shape == (2, 2, *hw)
