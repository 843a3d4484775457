import numpy as np
import pytest
import torch

from fcn_road_seg.datasets.labels import BACKGROUND, ROAD, VOID
from fcn_road_seg.training.loss import distillation_loss, road_loss


def logit_of(p_road):
    return torch.logit(torch.tensor(p_road))


def labels_of(values):
    return torch.tensor(values, dtype=torch.uint8)


def test_loss_is_cross_entropy_plus_dice_by_hand():
    logit, labels = logit_of([0.8, 0.4]), labels_of([ROAD, BACKGROUND])
    cross_entropy = -(np.log(0.8) + np.log(0.6)) / 2
    dice = 1 - (2 * 0.8 + 1) / (0.8 + 0.4 + 1 + 1)
    both = road_loss(logit, labels, dice=True)
    alone = road_loss(logit, labels, dice=False)
    assert both.item() == pytest.approx(cross_entropy + dice, abs=1e-5)
    assert alone.item() == pytest.approx(cross_entropy, abs=1e-5)


def test_smoothed_labels_are_met_between_0_and_1():
    labels = labels_of([ROAD])
    losses = [
        road_loss(logit_of([p]), labels, dice=False, smoothing=0.1).item()
        for p in (0.94, 0.95, 0.96)
    ]
    assert losses[1] == min(losses)
    assert losses[1] == pytest.approx(-(0.95 * np.log(0.95) + 0.05 * np.log(0.05)), abs=1e-5)


def test_void_pixels_count_in_neither_part_of_the_loss():
    without = road_loss(logit_of([0.8, 0.4]), labels_of([ROAD, BACKGROUND]), dice=True)
    with_void = road_loss(
        logit_of([0.8, 0.4, 0.999]), labels_of([ROAD, BACKGROUND, VOID]), dice=True
    )
    assert with_void.item() == pytest.approx(without.item())


def test_batch_of_void_alone_gives_no_gradient():
    logit = logit_of([0.8, 0.4]).requires_grad_()
    loss = road_loss(logit, labels_of([VOID, VOID]), dice=True)
    loss.backward()
    assert loss.item() == 0
    assert not logit.grad.any()


def test_loss_of_a_teacher_is_the_cross_entropy_with_its_probability_by_hand():
    loss = distillation_loss(logit_of([0.8, 0.4]), torch.tensor([0.9, 0.2]))
    expected = -(0.9 * np.log(0.8) + 0.1 * np.log(0.2) + 0.2 * np.log(0.4) + 0.8 * np.log(0.6))
    assert loss.item() == pytest.approx(expected / 2, abs=1e-5)


def test_teacher_is_met_where_the_probabilities_are_the_same():
    losses = [
        distillation_loss(logit_of([p]), torch.tensor([0.7])).item() for p in (0.69, 0.7, 0.71)
    ]
    assert losses[1] == min(losses)
