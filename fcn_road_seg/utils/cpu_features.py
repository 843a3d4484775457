"""What this machine computes fast with."""

from __future__ import annotations

import re
from pathlib import Path

_CPU_INFO = Path('/proc/cpuinfo')


def has_fast_bfloat16(cpu_info: Path = _CPU_INFO) -> bool:
    """Return whether the CPU multiplies bfloat16 in hardware made for it (AMX).

    Without it bfloat16 is emulated, several times slower than float32. Where the system does not
    tell (no /proc), the answer is no.
    """
    return 'amx_bf16' in cpu_flags(cpu_info)


def has_exact_int8(cpu_info: Path = _CPU_INFO) -> bool:
    """Return whether the CPU sums products of 8-bit numbers in 32 bits (VNNI or AMX).

    Without it they are summed in 16 bits, which overflow. Where the system does not tell (no
    /proc), the answer is no.
    """
    return not cpu_flags(cpu_info).isdisjoint({'avx512_vnni', 'avx_vnni', 'amx_int8'})


def cpu_flags(cpu_info: Path = _CPU_INFO) -> set[str]:
    """Return what the CPU can do, as Linux names it on x86 and on Arm; nothing without /proc."""
    try:
        found = re.search(r'^(?:flags|Features)\s*:(.*)$', cpu_info.read_text(), re.MULTILINE)
    except OSError:
        return set()
    return set(found[1].split()) if found else set()
