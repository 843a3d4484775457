import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from fcn_road_seg.ground.corridor import find_corridor
from fcn_road_seg.ground.grid import OCCUPIED, UNSEEN, GroundGrid, GroundView
from test.helpers.ground_scenes import camera_of, empty_drive

GRID = GroundGrid()


def straight(right_m=-2.0, left_m=3.0, slope=0.0):
    """Return cells with a road between two edges, which go `slope` to the left per metre."""
    x, y = GRID.centres_m()
    is_road = (y > right_m + slope * x) & (y < left_m + slope * x)
    return np.where(is_road, 0, OCCUPIED).astype(np.int8)


def test_straight_road_has_its_edges_centre_and_width_at_every_metre():
    corridor = find_corridor(straight(), GRID)
    assert corridor.x_m.tolist() == list(range(6, 47))
    np.testing.assert_allclose(corridor.left_m, 3, atol=0.01)
    np.testing.assert_allclose(corridor.right_m, -2, atol=0.01)
    np.testing.assert_allclose(corridor.centre_m, 0.5, atol=0.01)
    np.testing.assert_allclose(corridor.width_m, 5, atol=0.01)


def test_slanting_road_is_measured_at_the_metre_itself():
    corridor = find_corridor(straight(slope=0.1), GRID)
    inner = corridor.x_m[1:-1]
    np.testing.assert_allclose(corridor.centre_m[1:-1], 0.5 + 0.1 * inner, atol=0.06)


def test_cells_up_to_half_a_metre_around_a_metre_count_for_it():
    cells = straight()
    x, y = GRID.centres_m()
    cells[(x > 9.5) & (x < 10.5) & (y > 1.0)] = OCCUPIED
    left_m = find_corridor(cells, GRID).left_m
    np.testing.assert_allclose(left_m[:7], [3, 3, 3, 3, 1, 3, 3], rtol=1e-9)


def test_edges_between_cells_follow_the_probability():
    cells = straight(right_m=-2.0, left_m=2.0)
    # Half of the cell beyond the left edge: 25 of 100 moves the edge outwards.
    cells[120] = 25
    corridor = find_corridor(cells, GRID)
    assert 2.05 < corridor.left_m[10] < 2.1
    np.testing.assert_allclose(corridor.right_m, -2, atol=0.01)


def test_without_road_the_corridor_is_empty():
    for value in (OCCUPIED, UNSEEN, 50):
        corridor = find_corridor(np.full(GRID.shape_hw, value, np.int8), GRID)
        assert len(corridor.x_m) == len(corridor.left_m) == len(corridor.width_m) == 0


def test_metre_with_an_edge_outside_of_the_picture_has_no_point():
    cells = straight()
    # The camera sees the left edge from 12 m on.
    cells[125:, :60] = UNSEEN
    assert find_corridor(cells, GRID).x_m.tolist() == list(range(12, 47))


def test_road_as_wide_as_the_grid_has_no_edges():
    assert len(find_corridor(np.zeros(GRID.shape_hw, np.int8), GRID).x_m) == 0


def test_near_ground_that_is_not_seen_does_not_end_the_corridor():
    cells = straight()
    cells[:, :30] = UNSEEN
    assert find_corridor(cells, GRID).x_m.tolist() == list(range(9, 47))


def test_corridor_ends_with_the_road():
    cells = straight()
    cells[:, 140:] = OCCUPIED
    assert find_corridor(cells, GRID).x_m.tolist() == list(range(6, 20))


def test_corridor_goes_on_beside_a_vehicle_on_its_wider_side():
    cells = straight(right_m=-4.0, left_m=4.0)
    x, y = GRID.centres_m()
    cells[(x > 20) & (y > -3.0) & (y < 0.0)] = OCCUPIED
    corridor = find_corridor(cells, GRID)
    beside = corridor.x_m > 21
    np.testing.assert_allclose(corridor.right_m[beside], 0, atol=0.01)
    np.testing.assert_allclose(corridor.left_m[beside], 4, atol=0.01)


@pytest.mark.parametrize(
    ('right_m', 'left_m', 'points'),
    [(1.4, 8.0, 41), (1.6, 8.0, 0), (-8.0, -1.4, 41), (-8.0, -1.6, 0)],
)
def test_corridor_begins_within_1_5_m_of_the_vehicles_axis(right_m, left_m, points):
    assert len(find_corridor(straight(right_m, left_m), GRID).x_m) == points


@pytest.mark.parametrize(('width_m', 'points'), [(1.4, 0), (1.6, 41)])
def test_corridor_is_at_least_1_5_m_wide(width_m, points):
    cells = straight(-width_m / 2, width_m / 2)
    assert len(find_corridor(cells, GRID).x_m) == points


@given(
    npst.arrays(np.int8, (12, 20), elements=st.integers(-1, 100)),
    st.sampled_from([0.25, 0.5, 1.0, 2.5]),
)
def test_any_cells_give_edges_in_order_within_the_grid(cells, resolution_m):
    grid = GroundGrid(0.0, 20 * resolution_m, 12 * resolution_m, resolution_m)
    corridor = find_corridor(cells, grid)
    assert (np.diff(corridor.x_m) > 0).all()
    assert (corridor.width_m > 1).all()
    limit = 6 * resolution_m
    assert (np.abs([corridor.left_m, corridor.right_m]) <= limit).all()
    assert np.isfinite(corridor.centre_m).all()


@pytest.mark.slow
def test_centre_at_10_m_of_rendered_drives_is_right_to_15_cm():
    hw = (375, 1242)
    errors_m = []
    for seed in range(5_000_003, 5_000_015):
        drive = empty_drive(seed, hw)
        if drive.world.bonnet:
            continue
        # Calibrated at rest: the vehicle bounces.
        view = GroundView(*camera_of(drive, hw), GRID)
        for t_s in (0.0, 2.3, 5.1):
            _, label = drive.render(t_s)
            corridor = find_corridor(view.occupancy(label * np.uint8(255)), GRID)
            at = corridor.x_m == 10
            right_m = float(drive.camera(t_s).centre(np.array(10.0)))
            errors_m += np.abs(corridor.centre_m[at] + right_m).tolist()
    assert len(errors_m) > 20
    assert np.percentile(errors_m, 95) < 0.15
