import pytest
from hypothesis import given
from hypothesis import strategies as st

from fcn_road_seg.utils.percentiles import nearest_rank


@pytest.mark.parametrize(
    ('p', 'expected'), [(1, 15), (30, 20), (40, 20), (41, 35), (50, 35), (100, 50)]
)
def test_percentile_is_the_value_at_the_nearest_rank(p, expected):
    assert nearest_rank([50, 15, 40, 20, 35], p) == expected


def test_no_values_have_no_percentile():
    assert nearest_rank([], 50) is None


@given(st.lists(st.floats(-1e6, 1e6), min_size=1), st.integers(1, 100))
def test_percentile_is_the_least_value_that_p_percent_do_not_exceed(values, p):
    found = nearest_rank(values, p)
    assert found in values
    assert 100 * sum(value <= found for value in values) >= p * len(values)
    assert 100 * sum(value < found for value in values) < p * len(values)
