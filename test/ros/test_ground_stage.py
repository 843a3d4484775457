from array import array
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from sensor_msgs.msg import CameraInfo, RegionOfInterest
from std_msgs.msg import Header

from fcn_road_seg.ground.grid import GroundView
from fcn_road_seg.ros import ground_stage
from fcn_road_seg.ros.frame_statistics import FrameStatistics
from fcn_road_seg.ros.ground_stage import GroundStage
from test.helpers.counted_frames import ManualClock
from test.ros.test_camera_mounting import DEFAULTS

WANTED = {'grid'}
HW = (120, 160)
K = [100.0, 0, 79.5, 0, 100.0, 40.0, 0, 0, 1]
WITH_HEIGHT = replace(DEFAULTS, camera_height=1.5)


class FakeNode:
    """Keeps the warnings of its logger."""

    def __init__(self):
        self.clock = ManualClock()
        self.warnings = []
        self.statistics = FrameStatistics()

    def get_logger(self):
        return SimpleNamespace(warning=self.warnings.append)


@pytest.fixture
def node():
    return FakeNode()


def info(hw=HW, **changes):
    return CameraInfo(**{'height': hw[0], 'width': hw[1], 'k': K, **changes})


def stage_of(node, *infos, parameters=WITH_HEIGHT):
    stage = GroundStage(node, parameters, node.statistics, node.clock)
    for msg in infos:
        stage.add_camera_info(msg)
    return stage


def occupancy(ground, hw=HW):
    return ground.view.occupancy(np.full(hw, 255, np.uint8))


def test_view_is_kept_until_calibration_mounting_or_size_changes(node):
    stage = stage_of(node, info())
    first = stage.below(WANTED, Header(), HW).view
    stage.add_camera_info(info())
    assert stage.below(WANTED, Header(), HW).view is first
    for change in (
        lambda: stage.add_camera_info(info(k=[90.0, *K[1:]])),
        lambda: stage.add_camera_info(info(distortion_model='plumb_bob', d=array('d', [0.1] * 4))),
        lambda: stage.apply(replace(WITH_HEIGHT, camera_pitch=0.1)),
        lambda: stage.apply(replace(WITH_HEIGHT, camera_height=2.0)),
    ):
        before = stage.below(WANTED, Header(), HW).view
        change()
        after = stage.below(WANTED, Header(), HW).view
        assert after is not before
        assert stage.below(WANTED, Header(), HW).view is after
    assert stage.below(WANTED, Header(), (60, 80)).view is not after
    assert node.warnings == []


def test_change_of_the_mounting_keeps_the_rays_of_the_camera(node):
    stage = stage_of(node, info(distortion_model='plumb_bob', d=array('d', [0.1, 0, 0, 0, 0])))
    camera = stage.below(WANTED, Header(), HW).view.camera
    stage.apply(replace(WITH_HEIGHT, camera_pitch=0.1))
    assert stage.below(WANTED, Header(), HW).view.camera is camera
    assert camera.pixel_rays() is camera.pixel_rays()


def test_camera_infos_of_three_other_sizes_do_not_replace_the_one_that_fits(node):
    # One of them comes again and again.
    others = [info((100, 400 + n), k=[300.0, *K[1:]]) for n in (0, 1, 2, 2, 2, 2)]
    stage = stage_of(node, info(), *others)
    found = occupancy(stage.below(WANTED, Header(), HW))
    np.testing.assert_array_equal(
        found, occupancy(stage_of(node, info()).below(WANTED, Header(), HW))
    )


@pytest.mark.parametrize(
    'own',
    [
        info(),
        info((240, 320), binning_x=2, binning_y=2, k=[200.0, 0, 159.5, 0, 200.0, 80.5, 0, 0, 1]),
        info((480, 640), roi=RegionOfInterest(x_offset=80, y_offset=9, height=120, width=160)),
    ],
)
def test_newer_camera_info_of_the_same_shape_does_not_replace_that_of_the_own_size(node, own):
    other = info((3 * HW[0], 3 * HW[1]), k=[300.0, *K[1:]])
    found = occupancy(stage_of(node, own, other).below(WANTED, Header(), HW))
    only = occupancy(stage_of(node, own).below(WANTED, Header(), HW))
    np.testing.assert_array_equal(found, only)


