import pytest

from fcn_road_seg.bench.report import digits


@pytest.mark.parametrize(
    ('ms', 'text'),
    [(1308.2, '1308'), (126.4, '126'), (12.71, '12.7'), (3.5, '3.50'), (0.0519, '0.052')],
)
def test_short_times_keep_theirdigits(ms, text):
    assert digits(ms) == text
