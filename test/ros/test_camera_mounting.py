import sys
from dataclasses import replace
from types import ModuleType, SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from std_msgs.msg import Header

from fcn_road_seg.ground.errors import GroundError
from fcn_road_seg.ground.mounting import Mounting
from fcn_road_seg.ros.camera_mounting import MountingSource
from fcn_road_seg.ros.node_parameters import NodeParameters
from fcn_road_seg.ros.parameters import PARAMETERS

DEFAULTS = NodeParameters(**{parameter.name: parameter.default for parameter in PARAMETERS})
HEADER = Header(stamp=Time(sec=5, nanosec=6), frame_id='camera_optical')


class TransformError(Exception):
    pass


class ExtrapolationError(TransformError):
    pass


class UnknownFrameError(TransformError):
    pass


class Buffer:
    """Has what is used of tf2_ros's Buffer, which PyPI does not have."""

    def __init__(self):
        self.asked = []
        self.times_cleared = 0
        # Stamps (ns) outside of these have no transform.
        self.known_ns = range(10_000_000_000)

    def lookup_transform(self, target, source, time):
        self.asked.append((target, source, time.nanoseconds))
        if target != 'base_footprint':
            raise UnknownFrameError('at 5.000000006\nof two lines')
        if time.nanoseconds not in self.known_ns:
            raise ExtrapolationError('into the future')
        # The optical frame of a level camera, 2 m ahead and 1.5 m above.
        return SimpleNamespace(
            transform=SimpleNamespace(
                translation=SimpleNamespace(x=2.0, y=0.0, z=1.5),
                rotation=SimpleNamespace(x=-0.5, y=0.5, z=-0.5, w=0.5),
            )
        )

    def clear(self):
        self.times_cleared += 1


class TransformListener:
    made: ClassVar[list] = []

    def __init__(self, buffer, node):
        self.buffer, self.node, self.is_listening = buffer, node, True
        self.made.append(self)

    def unregister(self):
        self.is_listening = False


@pytest.fixture
def listeners(monkeypatch):
    """The listeners to tf that are made from now on."""
    module = ModuleType('tf2_ros')
    module.Buffer, module.TransformListener = Buffer, TransformListener
    module.TransformException = TransformError
    module.ExtrapolationException = ExtrapolationError
    monkeypatch.setitem(sys.modules, 'tf2_ros', module)
    TransformListener.made.clear()
    return TransformListener.made


def test_mounting_is_that_of_the_parameters(listeners):
    parameters = replace(DEFAULTS, camera_height=1.4, camera_pitch=0.1, camera_roll=-0.05)
    mounting = MountingSource(None, parameters).mounting(HEADER)
    expected = Mounting.from_angles(1.4, 0.1, -0.05)
    np.testing.assert_array_equal(mounting.rotation, expected.rotation)
    np.testing.assert_array_equal(mounting.position, expected.position)
    assert listeners == []


def test_mounting_is_tfs_at_the_frames_stamp(listeners):
    source = MountingSource('the node', replace(DEFAULTS, ground_frame='base_footprint'))
    mounting = source.mounting(HEADER)
    (listener,) = listeners
    assert listener.node == 'the node'
    assert listener.buffer.asked == [('base_footprint', 'camera_optical', 5_000_000_006)]
    np.testing.assert_allclose(mounting.position, (2, 0, 1.5))
    # 10 m before the camera is 12 m before the vehicle.
    np.testing.assert_allclose(
        mounting.to_camera(np.array(12.0), np.array(1.0)), [-1, 1.5, 10], atol=1e-12
    )


def test_frame_that_is_newer_than_tf_has_the_newest_mounting(listeners):
    source = MountingSource(None, replace(DEFAULTS, ground_frame='base_footprint'))
    (listener,) = listeners
    listener.buffer.known_ns = range(5_000_000_000)
    np.testing.assert_allclose(source.mounting(HEADER).position, (2, 0, 1.5))
    assert [asked[2] for asked in listener.buffer.asked] == [5_000_000_006, 0]


def test_frame_that_tf_does_not_know_is_named_without_the_stamp(listeners):
    source = MountingSource(None, DEFAULTS)
    with pytest.raises(GroundError) as caught:
        source.mounting(HEADER)
    assert str(caught.value) == (
        "camera_height is 0 and tf has no transform from 'camera_optical' to 'ground' "
        '(UnknownFrameError); set camera_height, or publish the transform'
    )


def test_long_name_of_a_frame_is_cut_off_in_the_error(listeners):
    source = MountingSource(None, DEFAULTS)
    with pytest.raises(GroundError, match=f"no transform from '{'x' * 40}' to"):
        source.mounting(Header(frame_id='x' * 10**6))


def test_close_ends_the_listening(listeners):
    source = MountingSource(None, DEFAULTS)
    source.close()
    source.apply(DEFAULTS)
    source.close()
    (listener,) = listeners
    assert not listener.is_listening
    with pytest.raises(GroundError, match='set camera_height'):
        source.mounting(HEADER)


def test_without_tf2_ros_camera_height_is_asked_for(monkeypatch):
    monkeypatch.setitem(sys.modules, 'tf2_ros', None)
    with pytest.raises(GroundError, match=r'camera_height is 0 and tf2_ros cannot be imported'):
        MountingSource(None, DEFAULTS).mounting(HEADER)


def test_height_that_is_set_to_0_takes_the_mounting_from_tf(listeners):
    source = MountingSource(None, replace(DEFAULTS, camera_height=1.4))
    assert listeners == []
    for _ in range(2):
        source.apply(replace(DEFAULTS, ground_frame='base_footprint'))
        np.testing.assert_allclose(source.mounting(HEADER).position, (2, 0, 1.5))
    assert len(listeners) == 1


def test_frame_with_a_negative_stamp_has_the_newest_mounting(listeners):
    source = MountingSource(None, replace(DEFAULTS, ground_frame='base_footprint'))
    header = Header(stamp=Time(sec=-1), frame_id='camera_optical')
    np.testing.assert_allclose(source.mounting(header).position, (2, 0, 1.5))


def test_transforms_are_forgotten_when_the_stamps_jump_back(listeners):
    source = MountingSource(None, replace(DEFAULTS, ground_frame='base_footprint'))
    (listener,) = listeners
    # A frame without a stamp (0) is no jump, and neither are two frames in the wrong order.
    for sec, times_cleared in ((100, 0), (101, 0), (100, 0), (0, 0), (102, 0), (50, 1), (51, 1)):
        source.mounting(Header(stamp=Time(sec=sec), frame_id='camera_optical'))
        assert listener.buffer.times_cleared == times_cleared
