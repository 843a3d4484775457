"""The machine that figures were measured on: its versions, its other load and its peak rates."""

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
import psutil
import torch

from fcn_road_seg import __version__
from fcn_road_seg.utils.cpu_features import cpu_flags

# The flags that decide how fast convolutions are, on x86 and on Arm.
CPU_FLAGS = ('avx2', 'avx512f', 'avx512_bf16', 'amx_bf16', 'amx_int8', 'asimdhp', 'bf16', 'sve')
# If other processes take more than this share, all measured times are too long.
QUIET_SHARE = 0.05
# Large enough to reach the best rate of bfloat16, too.
GEMM_SIDE = {'cpu': 3072, 'cuda': 8192}
COPIED_MIB = {'cpu': 256, 'cuda': 1024}
# Fields of psutil's cpu_times. Its user and nice already include the time of guests.
BUSY = ('user', 'nice', 'system', 'irq', 'softirq', 'steal')


def describe_machine(device: torch.device) -> dict[str, Any]:
    """Return the machine's names, sizes (GiB) and load, ready for JSON; `gpu` is None on a CPU."""
    # Neither psutil nor, on Linux, `platform` knows the model.
    cpu = _proc_fields('/proc/cpuinfo').get('model name') or platform.machine()
    flags = cpu_flags()
    on_gpu = device.type == 'cuda'
    return {
        'cpu': cpu,
        'cores': os.cpu_count(),
        'cpu_flags': [flag for flag in CPU_FLAGS if flag in flags],
        'memory_gib': round(psutil.virtual_memory().total / 2**30, 1),
        'gpu': torch.cuda.get_device_name(device) if on_gpu else None,
        'system': platform.platform(),
        'load_average_1min': round(os.getloadavg()[0], 2),
    }


def versions() -> dict[str, str | None]:
    """Return the versions of the libraries that compute; None for those not installed."""
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
    """The share of the machine's CPU time that other processes take, since construction."""

    def __init__(self) -> None:
        self._began_s = time.monotonic()
        self._began_busy_s = _others_busy_s()

    def share(self) -> float:
        """Return the share so far, in [0, 1]."""
        whole_s = (time.monotonic() - self._began_s) * (os.cpu_count() or 1)
        # The system counts in hundredths of a second, so the share may come out of range.
        return min(max((_others_busy_s() - self._began_busy_s) / whole_s, 0.0), 1.0)


def measure_gemm(device: torch.device, dtype: torch.dtype) -> Callable[[], float]:
    """Return a function that measures the rate (operations/s) of one large matrix product."""
    side = GEMM_SIDE[device.type]
    # Some chips multiply zeros faster.
    a, b = (torch.rand(side, side, device=device).to(dtype) for _ in range(2))
    product = torch.empty_like(a)

    def measure() -> float:
        return 2 * side**3 / _seconds(lambda: torch.mm(a, b, out=product), device)

    return measure


def measure_copy(device: torch.device) -> Callable[[], float]:
    """Return a function that measures the rate (bytes/s, read and written) of one large copy."""
    source = torch.rand(COPIED_MIB[device.type] * 2**20 // 4, device=device)
    target = torch.empty_like(source)

    def measure() -> float:
        return 2 * source.nbytes / _seconds(lambda: target.copy_(source), device)

    return measure


def peak_memory_mib(pid: int | str = 'self') -> float | None:
    """Return a process's peak resident set size so far; None if the system does not report it."""
    # psutil gives only the current size. getrusage's maximum starts at the size that the parent
    # had when it started the process.
    field = _proc_fields(f'/proc/{pid}/status').get('VmHWM', '')
    return int(field.partition(' ')[0]) / 1024 if field else None


def _seconds(run: Callable[[], object], device: torch.device) -> float:
    began_s = time.perf_counter()
    run()
    if device.type == 'cuda':
        torch.cuda.synchronize(device)
    return time.perf_counter() - began_s


def _others_busy_s() -> float:
    times = psutil.cpu_times()
    own = psutil.Process().cpu_times()
    return sum(getattr(times, name, 0.0) for name in BUSY) - own.user - own.system


def _proc_fields(path: str) -> dict[str, str]:
    """Return the `name: value` lines of a /proc file, the first of each name; {} if absent."""
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
