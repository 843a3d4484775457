import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fcn_road_seg.ground.errors import GroundError
from fcn_road_seg.ground.mounting import Mounting

ANGLE = st.floats(-np.deg2rad(15), np.deg2rad(15))


def test_level_camera_sees_what_is_ahead_along_its_axis():
    mounting = Mounting.from_angles(1.5, 0.0, 0.0)
    # 10 m ahead, 2 m to the left: left of the axis, and 1.5 m below it.
    np.testing.assert_allclose(mounting.to_camera(np.array(10.0), np.array(2.0)), [-2, 1.5, 10])


def test_positive_pitch_looks_down():
    # At 45 degrees the axis meets the ground as far ahead as the camera is high.
    mounting = Mounting.from_angles(1.5, np.pi / 4, 0.0)
    np.testing.assert_allclose(
        mounting.to_camera(np.array(1.5), np.array(0.0)), [0, 0, 1.5 * 2**0.5], atol=1e-12
    )


def test_positive_roll_lowers_the_right_side():
    # The ground's horizon is then higher on the left: a point there is nearer to the axis.
    mounting = Mounting.from_angles(1.5, 0.0, 0.1)
    right, down, _ = mounting.to_camera(np.array(10.0), np.array(0.0))
    assert right == pytest.approx(1.5 * np.sin(0.1))
    assert down == pytest.approx(1.5 * np.cos(0.1))


@given(height=st.floats(0.2, 10), pitch=ANGLE, roll=ANGLE)
def test_transform_of_tf_gives_the_mounting_of_its_angles(height, pitch, roll):
    # Quaternions are multiplied by hand: pitch about y, roll about x, and the optical axes.
    def times(a, b):
        (ax, ay, az, aw), (bx, by, bz, bw) = a, b
        return (
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
            aw * bw - ax * bx - ay * by - az * bz,
        )

    by_pitch = (0, np.sin(pitch / 2), 0, np.cos(pitch / 2))
    by_roll = (np.sin(roll / 2), 0, 0, np.cos(roll / 2))
    # As in REP 103 from a camera's body to its optical frame.
    optical = (-0.5, 0.5, -0.5, 0.5)
    mounting = Mounting.from_transform((0, 0, height), times(times(by_pitch, by_roll), optical))
    expected = Mounting.from_angles(height, pitch, roll)
    np.testing.assert_allclose(mounting.rotation, expected.rotation, atol=1e-12)
    np.testing.assert_allclose(mounting.position, expected.position)


@given(
    height=st.floats(0.2, 10),
    pitch=ANGLE,
    roll=ANGLE,
    x=st.floats(1, 100),
    y=st.floats(-50, 50),
)
def test_ray_to_a_point_of_the_ground_meets_the_ground_there(height, pitch, roll, x, y):
    mounting = Mounting.from_angles(height, pitch, roll)
    point = mounting.to_camera(np.array(x), np.array(y))
    # A library may round the smallest numbers to 0.
    np.testing.assert_allclose(mounting.on_ground(0.25 * point), point, rtol=1e-6, atol=1e-300)


def test_ray_that_does_not_go_down_meets_no_ground():
    mounting = Mounting.from_angles(1.5, 0.0, 0.0)
    # The third one would meet it farther away than a number can say.
    rays = np.array([[0, -0.1, 1], [0, 0, 1.0], [0, 1e-320, 1], [0, 0.1, 1]])
    points = mounting.on_ground(rays)
    assert np.isnan(points[:3]).all()
    np.testing.assert_allclose(points[3], [0, 1.5, 15])


@pytest.mark.parametrize('height', [0.0, -1.2, float('nan')])
def test_camera_that_is_not_above_the_ground_is_refused(height):
    with pytest.raises(GroundError, match=r'm above the ground; use a height above 0|not finite'):
        Mounting.from_angles(height, 0.0, 0.0)


@pytest.mark.filterwarnings('ignore:invalid value:RuntimeWarning')
@pytest.mark.parametrize(
    ('translation', 'quaternion'),
    [((np.nan, 0, 1.5), (0, 0, 0, 1)), ((0, 0, 1.5), (0, 0, np.inf, 1))],
)
def test_transform_that_is_not_finite_is_refused(translation, quaternion):
    with pytest.raises(GroundError, match="the camera's pose is not finite; check the transform"):
        Mounting.from_transform(translation, quaternion)


def test_transform_without_rotation_is_refused():
    with pytest.raises(GroundError, match='the rotation of the transform is 0 0 0 0'):
        Mounting.from_transform((0, 0, 1.5), (0, 0, 0, 0))
    with pytest.raises(GroundError, match='the rotation of the transform is 0 0 0 0'):
        Mounting.from_transform((0, 0, 1.5), (0, 0, 0, float('nan')))
