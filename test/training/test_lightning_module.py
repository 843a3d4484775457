from dataclasses import replace

import numpy as np
import pytest
import torch

from fcn_road_seg.datasets.labels import BACKGROUND, ROAD, VOID
from fcn_road_seg.model.checkpoint import Checkpoint
from fcn_road_seg.model.input_rule import InputRule
from fcn_road_seg.model.network_config import RoadFCNConfig
from fcn_road_seg.model.road_fcn import RoadFCN, road_logit

pytest.importorskip('lightning', reason='lightning is not installed')
pytest.importorskip('torchmetrics', reason='torchmetrics is not installed')

from fcn_road_seg.training.lightning_module import RoadTraining, batches_for_network
from fcn_road_seg.training.loss import distillation_loss, road_loss
from fcn_road_seg.training.recipes import STRONG
from fcn_road_seg.training.teacher import Teacher


def test_encoder_and_decoder_learn_at_their_own_rates(monkeypatch):
    net = RoadFCN()
    module = RoadTraining(net, STRONG, ['a'], freeze_steps=30)
    trainer = type('Steps', (), {'estimated_stepping_batches': 100})()
    monkeypatch.setattr(RoadTraining, 'trainer', trainer)
    optimized = module.configure_optimizers()
    groups = optimized['optimizer'].param_groups
    assert [id(p) for p in groups[0]['params']] == [id(p) for p in net.encoder.parameters()]
    assert sum(p.numel() for p in groups[1]['params']) == 864_080
    rates = []
    for _ in range(100):
        rates.append([group['lr'] for group in groups])
        optimized['optimizer'].step()
        optimized['lr_scheduler']['scheduler'].step()
    encoder, decoder = np.array(rates).T
    assert not encoder[:30].any()
    assert encoder[30:] == pytest.approx(0.1 * decoder[30:])
    # Five steps of warm-up, then half a cosine.
    assert decoder[:5] == pytest.approx(STRONG.learning_rate * np.arange(1, 6) / 5)
    assert decoder[5:].argmax() == 0
    assert decoder[-1] < 0.01 * STRONG.learning_rate


class OneCrop:
    """An augmentation that gives the same crop every time."""

    def __init__(self, labels):
        torch.manual_seed(0)
        self.frames, self.labels = torch.rand(1, 3, 32, 32), labels

    def __call__(self, frames, labels):
        return [(self.frames, self.labels)]


class KnownTeacher:
    """A teacher with the same p(road) everywhere, which keeps what it has seen."""

    def __init__(self, p_road=0.7):
        self._p_road = p_road
        self.seen = []

    def p_road(self, frames_rgb):
        self.seen.append(frames_rgb)
        return torch.full_like(frames_rgb[:, 0], self._p_road)


@pytest.fixture
def loss_of(monkeypatch):
    """Return a function that gives the loss of a step on one crop, and its network."""
    monkeypatch.setattr(RoadTraining, 'log', lambda *_, **__: None)

    def step(labels, *teachers, **changes):
        torch.manual_seed(1)
        net = RoadFCN(RoadFCNConfig(width=0.25)).eval()
        module = RoadTraining(net, replace(STRONG, **changes), ['a'], teachers=teachers)
        module.augmentation = OneCrop(labels)
        return module.training_step(([], []), 0), net

    return step


def test_each_teacher_sees_the_augmented_crop_once(loss_of):
    teachers = [KnownTeacher(), KnownTeacher()]
    labels = torch.full((1, 32, 32), ROAD, dtype=torch.uint8)
    loss_of(labels, *teachers)
    for teacher in teachers:
        (seen,) = teacher.seen
        assert torch.equal(seen, OneCrop(labels).frames)


def test_loss_is_that_of_the_labels_and_the_weighted_one_of_the_teacher(loss_of):
    labels = torch.full((1, 32, 32), ROAD, dtype=torch.uint8)
    alone, net = loss_of(labels)
    logit = road_logit(net.scores(OneCrop(labels).frames))
    taught = distillation_loss(logit, torch.full((1, 32, 32), 0.7))
    both, _ = loss_of(labels, KnownTeacher(), teacher_weight=3.0)
    assert both.item() == pytest.approx((alone + 3 * taught).item(), rel=1e-5)


