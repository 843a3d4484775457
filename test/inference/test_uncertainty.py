import numpy as np
import pytest

from fcn_road_seg.inference.uncertainty import edge_entropy, least_sure


def road_of(probability_near_edge, hw=(60, 100)):
    """Return 255 * p(road), whose values within 1 pixel of a vertical edge are given."""
    p_road = np.zeros(hw, np.uint8)
    p_road[:, 50:] = 255
    p_road[:, 49:51] = probability_near_edge
    mask = np.zeros(hw, np.uint8)
    mask[:, 50:] = 255
    return p_road, mask


def test_entropy_at_the_edge_is_that_of_a_coin_at_most():
    # 255 is odd: no value is exactly one half.
    assert edge_entropy(*road_of(127)) == pytest.approx(1.0, abs=1e-3)
    assert edge_entropy(*road_of(255)) == pytest.approx(0.0, abs=1e-6)
    assert edge_entropy(*road_of(51)) == pytest.approx(0.7219, abs=1e-4)


def test_doubt_far_from_the_edge_does_not_count():
    p_road, mask = road_of(255)
    p_road[:, :40] = 120
    assert edge_entropy(p_road, mask) == pytest.approx(0.0, abs=1e-6)


def test_doubt_counts_within_a_hundredth_of_the_width_from_the_edge():
    p_road, mask = road_of(255, hw=(60, 400))
    # 4 columns on each side of the edge.
    p_road[:, 46] = 51
    p_road[:, 45] = p_road[:, 54] = 127
    assert edge_entropy(p_road, mask) == pytest.approx(0.7219 / 8, abs=1e-4)


def test_whole_frame_counts_if_it_has_no_edge():
    p_road = np.full((60, 100), 51, np.uint8)
    assert edge_entropy(p_road, np.zeros_like(p_road)) == pytest.approx(0.7219, abs=1e-4)


def test_least_sure_frames_are_chosen_in_the_order_of_time():
    assert least_sure({0: 0.1, 1: 0.9, 2: 0.2, 3: 0.3, 4: 0.5, 5: 0.1}, 2) == [1, 4]


def test_neighbours_of_a_chosen_frame_are_passed_over():
    entropies = dict.fromkeys(range(100), 0.1) | {50: 0.9, 51: 0.89, 52: 0.88, 20: 0.3}
    assert least_sure(entropies, 2) == [20, 50]


@pytest.mark.parametrize('count', [1, 2, 3, 7, 13, 50, 100])
def test_as_many_frames_are_chosen_as_are_asked_for_and_are_spread(count):
    entropies = dict(enumerate(np.random.default_rng(count).random(100).tolist()))
    chosen = least_sure(entropies, count)
    assert len(chosen) == count
    assert np.diff(chosen).min(initial=100) >= 100 // (2 * count)


def test_all_frames_are_chosen_if_there_are_fewer():
    assert least_sure({0: 0.1, 2: 0.2}, 5) == [0, 2]


@pytest.mark.parametrize('count', [20, 50, 60])
def test_missing_frames_leave_none_of_the_others_out(count):
    numbers = [*range(25), *range(975, 1000)]
    assert len(least_sure(dict.fromkeys(numbers, 0.5), count)) == min(count, 50)


def test_no_frame_is_chosen_of_none():
    assert least_sure({}, 3) == []
