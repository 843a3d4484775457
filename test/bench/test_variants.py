import time

import numpy as np
import pytest
import torch

from fcn_road_seg.bench import variants
from fcn_road_seg.bench.options import CLASSIC, REFERENCE
from fcn_road_seg.model.checkpoint import load_checkpoint
from fcn_road_seg.model.network_config import RoadFCNConfig
from fcn_road_seg.model.shipped_checkpoints import default_checkpoint_path
from fcn_road_seg.synthetic import SyntheticDrive

CPU = torch.device('cpu')
SHIPPED = load_checkpoint(default_checkpoint_path())
OURS = [name for name in variants.available(CPU, SHIPPED) if name != CLASSIC]
# What the norm of a logit's difference may be, of the logit's.
TOLERANCES = {
    'bfloat16': 3e-2,
    'openvino_bfloat16': 3e-2,
    'openvino_int8': 0.1,
    'openvino_int8_avx2': 0.2,
}


@pytest.mark.parametrize(
    ('hw', 'ours', 'classic'),
    # The padding of 100 pixels costs small frames most.
    [((256, 256), 40.6, 3.6), ((192, 640), 76.0, 3.1), ((352, 1216), 264.9, 2.2)],
)
def test_work_is_counted_from_the_network_itself(hw, ours, classic):
    gflop = variants.gflop('ncnn', RoadFCNConfig(), hw)
    assert gflop == pytest.approx(ours, abs=0.05)
    more = variants.gflop('classic', RoadFCNConfig(), hw) / gflop
    assert more == pytest.approx(classic, abs=0.05)


def test_batch_norm_that_is_folded_is_no_work():
    plain, normed = (
        variants.gflop('eager', RoadFCNConfig(encoder=encoder), (64, 96))
        for encoder in ('vgg16', 'vgg16_bn')
    )
    assert plain == normed


def test_weights_are_those_of_vgg16s_convolutions_and_the_decoder():
    assert variants.parameter_count(RoadFCNConfig()) == 14_714_688 + 864_080


@pytest.mark.parametrize('name', OURS)
def test_every_way_computes_the_same_logits(name):
    frame_rgb = np.ascontiguousarray(SyntheticDrive(3, (64, 96)).render(0.0)[0][..., ::-1])
    with torch.inference_mode():
        expected, logit = (
            variants.make_variant(way, SHIPPED, CPU)(frame_rgb)() for way in (REFERENCE, name)
        )
    assert logit.shape == (64, 96)
    difference = (logit - expected).norm() / expected.norm()
    assert difference < TOLERANCES.get(name, 1e-4)


@pytest.mark.skipif(not any('openvino' in name for name in OURS), reason='no OpenVINO')
def test_openvino_compiles_each_of_many_sizes_once():
    (name, *_) = (name for name in OURS if 'openvino' in name)
    network = variants.make_variant(name, SHIPPED, CPU)
    runs = [network(np.zeros((32, 32 * i, 3), np.uint8)) for i in range(1, 6)]
    passes_s = []
    for _ in range(2):
        began_s = time.perf_counter()
        for run in runs:
            run()
        passes_s.append(time.perf_counter() - began_s)
    # To compile takes twenty times as long as to run.
    assert passes_s[1] < passes_s[0] / 2


def test_building_one_leaves_the_checkpoint_as_it_was():
    before = SHIPPED.model.encoder.features[0].weight.clone()
    for name in OURS:
        variants.make_variant(name, SHIPPED, CPU)
    after = SHIPPED.model.encoder.features[0].weight
    assert after.dtype == torch.float32
    assert after.is_contiguous()
    assert after.equal(before)


def test_each_device_is_asked_for_what_it_computes_fast():
    on_gpu = variants.available(torch.device('cuda'), SHIPPED)
    assert on_gpu == ['classic', 'eager', 'folded', 'float16']
    assert 'float16' not in OURS
    assert {'eager', 'folded'} <= set(OURS)


def test_what_is_not_installed_is_left_out(monkeypatch):
    monkeypatch.setattr(variants, 'find_spec', lambda name: None)
    names = variants.available(CPU, SHIPPED)
    assert not any('ncnn' in name or 'openvino' in name for name in names)


@pytest.mark.parametrize(
    ('exact', 'name'), [(True, 'openvino_int8'), (False, 'openvino_int8_avx2')]
)
def test_int8_is_timed_in_the_form_that_is_fast(monkeypatch, exact, name):
    monkeypatch.setattr(variants, 'has_exact_int8', lambda: exact)
    monkeypatch.setattr(variants, 'has_avx2', lambda: True)
    monkeypatch.setattr(variants, 'find_spec', lambda _: object())
    assert [n for n in variants.available(CPU, SHIPPED) if 'int8' in n] == [name]


def test_network_that_is_not_calibrated_is_not_computed_in_int8(random_checkpoint):
    assert not any('int8' in name for name in variants.available(CPU, random_checkpoint))