def test_loss_pools_the_pixels_of_crops_of_all_sizes(monkeypatch):
    monkeypatch.setattr(RoadTraining, 'log', lambda *_, **__: None)
    torch.manual_seed(1)
    net = RoadFCN(RoadFCNConfig(width=0.25)).eval()
    module = RoadTraining(net, STRONG, ['a'], teachers=[KnownTeacher()])
    module.augmentation = lambda *_: [
        (torch.rand(2, 3, 32, 64), torch.full((2, 32, 64), ROAD, dtype=torch.uint8)),
        (torch.rand(1, 3, 96, 32), torch.full((1, 96, 32), BACKGROUND, dtype=torch.uint8)),
    ]
    torch.manual_seed(2)
    loss = module.training_step(([], []), 0)
    torch.manual_seed(2)
    crops = module.augmentation()
    logit = torch.cat([road_logit(net.scores(x)).flatten() for x, _ in crops])
    of_labels = road_loss(
        logit, torch.cat([y.flatten() for _, y in crops]), True, STRONG.smoothing
    )
    taught = distillation_loss(logit, torch.full_like(logit, 0.7))
    assert loss.item() == pytest.approx(
        (of_labels + STRONG.teacher_weight * taught).item(), rel=1e-5
    )


def test_loss_of_several_teachers_is_that_of_their_mean(loss_of):
    labels = torch.full((1, 32, 32), VOID, dtype=torch.uint8)
    one, _ = loss_of(labels, KnownTeacher(0.7))
    several, _ = loss_of(labels, KnownTeacher(0.95), KnownTeacher(0.55), KnownTeacher(0.6))
    assert several.item() == pytest.approx(one.item(), rel=1e-5)


def test_student_learns_from_its_teacher_where_the_label_is_void(loss_of):
    labels = torch.full((1, 32, 32), VOID, dtype=torch.uint8)
    gradients = []
    for teachers in ((), (KnownTeacher(),)):
        loss, net = loss_of(labels, *teachers)
        loss.backward()
        gradients.append(net.encoder.features[0].weight.grad.abs().max())
    assert gradients[0] == 0 < gradients[1]


def test_network_of_the_training_has_no_parameter_of_the_teacher():
    teacher = Teacher(Checkpoint(RoadFCN(), InputRule(pixels=6144)))
    net = RoadFCN(RoadFCNConfig(width=0.25))
    module = RoadTraining(net, STRONG, ['a'], teachers=[teacher])
    assert {id(p) for p in module.parameters()} == {id(p) for p in net.parameters()}


def test_recipe_reaches_the_augmentation():
    module = RoadTraining(RoadFCN(), replace(STRONG, shadows=0.123), ['a'])
    assert module.augmentation.shadows == 0.123
    assert module.augmentation.crop_hw == STRONG.crop_hw


def test_batches_for_a_gpu_are_split_into_few_different_numbers_of_crops():
    batches = [torch.rand(n, 3, 32, 32) for n in (7, 8, 1)]
    parts = batches_for_network(batches, splits=True)
    assert [len(part) for part in parts] == [4, 2, 1, 8, 1]
    assert torch.equal(torch.cat(parts), torch.cat(batches))
    assert [len(x) for x in batches_for_network(batches, splits=False)] == [7, 8, 1]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason='no CUDA device')
def test_loss_on_a_gpu_is_that_on_the_cpu():
    torch.manual_seed(0)
    crops = [
        (torch.rand(n, 3, 32, 32 * n), torch.zeros(n, 32, 32 * n, dtype=torch.uint8))
        for n in (3, 1)
    ]
    net = RoadFCN().eval()
    recipe = replace(STRONG, freeze_norms=True)
    expected = RoadTraining(net, recipe, []).eval()._loss(crops)
    on_gpu = RoadTraining(net, recipe, []).eval().cuda()
    found = on_gpu._loss([(x.cuda(), y.cuda()) for x, y in crops])
    assert found.item() == pytest.approx(expected.item(), rel=1e-3)
