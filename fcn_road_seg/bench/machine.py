"""What figures were measured on: machine, versions, what else it did, what it can do at most."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from fcn_road_seg import __version__
from fcn_road_seg.utils.cpu_features import cpu_flags

# What decides how fast convolutions are, on x86 and on Arm.
CPU_FLAGS = ('avx2', 'avx512f', 'avx512_bf16', 'amx_bf16', 'amx_int8', 'asimdhp', 'bf16', 'sve')
# More than this in other processes, and every time is too long.
QUIET_SHARE = 0.05
# Large enough for bfloat16's best rate, too.
GEMM_SIDE = {'cpu': 3072, 'cuda': 8192}
COPIED_MIB = {'cpu': 256, 'cuda': 1024}


def describe_machine(device: torch.device) -> dict[str, Any]:
    """Return names, sizes (GiB) and load of the machine, ready for JSON; None where unknown."""
    cpu = _proc_fields('/proc/cpuinfo')
    flags = cpu_flags()
    memory_kib = _proc_fields('/proc/meminfo').get('MemTotal', '').partition(' ')[0]
    on_gpu = device.type == 'cuda'
    return {
        'cpu': cpu.get('model name') or platform.machine(),
        'cores': os.cpu_count(),
        'cpu_flags': [flag for flag in CPU_FLAGS if flag in flags],
        'memory_gib': round(int(memory_kib) / 2**20, 1) if memory_kib else None,
        'gpu': torch.cuda.get_device_name(device) if on_gpu else None,
        'system': platform.platform(),
        'load_average_1min': round(os.getloadavg()[0], 2),
    }


def versions() -> dict[str, str | None]:
    """Return the versions of what computes; None for what is not installed."""
    return {
        'fcn_road_seg': __version__,
        'python': platform.python_version(),
        'torch': torch.__version__,
        'cuda': torch.version.cuda if torch.cuda.is_available() else None,
        'ncnn': _version('ncnn'),
        'openvino': _version('openvino'),
        'opencv': cv2.__version__,
        'numpy': np.__version__,
    }


class OtherProcesses:
    """What share of the machine's CPU time goes to others than this process, from now on."""

    def __init__(self) -> None:
        self._began_s = time.monotonic()
        self._began_busy_s = _others_busy_s()

    def share(self) -> float | None:
        """Return the share in [0, 1] since the beginning; None where the system does not tell."""
        busy_s = _others_busy_s()
        if busy_s is None or self._began_busy_s is None:
            return None
        whole_s = (time.monotonic() - self._began_s) * (os.cpu_count() or 1)
        # Both count in hundredths of a second.
        return min(max((busy_s - self._began_busy_s) / whole_s, 0.0), 1.0)


def measure_gemm(device: torch.device, dtype: torch.dtype) -> Callable[[], float]:
    """Return what measures the rate (operations a second) of one large matrix product."""
    side = GEMM_SIDE[device.type]
    # Not zeros, on which some chips are faster.
    a, b = (torch.rand(side, side, device=device).to(dtype) for _ in range(2))
    product = torch.empty_like(a)

    def measured() -> float:
        return 2 * side**3 / _seconds(lambda: torch.mm(a, b, out=product), device)

    return measured


def measure_copy(device: torch.device) -> Callable[[], float]:
    """Return what measures the rate (bytes a second, read and written) of one large copy."""
    source = torch.rand(COPIED_MIB[device.type] * 2**20 // 4, device=device)
    target = torch.empty_like(source)

    def measured() -> float:
        return 2 * source.nbytes / _seconds(lambda: target.copy_(source), device)

    return measured


def peak_memory_mib(pid: int | str = 'self') -> float | None:
    """Return the most that a process had in memory (RSS) so far; None where it is not told."""
    # Not getrusage: its maximum begins with what the parent had when it started the process.
    field = _proc_fields(f'/proc/{pid}/status').get('VmHWM', '')
    return int(field.partition(' ')[0]) / 1024 if field else None


def _seconds(run: Callable[[], object], device: torch.device) -> float:
    began_s = time.perf_counter()
    run()
    if device.type == 'cuda':
        torch.cuda.synchronize(device)
    return time.perf_counter() - began_s


def _others_busy_s() -> float | None:
    try:
        first, _, _ = Path('/proc/stat').read_text().partition('\n')
    except OSError:
        return None
    user, nice, system, _idle, _waiting, irq, softirq, stolen, *_ = map(int, first.split()[1:])
    ticks = user + nice + system + irq + softirq + stolen
    return ticks / os.sysconf('SC_CLK_TCK') - sum(os.times()[:2])


def _proc_fields(path: str) -> dict[str, str]:
    """Return the `name : value` lines of a file of /proc, the first of each name."""
    fields: dict[str, str] = {}
    try:
        text = Path(path).read_text()
    except OSError:
        return {}
    for line in text.splitlines():
        name, _, value = line.partition(':')
        fields.setdefault(name.strip(), value.strip())
    return fields


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
