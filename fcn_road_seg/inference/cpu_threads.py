"""The number of CPU threads, a setting of the whole process."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Collection
from pathlib import Path

import cv2

from fcn_road_seg.utils.cpu_features import usable_cpus

# More than any vehicle computer has.
MAX_THREADS = 1024
_CPUS = Path('/sys/devices/system/cpu')


def limit_cpu_threads(count: int) -> None:
    """Let all libraries compute on `count` threads in this process; 0 lifts an earlier limit.

    Call it before a `RoadSegmenter` is made.
    """
    if not count and not _unlimited_counts.cache_info().currsize:
        return
    of_torch, of_opencv = _unlimited_counts()
    if torch := sys.modules.get('torch'):
        torch.set_num_threads(count or of_torch)
    else:
        # PyTorch reads this variable when it is imported.
        os.environ['OMP_NUM_THREADS'] = str(count or of_torch)
    cv2.setNumThreads(count or of_opencv)


@functools.cache
def _unlimited_counts() -> tuple[int, int]:
    """Return PyTorch's and OpenCV's numbers of threads before the first limit."""
    return cpu_thread_count(), cv2.getNumThreads()


def cpu_thread_count() -> int:
    """Return the number of threads on which PyTorch computes, or would if it were imported."""
    if torch := sys.modules.get('torch'):
        return int(torch.get_num_threads())
    limit = os.environ.get('OMP_NUM_THREADS', '')
    if limit.isdigit() and int(limit):
        return min(int(limit), _core_count(range(os.cpu_count() or 1)))
    return _core_count(usable_cpus())


def _core_count(cpus: Collection[int]) -> int:
    """Return to how many cores these logical CPUs belong; two threads of a core count once."""
    siblings = [_CPUS / f'cpu{cpu}/topology/thread_siblings' for cpu in cpus]
    if not all(path.is_file() for path in siblings):
        return len(cpus)
    return len({path.read_text() for path in siblings})
