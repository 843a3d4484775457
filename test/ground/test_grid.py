import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fcn_road_seg.datasets.kitti_calibration import matrix, read_calibration, road_to_image
from fcn_road_seg.datasets.labels import VOID
from fcn_road_seg.evaluation.birds_eye_view import BirdsEyeView
from fcn_road_seg.ground.camera import Camera
from fcn_road_seg.ground.errors import GroundError
from fcn_road_seg.ground.grid import UNSEEN, GroundGrid, GroundView
from fcn_road_seg.ground.mounting import Mounting
from fcn_road_seg.ground.pixel_table import KITTI_PIXELS, PixelTable
from test.helpers.ground_scenes import LENSES, camera_of, empty_drive, ground_seen, iou

SAMPLE = Path(__file__).parents[3] / 'shared/data/kitti_road_sample/training'
HW = (480, 640)
MATRIX = np.array([[500.0, 0, 310], [0, 500, 250], [0, 0, 1]])
MAX_RAD = float(np.deg2rad(15))
ANGLE = st.floats(-MAX_RAD, MAX_RAD)
DEFAULT = GroundGrid()
TO_20_M = GroundGrid(x_max_m=20.0)


def view(grid=DEFAULT, lens='pinhole', height=1.6, pitch=0.0, roll=0.0, roi_top=0.0):
    camera = Camera(MATRIX, HW, *LENSES[lens])
    return GroundView(camera, Mounting.from_angles(height, pitch, roll), grid, roi_top)


def test_default_grid_is_400_by_200_cells_from_6_m_ahead():
    grid = GroundGrid()
    assert grid.shape_hw == (200, 400)
    assert grid.origin_xy_m == (6, -10)
    x, y = grid.centres_m()
    np.testing.assert_allclose((x[0, 0], x[0, -1], y[0, 0], y[-1, 0]), (6.05, 45.95, -9.95, 9.95))


@given(height=st.floats(0.5, 3), below=st.floats(5, 200))
def test_distance_on_flat_ground_is_height_times_focal_length_by_rows_below_the_horizon(
    height, below
):
    mounting = Mounting.from_angles(height, 0.0, 0.0)
    ray = Camera(MATRIX, HW).rays(np.array(310.0), np.array(250 + below))
    np.testing.assert_allclose(mounting.on_ground(ray), [0, height, height * 500 / below])


@pytest.mark.parametrize('lens', LENSES)
@settings(max_examples=10, deadline=None)
@given(height=st.floats(0.5, 3), pitch=ANGLE, roll=ANGLE)
def test_pixel_to_ground_to_pixel_is_the_identity_below_the_horizon(lens, height, pitch, roll):
    camera = Camera(MATRIX, HW, *LENSES[lens])
    mounting = Mounting.from_angles(height, pitch, roll)
    v, u = np.mgrid[0 : HW[0] : 16, 0 : HW[1] : 16].astype(float)
    rays = camera.rays(u, v)
    points = mounting.on_ground(rays)
    below = rays @ mounting.rotation[2] < -1e-6
    assert np.isfinite(points).all(axis=-1)[below].all()
    assert np.isnan(points[rays @ mounting.rotation[2] >= 0]).all()
    on_plane = points[below] @ mounting.rotation.T + mounting.position
    there = camera.project(mounting.to_camera(*on_plane[:, :2].T))
    np.testing.assert_allclose(there, (u[below], v[below]), atol=1e-3)


def test_cell_is_free_by_the_probability_of_its_pixel():
    # Rows of the grid begin at the right, columns at the nearest cells.
    probability = np.full(HW, 255, np.uint8)
    probability[:, 310:] = 0
    cells = view().occupancy(probability)
    assert cells.dtype == np.int8
    seen = cells != UNSEEN
    assert (cells[:100][seen[:100]] == 100).all()
    assert (cells[100:][seen[100:]] == 0).all()
    # round(100 * (1 - p)), p = 51 / 255.
    assert set(np.unique(view().occupancy(np.full(HW, 51, np.uint8)))) == {UNSEEN, 80}


def test_cells_outside_of_the_image_are_unseen():
    cells = view(GroundGrid(x_min_m=2.0)).occupancy(np.zeros(HW, np.uint8))
    # The last row is 229 below the horizon: 1.6 * 500 / 229 = 3.49 m.
    assert (cells[100, :14] == UNSEEN).all()
    assert (cells[100, 15:] == 100).all()
    # At 6.05 m the last column, 329 to the right, is 3.98 m aside, and the first 3.75 m.
    assert (np.flatnonzero(cells[:, 40] == 100) == np.arange(60, 138)).all()


def test_hidden_rows_are_unseen():
    # 60 rows below the horizon: 13.33 m.
    cells = view(roi_top=310 / 480).occupancy(np.zeros(HW, np.uint8))
    assert (cells[100, :73] == 100).all()
    assert (cells[100, 74:] == UNSEEN).all()
    points = view(roi_top=310 / 480).points()
    assert np.isnan(points[:310]).all()
    assert np.isfinite(points[310:]).all()


def test_points_lie_on_the_ground_below_the_horizon_alone():
    points = view(pitch=0.05, roll=0.02).points()
    assert points.shape == (*HW, 3)
    assert points.dtype == np.float32
    mounting = Mounting.from_angles(1.6, 0.05, 0.02)
    below = np.isfinite(points[..., 0])
    heights = points[below] @ mounting.rotation[2] + 1.6
    # float32 of points up to kilometres away.
    near = points[below][:, 2] < 50
    np.testing.assert_allclose(heights[near], 0, atol=1e-5)
    assert below[-1].all()
    assert not below[0].any()


