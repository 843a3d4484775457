import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fcn_road_seg.ground.camera import Camera
from fcn_road_seg.ground.errors import GroundError
from test.helpers.ground_scenes import LENSES

HW = (480, 640)
MATRIX = np.array([[500.0, 0, 310], [0, 480, 250], [0, 0, 1]])


def camera(lens='pinhole', matrix=MATRIX):
    return Camera(matrix, HW, *LENSES[lens])


@pytest.mark.parametrize('lens', ['plumb_bob', 'rational_polynomial'])
def test_points_are_where_opencv_projects_them(lens):
    points = np.random.default_rng(0).uniform((-3, -2, 4), (3, 2, 9), (100, 3))
    expected, _ = cv2.projectPoints(
        points, np.zeros(3), np.zeros(3), MATRIX, np.array(LENSES[lens][1])
    )
    np.testing.assert_allclose(
        np.stack(camera(lens).project(points), axis=1), expected[:, 0], atol=1e-9
    )


def test_points_are_where_opencv_projects_them_through_a_fisheye():
    points = np.random.default_rng(0).uniform((-30, -20, 1), (30, 20, 9), (100, 3))
    distortion = np.array(LENSES['equidistant'][1])
    expected, _ = cv2.fisheye.projectPoints(
        points[:, None], np.zeros(3), np.zeros(3), MATRIX, distortion
    )
    np.testing.assert_allclose(
        np.stack(camera('equidistant').project(points), axis=1), expected[:, 0], atol=1e-9
    )


def test_fisheye_without_coefficients_is_none_of_a_pinhole():
    # 45 degrees to the right: pi / 4 focal lengths, not 1.
    u, _ = Camera(MATRIX, HW, 'equidistant').project(np.array([[1.0, 0, 1]]))
    assert u[0] == pytest.approx(310 + 500 * np.pi / 4)


@pytest.mark.parametrize('model', ['plumb_bob', 'none', ''])
@pytest.mark.parametrize('count', [0, 1, 5, 8])
def test_coefficients_of_0_are_no_distortion_whatever_the_model(model, count):
    # As drivers of simulated and rectified cameras send them.
    u, v = Camera(MATRIX, HW, model, (0.0,) * count).project(np.array([2.0, 1.0, 4.0]))
    assert (u, v) == (310 + 500 * 0.5, 250 + 480 * 0.25)


def test_point_of_a_skewed_pinhole():
    matrix = np.array([[500.0, 7, 310], [0, 480, 250], [0, 0, 1]])
    skewed = Camera(matrix, HW)
    u, v = skewed.project(np.array([2.0, 1.0, 4.0]))
    assert (u, v) == (310 + 500 * 0.5 + 7 * 0.25, 250 + 480 * 0.25)
    np.testing.assert_allclose(skewed.rays(u, v), [0.5, 0.25, 1])


def test_what_is_behind_the_camera_is_not_seen():
    for lens in LENSES:
        u, v = camera(lens).project(np.array([[0.1, 0.1, -1], [0.1, 0.1, 0], [0.1, 0.1, 1]]))
        assert np.isnan(u).tolist() == np.isnan(v).tolist() == [True, True, False]


def test_distortion_folds_nothing_from_far_aside_into_the_image():
    # r (1 - 0.3 r^2) rises up to r = 1.054, and is small again at r = 1.8: 0.05.
    barrel = Camera(MATRIX, HW, 'plumb_bob', (-0.3, 0, 0, 0, 0))
    u, _ = barrel.project(np.array([[1.0, 0, 1], [1.8, 0, 1], [60, 0, 1]]))
    assert u[0] == pytest.approx(310 + 500 * 0.7)
    assert np.isnan(u[1:]).all()


