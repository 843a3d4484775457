import os
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from fcn_road_seg.bench import machine

CPU = torch.device('cpu')


def test_machine_is_described():
    here = machine.describe_machine(CPU)
    assert here['cores'] == os.cpu_count()
    assert here['cpu']
    assert here['memory_gib'] > 0.5
    assert here['gpu'] is None
    assert set(here['cpu_flags']) <= set(machine.CPU_FLAGS)


def test_versions_are_those_of_the_installed_libraries():
    assert machine.versions()['numpy'] == np.__version__
    assert machine.versions()['torch'] == torch.__version__


def test_another_process_at_work_is_noticed():
    others = machine.OtherProcesses()
    began_s = time.monotonic()
    burn = 'import time; end = time.monotonic() + 0.6\nwhile time.monotonic() < end: pass'
    subprocess.run([sys.executable, '-c', burn], check=True)
    # All others together: at least half of what that one had, if it had a core for itself.
    whole_s = (time.monotonic() - began_s) * os.cpu_count()
    assert 0.3 / whole_s < others.share() <= 1


def test_own_work_does_not_count_as_that_of_others():
    with open('/proc/stat') as stat:
        fields = [int(field) for field in stat.readline().split()[1:9]]
    # All but idle and waiting.
    busy_s = (sum(fields) - fields[3] - fields[4]) / os.sysconf('SC_CLK_TCK')
    assert machine._others_busy_s() == pytest.approx(busy_s - time.process_time(), abs=0.2)


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_rate_of_a_matrix_product_is_that_of_its_size(dtype, monkeypatch):
    monkeypatch.setitem(machine.GEMM_SIDE, 'cpu', 256)
    measured = machine.measure_gemm(CPU, dtype)
    began_s = time.perf_counter()
    rate = measured()
    # No faster than the call as a whole took, and no processor has a thousand TFLOP/s.
    assert 2 * 256**3 / (time.perf_counter() - began_s) <= rate < 1e15


def test_rate_of_a_copy_counts_bytes_read_and_written(monkeypatch):
    monkeypatch.setitem(machine.COPIED_MIB, 'cpu', 8)
    measured = machine.measure_copy(CPU)
    began_s = time.perf_counter()
    rate = measured()
    assert 2 * 8 * 2**20 / (time.perf_counter() - began_s) <= rate < 1e13


def test_peak_memory_is_kept_after_it_was_given_back():
    before_mib = machine.peak_memory_mib()
    # More than was ever in use, which later tests of this process then find as their peak.
    size = int((before_mib + 64) * 2**20)
    assert np.ones(size, np.uint8)[-1] == 1
    assert machine.peak_memory_mib() >= before_mib + 64


def test_peak_memory_of_a_process_is_not_its_parents():
    with subprocess.Popen([sys.executable, '-Sc', 'input()'], stdin=subprocess.PIPE) as child:
        time.sleep(0.2)
        child_mib = machine.peak_memory_mib(child.pid)
        child.communicate(b'\n')
    assert 0 < child_mib < 0.5 * machine.peak_memory_mib()


def test_peak_memory_of_no_process_is_unknown():
    assert machine.peak_memory_mib('none') is None
