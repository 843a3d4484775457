"""The precision that `auto` chooses: the fastest one here known to agree with float32."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from fcn_road_seg.inference.options import Device
from fcn_road_seg.model.agreement import MIN_IOU, Agreement
from fcn_road_seg.utils.cpu_features import has_avx2, has_exact_int8, has_fast_bfloat16


class PrecisionChoice(NamedTuple):
    """A precision, and a line of text: why it was chosen, or what a faster one needs."""

    precision: str
    reason: str


def choose_precision(
    device: Device, backend: str, agreements: Mapping[str, Agreement], width: float
) -> PrecisionChoice:
    """Return the fastest precision of the device that agrees with float32, or else float32.

    The candidates on a CPU are int8 (with VNNI or AMX) or int8_avx2 (with AVX2 alone, for a narrow
    network), then bfloat16 (with AMX), all by OpenVINO; those on a GPU are float16, then bfloat16.
    `agreements` are the checkpoint's, by precision, and must reach MIN_IOU; `width` is that of its
    network. `backend` is the library that was asked for, or auto.
    """
    on_cpu = device.type == 'cpu'
    fast = _fast_on_cpu(width) if on_cpu else ['float16', 'bfloat16']
    if not fast:
        return PrecisionChoice('float32', 'a faster one needs VNNI or AMX, which this CPU lacks')
    if on_cpu and backend not in ('auto', 'openvino'):
        return PrecisionChoice('float32', f'{fast[0]} is faster here, but needs backend openvino')
    if on_cpu and (missing := _openvino_error()):
        return PrecisionChoice(
            'float32', f'{fast[0]} is faster here, but needs openvino ({missing}); pip install it'
        )
    refused = []
    for name in fast:
        found = agreements.get(name)
        if found is None:
            refused.append(f'{name} was not compared with float32')
        elif found.suffices:
            reason = f'the fastest here whose masks agree with those of float32 ({found})'
            return PrecisionChoice(name, '; '.join([reason, *refused]))
        else:
            refused.append(
                f'{name} differs too much from float32 ({found}; an IoU of {MIN_IOU} is needed)'
            )
    if agreements.keys().isdisjoint(fast):
        remedy = 'calibrate the checkpoint with fcn-road-seg calibrate'
        return PrecisionChoice('float32', f'{fast[0]} is faster here, but untested; {remedy}')
    return PrecisionChoice('float32', '; '.join(refused))


def _fast_on_cpu(width: float) -> list[str]:
    """Return the precisions in which this CPU is faster than in float32, the fastest first."""
    fast = ['bfloat16'] * has_fast_bfloat16()
    if has_exact_int8():
        return ['int8', *fast]
    # At width 1, int8_avx2 takes as long as ncnn's float32, whose Winograd convolutions are fast
    # only with many channels.
    return ['int8_avx2'] * (has_avx2() and width < 1) + fast


def _openvino_error() -> str:
    """Return why OpenVINO cannot be imported; '' if it can."""
    try:
        import fcn_road_seg.inference.backends.openvino_import  # noqa: F401
    except ImportError as error:
        return str(error)
    return ''
