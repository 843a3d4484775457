import ctypes
import os

import pytest
import torch

from fcn_road_seg.inference import options
from fcn_road_seg.inference.options import (
    Device,
    SegmenterError,
    check_backend,
    check_precision,
    resolve_device,
)

CPU, CUDA = Device('cpu'), Device('cuda', 0)


@pytest.fixture
def one_gpu(monkeypatch):
    monkeypatch.setattr(options, '_has_gpu_driver', lambda: True)
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 1)


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(options, '_has_gpu_driver', lambda: True)
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 0)


def test_auto_device_is_the_first_gpu(one_gpu):
    assert resolve_device('auto') == CUDA


def test_auto_device_is_the_cpu_without_a_gpu(no_gpu):
    assert resolve_device('auto') == CPU


def test_auto_device_is_the_cpu_without_a_gpus_driver(one_gpu, monkeypatch):
    monkeypatch.setattr(options, '_has_gpu_driver', lambda: False)
    assert resolve_device('auto') == CPU


def test_usable_gpu_has_a_driver():
    assert options._has_gpu_driver() or not torch.cuda.is_available()


@pytest.mark.parametrize('exists', [True, False])
def test_driver_is_amds_if_there_is_none_of_nvidia(exists, monkeypatch):
    def is_missing(name):
        raise OSError(name)

    monkeypatch.setattr(ctypes, 'CDLL', is_missing)
    monkeypatch.setattr(os.path, 'exists', lambda path: exists and path == '/dev/kfd')
    assert options._has_gpu_driver() == exists


def test_cuda_without_a_number_is_the_first_gpu(one_gpu):
    assert resolve_device('cuda') == CUDA


def test_cpu_is_the_cpu_beside_a_gpu(one_gpu):
    assert resolve_device('cpu') == CPU


@pytest.mark.parametrize('name', ['cuda', 'cuda:0'])
def test_gpu_is_refused_without_one(no_gpu, name):
    message = f"device '{name}' does not exist .0 GPUs are usable.; use auto or cpu"
    with pytest.raises(SegmenterError, match=message):
        resolve_device(name)


def test_gpu_is_refused_if_there_are_fewer(one_gpu):
    with pytest.raises(SegmenterError, match=r"'cuda:1' does not exist .1 GPUs are usable."):
        resolve_device('cuda:1')


@pytest.mark.parametrize(
    ('name', 'message'),
    [
        ('tpu', "device 'tpu' is unknown; use auto, cpu, cuda or cuda:N"),
        ('', "device '' is unknown; use auto, cpu, cuda or cuda:N"),
        ('meta', "device 'meta' is unknown; use auto, cpu, cuda or cuda:N"),
        ('cuda:', "device 'cuda:' is unknown; use auto, cpu, cuda or cuda:N"),
        ('cuda:-1', "device 'cuda:-1' is unknown; use auto, cpu, cuda or cuda:N"),
        ('cuda:²', "device 'cuda:²' is unknown; use auto, cpu, cuda or cuda:N"),
        ('cpu:0', "device 'cpu:0' is unknown; use auto, cpu, cuda or cuda:N"),
    ],
)
def test_device_of_another_kind_is_refused(name, message):
    with pytest.raises(SegmenterError, match=message):
        resolve_device(name)


@pytest.mark.parametrize(
    ('device', 'precision'),
    [
        *[(CPU, name) for name in ('float32', 'bfloat16', 'int8', 'int8_avx2')],
        *[(CUDA, name) for name in ('float32', 'float16', 'bfloat16')],
    ],
)
def test_precision_of_the_device_is_accepted(device, precision):
    check_precision(precision, device)


@pytest.mark.parametrize(
    ('device', 'precision', 'message'),
    [
        (
            CPU,
            'int4',
            "'int4' is unknown; use auto or float32, float16, bfloat16, int8, int8_avx2",
        ),
        (CUDA, 'int8_avx2', "'int8_avx2' runs on a CPU only, not on cuda:0; use auto"),
        (CUDA, 'int8', "'int8' runs on a CPU only, not on cuda:0; use auto"),
    ],
)
def test_precision_that_the_device_does_not_have_is_refused(device, precision, message):
    with pytest.raises(SegmenterError, match=message):
        check_precision(precision, device)


@pytest.mark.parametrize(
    ('name', 'device', 'precision'),
    [
        *[('auto', CPU, name) for name in ('float32', 'bfloat16', 'int8')],
        *[('auto', CUDA, name) for name in ('float32', 'float16', 'bfloat16')],
        ('ncnn', CPU, 'float32'),
        *[('openvino', CPU, name) for name in ('float32', 'bfloat16', 'int8')],
        *[('torch', CPU, name) for name in ('float32', 'float16', 'bfloat16')],
        *[('torch', CUDA, name) for name in ('float32', 'float16', 'bfloat16')],
    ],
)
def test_backend_that_computes_so_is_accepted(name, device, precision):
    check_backend(name, device, precision)


@pytest.mark.parametrize(
    ('name', 'device', 'precision', 'message'),
    [
        ('tensorrt', CPU, 'float32', "'tensorrt' is unknown; use auto, ncnn, openvino, torch"),
        ('ncnn', CPU, 'bfloat16', 'in float32 on a CPU, not in bfloat16 on cpu; use auto'),
        ('ncnn', CUDA, 'float32', 'in float32 on a CPU, not in float32 on cuda:0; use auto'),
        ('openvino', CUDA, 'float32', 'int8_avx2 on a CPU, not in float32 on cuda:0; use auto'),
        ('auto', CPU, 'float16', "'float16' needs a GPU; use auto or float32 on a CPU"),
        ('openvino', CPU, 'float16', "'float16' needs a GPU; use auto or float32 on a CPU"),
        ('torch', CPU, 'int8', 'in float32, float16, bfloat16, not in int8 on cpu; use auto'),
    ],
)
def test_backend_that_does_not_compute_so_is_refused(name, device, precision, message):
    with pytest.raises(SegmenterError, match=message):
        check_backend(name, device, precision)
