import pytest

from fcn_road_seg.utils.sampling import evenly_spaced


@pytest.mark.parametrize(
    ('count', 'expected'),
    [(1, [0]), (3, [0, 3, 6]), (10, list(range(10))), (99, list(range(10)))],
)
def test_evenly_spaced_items_are_from_everywhere(count, expected):
    assert evenly_spaced(list(range(10)), count) == expected
