import resource
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from fcn_road_seg.datasets.labels import BACKGROUND, ROAD, VOID
from fcn_road_seg.model.road_fcn import RoadFCN
from fcn_road_seg.training import lightning_module as training
from fcn_road_seg.training.recipes import STRONG


def scores_of(p_road):
    logit = torch.logit(torch.tensor(p_road))
    return torch.stack([torch.zeros_like(logit), logit], dim=1)


def labels_of(values):
    return torch.tensor(values, dtype=torch.uint8)


def test_loss_is_cross_entropy_plus_dice_by_hand():
    scores, labels = scores_of([[[0.8, 0.4]]]), labels_of([[[ROAD, BACKGROUND]]])
    cross_entropy = -(np.log(0.8) + np.log(0.6)) / 2
    dice = 1 - (2 * 0.8 + 1) / (0.8 + 0.4 + 1 + 1)
    both = training.road_loss(scores, labels, dice=True)
    alone = training.road_loss(scores, labels, dice=False)
    assert both.item() == pytest.approx(cross_entropy + dice, abs=1e-5)
    assert alone.item() == pytest.approx(cross_entropy, abs=1e-5)


def test_smoothed_labels_are_met_between_0_and_1():
    labels = labels_of([[[ROAD]]])
    losses = [
        training.road_loss(scores_of([[[p]]]), labels, dice=False, smoothing=0.1).item()
        for p in (0.94, 0.95, 0.96)
    ]
    assert losses[1] == min(losses)
    assert losses[1] == pytest.approx(-(0.95 * np.log(0.95) + 0.05 * np.log(0.05)), abs=1e-5)


def test_void_pixels_count_in_neither_part_of_the_loss():
    without = training.road_loss(
        scores_of([[[0.8, 0.4]]]), labels_of([[[ROAD, BACKGROUND]]]), dice=True
    )
    with_void = training.road_loss(
        scores_of([[[0.8, 0.4, 0.999]]]), labels_of([[[ROAD, BACKGROUND, VOID]]]), dice=True
    )
    assert with_void.item() == pytest.approx(without.item())


def test_batch_of_void_alone_gives_no_gradient():
    scores = scores_of([[[0.8, 0.4]]]).requires_grad_()
    loss = training.road_loss(scores, labels_of([[[VOID, VOID]]]), dice=True)
    loss.backward()
    assert loss.item() == 0
    assert not scores.grad.any()


def test_weight_average_forgets_the_beginning_and_then_holds_its_decay():
    average = training.weight_average(decay=0.9)._kwargs['avg_fn']
    zero, one = torch.zeros(()), torch.ones(())
    assert average(zero, one, torch.tensor(1)).item() == pytest.approx(9 / 11)
    assert average(zero, one, torch.tensor(1000)).item() == pytest.approx(0.1)
    assert average(one, one, torch.tensor(5)).item() == 1


def test_encoder_and_decoder_learn_at_their_own_rates(monkeypatch):
    net = RoadFCN()
    module = training.RoadTraining(net, STRONG, ['a'], freeze_steps=30, encoder_rate=0.1)
    trainer = type('Steps', (), {'estimated_stepping_batches': 100})()
    monkeypatch.setattr(training.RoadTraining, 'trainer', trainer)
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


def test_disk_with_no_room_leaves_the_checkpoint_before_and_says_so(tmp_path):
    path = tmp_path / 'last.ckpt'
    torch.save({'step': 1}, path)
    program = f"""
import torch
from fcn_road_seg.training.callbacks import WholeCheckpoints
WholeCheckpoints().save_checkpoint({{'step': 2, 'weights': torch.zeros(100_000)}}, {str(path)!r})
"""
    ended = subprocess.run(
        [sys.executable, '-c', program],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000)),
        capture_output=True,
        text=True,
    )
    assert f'TrainingError: {path} cannot be written' in ended.stderr
    assert 'go on with --resume' in ended.stderr
    assert torch.load(path) == {'step': 1}
    assert list(tmp_path.iterdir()) == [path]


def test_recipe_reaches_the_augmentation():
    module = training.RoadTraining(RoadFCN(), replace(STRONG, shadows=0.123), ['a'])
    assert module.augmentation.shadows == 0.123
    assert module.augmentation.crop_hw == STRONG.crop_hw
