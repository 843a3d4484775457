import numpy as np
import pytest

from fcn_road_seg.viz.ground_panel import draw_grid, ground_panel


def test_grid_is_drawn_with_ahead_up_and_left_left():
    # Rows from the right, columns from the nearest: 4 m across, 8 m ahead.
    cells = np.full((4, 8), 100, np.int8)
    cells[0, 7] = 0
    cells[3, 0] = -1
    picture = draw_grid(cells, x_min_m=1.0, resolution_m=1.0, height=8)
    assert picture.shape == (8, 4, 3)
    assert picture[0, 3].tolist() == [90, 190, 90]
    assert picture[7, 0].tolist() == [130, 130, 130]
    assert picture[4, 1].tolist() == [45, 45, 45]


def test_probability_between_is_drawn_between():
    picture = draw_grid(np.full((2, 4), 50, np.int8), 1.0, 0.5, height=4)
    assert picture[0, 0].tolist() == [68, 118, 68]


def test_every_tenth_metre_has_a_line():
    cells = np.full((200, 400), -1, np.int8)
    picture = draw_grid(cells, x_min_m=6.0, resolution_m=0.1, height=400)
    # 10 m is 4 m from the bottom.
    for row in (360, 260, 160, 60):
        assert (picture[row, 100:] == 255).all()
        assert (picture[row + 3, 100:] == 130).all()


def test_line_is_drawn_at_its_place_in_metres():
    cells = np.full((200, 400), -1, np.int8)
    line = (np.array([7.0, 9.0]), np.array([5.0, 5.0]))
    picture = draw_grid(cells, x_min_m=6.0, resolution_m=0.1, height=400, lines=[line])
    # 2 m from the bottom, and 5 m to the left of the middle.
    assert picture[380, 50].tolist() == [0, 200, 255]
    assert picture[380, 150].tolist() == [130, 130, 130]
    assert picture[340, 50].tolist() == [130, 130, 130]


@pytest.mark.parametrize(
    ('frame_hw', 'panel_hw'), [((375, 1242), (480, 795 + 240)), ((480, 640), (480, 2 * 640 + 240))]
)
def test_panel_has_frame_overlay_and_grid_at_the_grids_height(frame_hw, panel_hw):
    frame, overlay = np.full((*frame_hw, 3), 10, np.uint8), np.full((*frame_hw, 3), 20, np.uint8)
    grid = np.full((480, 240, 3), 30, np.uint8)
    panel = ground_panel(frame, overlay, grid)
    assert panel.shape == (*panel_hw, 3)
    assert (panel[:, -240:] == 30).all()
    assert panel[0, 0, 0] == 10
    assert panel[-1, -241, 0] == 20
