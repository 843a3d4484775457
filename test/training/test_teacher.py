import copy

import numpy as np
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


def test_fast_network_gives_the_probability_of_each_crop_on_a_cpu(model):
    logit = np.empty((32, 64), np.float32)

    def fast_road_logit(frame_rgb):
        # One array for all crops, as a backend's.
        logit[:] = frame_rgb[..., 0] / 64.0 - 1
        return logit

    teacher = Teacher(Checkpoint(model, InputRule(fixed_hw=(64, 64))), fast_road_logit)
    crops = torch.randint(0, 256, (2, 3, 32, 64)) / 255
    expected = (crops[:, 0] * 255 / 64 - 1).sigmoid()
    assert torch.allclose(teacher.p_road(crops), expected, atol=1e-5)


def test_crops_that_a_fast_network_does_not_take_go_through_the_checkpoints(model):
    def refuse(frame_rgb):
        raise AssertionError(f'it does not take {frame_rgb.shape}')

    teacher = Teacher(Checkpoint(model, InputRule(fixed_hw=(64, 64))), refuse)
    crops = torch.rand(1, 3, 32, 80)
    assert torch.allclose(teacher.p_road(crops), model(crops)[:, 1], atol=1e-5)


def test_copies_share_the_teacher(teacher):
    assert copy.deepcopy(teacher) is teacher


def test_teacher_may_be_named(installed_lite, random_model):
    crops = torch.rand(1, 3, 32, 64)
    p_road = load_teacher('lite', lambda _: None).p_road(crops)
    assert torch.allclose(p_road, random_model(crops)[:, 1], atol=1e-5)


def test_missing_teacher_is_refused():
    with pytest.raises(CheckpointError, match=r'^no\.safetensors does not exist'):
        load_teacher('no.safetensors', lambda _: None)
