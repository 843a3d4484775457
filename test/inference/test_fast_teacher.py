import sys
from dataclasses import replace

import numpy as np
import pytest

from fcn_road_seg.inference import fast_teacher
from fcn_road_seg.inference.fast_teacher import fast_road_logit
from fcn_road_seg.inference.options import FASTEST_BACKENDS
from fcn_road_seg.model.activation_ranges import measure_activation_ranges
from fcn_road_seg.model.agreement import Agreement
from fcn_road_seg.utils.cpu_features import has_exact_int8
from test.helpers.reference import ReferenceBackend


@pytest.fixture
def frame_rgb():
    return np.random.default_rng(1).integers(0, 256, (64, 96, 3), np.uint8)


@pytest.mark.skipif(not has_exact_int8(), reason='this CPU has neither VNNI nor AMX')
def test_network_that_agrees_in_int8_teaches_in_int8(random_checkpoint, frame_rgb):
    pytest.importorskip(FASTEST_BACKENDS['int8'], reason='openvino is not installed')
    checkpoint = replace(
        random_checkpoint,
        activation_peaks=measure_activation_ranges(random_checkpoint, [frame_rgb]),
        agreements={'int8': Agreement(0.999, 0.0001)},
    )
    lines = []
    road_logit = fast_road_logit(checkpoint, lines.append)
    expected = ReferenceBackend(random_checkpoint.model).road_logit(frame_rgb)
    difference = np.abs(road_logit(frame_rgb) - expected)
    assert 0 < difference.mean() < 0.2 * expected.std()
    assert len(lines) == 1
    assert 'teacher computes in int8, by openvino' in lines[0]


def test_network_of_unknown_agreement_teaches_in_the_trainings_bfloat16(
    random_checkpoint, monkeypatch
):
    monkeypatch.setattr(fast_teacher, 'has_bfloat16', lambda: True)
    lines = []
    assert fast_road_logit(random_checkpoint, lines.append) is None
    assert lines == []


def test_network_of_unknown_agreement_teaches_by_ncnn_without_bfloat16(
    random_checkpoint, frame_rgb, monkeypatch
):
    pytest.importorskip('ncnn', reason='ncnn is not installed')
    monkeypatch.setattr(fast_teacher, 'has_bfloat16', lambda: False)
    lines = []
    found = fast_road_logit(random_checkpoint, lines.append)(frame_rgb)
    expected = ReferenceBackend(random_checkpoint.model).road_logit(frame_rgb)
    assert np.allclose(found, expected, rtol=0, atol=1e-3 * np.ptp(expected))
    assert 'teacher computes in float32, by ncnn' in lines[0]


def test_pytorch_teaches_if_it_is_the_only_library(random_checkpoint, monkeypatch):
    monkeypatch.setattr(fast_teacher, 'has_bfloat16', lambda: False)
    monkeypatch.setitem(sys.modules, 'ncnn', None)
    monkeypatch.delitem(sys.modules, 'fcn_road_seg.inference.backends.ncnn_backend', raising=False)
    assert fast_road_logit(random_checkpoint, str) is None
