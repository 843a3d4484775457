import pytest

from fcn_road_seg.inference.backends.torch_backend import TorchBackend
from test.helpers.reference import NETWORKS, assert_logit_is_that_of_the_network


@pytest.mark.parametrize('config', NETWORKS)
def test_logit_is_that_of_the_network(config):
    assert_logit_is_that_of_the_network(lambda weights: TorchBackend(weights, 'float32'), config)