def test_uncalibrated_camera_gets_no_ground_from_the_camera_info_of_another_size(node):
    other = info((2 * HW[0], 2 * HW[1]))
    stage = stage_of(node, other, info(k=[0.0] * 9))
    assert stage.below(WANTED, Header(), HW) is None
    assert stage.problem.startswith('the camera matrix K of camera_info is all zero')


@pytest.mark.parametrize('hw', [HW, (0, 0)])
def test_newest_camera_info_of_a_size_counts(node, hw):
    newest = info(hw, k=[90.0, *K[1:]])
    found = occupancy(stage_of(node, info(), newest).below(WANTED, Header(), HW))
    only = occupancy(stage_of(node, newest).below(WANTED, Header(), HW))
    np.testing.assert_array_equal(found, only)


def test_rows_above_roi_top_are_unseen(node):
    # Row 60 shows what is 7.5 m ahead.
    parameters = replace(WITH_HEIGHT, roi_top=0.5)
    cells = occupancy(stage_of(node, info(), parameters=parameters).below(WANTED, Header(), HW))
    assert (cells[100, :14] == 0).all()
    assert (cells[100, 16:] == -1).all()


@pytest.mark.parametrize(
    ('infos', 'parameters', 'problem'),
    [
        ((), WITH_HEIGHT, 'no camera_info has arrived; remap camera_info to the topic'),
        ((info(k=[0.0] * 9),), WITH_HEIGHT, 'the camera matrix K of camera_info is all zero'),
        ((info((100, 400)),), WITH_HEIGHT, 'camera_info is for 400 x 100 pixels'),
        ((info(),), DEFAULTS, 'camera_height is 0 and tf'),
        (
            (info(),),
            replace(WITH_HEIGHT, camera_pitch=-0.7),
            'no cell of the grid is in the',
        ),
    ],
)
def test_missing_ground_is_explained_in_one_warning(node, infos, parameters, problem):
    stage = stage_of(node, *infos, parameters=parameters)
    for after_s in (0, 1.9, 2, 20):
        node.clock.s = after_s
        assert stage.below(WANTED, Header(frame_id='camera'), HW) is None
        assert len(node.warnings) == (after_s >= 2)
    assert stage.problem.startswith(problem)
    assert node.warnings == [f'no grid, points or corridor: {stage.problem}']
    assert '\n' not in stage.problem
    assert node.statistics.snapshot().without_ground == 4


def test_view_of_nothing_is_not_made_again_for_each_frame(node, monkeypatch):
    made = []

    def view(*args):
        made.append(args)
        return GroundView(*args)

    monkeypatch.setattr(ground_stage, 'GroundView', view)
    stage = stage_of(node, info(), parameters=replace(WITH_HEIGHT, camera_pitch=-0.7))
    for _ in range(3):
        assert stage.below(WANTED, Header(), HW) is None
    assert len(made) == 1
    stage.apply(WITH_HEIGHT)
    assert stage.below(WANTED, Header(), HW) is not None


def test_nothing_is_looked_for_while_nobody_wants_it(node):
    assert stage_of(node, info()).below({'mask', 'camera_info'}, Header(), HW) is None
    without_info = stage_of(node)
    assert without_info.below({'mask'}, Header(), HW) is None
    assert without_info.problem == ''
    assert node.statistics.snapshot().without_ground == 0
    assert node.warnings == []


def test_problem_is_over_when_the_ground_is_found(node):
    stage = stage_of(node)
    stage.below(WANTED, Header(), HW)
    stage.add_camera_info(info())
    node.clock.s = 5
    assert stage.below(WANTED, Header(), HW) is not None
    assert stage.problem == ''
    assert node.warnings == []