def test_points_are_computed_once():
    there = view(lens='plumb_bob')
    assert there.points() is there.points()
    assert there.points(2) is not there.points()


@pytest.mark.parametrize('stride', [1, 3, 7])
def test_hidden_rows_have_no_points_with_any_stride(stride):
    # Rounded, as by the segmenter.
    points = view(roi_top=310.7 / 480).points(stride)
    rows = np.arange(0, 480, stride)
    assert np.isnan(points[rows < 311]).all()
    assert np.isfinite(points[rows >= 311]).all()


def test_stride_takes_every_nth_point_from_the_first_on():
    every, some = view().points(), view().points(stride=7)
    np.testing.assert_array_equal(some, every[::7, ::7])


# What the mask says is exact, so only the geometry counts. These have no bonnet in the picture.
@pytest.mark.parametrize('seed', range(5_000_003, 5_000_010))
def test_grid_of_a_rendered_frame_is_the_road(seed):
    hw = (375, 1242)
    drive = empty_drive(seed, hw)
    camera, mounting = camera_of(drive, hw)
    _, label = drive.render(t_s=0.0)
    grid = TO_20_M
    cells = GroundView(camera, mounting, grid).occupancy(label * np.uint8(255))
    x, y = grid.centres_m()
    truth = drive.is_road(0.0, *np.broadcast_arrays(x, -y))
    seen = cells != UNSEEN
    assert iou(cells[seen] == 0, truth[seen]) > 0.95


@pytest.mark.parametrize('lens', LENSES)
@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(5_000_000, 5_000_003),
    height=st.floats(1.0, 2.5),
    pitch=ANGLE,
    roll=ANGLE,
)
def test_grid_is_the_road_for_any_mounting_and_lens(lens, seed, height, pitch, roll):
    drive = empty_drive(seed)
    ahead, left = ground_seen(lens, MATRIX, HW, height, pitch, roll)
    near = ahead < 200
    mask = np.zeros(HW, np.uint8)
    mask[near] = 255 * drive.is_road(0.0, ahead[near], -left[near])
    cells = view(TO_20_M, lens, height, pitch, roll).occupancy(mask)
    x, y = TO_20_M.centres_m()
    truth = drive.is_road(0.0, *np.broadcast_arrays(x, -y))
    seen = cells != UNSEEN
    assert seen.mean() > 0.2
    assert iou(cells[seen] == 0, truth[seen]) > 0.95


@pytest.mark.skipif(not SAMPLE.is_dir(), reason=f'no KITTI road sample in {SAMPLE}')
@pytest.mark.parametrize('frame', ['um_000000', 'uu_000093'])
def test_camera_of_kittis_calibration_looks_up_the_pixels_of_its_birds_eye_view(frame):
    calibration = read_calibration(SAMPLE / f'calib/{frame}.txt')
    projection = matrix(calibration, 'P2', (3, 4))
    cam_to_road = matrix(calibration, 'Tr_cam_to_road', (3, 4))
    # The second camera is beside the first, whose pose is given; its axes are rectified.
    beside = np.linalg.solve(projection[:, :3], projection[:, 3])
    rotation = cam_to_road[:, :3] @ matrix(calibration, 'R0_rect', (3, 3)).T
    # KITTI's road has x to the right, y down and z ahead.
    axes = np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])
    mounting = Mounting(axes @ rotation, axes @ (cam_to_road[:, 3] - rotation @ beside))
    camera = Camera(projection[:, :3], (375, 1242))
    grid = GroundGrid(resolution_m=0.05)
    u, v = camera.project(mounting.to_camera(*grid.centres_m()))
    image = np.random.default_rng(0).integers(0, 250, (375, 1242), np.uint8)
    seen = PixelTable(u, v, image.shape, KITTI_PIXELS).look_up(image, VOID)
    expected = BirdsEyeView().project(image, road_to_image(calibration), outside=VOID)
    # Its top row is the farthest, its left column the leftmost. A cell on the border of two
    # pixels may fall on either.
    assert (seen.T[::-1, ::-1] != expected).sum() <= 20


# Alone on two cores 0.12 ms; other processes share them here.
def test_occupancy_of_a_kitti_frame_takes_at_most_2_ms():
    camera = Camera(np.array([[721.0, 0, 609], [0, 721, 173], [0, 0, 1]]), (375, 1242))
    seen = GroundView(camera, Mounting.from_angles(1.65, 0.0, 0.0), GroundGrid())
    image = np.random.default_rng(0).integers(0, 256, (375, 1242), np.uint8)
    took_s = []
    for _ in range(50):
        began_s = time.perf_counter()
        seen.occupancy(image)
        took_s.append(time.perf_counter() - began_s)
    assert np.median(took_s) < 2e-3


def test_camera_that_looks_up_is_refused():
    with pytest.raises(GroundError, match='no cell of the grid is in the image: the camera looks'):
        view(pitch=-0.6)


@pytest.mark.parametrize(
    ('changes', 'text'),
    [
        ({'resolution_m': 0.0005}, r'the grid has 3.2e\+09 cells; use at most 4000000'),
        ({'resolution_m': 0.014}, r'the grid has 4\.08e\+06 cells; use at most 4000000'),
        ({'resolution_m': 0.0}, 'is empty; use metres'),
        ({'x_max_m': 5.0}, 'the grid from 6 to 5 m, 20 m wide, .* is empty'),
        ({'width_m': float('nan')}, 'is not finite; use metres'),
        ({'resolution_m': 100.0}, 'the grid is too small for a cell of 100 m; use smaller cells'),
    ],
)
def test_bad_grid_is_refused(changes, text):
    with pytest.raises(GroundError, match=text):
        GroundGrid(**changes)
