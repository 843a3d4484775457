import pytest

from fcn_road_seg.devices import has_fast_bfloat16


@pytest.mark.parametrize(
    ('flags', 'expected'),
    [
        ('avx512f avx512_bf16 amx_bf16 amx_tile', True),
        ('avx512f avx512_bf16', False),
        ('amx_bf16x', False),
    ],
)
def test_bfloat16_is_fast_with_amx_alone(tmp_path, flags, expected):
    cpu_info = tmp_path / 'cpuinfo'
    cpu_info.write_text(f'processor\t: 0\nflags\t\t: fpu {flags} sse\nbugs\t\t:\n')
    assert has_fast_bfloat16(cpu_info) is expected


def test_system_that_does_not_tell_has_no_fast_bfloat16(tmp_path):
    assert has_fast_bfloat16(tmp_path / 'none') is False
