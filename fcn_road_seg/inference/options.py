"""Device, precision and backend by their names: resolved, or refused with the reason."""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass

BACKENDS = ('auto', 'ncnn', 'openvino', 'torch')
PRECISIONS = ('float32', 'float16', 'bfloat16', 'int8', 'int8_avx2')
# `int8_avx2` has 7 bits for activations, so that 16 bits hold the sum of two products. It is exact
# on every CPU with AVX2, and `int8` only with VNNI or AMX.
INT8_PRECISIONS = ('int8', 'int8_avx2')
# The backend that `auto` takes on a CPU, if it is installed.
FASTEST_BACKENDS = {
    'float32': 'ncnn',
    'bfloat16': 'openvino',
    'int8': 'openvino',
    'int8_avx2': 'openvino',
}

_BACKEND_PRECISIONS = {
    'auto': PRECISIONS,
    'ncnn': ('float32',),
    'openvino': ('float32', 'bfloat16', *INT8_PRECISIONS),
    'torch': ('float32', 'float16', 'bfloat16'),
}
_CPU_BACKENDS = ('ncnn', 'openvino')


class SegmenterError(ValueError):
    """The device, precision or backend that was asked for is unknown or cannot be used."""


@dataclass(frozen=True)
class Device:
    """A device, of type cpu or cuda; `str` is its name in PyTorch."""

    type: str
    index: int = 0

    def __str__(self) -> str:
        return 'cpu' if self.type == 'cpu' else f'cuda:{self.index}'


def resolve_device(name: str) -> Device:
    """Return the device for auto, cpu, cuda or cuda:N; auto is the first GPU, or else the CPU.

    Raises:
        SegmenterError: the name is unknown, or there is no such GPU.
    """
    if name == 'auto':
        return Device('cuda' if _has_gpu_driver() and _gpu_count() else 'cpu')
    if name == 'cpu':
        return Device('cpu')
    kind, _, number = name.partition(':')
    if kind != 'cuda' or not (name == 'cuda' or (number.isascii() and number.isdigit())):
        raise SegmenterError(f'device {name!r} is unknown; use auto, cpu, cuda or cuda:N')
    device = Device('cuda', int(number or 0))
    if device.index >= (count := _gpu_count()):
        raise SegmenterError(
            f'device {name!r} does not exist ({count} GPUs are usable); use auto or cpu'
        )
    return device


def _has_gpu_driver() -> bool:
    """Return whether a GPU's driver is installed; without one, PyTorch need not be imported."""
    try:
        ctypes.CDLL('libcuda.so.1')
    except OSError:
        # AMD's driver, whose GPUs PyTorch for ROCm also calls cuda.
        return os.path.exists('/dev/kfd')
    return True


def _gpu_count() -> int:
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def check_precision(name: str, device: Device) -> None:
    """Check that `name` is one of `PRECISIONS`, and that the device computes in it.

    Raises:
        SegmenterError: the name is unknown, or the device does not compute in this precision.
    """
    if name not in PRECISIONS:
        raise SegmenterError(f'precision {name!r} is unknown; use auto or {", ".join(PRECISIONS)}')
    if name in INT8_PRECISIONS and device.type != 'cpu':
        raise SegmenterError(f'precision {name!r} runs on a CPU only, not on {device}; use auto')


def check_backend(name: str, device: Device, precision: str) -> None:
    """Check that a backend computes in this precision on this device.

    On a CPU only `torch` computes in float16. It is slow, and only meant for measuring what
    float16 changes.

    Raises:
        SegmenterError: the name is unknown, or the backend does not support this combination.
    """
    if name not in BACKENDS:
        raise SegmenterError(f'backend {name!r} is unknown; use {", ".join(BACKENDS)}')
    if precision == 'float16' and device.type == 'cpu' and name != 'torch':
        raise SegmenterError("precision 'float16' needs a GPU; use auto or float32 on a CPU")
    computes = _BACKEND_PRECISIONS[name]
    needs_cpu = name in _CPU_BACKENDS
    if precision not in computes or (needs_cpu and device.type != 'cpu'):
        where = ' on a CPU' if needs_cpu else ''
        raise SegmenterError(
            f'backend {name!r} computes in {", ".join(computes)}{where}, '
            f'not in {precision} on {device}; use auto'
        )
