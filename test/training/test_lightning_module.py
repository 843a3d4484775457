from dataclasses import replace

import numpy as np
import pytest

from fcn_road_seg.model.road_fcn import RoadFCN
from fcn_road_seg.training.lightning_module import RoadTraining
from fcn_road_seg.training.recipes import STRONG


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


def test_recipe_reaches_the_augmentation():
    module = RoadTraining(RoadFCN(), replace(STRONG, shadows=0.123), ['a'])
    assert module.augmentation.shadows == 0.123
    assert module.augmentation.crop_hw == STRONG.crop_hw
