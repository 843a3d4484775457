import os

import pytest

from fcn_road_seg.utils.cpu_features import (
    cpu_flags,
    has_avx2,
    has_bfloat16,
    has_exact_int8,
    has_fast_bfloat16,
    usable_cpus,
)


def cpu_info(folder, flags):
    path = folder / 'cpuinfo'
    path.write_text(f'processor\t: 0\nflags\t\t: fpu {flags} sse\nbugs\t\t:\n')
    return path


@pytest.mark.parametrize(
    ('flags', 'expected'),
    [
        ('avx512f avx512_bf16 amx_bf16 amx_tile', True),
        ('avx512f avx512_bf16', False),
        ('amx_bf16x', False),
    ],
)
def test_bfloat16_is_fast_with_amx_alone(tmp_path, flags, expected):
    assert has_fast_bfloat16(cpu_info(tmp_path, flags)) is expected


@pytest.mark.parametrize(
    ('flags', 'expected'),
    [
        ('avx512f avx512_bf16', True),
        ('avx512f amx_bf16 amx_tile', True),
        ('avx512f avx512_vnni amx_int8', False),
    ],
)
def test_bfloat16_is_in_hardware_with_avx512_bf16_or_amx(tmp_path, flags, expected):
    assert has_bfloat16(cpu_info(tmp_path, flags)) is expected


@pytest.mark.parametrize(
    ('flags', 'expected'),
    [
        ('avx512f avx512_vnni', True),
        ('avx2 avx_vnni', True),
        ('avx512f amx_int8 amx_tile', True),
        ('avx2 avx512f avx512bw avx512_bf16', False),
        ('avx512_vnni2', False),
    ],
)
def test_int8_is_exact_with_vnni_or_amx(tmp_path, flags, expected):
    assert has_exact_int8(cpu_info(tmp_path, flags)) is expected


@pytest.mark.parametrize(('flags', 'expected'), [('avx avx2 fma', True), ('avx fma', False)])
def test_avx2_is_known_by_its_own_flag(tmp_path, flags, expected):
    assert has_avx2(cpu_info(tmp_path, flags)) is expected


def test_flags_are_the_last_of_their_line_too(tmp_path):
    path = tmp_path / 'cpuinfo'
    path.write_text('model name\t: amx_int8\nflags\t\t: fpu amx_bf16')
    assert has_fast_bfloat16(path)
    assert not has_exact_int8(path)


def test_system_without_cpuinfo_has_neither(tmp_path):
    assert has_fast_bfloat16(tmp_path / 'none') is False
    assert has_exact_int8(tmp_path / 'none') is False


def test_cpu_of_another_kind_has_neither(tmp_path):
    path = tmp_path / 'cpuinfo'
    path.write_text('processor\t: 0\nFeatures\t: fp asimd asimddp\n')
    assert has_fast_bfloat16(path) is False
    assert has_exact_int8(path) is False


def test_flags_of_arm_are_read_too(tmp_path):
    path = tmp_path / 'cpuinfo'
    path.write_text('processor\t: 0\nFeatures\t: fp asimd asimdhp bf16\n')
    assert cpu_flags(path) == {'fp', 'asimd', 'asimdhp', 'bf16'}


def test_system_without_cpuinfo_has_no_flags(tmp_path):
    assert cpu_flags(tmp_path / 'none') == set()


def test_cpus_that_the_process_may_not_use_do_not_count():
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(allowed)})
    try:
        assert list(usable_cpus()) == [max(allowed)]
    finally:
        os.sched_setaffinity(0, allowed)
