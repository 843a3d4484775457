"""What this machine computes fast with."""

from __future__ import annotations

from pathlib import Path


def has_fast_bfloat16(cpu_info: Path = Path('/proc/cpuinfo')) -> bool:
    """Return whether the CPU multiplies bfloat16 in hardware made for it (AMX).

    Without it PyTorch emulates bfloat16, many times slower than float32. Where the system does
    not tell (no /proc), the answer is no.
    """
    try:
        return ' amx_bf16 ' in cpu_info.read_text()
    except OSError:
        return False
