import numpy as np
import pytest
import torch

from fcn_road_seg import contenders
from fcn_road_seg.model import RoadFCNConfig

CPU = torch.device('cpu')
OURS = [name for name in contenders.available(CPU) if name != contenders.CLASSIC]


@pytest.mark.parametrize(
    ('hw', 'ours', 'classic'),
    # The padding of 100 pixels costs small frames most.
    [((256, 256), 40.6, 3.6), ((192, 640), 76.0, 3.1), ((352, 1216), 264.9, 2.2)],
)
def test_work_is_counted_from_the_network_itself(hw, ours, classic):
    gflop = contenders.gflop('ncnn', RoadFCNConfig(), hw)
    assert gflop == pytest.approx(ours, abs=0.05)
    more = contenders.gflop('classic', RoadFCNConfig(), hw) / gflop
    assert more == pytest.approx(classic, abs=0.05)


def test_batch_norm_that_is_folded_is_no_work():
    plain, normed = (
        contenders.gflop('eager', RoadFCNConfig(encoder=encoder), (64, 96))
        for encoder in ('vgg16', 'vgg16_bn')
    )
    assert plain == normed


def test_weights_are_those_of_vgg16s_convolutions_and_the_decoder():
    assert contenders.parameter_count(RoadFCNConfig()) == 14_714_688 + 864_080


@pytest.mark.parametrize('name', OURS)
def test_every_way_computes_the_same_logits(name, random_checkpoint):
    frame_rgb = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    with torch.inference_mode():
        expected, logit = (
            contenders.contender(way, random_checkpoint, CPU)(frame_rgb)()
            for way in (contenders.REFERENCE, name)
        )
    assert logit.shape == (64, 96)
    difference = (logit - expected).norm() / expected.norm()
    assert difference < (3e-2 if name == 'bfloat16' else 1e-4)


def test_building_one_leaves_the_checkpoint_as_it_was(random_checkpoint):
    before = random_checkpoint.model.encoder.features[0].weight.clone()
    for name in OURS:
        contenders.contender(name, random_checkpoint, CPU)
    after = random_checkpoint.model.encoder.features[0].weight
    assert after.dtype == torch.float32
    assert after.is_contiguous()
    assert after.equal(before)


def test_each_device_is_asked_for_what_it_computes_fast():
    on_gpu = contenders.available(torch.device('cuda'))
    assert on_gpu == ['classic', 'eager', 'folded', 'float16']
    assert 'float16' not in OURS
    assert {'eager', 'folded'} <= set(OURS)


def test_what_is_not_installed_is_left_out(monkeypatch):
    monkeypatch.setattr(contenders, 'find_spec', lambda name: None)
    assert 'ncnn' not in contenders.available(CPU)
