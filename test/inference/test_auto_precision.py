import sys

import pytest

from fcn_road_seg.inference import auto_precision
from fcn_road_seg.inference.auto_precision import choose_precision
from fcn_road_seg.inference.options import Device
from fcn_road_seg.model.agreement import MIN_IOU, Agreement
from fcn_road_seg.utils import cpu_features

CPU, CUDA = Device('cpu'), Device('cuda', 0)
OPENVINO = 'fcn_road_seg.inference.backends.openvino_import'
CLOSE, FAR = Agreement(MIN_IOU, 0.0004), Agreement(0.9979, 0.0005)
ALL_CLOSE = dict.fromkeys(('int8', 'int8_avx2', 'bfloat16', 'float16'), CLOSE)
FULL, LIGHT = 1.0, 0.25

AMX = 'avx512f avx512_vnni amx_bf16 amx_int8 amx_tile'
# Its sums of 8-bit products would overflow if it had no VNNI.
AMX_BF16_ALONE = 'avx512f amx_bf16 amx_tile'
VNNI = 'avx512f avx512_vnni avx512_bf16'
AVX_VNNI = 'avx2 avx_vnni'
AVX2 = 'avx2 fma'


@pytest.fixture
def cpu(monkeypatch, tmp_path):
    """Return a function that gives this process a CPU with other flags, beside OpenVINO."""
    monkeypatch.setitem(sys.modules, OPENVINO, object())

    def play(flags):
        path = tmp_path / 'cpuinfo'
        path.write_text(f'processor\t: 0\nflags\t\t: fpu {flags} sse\nbugs\t\t:\n')
        for name in ('has_avx2', 'has_exact_int8', 'has_fast_bfloat16'):
            real = getattr(cpu_features, name)
            monkeypatch.setattr(auto_precision, name, lambda real=real: real(path))

    return play


@pytest.mark.parametrize(
    ('flags', 'width', 'precision'),
    [
        (AMX, FULL, 'int8'),
        (VNNI, FULL, 'int8'),
        (VNNI, LIGHT, 'int8'),
        (AVX_VNNI, LIGHT, 'int8'),
        (AMX_BF16_ALONE, LIGHT, 'bfloat16'),
        (AVX2, FULL, 'float32'),
        (AVX2, LIGHT, 'int8_avx2'),
        (f'{AVX2} avx512f avx512_bf16', FULL, 'float32'),
        (f'{AVX2} avx512f avx512_bf16', LIGHT, 'int8_avx2'),
        ('sse4_2', LIGHT, 'float32'),
    ],
)
def test_fastest_precision_of_the_cpu_is_taken_if_all_agree(cpu, flags, width, precision):
    cpu(flags)
    assert choose_precision(CPU, 'auto', ALL_CLOSE, width).precision == precision


@pytest.mark.parametrize(
    ('flags', 'agreements', 'precision'),
    [
        (AMX, {'int8': FAR, 'bfloat16': CLOSE}, 'bfloat16'),
        (AMX, {'bfloat16': CLOSE}, 'bfloat16'),
        (AMX, {'int8': FAR, 'bfloat16': FAR}, 'float32'),
        (VNNI, {'int8': FAR, 'bfloat16': CLOSE}, 'float32'),
        (VNNI, {'bfloat16': CLOSE, 'float16': CLOSE}, 'float32'),
        (AMX, {}, 'float32'),
        (AVX2, {'int8': CLOSE, 'int8_avx2': FAR}, 'float32'),
    ],
)
def test_precision_that_does_not_agree_is_not_taken(cpu, flags, agreements, precision):
    cpu(flags)
    assert choose_precision(CPU, 'auto', agreements, LIGHT).precision == precision


@pytest.mark.parametrize(
    ('agreements', 'precision'),
    [
        (ALL_CLOSE, 'float16'),
        ({'float16': FAR, 'bfloat16': CLOSE}, 'bfloat16'),
        ({'float16': FAR, 'bfloat16': FAR, 'int8': CLOSE}, 'float32'),
        ({}, 'float32'),
    ],
)
def test_gpu_takes_16_bits_by_the_same_rule(cpu, agreements, precision):
    cpu(AVX2)
    assert choose_precision(CUDA, 'auto', agreements, FULL).precision == precision


def test_gpu_needs_no_openvino(cpu, monkeypatch):
    monkeypatch.setitem(sys.modules, OPENVINO, None)
    assert choose_precision(CUDA, 'auto', ALL_CLOSE, FULL).precision == 'float16'


def test_reason_names_the_agreement(cpu):
    cpu(AMX)
    agreements = {'int8': FAR, 'bfloat16': Agreement(0.9996, 0.0001)}
    assert choose_precision(CPU, 'auto', agreements, FULL).reason == (
        'the fastest here whose masks agree with those of float32 '
        '(IoU 0.9996, 0.010 % of the pixels differ); int8 differs too much from float32 '
        '(IoU 0.9979, 0.050 % of the pixels differ; an IoU of 0.998 is needed)'
    )


def test_reason_says_what_the_cpu_lacks(cpu):
    cpu(AVX2)
    reason = choose_precision(CPU, 'auto', ALL_CLOSE, FULL).reason
    assert reason == 'a faster one needs VNNI or AMX, which this CPU lacks'


@pytest.mark.parametrize('agreements', [{}, {'float16': CLOSE}])
def test_remedy_for_a_checkpoint_without_agreements_is_to_calibrate_it(cpu, agreements):
    cpu(VNNI)
    assert choose_precision(CPU, 'auto', agreements, FULL).reason == (
        'int8 is faster here, but untested; calibrate the checkpoint with fcn-road-seg calibrate'
    )


def test_remedy_without_openvino_is_to_install_it(cpu, monkeypatch):
    cpu(VNNI)
    monkeypatch.setitem(sys.modules, OPENVINO, None)
    choice = choose_precision(CPU, 'auto', ALL_CLOSE, FULL)
    assert choice.precision == 'float32'
    assert choice.reason.startswith('int8 is faster here, but needs openvino (')
    assert choice.reason.endswith('; pip install it')


@pytest.mark.parametrize(
    ('backend', 'precision'),
    [('auto', 'int8'), ('openvino', 'int8'), ('ncnn', 'float32'), ('torch', 'float32')],
)
def test_library_that_was_asked_for_is_kept(cpu, backend, precision):
    cpu(AMX)
    assert choose_precision(CPU, backend, ALL_CLOSE, FULL).precision == precision


def test_least_agreement_is_998_thousandths(cpu):
    cpu(VNNI)
    for iou, precision in ((0.998, 'int8'), (0.9979, 'float32')):
        found = choose_precision(CPU, 'auto', {'int8': Agreement(iou, 0.0)}, FULL).precision
        assert found == precision
