import os
import subprocess
import sys

import cv2
import pytest
import torch

from fcn_road_seg.inference import cpu_threads
from fcn_road_seg.inference.cpu_threads import cpu_thread_count, limit_cpu_threads


@pytest.fixture(autouse=True)
def _restore_counts():
    # Another test of this process may have set a limit.
    cpu_threads._unlimited_counts.cache_clear()
    before = torch.get_num_threads(), cv2.getNumThreads()
    yield
    torch.set_num_threads(before[0])
    cv2.setNumThreads(before[1])


def test_count_is_that_of_pytorch_and_opencv():
    for count in (1, 2):
        limit_cpu_threads(count)
        assert (torch.get_num_threads(), cv2.getNumThreads()) == (count, count)


def test_0_lifts_the_limit():
    before = torch.get_num_threads(), cv2.getNumThreads()
    for count in (1, before[0] + 1):
        limit_cpu_threads(count)
    limit_cpu_threads(0)
    assert (torch.get_num_threads(), cv2.getNumThreads()) == before


def test_count_is_pytorchs_once_it_is_imported():
    torch.set_num_threads(3)
    assert cpu_thread_count() == 3


@pytest.mark.parametrize(
    ('limit', 'statement'),
    [
        (None, ''),
        ('1', ''),
        ('1000', ''),
        ('many', ''),
        (None, 'limit_cpu_threads(1)'),
        (None, 'limit_cpu_threads(1); limit_cpu_threads(0)'),
    ],
)
def test_count_without_pytorch_is_the_one_it_takes_when_it_is_imported(limit, statement):
    code = f"""
import sys
from fcn_road_seg.inference.cpu_threads import cpu_thread_count, limit_cpu_threads
{statement}
before = cpu_thread_count()
assert 'torch' not in sys.modules
import torch
print(before, torch.get_num_threads())
"""
    env = {name: value for name, value in os.environ.items() if name != 'OMP_NUM_THREADS'}
    env |= {} if limit is None else {'OMP_NUM_THREADS': limit}
    done = subprocess.run(
        [sys.executable, '-c', code], env=env, capture_output=True, text=True, check=True
    )
    counts = done.stdout.split()
    assert counts[0] == counts[1]
