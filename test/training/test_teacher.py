import copy

import pytest
import torch

from fcn_road_seg.model.checkpoint import Checkpoint, CheckpointError
from fcn_road_seg.model.input_rule import InputRule
from fcn_road_seg.model.network_config import RoadFCNConfig
from fcn_road_seg.training.teacher import Teacher, load_teacher
from test.helpers.reference import model_of


@pytest.fixture(scope='module')
def model():
    return model_of(RoadFCNConfig('vgg16_bn', context=True, width=0.5))


@pytest.fixture(scope='module')
def teacher(model):
    return Teacher(Checkpoint(model, InputRule(fixed_hw=(64, 64))))


def test_probability_is_that_of_the_checkpoints_network_on_the_crops_as_they_are(model, teacher):
    crops = torch.rand(2, 3, 32, 96)
    p_road = teacher.p_road(crops)
    assert p_road.shape == (2, 32, 96)
    assert torch.allclose(p_road, model(crops)[:, 1], atol=1e-5)
    assert p_road.std() > 1e-3


def test_probability_is_a_constant_of_the_training(teacher):
    assert not teacher.p_road(torch.rand(1, 3, 32, 32, requires_grad=True)).requires_grad


def test_teacher_computes_in_the_precision_of_the_training(teacher):
    crops = torch.rand(1, 3, 32, 32)
    with torch.autocast('cpu', torch.bfloat16):
        rounded = teacher.p_road(crops)
    assert rounded.dtype == torch.float32
    assert 0 < (rounded - teacher.p_road(crops)).abs().max() < 0.05


def test_copies_share_the_teacher(teacher):
    assert copy.deepcopy(teacher) is teacher


def test_teacher_may_be_named(installed_lite, random_model):
    crops = torch.rand(1, 3, 32, 64)
    p_road = load_teacher('lite').p_road(crops)
    assert torch.allclose(p_road, random_model(crops)[:, 1], atol=1e-5)


def test_missing_teacher_is_refused():
    with pytest.raises(CheckpointError, match=r'^no\.safetensors does not exist'):
        load_teacher('no.safetensors')
