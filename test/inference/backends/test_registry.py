import sys

import pytest
import torch

from fcn_road_seg.inference.backends.registry import build_cpu_backend
from fcn_road_seg.inference.options import SegmenterError

BACKENDS = 'fcn_road_seg.inference.backends'
PEAKS = (1.0,) * 13


@pytest.fixture
def build(random_model):
    """Return a function that builds a backend: `build(backend, precision)`."""

    def build_backend(backend, precision):
        return build_cpu_backend(random_model.weights(), backend, precision, PEAKS)

    return build_backend


@pytest.fixture
def without_ncnn(monkeypatch):
    monkeypatch.setitem(sys.modules, 'ncnn', None)
    monkeypatch.delitem(sys.modules, f'{BACKENDS}.ncnn_backend', raising=False)


@pytest.fixture
def without_openvino(monkeypatch):
    monkeypatch.setitem(sys.modules, 'openvino', None)
    for name in ('openvino_backend', 'openvino_graph', 'openvino_import'):
        monkeypatch.delitem(sys.modules, f'{BACKENDS}.{name}', raising=False)


def test_auto_is_ncnn_for_float32(build):
    ncnn = pytest.importorskip('ncnn', reason='ncnn is not installed')
    assert str(build('auto', 'float32').info) == f'ncnn {ncnn.__version__}'


@pytest.mark.parametrize('precision', ['bfloat16', 'int8', 'int8_avx2'])
def test_auto_is_openvino_for_lower_precisions(build, precision, monkeypatch):
    backend = pytest.importorskip(
        f'{BACKENDS}.openvino_backend', reason='openvino is not installed'
    )
    # A CPU without AVX-512 would refuse bfloat16.
    monkeypatch.setattr(backend.openvino.Core, 'get_property', lambda *_: ['BF16'])
    info = build('auto', precision).info
    assert info.name == 'openvino'
    assert info.version.startswith('20')


@pytest.mark.parametrize('precision', ['float32', 'bfloat16'])
def test_torch_is_taken_if_asked_for(build, precision):
    assert str(build('torch', precision).info) == f'torch {torch.__version__}'


def test_auto_is_torch_for_float32_without_ncnn(build, without_ncnn):
    assert build('auto', 'float32').info.name == 'torch'


def test_auto_is_torch_for_bfloat16_without_openvino(build, without_openvino):
    assert build('auto', 'bfloat16').info.name == 'torch'


def test_ncnn_is_refused_if_it_is_not_installed(build, without_ncnn):
    with pytest.raises(SegmenterError, match=r"'ncnn' cannot .*; pip install ncnn, or use torch"):
        build('ncnn', 'float32')


def test_openvino_is_refused_if_it_is_not_installed(build, without_openvino):
    with pytest.raises(SegmenterError, match=r"'openvino' .*; pip install openvino, or use torch"):
        build('openvino', 'bfloat16')


def test_int8_is_refused_without_openvino(build, without_openvino):
    with pytest.raises(SegmenterError, match=r"'int8' needs openvino .*; pip install openvino"):
        build('auto', 'int8')
