"""Features of the CPU that decide which precision is fast, and the CPUs of this process."""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from pathlib import Path

_CPU_INFO = Path('/proc/cpuinfo')


def has_bfloat16(cpu_info: Path = _CPU_INFO) -> bool:
    """Return whether the CPU multiplies bfloat16 in hardware (AVX-512 BF16 or AMX).

    With either, PyTorch and OpenVINO take at most half as long as in float32; with neither,
    bfloat16 is emulated, which is slower. False if the system has no /proc/cpuinfo.
    """
    return not cpu_flags(cpu_info).isdisjoint({'avx512_bf16', 'amx_bf16'})


def has_fast_bfloat16(cpu_info: Path = _CPU_INFO) -> bool:
    """Return whether the CPU multiplies bfloat16 matrices in hardware (AMX).

    Inference needs AMX: with AVX-512 BF16 alone, ncnn's float32, with Winograd convolutions, is a
    tenth faster than bfloat16. False if the system has no /proc/cpuinfo.
    """
    return 'amx_bf16' in cpu_flags(cpu_info)


def has_exact_int8(cpu_info: Path = _CPU_INFO) -> bool:
    """Return whether the CPU sums products of 8-bit numbers in 32 bits (VNNI or AMX).

    Without either, they are summed in 16 bits, which overflows. False if the system has no
    /proc/cpuinfo.
    """
    return not cpu_flags(cpu_info).isdisjoint({'avx512_vnni', 'avx_vnni', 'amx_int8'})


def has_avx2(cpu_info: Path = _CPU_INFO) -> bool:
    """Return whether the CPU multiplies 32 pairs of 8-bit numbers at once (AVX2).

    It sums the products in 16 bits unless it `has_exact_int8`. False if the system has no
    /proc/cpuinfo.
    """
    return 'avx2' in cpu_flags(cpu_info)


def cpu_flags(cpu_info: Path = _CPU_INFO) -> set[str]:
    """Return the CPU's flags under Linux's names (x86 or Arm); empty without /proc/cpuinfo."""
    try:
        found = re.search(r'^(?:flags|Features)\s*:(.*)$', cpu_info.read_text(), re.MULTILINE)
    except OSError:
        return set()
    return set(found[1].split()) if found else set()


def usable_cpus() -> Collection[int]:
    """Return the CPUs that this process may use, or all of them if the system cannot tell."""
    if hasattr(os, 'sched_getaffinity'):
        return os.sched_getaffinity(0)
    return range(os.cpu_count() or 1)
