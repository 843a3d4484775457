import numpy as np
import pytest

from fcn_road_seg.inference.small_regions import remove_small_regions

HW = (40, 60)


@pytest.fixture
def mask():
    """A road of 20 x 40 pixels with a hole of 2 x 3, and a speck of 2 x 2 beside it."""
    mask = np.zeros(HW, np.uint8)
    mask[20:, 10:50] = 255
    mask[30:32, 20:23] = 0
    mask[5:7, 5:7] = 255
    return mask


def share(pixels):
    return pixels / (HW[0] * HW[1])


def test_specks_and_holes_go(mask):
    remove_small_regions(mask, share(7))
    expected = np.zeros(HW, np.uint8)
    expected[20:, 10:50] = 255
    assert np.array_equal(mask, expected)


def test_only_what_is_smaller_goes(mask):
    remove_small_regions(mask, share(6))
    assert not mask[30:32, 20:23].any()
    assert not mask[5:7, 5:7].any()
    assert (mask == 255).sum() == 20 * 40 - 6


def test_regions_of_the_smallest_size_stay(mask):
    before = mask.copy()
    remove_small_regions(mask, share(4))
    assert np.array_equal(mask, before)


def test_road_is_connected_by_corners(mask):
    mask[3:5, 3:5] = 255
    before = mask.copy()
    remove_small_regions(mask, share(6))
    assert np.array_equal(mask[:10], before[:10])


def test_holes_that_touch_at_a_corner_are_two(mask):
    mask[32:34, 23:26] = 0
    remove_small_regions(mask, share(7))
    assert (mask[20:, 10:50] == 255).all()


def test_hole_in_a_speck_goes_with_it():
    mask = np.zeros(HW, np.uint8)
    mask[10:13, 10:13] = 255
    mask[11, 11] = 0
    remove_small_regions(mask, share(20))
    assert not mask.any()


@pytest.mark.parametrize('value', [0, 255])
@pytest.mark.parametrize('hw', [(1, 1), (1, 7), (4, 1), HW])
def test_mask_of_one_class_stays(hw, value):
    mask = np.full(hw, value, np.uint8)
    remove_small_regions(mask, 0.05)
    assert (mask == value).all()
