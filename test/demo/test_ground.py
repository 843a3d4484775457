from dataclasses import replace

import numpy as np
import pytest
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CameraInfo

from fcn_road_seg.demo.frames import CAMERA_HW, rendered_messages
from fcn_road_seg.demo.ground import (
    CAMERA_HEIGHT_M,
    GRID,
    camera_info_of,
    grid_iou,
    write_ground_pictures,
)
from fcn_road_seg.ground.grid import GroundView
from fcn_road_seg.ground.mounting import Mounting
from fcn_road_seg.live.recorder import Recording
from fcn_road_seg.messages.camera_info import camera_of_info
from fcn_road_seg.synthetic import SyntheticDrive


@pytest.fixture(scope='module')
def message():
    (message,) = rendered_messages(1, seed=2_000_000)
    return message


def grid_of(message):
    """Return the grid of a message's exact label, by its own calibration."""
    info = deserialize_message(message.camera_info, CameraInfo)
    camera = camera_of_info(info, CAMERA_HW, rectified=False)
    view = GroundView(camera, Mounting.from_angles(CAMERA_HEIGHT_M, 0.0, 0.0), GRID)
    return view.occupancy(message.label * np.uint8(255))


def recording_of(**grids):
    stamps = [int(name[1:]) for name in grids]
    overlay = np.zeros((*CAMERA_HW, 3), np.uint8)
    return Recording(
        {},
        {'overlay': dict.fromkeys(stamps, overlay)},
        stamps,
        {
            stamp: cells
            for stamp, cells in zip(stamps, grids.values(), strict=True)
            if cells is not None
        },
    )


def test_rendered_drives_are_of_one_camera_height():
    heights = {
        SyntheticDrive(seed, (60, 80), CAMERA_HEIGHT_M).world.camera_height for seed in (1, 2)
    }
    assert heights == {CAMERA_HEIGHT_M}


def test_camera_height_changes_nothing_else_of_the_world():
    own, given = SyntheticDrive(1, (60, 80)).world, SyntheticDrive(1, (60, 80), 1.65).world
    assert own.camera_height != 1.65
    assert given.horizon == own.horizon
    assert np.array_equal(given.bends, own.bends)


def test_camera_info_is_that_of_the_renderer():
    drive = SyntheticDrive(1, (60, 80))
    info = deserialize_message(camera_info_of(drive, (60, 80)), CameraInfo)
    camera = drive.camera(0.0)
    assert (info.height, info.width, info.distortion_model) == (60, 80, 'plumb_bob')
    assert info.k.tolist() == [
        camera.focal,
        0,
        40,
        0,
        camera.focal,
        drive.world.horizon * 60,
        0,
        0,
        1,
    ]


def test_grid_of_the_exact_label_is_the_exact_road_but_for_what_hides_it(message):
    assert grid_iou([message], recording_of(_1=grid_of(message))) > 0.9


def test_grid_without_road_does_not_agree(message):
    without = np.full(GRID.shape_hw, 100, np.int8)
    assert grid_iou([message], recording_of(_1=without)) == 0


def test_agreement_is_unknown_without_grids_or_exact_roads(message):
    assert grid_iou([message], recording_of(_1=None)) is None
    unknown = replace(message, road_cells=None)
    assert grid_iou([unknown], recording_of(_1=grid_of(message))) is None


def test_picture_and_video_are_written_of_frames_with_a_grid(tmp_path, message):
    recording = recording_of(_1=grid_of(message), _2=None)
    write_ground_pictures(tmp_path, [message, message], recording, rate_hz=10.0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ['grid.mp4', 'grid.png']


def test_nothing_is_written_without_a_grid(tmp_path, message):
    write_ground_pictures(tmp_path, [message], recording_of(_1=None), rate_hz=10.0)
    assert list(tmp_path.iterdir()) == []
