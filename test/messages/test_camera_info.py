from array import array

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fcn_road_seg.ground.errors import GroundError
from fcn_road_seg.messages.camera_info import camera_of_info

pytest.importorskip('sensor_msgs')
from sensor_msgs.msg import CameraInfo, RegionOfInterest

from test.helpers import hostile_messages
from test.helpers.message_checks import has_ground

K = [700.0, 0, 319.5, 0, 710.0, 239.5, 0, 0, 1]
P = [650.0, 0, 320.0, -70.0, 0, 650.0, 240.0, 0, 0, 0, 1, 0]
HW = (480, 640)


def info(**changes):
    fields = {'width': 640, 'height': 480, 'k': K, 'p': P, 'distortion_model': 'plumb_bob'}
    return CameraInfo(**{**fields, 'd': array('d', [0.1, 0, 0, 0, 0]), **changes})


def test_camera_has_the_matrix_and_the_distortion_of_the_message():
    camera = camera_of_info(info(), HW, rectified=False)
    np.testing.assert_array_equal(camera.matrix, np.reshape(K, (3, 3)))
    assert (camera.distortion_model, camera.distortion) == ('plumb_bob', (0.1, 0, 0, 0, 0))
    assert camera.image_hw == HW


def test_camera_of_rectified_images_has_the_projection_matrix_and_no_distortion():
    camera = camera_of_info(info(), HW, rectified=True)
    assert camera.matrix.tolist() == [[650, 0, 320], [0, 650, 240], [0, 0, 1]]
    assert len(camera.distortion) == 0


def test_matrix_is_scaled_to_binned_images_from_edge_to_edge():
    camera = camera_of_info(info(binning_x=2, binning_y=2), (240, 320), rectified=False)
    # The centre of 640 pixels, 319.5, is that of 320: 159.5.
    np.testing.assert_allclose(camera.matrix, [[350, 0, 159.5], [0, 355, 119.5], [0, 0, 1]])


def test_message_without_a_size_is_of_the_images_size():
    camera = camera_of_info(info(width=0, height=0), (240, 320), rectified=False)
    np.testing.assert_array_equal(camera.matrix, np.reshape(K, (3, 3)))


def test_region_of_interest_moves_the_centre():
    roi = RegionOfInterest(x_offset=100, y_offset=50, width=400, height=300)
    camera = camera_of_info(info(roi=roi), (300, 400), rectified=False)
    np.testing.assert_allclose(camera.matrix, [[700, 0, 219.5], [0, 710, 189.5], [0, 0, 1]])


@pytest.mark.parametrize(('width', 'height', 'hw'), [(1242, 375, (187, 621)), (100, 75, (37, 50))])
def test_odd_sizes_may_be_rounded_by_binning(width, height, hw):
    camera = camera_of_info(info(width=width, height=height), hw, rectified=False)
    assert camera.matrix[0, 0] == 350


@pytest.mark.parametrize(
    ('changes', 'hw', 'text'),
    [
        ({'k': [0.0] * 9}, HW, 'the camera matrix K of camera_info is all zero: calibrate'),
        (
            {},
            (375, 1242),
            'camera_info is for 640 x 480 pixels, but the images have 1242 x 375',
        ),
        ({}, (470, 640), 'for 640 x 480 pixels, but the images have 640 x 470; remap camera_info'),
        (
            {'k': [float('nan'), *K[1:]]},
            HW,
            r'the camera matrix \[nan, .*\] is not 3 x 3 with finite numbers',
        ),
        ({'k': [0.0, *K[1:]]}, HW, 'is singular or not of the form fx 0 cx 0 fy cy 0 0 1'),
        (
            {'d': array('d', [float('nan')] * 5)},
            HW,
            r'distortion coefficients \[nan, .*\] are not all finite',
        ),
        ({'distortion_model': 'thin'}, HW, "distortion model 'thin' is unknown; use one of plumb"),
        ({'distortion_model': 'x' * 10**6}, HW, f"model '{'x' * 40}' is unknown"),
        ({'d': array('d', bytes(8 * 10**6))}, HW, 'camera_info has 1000000 distortion coeff'),
    ],
)
def test_message_that_is_none_of_a_camera_is_refused_in_one_line(changes, hw, text):
    with pytest.raises(GroundError, match=text) as caught:
        camera_of_info(info(**changes), hw, rectified=False)
    assert '\n' not in str(caught.value)


def test_uncalibrated_projection_matrix_is_refused():
    with pytest.raises(GroundError, match='the projection matrix P of camera_info is all zero'):
        camera_of_info(info(p=[0.0] * 12), HW, rectified=True)


@settings(deadline=None)
@given(hostile_messages.camera_infos(), st.booleans())
def test_any_message_gives_a_view_of_the_ground_or_is_refused(msg, rectified):
    has_ground(msg, rectified=rectified)