@pytest.mark.parametrize('lens', LENSES)
@given(x=st.floats(-0.8, 0.8), y=st.floats(-0.6, 0.6))
def test_ray_of_a_points_pixel_leads_to_the_point(lens, x, y):
    there = camera(lens)
    u, v = there.project(np.array([[3 * x, 3 * y, 3.0]]))
    np.testing.assert_allclose(there.rays(u, v), [[x, y, 1]], atol=1e-7)


def test_numerator_that_falls_folds_nothing_if_the_denominator_falls_with_it():
    # r (1 - 0.6 r^2 + 0.1 r^4) alone would rise up to r = 0.83 only.
    rational = Camera(MATRIX, HW, 'rational_polynomial', (-0.6, 0.1, 0, 0, 0, -0.6, 0.12, 0))
    u, v = rational.project(np.array([[0.8, 0.6, 1.0]]))
    assert u[0] == pytest.approx(310 + 500 * 0.8 * 0.5 / 0.52)
    np.testing.assert_allclose(rational.rays(u, v), [[0.8, 0.6, 1]], atol=1e-7)


def test_pixel_beyond_the_edge_of_the_picture_has_no_ray():
    # Nothing of this barrel is farther than 0.703 focal lengths from the centre.
    barrel = Camera(MATRIX, HW, 'plumb_bob', (-0.3, 0, 0, 0, 0))
    rays = barrel.rays(np.array([310.0, 310 + 340, 310 + 360]), np.full(3, 250.0))
    assert np.isnan(rays).any(axis=1).tolist() == [False, False, True]


@pytest.mark.parametrize(
    ('matrix', 'text'),
    [
        (np.zeros((3, 3)), 'is singular or not of the form fx 0 cx 0 fy cy 0 0 1'),
        (np.diag([500.0, 0, 1]), 'is singular or not of the form fx 0 cx 0 fy cy 0 0 1'),
        (np.diag([-500.0, 500, 1]), 'is singular or not of the form fx 0 cx 0 fy cy 0 0 1'),
        (np.diag([500.0, 500, 2]), 'is singular or not of the form fx 0 cx 0 fy cy 0 0 1'),
        (MATRIX.T, 'is singular or not of the form fx 0 cx 0 fy cy 0 0 1'),
        (MATRIX + np.eye(3, k=-1) * [1, 0, 0], 'is singular or not of the form'),
        (
            np.diag([500.0, 1e-4, 1]),
            'is impossible: focal lengths are at least 0.001 pixels',
        ),
        (np.diag([500.0, 1e10, 1]), 'no number is above 1e\\+09; calibrate the camera'),
        (
            np.diag([500.0, np.nan, 1]),
            r'the camera matrix \[500\.0, .*nan.*\] is not 3 x 3 with finite numbers',
        ),
        (np.eye(3, 4), r'the camera matrix \[1\.0, .*\] is not 3 x 3 with finite numbers'),
    ],
)
def test_bad_matrix_is_refused(matrix, text):
    with pytest.raises(GroundError, match=text) as caught:
        Camera(matrix, HW)
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize(
    ('model', 'distortion', 'text'),
    [
        ('fov', (0.9,), "distortion model 'fov' is unknown; use one of plumb_bob, rational"),
        ('plumb_bob', (0.1,) * 8, 'plumb_bob has 8 coefficients; it needs 4 or 5'),
        ('equidistant', (0.1,) * 5, 'equidistant has 5 coefficients; it needs 4'),
        (
            'plumb_bob',
            (0.1, 0, 0, 0, float('inf')),
            r'distortion coefficients \[0\.1, 0\.0, 0\.0, 0\.0, inf\] are not all finite',
        ),
        (
            'equidistant',
            (0.1, 0, 0, -1e10),
            r'coefficients \[.*, -10000000000\.0\] are not within -1e\+09 to 1e\+09; calibrate',
        ),
    ],
)
def test_bad_distortion_is_refused(model, distortion, text):
    with pytest.raises(GroundError, match=text):
        Camera(MATRIX, HW, model, distortion)
