import pytest
import torch

from fcn_road_seg.inference.backends.torch_backend import TorchBackend
from test.helpers.reference import INPUT_SIZES_HW, NETWORKS, assert_logit_is_that_of_the_network


@pytest.mark.parametrize('hw', INPUT_SIZES_HW)
@pytest.mark.parametrize('config', NETWORKS)
def test_logit_is_that_of_the_network(config, hw):
    assert_logit_is_that_of_the_network(
        lambda model: TorchBackend(model, torch.float32), config, hw
    )
