"""device, precision, backend: resolved or refused"""

from __future__ import annotations

import torch

from fcn_road_seg.utils.cpu_features import has_exact_int8

BACKENDS = ('auto', 'ncnn', 'openvino', 'torch')
PRECISIONS = {
    'float32': torch.float32,
    'float16': torch.float16,
    'bfloat16': torch.bfloat16,
    'int8': torch.int8,
}
# On a CPU, where it is installed.
FASTEST_BACKENDS = {'float32': 'ncnn', 'bfloat16': 'openvino', 'int8': 'openvino'}


class SegmenterError(ValueError):
    """The device, precision or backend asked for cannot be had on this machine."""


def _resolve_device(name: str) -> torch.device:
    if name == 'auto':
        return torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise SegmenterError(
            f'device {name!r} is unknown; use auto, cpu, cuda or cuda:N'
        ) from error
    if device.type not in ('cpu', 'cuda'):
        raise SegmenterError(f'device {name!r} is not supported; use auto, cpu, cuda or cuda:N')
    if device.type == 'cuda':
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            raise SegmenterError(
                f'device {name!r} is not here ({count} GPUs usable); use auto or cpu'
            )
        device = torch.device('cuda', device.index or 0)
    return device


def _resolve_precision(name: str, device: torch.device) -> str:
    if name == 'auto':
        # On most CPUs bfloat16 is emulated, many times slower: never chosen unasked.
        return 'float16' if device.type == 'cuda' else 'float32'
    if name not in PRECISIONS:
        raise SegmenterError(f'precision {name!r} is unknown; use auto or {", ".join(PRECISIONS)}')
    if name == 'float16' and device.type == 'cpu':
        raise SegmenterError("precision 'float16' needs a GPU; use auto or float32 on a CPU")
    if name == 'int8' and device.type != 'cpu':
        raise SegmenterError(f"precision 'int8' is for a CPU, not for {device}; use auto")
    if name == 'int8' and not has_exact_int8():
        raise SegmenterError(
            "precision 'int8' needs a CPU with VNNI or AMX, or its sums overflow; use float32"
        )
    return name


def _check_backend(name: str, device: torch.device, precision: str) -> None:
    if name not in BACKENDS:
        raise SegmenterError(f'backend {name!r} is unknown; use {", ".join(BACKENDS)}')
    computes = {
        'auto': tuple(PRECISIONS),
        'ncnn': ('float32',),
        'openvino': tuple(FASTEST_BACKENDS),
        'torch': ('float32', 'float16', 'bfloat16'),
    }[name]
    if precision not in computes or (name in FASTEST_BACKENDS.values() and device.type != 'cpu'):
        where = ' on a CPU' if name != 'torch' else ''
        raise SegmenterError(
            f'backend {name!r} is for {", ".join(computes)}{where}, '
            f'not for {precision} on {device}; use auto'
        )
